//! The Everwire server.
fn main() {}
