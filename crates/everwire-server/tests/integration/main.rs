//! The server over real sockets: one binary, ports of the system's choice, no sleeps.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

mod client;
mod world;

mod bad_frames;
mod bad_commands;
mod bad_peers;
mod command_line;
mod hand_over;
mod http;
mod sessions;
mod storm;
mod upgrade;
