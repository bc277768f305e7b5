//! What the hub keeps of a connection.

use bytes::Bytes;
use everwire_proto::ids::ClientId;

use super::cursor::Cursor;
use crate::entry::Form;
use crate::outbox::{Class, Outbox};

/// The part that the walk over subscribers touches: small, dense.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hot {
    /// The turn in which it was last sent everything that was open.
    pub(super) joined: u64,
    /// The turn that `due` speaks of.
    pub(super) due_turn: u64,
    /// Batches of that turn that it gets.
    pub(super) due: u16,
    /// The socket is full.
    pub(super) blocked: bool,
    /// It has an outbox: nothing may overtake what waits there.
    pub(super) waiting: bool,
    /// It stands in `Hub::ready`.
    pub(super) ready: bool,
    pub(super) form: Form,
    /// First and last of what it is told this turn, in `Hub::own_parts`.
    pub(super) own_first: u32,
    pub(super) own_last: u32,
}

impl Default for Hot {
    fn default() -> Self {
        Self {
            joined: 0,
            due_turn: 0,
            due: 0,
            blocked: false,
            waiting: false,
            ready: false,
            form: Form::Json,
            own_first: u32::MAX,
            own_last: u32::MAX,
        }
    }
}

/// What one connection is told this turn, linked to the next part for the same slot.
#[derive(Clone, Debug)]
pub(super) struct OwnPart {
    pub(super) said: Said,
    pub(super) next: u32,
    pub(super) class: Class,
    /// Who is told.
    pub(super) slot: u32,
}

/// The bytes of a part.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// A stretch of `Hub::own`: nobody else is told this.
    Here(usize, usize),
    /// A frame that many are sent: it stands in memory once.
    Shared(Bytes),
}

impl Said {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Here(start, end) => end - start,
            Self::Shared(frame) => frame.len(),
        }
    }
    pub(super) fn bytes<'a>(&'a self, own: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Here(start, end) => &own[*start..*end],
            Self::Shared(frame) => frame,
        }
    }
    /// As bytes that outlive the turn.
    pub(super) fn keep(self, own: &[u8]) -> Bytes {
        match self {
            Self::Here(start, end) => Bytes::copy_from_slice(&own[start..end]),
            Self::Shared(frame) => frame,
        }
    }
}

/// The part that is touched only when something happens to this one connection.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) client: ClientId,
    pub(super) subs: Vec<Sub>,
    pub(super) outbox: Option<Box<Outbox>>,
    pub(super) stalled_since_ms: u64,
    /// The subscription whose cursor is served first, so that none is kept waiting by the others.
    pub(super) first: usize,
}

impl Default for Listener {
    fn default() -> Self {
        Self { client: ClientId([0; 12]), subs: Vec::new(), outbox: None, stalled_since_ms: 0, first: 0 }
    }
}

impl Listener {
    pub(super) fn sub(&mut self, room: u32) -> Option<&mut Sub> {
        self.subs.iter_mut().find(|s| s.room == room)
    }
}

/// One subscription of a connection.
#[derive(Debug)]
pub(super) struct Sub {
    pub(super) room: u32,
    /// Its place in the room's list of plain ones, or of the others.
    pub(super) place: u32,
    /// Its place in the room's list of those who want presence events.
    pub(super) watch: Option<u32>,
    /// Where it is, unless it is plain.
    pub(super) cursor: Option<Box<Cursor>>,
}

impl Sub {
    pub(super) fn particular(room: u32, place: u32, watch: Option<u32>, cursor: Cursor) -> Self {
        Self { room, place, watch, cursor: Some(Box::new(cursor)) }
    }
}

/// Why a connection can't be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// Its slot.
    pub slot: u32,
    /// Bytes that waited.
    pub bytes: usize,
}
