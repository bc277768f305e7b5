//! A channel's frames of one turn, ready to be sent to all plain subscribers with one send each.

use std::sync::Arc;

use bytes::Bytes;
use everwire_proto::position::Position;
use everwire_proto::ws::Deflater;

use crate::entry::{Entry, Form};
use crate::plant::{Bug, planted};
use crate::time::Now;

/// Room that a batch keeps when it is used again: entries, and bytes of each form.
const KEPT_ENTRIES: usize = 256;
const KEPT_BYTES: usize = 64 * 1024;

/// Frames of one form, one behind the other.
#[derive(Debug, Default)]
struct Arena {
    bytes: Vec<u8>,
    ready: bool,
}

/// The batch. It is closed when the next one opens, so a channel's order holds.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Arc<Entry>>,
    arenas: [Arena; Form::COUNT],
    /// How many plain subscribers of each form have not been sent it yet: the first ones of their list.
    pub(super) left: [usize; Form::COUNT],
    /// The turn in which it was opened.
    pub(super) turn: u64,
    /// The position before it.
    before: Option<Position>,
}

/// What is left of a batch of which a socket took only some bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rest {
    /// The rest of the frame that was begun; empty between frames.
    pub(super) tail: Bytes,
    /// The first stored entry that was not begun, with the position before it.
    pub(super) next: Option<(u64, Option<Position>)>,
    /// Volatile frames that were not begun.
    pub(super) volatile: Vec<Bytes>,
    /// Frames that went out whole.
    pub(super) whole: u64,
}

impl Batch {
    /// Opens a batch that has its entries.
    pub(super) fn open(&mut self, left: [usize; Form::COUNT], turn: u64, before: Option<Position>) {
        (self.left, self.turn, self.before) = (left, turn, before);
    }

    /// Makes it what it was when it was new, save that it keeps its room for the next one; not more than is common.
    pub(super) fn reset(&mut self) {
        self.entries.clear();
        if self.entries.capacity() > KEPT_ENTRIES {
            self.entries = Vec::new();
        }
        for arena in &mut self.arenas {
            arena.ready = false;
            arena.bytes.clear();
            if arena.bytes.capacity() > KEPT_BYTES {
                arena.bytes = Vec::new();
            }
        }
        self.open([0; Form::COUNT], 0, None);
    }

    /// Makes the bytes of a form; before [`Batch::bytes`]. A batch of one frame needs no arena.
    pub(super) fn prepare(&mut self, form: Form, deflater: &mut Deflater) {
        let arena = &mut self.arenas[form.index()];
        if arena.ready {
            return;
        }
        arena.ready = true;
        if let [only] = &self.entries[..] {
            only.frame(form, deflater);
            return;
        }
        let mut order: Vec<&Arc<Entry>> = self.entries.iter().collect();
        if planted(Bug::SwapBatch) {
            order.swap(0, 1);
        }
        if planted(Bug::DeflatedMixup) && matches!(form, Form::JsonDeflated | Form::MsgPackDeflated) {
            order[1] = order[0];
        }
        for entry in order {
            arena.bytes.extend_from_slice(entry.frame(form, deflater));
        }
    }

    /// All frames in this form.
    pub(super) fn bytes(&self, form: Form) -> &[u8] {
        match &self.entries[..] {
            [only] => only.ready(form),
            _ => &self.arenas[form.index()].bytes,
        }
    }

    /// Whether everybody was sent it.
    pub(super) fn is_done(&self) -> bool {
        self.left.iter().all(|left| *left == 0)
    }

    /// How long ago its first message was published; of other nodes' messages by the clocks of both.
    pub(super) fn age_ms(&self, now: Now) -> u64 {
        let time = self.entries.iter().find_map(|entry| entry.time());
        time.map_or(0, |time| now.unix_ms.saturating_sub(time))
    }

    /// What is left when a socket took the first `sent` bytes.
    pub(super) fn rest(&self, form: Form, sent: usize) -> Rest {
        let mut rest = Rest::default();
        let (mut start, mut last) = (0, self.before.clone());
        for entry in &self.entries {
            let frame = entry.ready(form);
            let end = start + frame.len();
            if sent > start {
                if sent < end {
                    rest.tail = frame.slice(sent - start..);
                } else {
                    rest.whole += 1;
                }
            } else if entry.position.is_none() {
                rest.volatile.push(frame.clone());
            } else if rest.next.is_none() {
                rest.next = Some((entry.seq, last.clone()));
            }
            if entry.position.is_some() {
                last.clone_from(&entry.position);
            }
            start = end;
        }
        rest
    }
}
