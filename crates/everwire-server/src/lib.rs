//! The shell of Everwire: sockets, HTTP, configuration. All async lives here; what the bytes mean is the engine's.
//!
//! Never here: the protocol's rules, channels, recovery. Read first: [`app::start`], [`shard`], [`front`].

// Bottom to top: a module uses only those above it in this list.
pub mod clock;
pub mod descriptors;
pub mod drain;
pub mod listen;
pub mod trust;
pub mod tls;
pub mod auth;
pub mod api_key;
pub mod log;
mod schema;
pub mod config;
mod verdict;
pub mod banner;
pub mod cli;
mod seats;
pub mod told;
pub mod desk;
pub mod addresses;
pub mod shard;
pub mod gate;
pub mod flow;
pub mod notify;
pub mod site;
mod metrics;
mod origins;
mod http;
mod front;
mod heap;
pub mod doors;
pub mod reload;
pub mod app;
