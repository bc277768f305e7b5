//! Words on the wire of Everwire: commands, replies, pushes, codes, the two formats and the WebSocket frame codec.
//!
//! Never here: a clock, I/O, threads, an async runtime. Everything is bytes in, values out, and back.
//!
//! Read first: [`command::Command`], [`reply::Outgoing`], [`codes::ErrorCode`].

// Bottom to top: a module uses only those above it in this list.
pub mod codes;
pub mod secret;
pub mod ids;
pub mod position;
pub mod payload;
pub mod command;
pub mod reply;
mod fields;
mod text;
mod pack;
pub mod transcode;
mod encode;
pub mod json;
pub mod api;
pub mod msgpack;
pub mod ws;
