//! Brokers behind the engine's port, one feature each.
//!
//! Never here: sockets of clients, sessions, what a command means. Read first: [`disk::Disk`], [`answers::Answers`].

// Bottom to top: a module uses only those above it in this list.
pub mod answers;
#[cfg(feature = "disk")]
pub mod disk;
