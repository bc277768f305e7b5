//! Limits that hold for many connections together, and what a namespace or a subscription limits for itself. Time is an
//! argument, so nothing waits.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod world;
mod rates;
mod sums;
mod namespaces;
mod paces;
mod changed;
mod tokens;
