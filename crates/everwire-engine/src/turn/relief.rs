//! The sum of all outboxes of a node is limited: above it the largest one goes first, whichever shard has it.

use super::Turn;
use crate::inbox::Item;
use crate::node::Counters;
use crate::session::Phase;

/// So much of the limit is freed beyond what is needed, as a part of it: who looks through all outboxes does not do so
/// again in the next turn.
const SPARE_PART: u64 = 8;

impl Turn {
    /// Tells the node what this shard's outboxes hold, and takes from the largest if all together hold too much.
    #[inline]
    pub(super) fn weigh_outboxes(&mut self) {
        self.tell_bytes();
        let (limit, all) = (self.node.shared.limits.outbox_bytes, self.node.outboxes.bytes());
        if all > limit {
            self.relieve(all, limit);
        } else if self.told_largest {
            self.tell_largest(None);
        }
    }

    #[inline]
    pub(super) fn tell_bytes(&mut self) {
        let bytes = self.hub.outbox_bytes();
        if bytes != self.told_bytes {
            self.node.outboxes.change(self.told_bytes, bytes);
            self.told_bytes = bytes;
        }
    }

    fn tell_largest(&mut self, bytes: Option<u64>) {
        self.told_largest = bytes.is_some();
        self.node.outboxes.tell_largest(self.shard, bytes);
    }

    /// Each shard takes from its own, and only while no other one is known to have a larger: that one is asked to look, and
    /// takes a turn within a second anyhow. Far above the limit nobody waits for others.
    #[cold]
    fn relieve(&mut self, all: u64, limit: u64) {
        let node = self.node.clone();
        let wanted = all - limit + limit / SPARE_PART;
        let patient = all < limit.saturating_add(limit / 4);
        let outboxes = self.hub.outboxes();
        self.tell_largest(Some(outboxes.first().map_or(0, |(bytes, _)| *bytes as u64)));
        let mut unlooked = node.outboxes.unlooked_besides(self.shard).peekable();
        if patient && unlooked.peek().is_some() {
            unlooked.for_each(|shard| node.inbox(shard).push(Item::Weigh));
            return;
        }
        let (mut freed, mut rest) = (0, 0);
        for (bytes, slot) in outboxes {
            if self.conn(slot).is_none_or(|conn| matches!(conn.session.phase, Phase::Closing(_))) {
                // It has nothing left but its last word.
                continue;
            }
            rest = bytes as u64;
            if freed >= wanted || (patient && node.outboxes.largest_besides(self.shard) > rest) {
                break;
            }
            freed += self.hub.relieve(slot) as u64;
            Counters::count(&node.counters.relieved);
            rest = 0;
        }
        self.tell_largest(Some(rest));
        self.tell_bytes();
    }
}
