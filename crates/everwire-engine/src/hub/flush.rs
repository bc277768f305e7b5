//! The flush: everything that is pending for a socket goes out with one call.

use std::sync::Arc;

use bytes::Bytes;
use everwire_proto::position::Position;

use super::batch::{Batch, Rest};
use super::listener::Listener;
use super::{Hub, PAGE_BYTES};
use crate::entry::{Entry, Form};
use crate::outbox::Class;
use crate::plant::{Bug, planted};
use crate::time::Now;

/// A batch is closed above this, bytes; the rest of a turn's entries stand in the next one.
const BATCH_BYTES: usize = 256 * 1024;

/// Volatile frames that one batch gives to subscribers with cursors, each of whom is told them on its own.
const BATCH_PARTS: usize = 64 * 1024;

/// Bytes that were said and not sent yet, and are moved where each connection's own wait if more was sent already.
const SAID_KEPT: usize = 4 << 20;

pub(super) const FORMS: [Form; Form::COUNT] =
    [Form::Json, Form::JsonDeflated, Form::MsgPack, Form::MsgPackDeflated];

/// Batches that are kept to be used again.
const SPARE: usize = 64;

/// Entries that an idle room keeps the place for.
const PENDING_KEPT: usize = 16;

/// What a socket did with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It took so many; fewer than offered: it is full, and [`Hub::writable`] is called when it takes more.
    Bytes(usize),
    /// It is gone; its end will be reported like any other.
    Gone,
}

/// Whoever carries bytes to sockets.
pub trait Carrier {
    /// Offers bytes to a socket; never waits.
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent;
}

/// A stretch of `scratch`, and what it is for when it can't be sent.
#[derive(Debug)]
pub(super) struct Segment {
    end: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The front of the outbox: it stays there until it is sent.
    Queue,
    /// Nobody can read it again.
    Own(Class),
    /// The open batch of this room, and how many frames it has.
    Batch(u32, u32),
    /// An entry of this room's window, with the position before it.
    Entry(u32, Arc<Entry>, Option<Position>),
}

impl What {
    /// Frames that are sent with it. Those of the queue were counted when they went there.
    fn frames(&self) -> u64 {
        match self {
            Self::Queue => 0,
            Self::Own(_) | Self::Entry(..) => 1,
            Self::Batch(_, frames) => u64::from(*frames),
        }
    }
}

impl Segment {
    pub(super) fn own(end: usize) -> Self {
        Self::said(end, Class::Own)
    }
    pub(super) fn said(end: usize, class: Class) -> Self {
        Self { end, what: What::Own(class) }
    }
    pub(super) fn entry(end: usize, room: u32, entry: Arc<Entry>, before: Option<Position>) -> Self {
        Self { end, what: What::Entry(room, entry, before) }
    }
}

impl Hub {
    /// Sends what is due, to at most `budget` sockets. Whether there is more: then flush again without sleeping.
    pub fn flush(&mut self, carrier: &mut impl Carrier, now: Now, mut budget: usize) -> bool {
        self.turn += 1;
        self.now_ms = now.mono_ms;
        self.open_batches();
        self.wake_paced();
        self.serve_ready(carrier, now, &mut budget);
        self.walk(carrier, now, &mut budget);
        if self.said_bytes == 0 {
            self.forget_told();
        }
        !(self.ready.is_empty() && self.walking.is_empty() && self.dirty.is_empty())
    }

    /// Everybody has what was said.
    fn forget_told(&mut self) {
        self.own.clear();
        self.own_parts.clear();
        if self.own.capacity() > 1 << 20 {
            self.own = Vec::new();
        }
        self.own_parts.shrink_to(BATCH_PARTS);
    }

    /// Whether a flush has something to do.
    pub fn is_due(&self) -> bool {
        !(self.ready.is_empty() && self.walking.is_empty() && self.dirty.is_empty())
    }

    fn open_batches(&mut self) {
        let mut opened = 0;
        for index in std::mem::take(&mut self.dirty) {
            let busy = self.rooms[index as usize].as_ref().is_some_and(|r| r.batch.is_some());
            // The batch before is still on its way, order within a channel holds: this comes again with its end.
            if !busy && self.open_batch(index) {
                opened += 1;
            }
        }
        if opened > 1 {
            self.mark_shared(opened);
        }
    }

