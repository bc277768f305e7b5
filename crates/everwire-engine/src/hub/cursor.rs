//! A subscriber that is not up to date: a place in the channel's window, and what it is sent from there.

use std::collections::VecDeque;
use std::sync::Arc;

use everwire_proto::ids::ClientId;
use everwire_proto::position::Position;
use everwire_proto::reply::{GapReason, Outgoing};

use super::flush::Segment;
use super::listener::{Listener, Sub};
use super::pace::Pace;
use super::{Hub, Listening, PAGE_BYTES, PageWanted};
use crate::channel::{Cell, Evicted, Located, Newest, OnSlow};
use crate::entry::{Entry, write_frame};
use crate::inbox::Page;
use crate::plant::{Bug, planted};

/// A place in a channel's stream.
#[derive(Debug)]
pub(super) struct Cursor {
    /// The next entry to send.
    pub(super) next_seq: u64,
    /// The position before it; `None` where the channel has no history.
    pub(super) last: Option<Position>,
    /// One's own live messages are left out, and the cursor stays one for good.
    mute: Option<Mute>,
    /// It fell behind because the socket was full, not because it began in the past.
    slow: bool,
    /// What it needs is no longer in the window: it reads pages of the broker's.
    pub(super) pages: Option<Box<Pages>>,
    /// It wants no more than a rate, and the cursor stays one for good.
    pub(super) pace: Option<Box<Pace>>,
}

/// Live is what comes after this position, the top when it subscribed; in a channel without history, everything.
#[derive(Debug)]
struct Mute(Option<Position>);

impl Mute {
    fn leaves_out(&self, entry: &Entry, client: ClientId) -> bool {
        let is_replay = |top: &Position| {
            entry.position.as_ref().is_some_and(|p| p.epoch == top.epoch && p.offset <= top.offset)
        };
        entry.is_from(client) && !planted(Bug::EchoToMute) && !self.0.as_ref().is_some_and(is_replay)
    }
}

#[derive(Debug, Default)]
pub(super) struct Pages {
    entries: VecDeque<Arc<Entry>>,
    asked: bool,
    floor: Option<Position>,
}

impl Cursor {
    pub(super) fn new(located: &Located, how: Listening) -> Self {
        Self {
            next_seq: located.next_seq,
            last: located.last.clone(),
            mute: how.mute.then(|| Mute(located.position.clone())),
            slow: false,
            pages: located.fetch.then(Box::default),
            pace: how.max_rate.map(|rate| Box::new(Pace::new(rate, located.top_seq))),
        }
    }

    pub(super) fn behind(next_seq: u64, last: Option<Position>) -> Self {
        Self { next_seq, last, mute: None, slow: true, pages: None, pace: None }
    }

    /// A page came, or could not be read.
    pub(super) fn filled(&mut self, page: Option<Page>) {
        let Some(pages) = &mut self.pages else { return };
        pages.asked = false;
        if let Some(page) = page {
            pages.entries = page.entries.into();
            pages.floor = Some(page.floor);
        }
    }

    /// What was planned from this entry on was not sent; the earliest such entry counts.
    pub(super) fn back_to(&mut self, seq: u64, last: Option<Position>) {
        if seq < self.next_seq {
            self.next_seq = seq;
            self.last = last;
        }
    }

    /// Whether it leaves out one's own messages.
    pub(super) fn is_mute(&self) -> bool {
        self.mute.is_some()
    }

    /// Whether it stays a cursor also where the room is.
    pub(super) fn is_for_good(&self) -> bool {
        self.mute.is_some() || self.pace.is_some()
    }

    /// Whether this live message is left out because it is one's own.
    pub(super) fn leaves_out(&self, entry: &Entry, client: ClientId) -> bool {
        self.mute.as_ref().is_some_and(|mute| mute.leaves_out(entry, client))
    }

    pub(super) fn evicted(&mut self, to: &Evicted) {
        self.next_seq = to.seq;
        self.last = Some(to.position.clone());
    }
}

impl Hub {
    /// Appends to `scratch` what this connection's cursors point at, within the page limit. Whether there is more.
    pub(super) fn fill_cursors(
        &mut self,
        slot: u32,
        listener: &mut Listener,
        segments: &mut Vec<Segment>,
    ) -> bool {
        let until = self.scratch.len() + PAGE_BYTES;
        let client = listener.client;
        let (count, first) = (listener.subs.len(), listener.first);
        let mut more = false;
        for at in (first..first + count).map(|at| at % count) {
            let sub = &mut listener.subs[at];
            if sub.cursor.is_none() {
                continue;
            }
            if self.scratch.len() >= until {
                return true;
            }
            more |= self.fill_one(slot, sub, client, segments, until);
            // Whoever filled the page is last next time.
            listener.first = (at + 1) % count;
        }
        more
    }

