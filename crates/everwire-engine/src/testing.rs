//! A simulator for the engine: whole nodes with their shards, clients that know the protocol, a virtual clock, a seed,
//! and faults. The eight promises of the protocol (`docs/protocol.md`, section 4) are checked at every step.
//!
//! One thread drives everything, so a seed gives the same run each time, and a bug of [`crate::plant`] can be planted
//! in that thread alone. Never here: real time, sockets, sleeps.
//!
//! Read first: [`run`], [`Plan`], [`Report`].

// Bottom to top.
mod seed;
mod one_shard;
mod shape;
mod pipe;
mod central;
mod ledger;
mod watch;
mod report;
mod client;
mod cluster;
mod sim;
pub mod conformance;

pub use central::{Carried, simulated_broker};
pub use one_shard::OneShard;
pub use report::Report;
pub use seed::{Rng, Seeded};
pub use sim::{Failure, Plan, World, run};
