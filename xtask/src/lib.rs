//! Tasks of the Everwire repository: the tests with all that they need, the house rules, longer runs.
//!
//! Never here: anything that the server needs to run. Read first: [`groups`] (what `cargo xtask test` runs),
//! [`tidy`] (the rules), [`install`] (what is fetched, and from where).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a task speaks to a terminal")]

// Bottom to top: a module uses only those above it in this list.
pub mod scan;
pub mod tree;
pub mod tidy;
pub mod secrets;
pub mod call;
pub mod install;
pub mod server;
pub mod counts;
pub mod groups;
pub mod long;
pub mod bench;
pub mod cli;
