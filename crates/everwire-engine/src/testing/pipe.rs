//! A simulated socket: what the kernel holds of each direction.

use std::collections::VecDeque;

use super::seed::Rng;
use crate::turn::Sent;

/// Which bucket pays for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// That of commands.
    Commands,
    /// That of `subscribe` and `unsubscribe`.
    Subscribes,
    /// None: a `pong`, or what can't be read.
    Free,
}

/// From a client to its shard, in order.
#[derive(Clone, Debug)]
pub(super) enum Up {
    /// A whole message.
    Message(Vec<u8>, Lane),
    /// A pong, or any other frame that only says "I live".
    Life,
    /// A close frame.
    Close(u16),
}

/// From a shard to its client: a kernel buffer with an end.
#[derive(Debug)]
pub(super) struct Down {
    bytes: VecDeque<u8>,
    size: usize,
    /// The shard was told that it is full, and waits to be told otherwise.
    starved: bool,
    /// It was full once: a close with 4100 is deserved.
    pub(super) was_full: bool,
}

impl Down {
    pub(super) fn new(size: usize) -> Self {
        Self { bytes: VecDeque::new(), size, starved: false, was_full: false }
    }

    /// The shard writes; the kernel takes what it has room for, and now and then less.
    pub(super) fn write(&mut self, bytes: &[u8], rng: &mut Rng) -> Sent {
        let mut room = self.size - self.bytes.len();
        if rng.chance(15) {
            room = rng.below(room + 1);
        }
        let taken = room.min(bytes.len());
        self.bytes.extend(&bytes[..taken]);
        if taken < bytes.len() {
            self.starved = true;
            self.was_full = true;
        }
        Sent::Bytes(taken)
    }

    /// Whether the shard is to be told, once, that there is room.
    pub(super) fn has_room_again(&mut self) -> bool {
        let again = self.starved && self.bytes.len() < self.size;
        self.starved &= !again;
        again
    }

    /// Whether the shard has reason to believe that it is full.
    pub(super) fn is_starved(&self) -> bool {
        self.starved
    }

    /// The client reads at most so many bytes.
    pub(super) fn read(&mut self, most: usize) -> Vec<u8> {
        let count = most.min(self.bytes.len());
        self.bytes.drain(..count).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
