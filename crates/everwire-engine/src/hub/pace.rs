//! Subscriptions that want no more than so many messages a second: of what came meanwhile they are sent the newest, of
//! each key where the namespace has keys. What is skipped is no gap.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use everwire_proto::ids::ClientId;

use super::Hub;
use super::cursor::Cursor;
use super::flush::Segment;
use crate::channel::Newest;
use crate::entry::Entry;
use crate::outbox::Class;

/// Keys of volatile messages that may wait; beyond them the oldest is skipped.
const KEPT: usize = 256;

/// What a subscription with a rate remembers.
#[derive(Debug)]
pub(super) struct Pace {
    /// Messages a second, and at once.
    rate: u32,
    /// Nothing is sent before, ms.
    next_ms: u64,
    /// The time that stands in `Hub::paced`.
    armed_ms: u64,
    /// The first entry that did not exist yet when it subscribed: what is older is the past that it asked for.
    pub(super) live_seq: u64,
    /// Volatile messages that wait, oldest first: there is no place to read them from later.
    kept: VecDeque<Arc<Entry>>,
}

impl Pace {
    pub(super) fn new(rate: u32, live_seq: u64) -> Self {
        Self { rate: rate.max(1), next_ms: 0, armed_ms: 0, live_seq, kept: VecDeque::new() }
    }

    /// Keeps a volatile message in place of an older one of its key.
    pub(super) fn keep(&mut self, entry: &Arc<Entry>, tag: Option<&str>) {
        let key = tag.and_then(|tag| entry.tag(tag));
        if let Some(at) = self.kept.iter().position(|old| tag.and_then(|tag| old.tag(tag)) == key) {
            self.kept.remove(at);
        } else if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(entry.clone());
    }

    /// So many were sent: when the next one may be.
    fn sent(&mut self, count: usize, now_ms: u64) {
        let every_us = 1_000_000 / u64::from(self.rate);
        self.next_ms = now_ms + (every_us * count as u64).div_ceil(1_000);
    }
}

impl Cursor {
    /// Whether what it reads next is paced.
    pub(super) fn is_paced(&self) -> bool {
        self.pages.is_none() && self.pace.as_ref().is_some_and(|pace| self.next_seq >= pace.live_seq)
    }
}

impl Hub {
    /// The part of a cursor that has a rate. Whether it has more now.
    pub(super) fn fill_paced(
        &mut self,
        slot: u32,
        index: u32,
        cursor: &mut Cursor,
        client: ClientId,
        segments: &mut Vec<Segment>,
        until: usize,
    ) -> bool {
        let Some(room) = self.rooms[index as usize].as_deref() else { return false };
        let Some(pace) = cursor.pace.as_deref_mut() else { return false };
        let behind = cursor.next_seq <= room.delivered;
        if !behind && pace.kept.is_empty() {
            return false;
        }
        if self.now_ms < pace.next_ms {
            if pace.armed_ms != pace.next_ms {
                pace.armed_ms = pace.next_ms;
                self.paced.push(Reverse((pace.next_ms, slot)));
            }
            return false;
        }
        let left = until.saturating_sub(self.scratch.len());
        if left == 0 {
            return true;
        }
        let before = segments.len();
        let most = pace.rate as usize;
        if behind {
            self.fill_newest(slot, index, cursor, client, segments, (most, left));
        }
        let stored = segments.len() - before;
        let volatile = self.fill_kept(slot, index, cursor, segments, (most - stored.min(most), until));
        let Some(pace) = cursor.pace.as_deref_mut() else { return false };
        if stored + volatile > 0 {
            pace.sent(stored + volatile, self.now_ms);
        }
        // Whatever is left waits for its time, for which the next look arms.
        true
    }

    /// The newest stored messages.
    fn fill_newest(
        &mut self,
        slot: u32,
        index: u32,
        cursor: &mut Cursor,
        client: ClientId,
        segments: &mut Vec<Segment>,
        (most, max_bytes): (usize, usize),
    ) {
        let Some(cell) = self.rooms[index as usize].as_deref().map(|room| room.cell.clone()) else { return };
        let options = cell.options();
        let of = Newest { tag: options.conflate.as_deref(), keyless_stay: false, most, max_bytes };
        let mut page = std::mem::take(&mut self.page);
        let mut read = cell.read_newest(cursor.next_seq, &of, &mut page);
        if let Err(to) = &read {
            if cursor.last.as_ref().is_some_and(|last| last.epoch != to.position.epoch) {
                self.tell_gap(slot, index, cursor, to, segments);
            } else {
                cursor.evicted(to);
            }
            read = cell.read_newest(cursor.next_seq, &of, &mut page);
        }
        let next_seq = page.last().map(|last| last.seq + 1);
        self.fill_entries(slot, index, cursor, &mut page, client, segments);
        self.page = page;
        if let (Ok(()), Some(next_seq)) = (read, next_seq) {
            cursor.next_seq = next_seq;
        }
    }

    /// Volatile messages that waited; how many.
    fn fill_kept(
        &mut self,
        slot: u32,
        index: u32,
        cursor: &mut Cursor,
        segments: &mut Vec<Segment>,
        (most, until): (usize, usize),
    ) -> usize {
        let (form, key) = (self.hot[slot as usize].form, self.key(index));
        let Some(pace) = cursor.pace.as_deref_mut() else { return 0 };
        let mut count = 0;
        while count < most
            && self.scratch.len() < until
            && let Some(entry) = pace.kept.pop_front()
        {
            self.scratch.extend_from_slice(entry.frame(form, &mut self.deflater));
            segments.push(Segment::said(self.scratch.len(), Class::Volatile(key)));
            count += 1;
        }
        count
    }

    /// Connections that have waited long enough are served in this flush.
    pub(super) fn wake_paced(&mut self) {
        while let Some(Reverse((due_ms, slot))) = self.paced.peek().copied()
            && due_ms <= self.now_ms
        {
            self.paced.pop();
            // The slot may have another connection by now, for which a look costs nothing.
            if self.is_open(slot) && !self.hot[slot as usize].blocked {
                self.make_ready(slot);
            }
        }
    }

    /// When a flush is wanted though nothing happens, ms.
    pub fn next_paced_ms(&self) -> Option<u64> {
        self.paced.peek().map(|Reverse((due_ms, _))| *due_ms)
    }
}