    /// Closes what is pending of a room into a batch. Whether plain subscribers get one.
    fn open_batch(&mut self, index: u32) -> bool {
        let Some(room) = self.rooms[index as usize].as_deref_mut() else { return false };
        let (mut bytes, mut count, mut parts) = (0, 0, 0);
        while let Some(entry) = room.pending.get(count)
            && (count == 0 || (bytes < BATCH_BYTES && parts < BATCH_PARTS))
        {
            bytes += entry.weight();
            parts += if entry.position.is_none() { room.others.len() } else { 0 };
            count += 1;
        }
        let mut fresh_batch = self.spare.pop().unwrap_or_default();
        let entries = &mut fresh_batch.entries;
        entries.extend(room.pending.drain(..count));
        room.pending_bytes = room.pending_bytes.saturating_sub(bytes);
        if !room.pending.is_empty() {
            self.dirty.push(index);
        } else if room.pending.capacity() > PENDING_KEPT {
            room.pending = Vec::new();
        }
        let before = room.position.clone();
        let fresh = room.fresh;
        let mut delivered = room.delivered;
        // Below `delivered`: read from the window already. A room without subscribers has no place yet.
        entries.retain(|e| e.position.is_none() || (!fresh && e.seq > delivered));
        if let Some(last) = entries.iter().rev().find(|e| e.position.is_some()) {
            delivered = last.seq;
            room.position.clone_from(&last.position);
        }
        room.delivered = delivered;
        if entries.is_empty() {
            self.put_away(fresh_batch);
            return false;
        }
        let volatile: Vec<_> = entries.iter().filter(|e| e.position.is_none()).cloned().collect();
        let lengths = room.plain_lengths();
        let any = lengths.iter().any(|n| *n > 0);
        if any {
            fresh_batch.open(lengths, self.turn, before);
            room.batch = Some(fresh_batch);
            self.walking.push_back(index);
        } else {
            self.put_away(fresh_batch);
        }
        self.give_volatile(index, &volatile);
        self.ready_others(index);
        any
    }

    /// A batch that is done is used for another one.
    pub(super) fn put_away(&mut self, mut batch: Box<Batch>) {
        if self.spare.len() < SPARE {
            batch.reset();
            self.spare.push(batch);
        }
    }

    /// Subscribers with cursors get volatile entries on their own; there is no place to read them from later.
    fn give_volatile(&mut self, index: u32, volatile: &[Arc<Entry>]) {
        if volatile.is_empty() {
            return;
        }
        let key = self.key(index);
        let Some(room) = self.rooms[index as usize].as_deref_mut() else { return };
        let cell = room.cell.clone();
        let others = std::mem::take(&mut room.others);
        let mut options = None;
        for &slot in &others {
            let Some(listener) = self.listener(slot) else { continue };
            let client = listener.client;
            let cursor = listener.sub(index).and_then(|sub| sub.cursor.as_deref_mut());
            let mute = cursor.as_ref().is_some_and(|cursor| cursor.is_mute());
            let news = volatile.iter().filter(|e| !(mute && e.is_from(client)));
            if let Some(pace) = cursor.and_then(|cursor| cursor.pace.as_deref_mut()) {
                let options = options.get_or_insert_with(|| cell.options());
                news.for_each(|entry| pace.keep(entry, options.conflate.as_deref()));
                continue;
            }
            let form = self.hot[slot as usize].form;
            for entry in news {
                let frame = entry.frame(form, &mut self.deflater).clone();
                self.keep_shared(slot, frame, Class::Volatile(key));
            }
        }
        if let Some(room) = self.rooms[index as usize].as_deref_mut() {
            room.others = others;
        }
    }

    pub(super) fn ready_others(&mut self, index: u32) {
        let Some(room) = self.rooms[index as usize].take() else { return };
        for slot in &room.others {
            self.make_ready(*slot);
        }
        self.rooms[index as usize] = Some(room);
    }

