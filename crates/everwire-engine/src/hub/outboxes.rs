//! What waits for a connection that is not sent at once, and the limit of it.

use bytes::Bytes;
use everwire_proto::reply::Outgoing;

use super::Hub;
use super::listener::{Overflow, OwnPart};
use crate::channel::OnSlow;
use crate::inbox::HubKey;
use crate::outbox::Class;
use crate::plant::{Bug, planted};

impl Hub {
    pub(super) fn advance_outbox(&mut self, slot: u32, taken: usize) {
        let Some(listener) = self.listener(slot) else { return };
        if let Some(outbox) = &mut listener.outbox {
            outbox.advance(taken);
            self.figures.outbox_bytes -= taken as u64;
        }
        self.tidy_outbox(slot);
    }

    /// An outbox in which nothing waits is no outbox.
    pub(super) fn tidy_outbox(&mut self, slot: u32) {
        let Some(listener) = self.listener(slot) else { return };
        if listener.outbox.as_ref().is_some_and(|outbox| outbox.is_empty()) {
            listener.outbox = None;
            listener.stalled_since_ms = 0;
            self.hot[slot as usize].waiting = false;
        }
    }

    /// Puts bytes into a connection's outbox, and keeps its limit.
    pub(super) fn queue(&mut self, slot: u32, bytes: Bytes, class: Class) {
        if bytes.is_empty() {
            return;
        }
        let bypass = planted(Bug::StashBypass) && !self.hot[slot as usize].blocked;
        let limit = if bypass { usize::MAX } else { self.outbox_bytes };
        let Some(listener) = self.listener(slot) else { return };
        let added = bytes.len() as u64;
        listener.outbox.get_or_insert_default().push(bytes, class);
        self.hot[slot as usize].waiting = true;
        self.figures.frames += 1;
        self.figures.outbox_bytes += added;
        self.shrink_outbox(slot, limit);
    }

    /// Leaves out of an outbox what may be left out until `limit` holds, and tells of it.
    pub(super) fn shrink_outbox(&mut self, slot: u32, limit: usize) {
        let Some(outbox) = self.listener(slot).and_then(|l| l.outbox.as_mut()) else { return };
        let before = outbox.bytes();
        let left = outbox.shrink(limit);
        let bytes = outbox.bytes();
        let figures = &mut self.figures;
        figures.outbox_bytes -= (before - bytes) as u64;
        figures.left_out_volatile += left.volatile.len() as u64;
        figures.left_out_presence += left.presence.len() as u64;
        for key in left.volatile {
            self.tell_left_out(slot, key, |hub, cell| {
                if cell.options().on_slow == OnSlow::Close {
                    hub.overflowed.push(Overflow { slot, bytes });
                } else {
                    hub.say_volatile_gap(slot, cell);
                }
            });
        }
        for key in left.presence {
            if planted(Bug::NoPresenceReset) {
                continue;
            }
            self.tell_left_out(slot, key, |hub, cell| {
                let version = cell.presence_summary().version;
                hub.say(slot, None, &Outgoing::PresenceReset { channel: cell.name.as_str(), version });
            });
        }
        if left.overflow {
            self.overflowed.push(Overflow { slot, bytes });
        }
        self.tidy_outbox(slot);
    }

    /// The outboxes of full sockets with their bytes, the largest first. Where the socket is not full, only its turn has
    /// not come.
    pub fn outboxes(&self) -> Vec<(usize, u32)> {
        let waiting = (0u32..).zip(&self.hot).filter(|(_, hot)| hot.waiting && hot.blocked);
        let mut all: Vec<_> = waiting.map(|(slot, _)| (self.waiting_bytes(slot), slot)).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all
    }

    /// All outboxes together hold too much: this one gives half of what it has, or its connection ends. How many bytes
    /// that frees.
    pub fn relieve(&mut self, slot: u32) -> usize {
        let before = self.waiting_bytes(slot);
        self.shrink_outbox(slot, before / 2);
        let ends = self.overflowed.last().is_some_and(|overflow| overflow.slot == slot);
        if ends { before } else { before.saturating_sub(self.waiting_bytes(slot)) }
    }

    pub(super) fn tell_left_out(
        &mut self,
        slot: u32,
        key: HubKey,
        tell: impl FnOnce(&mut Self, &crate::channel::Cell),
    ) {
        // Said before `unsubscribed` and left out after it: nothing of the channel follows any more.
        let Some(cell) = self.cell(key).filter(|_| self.is_subscribed(slot, key)) else { return };
        // What is said now goes into the outbox, also where the socket is not full and only its turn has not come.
        let blocked = std::mem::replace(&mut self.hot[slot as usize].blocked, true);
        tell(self, &cell);
        self.hot[slot as usize].blocked = blocked || planted(Bug::StuckBlocked);
    }

    /// Moves what was said and not sent into the outbox.
    pub(super) fn stash_own(&mut self, slot: u32) {
        let hot = &mut self.hot[slot as usize];
        let mut next = hot.own_first;
        (hot.own_first, hot.own_last) = (u32::MAX, u32::MAX);
        while let Some(OwnPart { said, next: then, class, .. }) = self.own_parts.get(next as usize).cloned() {
            self.said_bytes -= said.len();
            let bytes = said.keep(&self.own);
            self.queue(slot, bytes, class);
            next = then;
        }
    }
}
