//! The server over real sockets: one binary, ports of the system's choice, no sleeps.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

mod wire;
mod peer;
mod world;
mod secrets;
mod process;
mod reloaded;
mod guarded;
mod backend;
mod durable;
mod crash;
mod siege;
mod pki;
mod sealed;

mod api_access;
mod api_connections;
mod api_verbs;
mod bad_commands;
mod bad_frames;
mod bad_peers;
mod bad_requests;
mod bad_tls;
mod bench;
mod command_line;
mod cors;
mod counted;
mod crowds;
mod doors;
mod gate;
mod hand_over;
mod http;
mod over_tls;
mod limits;
mod pressure;
mod service;
mod sessions;
mod shutdown;
mod signposts;
mod storm;
mod token_line;
mod tokens;
mod upgrade;
mod watching;
