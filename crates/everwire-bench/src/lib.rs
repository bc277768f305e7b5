//! A load tool for WebSocket servers, and the bare loops that it measures them against.
//!
//! Never here: a single time on a shared machine as a result. What is said is a ratio in one run, or a cost per message.
//! Read first: [`swarm::Swarm`], [`alternate::Side`], [`floor::Program`].

// Bottom to top: a module uses only those above it in this list.
pub mod clock;
pub mod machine;
pub mod watched;
pub mod frames;
pub mod marker;
pub mod dialect;
pub mod swarm;
pub mod crowd;
pub mod tls;
pub mod floor;
pub mod alternate;
pub mod server;
pub mod sides;
pub mod goals;
pub mod load;
pub mod cli;