    /// Several batches opened in this turn, the last ones of all: whoever gets more than one is served by itself, with
    /// one send.
    fn mark_shared(&mut self, opened: usize) {
        let turn = self.turn;
        let mut shared = Vec::new();
        for index in self.walking.iter().rev().take(opened) {
            let Some(room) = self.rooms[*index as usize].as_deref() else { continue };
            let Some(batch) = room.batch.as_ref().filter(|b| b.turn == turn) else { continue };
            for form in FORMS {
                for slot in &room.plain(form)[..batch.left[form.index()]] {
                    let hot = &mut self.hot[*slot as usize];
                    if hot.due_turn != turn {
                        (hot.due_turn, hot.due) = (turn, 1);
                        continue;
                    }
                    hot.due = hot.due.saturating_add(1);
                    if hot.due == 2 && !hot.ready {
                        hot.ready = true;
                        shared.push(*slot);
                    }
                }
            }
        }
        self.ready.extend(shared);
    }

    /// Serves whoever was ready when it began. Those that the budget does not reach are not looked at: each turn of a
    /// storm would cost as much as the storm.
    fn serve_ready(&mut self, carrier: &mut impl Carrier, now: Now, budget: &mut usize) {
        for _ in 0..self.ready.len().min(*budget) {
            let Some(slot) = self.ready.pop_front() else { break };
            *budget -= 1;
            self.hot[slot as usize].ready = false;
            if self.serve(slot, carrier, now) {
                self.make_ready(slot);
            }
        }
        if !self.ready.is_empty() && (!self.walking.is_empty() || self.has_told_much()) {
            self.stash_unserved();
        }
    }

    /// What was said and sent holds too much of the memory in which the rest waits for the next flush. While that is
    /// much itself nothing is read, so there it ends.
    fn has_told_much(&self) -> bool {
        let much = self.own.len() > 2 * SAID_KEPT || self.own_parts.len() > 4 * BATCH_PARTS;
        much && self.said_bytes < SAID_KEPT
    }

    /// What connections were told that the budget did not reach waits in their outboxes: before the walk, which may not
    /// overtake it.
    fn stash_unserved(&mut self) {
        for index in 0..self.own_parts.len() {
            let slot = self.own_parts[index].slot;
            if self.hot[slot as usize].own_first as usize == index {
                self.stash_own(slot);
            }
        }
    }

    /// Sends one connection everything that is due to it. Whether it has more and takes more.
    fn serve(&mut self, slot: u32, carrier: &mut impl Carrier, now: Now) -> bool {
        if self.hot[slot as usize].blocked {
            self.stash_own(slot);
            return false;
        }
        let Some(mut listener) = self.listeners[slot as usize].take() else { return false };
        self.scratch.clear();
        let mut segments = std::mem::take(&mut self.segments);
        let more = self.gather(slot, &mut listener, &mut segments);
        self.listeners[slot as usize] = Some(listener);
        if self.scratch.is_empty() {
            self.segments = segments;
            self.settle(slot);
            return more;
        }
        let scratch = std::mem::take(&mut self.scratch);
        let sent = carrier.send(slot, &scratch);
        let whole = self.sent(slot, sent, &scratch, &mut segments, now);
        segments.clear();
        (self.scratch, self.segments) = (scratch, segments);
        // What was said this turn and did not fit behind the outbox. Only now: the limit may take pieces out of the
        // outbox, and those that were just offered must be counted off first.
        self.stash_own(slot);
        if whole {
            self.settle(slot);
        }
        whole && more
    }

    /// Joins in `scratch`: the outbox, what was said this turn, open batches, cursors. Whether there is more.
    fn gather(&mut self, slot: u32, listener: &mut Listener, segments: &mut Vec<Segment>) -> bool {
        if let Some(outbox) = &listener.outbox {
            let all = outbox.copy_into(&mut self.scratch, PAGE_BYTES);
            segments.push(Segment { end: self.scratch.len(), what: What::Queue });
            if !all {
                return true;
            }
        }
        let hot = self.hot[slot as usize];
        let mut next = hot.own_first;
        while let Some(part) = self.own_parts.get(next as usize) {
            self.scratch.extend_from_slice(part.said.bytes(&self.own));
            self.said_bytes -= part.said.len();
            segments.push(Segment { end: self.scratch.len(), what: What::Own(part.class) });
            next = part.next;
        }
        let hot = &mut self.hot[slot as usize];
        (hot.own_first, hot.own_last) = (u32::MAX, u32::MAX);
        let joined = std::mem::replace(&mut hot.joined, self.turn);
        if !self.walking.is_empty() {
            self.gather_batches(slot, listener, joined, segments);
        }
        self.fill_cursors(slot, listener, segments)
    }

