//! What a connection must still be sent and nobody could read again: replies, errors, presence, volatile messages,
//! and the rest of a frame that was written in part. Bounded. It exists only while the socket is full.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::inbox::HubKey;
use crate::plant::{Bug, planted};

/// What may be left out when the outbox is over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Never: replies, errors, gaps, begun frames.
    Own,
    /// First: a volatile message of this channel, told by one gap without positions.
    Volatile(HubKey),
    /// Next: a presence event of this channel, told by one `presence_reset`.
    Presence(HubKey),
}

#[derive(Clone, Debug)]
struct Piece {
    bytes: Bytes,
    class: Class,
}

/// The outbox.
#[derive(Debug, Default)]
pub struct Outbox {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

/// What was left out to get back under the limit.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Channels whose volatile messages were left out, each once.
    pub volatile: Vec<HubKey>,
    /// Channels whose presence events were left out, each once.
    pub presence: Vec<HubKey>,
    /// It is over its limit even so: the connection can't be kept.
    pub overflow: bool,
}

impl Outbox {
    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Puts a piece behind all others.
    pub fn push(&mut self, bytes: Bytes, class: Class) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.pieces.push_back(Piece { bytes, class });
        }
    }

    /// Appends the first pieces to `out`, at most `max_bytes` of them but at least one. Whether that was all.
    pub fn copy_into(&self, out: &mut Vec<u8>, max_bytes: usize) -> bool {
        let start = out.len();
        for piece in &self.pieces {
            let used = out.len() - start;
            if used > 0 && used + piece.bytes.len() > max_bytes {
                return false;
            }
            out.extend_from_slice(&piece.bytes);
        }
        true
    }

    /// Takes off what was sent. A piece that was begun can't be left out any more.
    pub fn advance(&mut self, mut sent: usize) {
        self.bytes -= sent;
        while let Some(first) = self.pieces.front_mut() {
            if sent < first.bytes.len() {
                if sent > 0 {
                    first.bytes = first.bytes.slice(sent..);
                    first.class = Class::Own;
                }
                return;
            }
            sent -= first.bytes.len();
            self.pieces.pop_front();
        }
    }

    /// Leaves out what may be left out until `limit` holds: all volatile messages, then all presence events.
    pub fn shrink(&mut self, limit: usize) -> LeftOut {
        let mut left = LeftOut::default();
        if self.bytes <= limit || planted(Bug::EndlessOutbox) {
            return left;
        }
        self.leave_out(&mut left.volatile, |class| match class {
            Class::Volatile(key) => Some(key),
            _ => None,
        });
        if self.bytes > limit {
            self.leave_out(&mut left.presence, |class| match class {
                Class::Presence(key) => Some(key),
                _ => None,
            });
        }
        left.overflow = self.bytes > limit;
        left
    }

    /// Takes out what waits of a channel, without a word: its subscription ended.
    pub fn forget(&mut self, channel: HubKey) {
        let bytes = &mut self.bytes;
        self.pieces.retain(|piece| {
            let gone = piece.class == Class::Volatile(channel) || piece.class == Class::Presence(channel);
            *bytes -= if gone { piece.bytes.len() } else { 0 };
            !gone
        });
    }

    fn leave_out(&mut self, told: &mut Vec<HubKey>, which: impl Fn(Class) -> Option<HubKey>) {
        let bytes = &mut self.bytes;
        self.pieces.retain(|piece| {
            let Some(key) = which(piece.class) else { return true };
            *bytes -= piece.bytes.len();
            if !told.contains(&key) {
                told.push(key);
            }
            false
        });
        self.pieces.shrink_to_fit();
    }

    /// Leaves out everything but the rest of a begun frame, so that a close frame can follow at once. Whether a frame
    /// is begun is the caller's knowledge.
    pub fn keep_first(&mut self, begun: bool) {
        self.pieces.truncate(usize::from(begun));
        self.bytes = self.pieces.iter().map(|p| p.bytes.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> HubKey {
        HubKey { index, generation: 0 }
    }

    #[test]
    fn what_can_be_told_goes_first() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"reply"), Class::Own);
        outbox.push(Bytes::from_static(b"vvvv"), Class::Volatile(key(1)));
        outbox.push(Bytes::from_static(b"ppp"), Class::Presence(key(1)));
        outbox.push(Bytes::from_static(b"vv"), Class::Volatile(key(1)));
        assert_eq!(outbox.shrink(14), LeftOut::default());
        let left = outbox.shrink(13);
        assert_eq!(left, LeftOut { volatile: vec![key(1)], presence: vec![], overflow: false });
        let left = outbox.shrink(7);
        assert_eq!(left, LeftOut { volatile: vec![], presence: vec![key(1)], overflow: false });
        assert!(outbox.shrink(4).overflow);
        assert_eq!(outbox.bytes(), 5);
    }

    #[test]
    fn a_begun_piece_stays() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"volatile"), Class::Volatile(key(1)));
        outbox.push(Bytes::from_static(b"more"), Class::Volatile(key(1)));
        outbox.advance(3);
        assert_eq!(outbox.shrink(0).volatile, vec![key(1)]);
        let mut out = Vec::new();
        assert!(outbox.copy_into(&mut out, 1));
        assert_eq!(out, b"atile");
        outbox.advance(5);
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }
}
