//! A Rust client.