    /// One cursor's part; `until` is where `scratch` should end. Whether it has more.
    fn fill_one(
        &mut self,
        slot: u32,
        sub: &mut Sub,
        client: ClientId,
        segments: &mut Vec<Segment>,
        until: usize,
    ) -> bool {
        let Some(cursor) = &mut sub.cursor else { return false };
        let begin = self.scratch.len();
        loop {
            if cursor.pages.is_some() && self.fill_page(slot, sub.room, cursor, client, segments, until) {
                return self.scratch.len() >= until;
            }
            if cursor.is_paced() {
                return self.fill_paced(slot, sub.room, cursor, client, segments, until);
            }
            let Some(room) = self.rooms[sub.room as usize].as_deref() else { return false };
            if cursor.next_seq > room.delivered {
                return false;
            }
            if cursor.slow && room.cell.options().on_slow == OnSlow::Drop {
                let (seq, to) = (room.delivered + 1, room.position.clone());
                self.tell_gap(
                    slot,
                    sub.room,
                    cursor,
                    &Evicted { seq, position: to.unwrap_or_else(|| room.cell.top()) },
                    segments,
                );
                continue;
            }
            let left = until.saturating_sub(self.scratch.len());
            if left == 0 {
                return true;
            }
            let mut page = std::mem::take(&mut self.page);
            let read = read_on(&room.cell, cursor, left, &mut page);
            let foreign = read.is_err() && room.cell.is_foreign();
            let next_seq = page.last().map(|last| last.seq + 1);
            self.fill_entries(slot, sub.room, cursor, &mut page, client, segments);
            self.page = page;
            match (read, next_seq) {
                // Another shard's publish took away what comes next. Entries that are not sent are read again, a gap is
                // not: in one send, a gap may stand before entries of its cursor and never behind them.
                (Err(_), _) if self.scratch.len() > begin => return true,
                (Err(_), _) if foreign => cursor.pages = Some(Box::default()),
                (Err(to), _) => self.tell_gap(slot, sub.room, cursor, &to, segments),
                (Ok(()), None) => return false,
                (Ok(()), Some(next_seq)) => cursor.next_seq = next_seq,
            }
        }
    }

    pub(super) fn fill_entries(
        &mut self,
        slot: u32,
        room: u32,
        cursor: &mut Cursor,
        entries: &mut Vec<Arc<Entry>>,
        client: ClientId,
        segments: &mut Vec<Segment>,
    ) {
        let form = self.hot[slot as usize].form;
        for entry in entries.drain(..) {
            let before = std::mem::replace(&mut cursor.last, entry.position.clone());
            if cursor.leaves_out(&entry, client) {
                continue;
            }
            self.scratch.extend_from_slice(entry.frame(form, &mut self.deflater));
            segments.push(Segment::entry(self.scratch.len(), room, entry, before));
        }
    }

    /// Sends on from the broker's pages. Whether the cursor must wait, or has filled its share.
    fn fill_page(
        &mut self,
        slot: u32,
        room: u32,
        cursor: &mut Cursor,
        client: ClientId,
        segments: &mut Vec<Segment>,
        until: usize,
    ) -> bool {
        let form = self.hot[slot as usize].form;
        let Some(pages) = &mut cursor.pages else { return false };
        if pages.asked {
            return true;
        }
        let here = self.rooms[room as usize].as_deref().map(|r| r.cell.clone());
        let Some(cell) = here else { return true };
        if let (Some(floor), Some(last)) = (pages.floor.take(), &cursor.last)
            && (floor.epoch != last.epoch || floor.offset > last.offset)
        {
            let reason =
                if floor.epoch == last.epoch { GapReason::HistoryExpired } else { GapReason::EpochChanged };
            let gap =
                Outgoing::Gap { channel: cell.name.as_str(), from: Some(last), to: Some(&floor), reason };
            write_frame(form, None, &gap, &mut self.scratch);
            segments.push(Segment::own(self.scratch.len()));
            self.gaps_told += 1;
            cursor.last = Some(floor);
        }
        while let Some(entry) = pages.entries.pop_front() {
            let after = |p: &Position| cursor.last.as_ref().is_none_or(|l| p.offset > l.offset);
            if entry.position.as_ref().is_some_and(after) {
                let mute = cursor.mute.as_ref().filter(|_| !planted(Bug::MuteForgottenOnPages));
                if mute.is_some_and(|mute| mute.leaves_out(&entry, client)) {
                    cursor.last.clone_from(&entry.position);
                    continue;
                }
                self.scratch.extend_from_slice(entry.frame(form, &mut self.deflater));
                cursor.last.clone_from(&entry.position);
                segments.push(Segment::own(self.scratch.len()));
            }
            if self.scratch.len() >= until {
                return true;
            }
        }
        let Some(last) = &cursor.last else { return true };
        if let Some(seq) = cell.seq_after(last) {
            cursor.next_seq = seq;
            cursor.pages = None;
            return false;
        }
        let top = cell.top();
        if top.epoch == last.epoch && top.offset < last.offset {
            // The broker's page was ahead of this node: what comes next arrives by itself.
            return true;
        }
        pages.asked = true;
        self.wanted.push(PageWanted { slot, key: self.key(room), after: last.clone() });
        true
    }