    /// Open batches that it has not been sent: those opened after turn `joined`. A walk over a large room takes several
    /// turns, and who says something meanwhile is served in each of them.
    fn gather_batches(&mut self, slot: u32, listener: &Listener, joined: u64, segments: &mut Vec<Segment>) {
        let hot = self.hot[slot as usize];
        let at = hot.form.index();
        for sub in listener.subs.iter().filter(|s| s.cursor.is_none()) {
            let Some(room) = self.rooms[sub.room as usize].as_deref_mut() else { continue };
            let Some(batch) = &mut room.batch else { continue };
            if sub.place as usize >= batch.left[at] || (batch.turn <= joined && !planted(Bug::DoubleBatch)) {
                continue;
            }
            batch.prepare(hot.form, &mut self.deflater);
            self.scratch.extend_from_slice(batch.bytes(hot.form));
            let frames = u32::try_from(batch.entries.len()).unwrap_or(u32::MAX);
            segments.push(Segment { end: self.scratch.len(), what: What::Batch(sub.room, frames) });
        }
    }

    /// Puts right what a send of `scratch` left undone. Whether it took everything.
    fn sent(&mut self, slot: u32, sent: Sent, scratch: &[u8], segments: &mut Vec<Segment>, now: Now) -> bool {
        let taken = match sent {
            Sent::Bytes(taken) => taken,
            Sent::Gone => {
                self.block(slot, now, 0);
                return false;
            }
        };
        let mut start = 0;
        for Segment { end, what } in segments.drain(..) {
            if matches!(what, What::Queue) {
                self.advance_outbox(slot, taken.min(end));
            } else if taken < end {
                self.unsent(slot, what, &scratch[start..end], taken.saturating_sub(start));
            } else {
                self.figures.frames += what.frames();
            }
            start = end;
        }
        if taken < scratch.len() {
            self.block(slot, now, taken);
            return false;
        }
        true
    }

    /// One stretch was taken only up to `done` bytes.
    fn unsent(&mut self, slot: u32, what: What, bytes: &[u8], done: usize) {
        match what {
            What::Queue => {}
            What::Own(class) => {
                let class = if done > 0 { Class::Own } else { class };
                if done == 0 || !planted(Bug::LoseTail) {
                    self.queue(slot, Bytes::copy_from_slice(&bytes[done..]), class);
                }
            }
            What::Batch(room, _) => {
                let form = self.hot[slot as usize].form;
                let rest = self.rooms[room as usize]
                    .as_ref()
                    .and_then(|r| r.batch.as_ref())
                    .map(|b| b.rest(form, done));
                if let Some(rest) = rest {
                    self.keep_rest(slot, room, rest);
                }
            }
            What::Entry(room, entry, before) => {
                if done > 0 {
                    self.queue(slot, Bytes::copy_from_slice(&bytes[done..]), Class::Own);
                    return;
                }
                let sub = self.listener(slot).and_then(|l| l.sub(room));
                if let Some(cursor) = sub.and_then(|s| s.cursor.as_mut()) {
                    // Later entries of the same room find the cursor before them already.
                    cursor.back_to(entry.seq, before);
                }
            }
        }
    }

    /// Keeps what can't be read again of a batch; the rest is read from the window later.
    pub(super) fn keep_rest(&mut self, slot: u32, room: u32, rest: Rest) {
        let key = self.key(room);
        self.figures.frames += rest.whole;
        if !planted(Bug::LoseTail) {
            self.queue(slot, rest.tail, Class::Own);
        }
        for frame in rest.volatile {
            self.queue(slot, frame, Class::Volatile(key));
        }
        if let Some((seq, last)) = rest.next {
            self.particularise(slot, room, seq, last);
        }
    }

    pub(super) fn block(&mut self, slot: u32, now: Now, taken: usize) {
        let hot = &mut self.hot[slot as usize];
        hot.blocked = true;
        hot.ready = false;
        if let Some(listener) = self.listener(slot)
            && (taken > 0 || listener.stalled_since_ms == 0)
        {
            listener.stalled_since_ms = now.mono_ms;
        }
    }
}
