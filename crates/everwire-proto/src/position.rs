//! A place in a stream.

use crate::ids::Epoch;

/// The largest integer that every JSON reader keeps exactly: 2^53 - 1.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// A place in a channel's stream: after the message with this offset, in this life of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The life of the stream.
    pub epoch: Epoch,
    /// The offset of the last message at or before this place; 0 before the first.
    pub offset: u64,
}