    /// The window begins behind the cursor: says so and goes on there.
    pub(super) fn tell_gap(
        &mut self,
        slot: u32,
        room: u32,
        cursor: &mut Cursor,
        to: &Evicted,
        segments: &mut Vec<Segment>,
    ) {
        let form = self.hot[slot as usize].form;
        if let Some(cell) = self.rooms[room as usize].as_deref().map(|r| r.cell.clone())
            && !planted(Bug::LoseGap)
        {
            let other = cursor.last.as_ref().is_some_and(|last| last.epoch != to.position.epoch);
            let reason = if other { GapReason::EpochChanged } else { GapReason::SlowConsumer };
            let (mut from, mut to) = (cursor.last.as_ref(), Some(&to.position));
            if planted(Bug::SwapGap) {
                std::mem::swap(&mut from, &mut to);
            }
            let gap = Outgoing::Gap { channel: cell.name.as_str(), from, to, reason };
            write_frame(form, None, &gap, &mut self.scratch);
            segments.push(Segment::own(self.scratch.len()));
            self.gaps_told += 1;
            if cell.options().on_slow == OnSlow::Close {
                self.overflowed.push(super::Overflow { slot, bytes: 0 });
            }
        }
        cursor.evicted(to);
    }

    /// Makes those cursors of a connection plain that are where the room is.
    pub(super) fn settle(&mut self, slot: u32) {
        let Some(mut listener) = self.listeners[slot as usize].take() else { return };
        let form = self.hot[slot as usize].form;
        for sub in &mut listener.subs {
            let Some(cursor) = &sub.cursor else { continue };
            let Some(room) = self.rooms[sub.room as usize].as_deref_mut() else { continue };
            if cursor.pages.is_some() || cursor.is_for_good() || cursor.next_seq != room.delivered + 1 {
                continue;
            }
            let moved = room.remove_other(sub.place);
            sub.place = room.add_plain(form, slot);
            sub.cursor = None;
            let index = sub.room;
            self.replace(index, &moved);
        }
        self.listeners[slot as usize] = Some(listener);
    }

    /// A plain subscriber falls behind: from now on it has a cursor.
    pub(super) fn particularise(&mut self, slot: u32, room: u32, next_seq: u64, last: Option<Position>) {
        let form = self.hot[slot as usize].form;
        let Some(sub) = self.listener(slot).and_then(|l| l.sub(room)).filter(|s| s.cursor.is_none()) else {
            return;
        };
        sub.cursor = Some(Box::new(Cursor::behind(next_seq, last)));
        let place = sub.place;
        let Some(there) = self.rooms[room as usize].as_deref_mut() else { return };
        let moved = there.remove_plain(form, place);
        let place = there.add_other(slot);
        self.replace(room, &moved);
        if let Some(sub) = self.listener(slot).and_then(|l| l.sub(room)) {
            sub.place = place;
        }
    }

    /// All plain subscribers of a room fall behind.
    pub(super) fn particularise_all(&mut self, room: u32, next_seq: u64, last: Option<&Position>) {
        let Some(there) = self.rooms[room as usize].as_deref() else { return };
        let slots = there.everyone();
        for slot in slots {
            self.particularise(slot, room, next_seq, last.cloned());
        }
    }
}

/// Reads on from a cursor's place.
fn read_on(
    cell: &Cell,
    cursor: &Cursor,
    max_bytes: usize,
    page: &mut Vec<Arc<Entry>>,
) -> Result<(), Evicted> {
    // Who fell behind is not told what has been overtaken meanwhile, where messages have keys.
    let options = cursor.slow.then(|| cell.options());
    if let Some(tag) = options.as_ref().and_then(|options| options.conflate.as_deref()) {
        let of = Newest { tag: Some(tag), keyless_stay: true, most: usize::MAX, max_bytes };
        return cell.read_newest(cursor.next_seq, &of, page);
    }
    let read = cell.read(cursor.next_seq, max_bytes, page);
    if let Some(pace) = &cursor.pace {
        // The past is not paced; what is live is read anew.
        page.retain(|entry| entry.seq < pace.live_seq);
    }
    read
}
