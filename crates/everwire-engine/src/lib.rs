//! The engine of Everwire: channels, sessions, recovery, presence, and a shard's turn.
//!
//! Pure: time and randomness come in as arguments, and nothing here blocks or fails on I/O. Never here: sockets, an
//! async runtime, a clock, a foreign broker's name.
//!
//! Read first: [`channel::Cell`] (a channel: its numbers, its window, who is in it), [`hub::Hub`] (who listens where,
//! and what each must still be sent), [`turn::Turn`] (one shard's turn: events in, writes out).

// Bottom to top: a module uses only those above it in this list.
pub mod plant;
pub mod time;
pub mod limits;
pub mod hashes;
pub mod lags;
pub mod name;
pub mod permit;
pub mod party;
pub mod entry;
pub mod inbox;
pub mod channel;
pub mod ports;
pub mod memory;
pub mod node;
pub mod outbox;
pub mod hub;
pub mod session;
pub mod verbs;
pub mod turn;
#[cfg(feature = "testing")]
pub mod testing;
