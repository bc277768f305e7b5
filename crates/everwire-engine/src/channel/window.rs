//! A channel's newest entries, ready to be sent: what cursors, recovery and history read.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use everwire_proto::position::Position;

use super::options::HistoryLimits;
use crate::entry::Entry;
use crate::hashes::Seeded;
use crate::plant::{Bug, planted};
use crate::time::Now;

/// An entry, and when it was published, by the clock that never jumps: the wall clock says how old a message was when it
/// came, and nothing after that.
#[derive(Debug)]
struct Kept {
    entry: Arc<Entry>,
    born_ms: u64,
}

/// The window. Sequence numbers of its entries are contiguous; offsets rise within an epoch.
#[derive(Debug)]
pub(super) struct Window {
    entries: VecDeque<Kept>,
    bytes: usize,
    messages: usize,
    /// The sequence number the next entry gets.
    next_seq: u64,
    /// The position just before the first entry.
    base: Position,
    /// The position from which the stream is whole up to the top: everything after it is in the window.
    floor: Position,
    /// The position of the newest entry.
    top: Position,
}

/// A cursor points at what is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// Where the window begins now.
    pub seq: u64,
    /// The position just before that.
    pub position: Position,
}

/// What to read where of each key only the newest message counts.
#[derive(Clone, Copy, Debug)]
pub struct Newest<'a> {
    /// The tag whose value is the key; `None`: all messages have the same.
    pub tag: Option<&'a str>,
    /// Messages without a key stay, and are not of one key.
    pub keyless_stay: bool,
    /// At most so many entries.
    pub most: usize,
    /// At most so many bytes, but one entry at least.
    pub max_bytes: usize,
}

impl Window {
    pub(super) fn new(start: Position) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            messages: 0,
            next_seq: 1,
            base: start.clone(),
            floor: start.clone(),
            top: start,
        }
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }
    pub(super) fn top(&self) -> &Position {
        &self.top
    }
    pub(super) fn floor(&self) -> &Position {
        &self.floor
    }
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    fn base_seq(&self) -> u64 {
        self.next_seq - self.entries.len() as u64
    }

    /// Appends an entry that was made with [`Window::next_seq`] and has a position.
    pub(super) fn push(&mut self, entry: Arc<Entry>, now: Now) {
        debug_assert_eq!(entry.seq, self.next_seq);
        let Some(position) = entry.position.clone() else { return };
        self.next_seq += 1;
        self.bytes += entry.weight();
        if entry.is_message() {
            self.messages += 1;
        } else {
            // Behind a hole the stream is whole only from its far side on.
            self.floor = position.clone();
        }
        self.top = position;
        let age_ms = entry.time().map_or(0, |time| now.unix_ms.saturating_sub(time));
        self.entries.push_back(Kept { entry, born_ms: now.mono_ms.saturating_sub(age_ms) });
    }

    /// Drops the oldest entries until the limits hold.
    pub(super) fn trim(&mut self, limits: &HistoryLimits, now: Now) {
        while let Some(Kept { entry, born_ms }) = self.entries.front() {
            let too_old = match entry.time() {
                Some(time) if planted(Bug::WallClockAge) => now.unix_ms.saturating_sub(time) > limits.age_ms,
                Some(_) => now.mono_ms.saturating_sub(*born_ms) > limits.age_ms,
                None => self.messages == 0,
            };
            if !too_old && self.messages <= limits.messages && self.bytes <= limits.bytes {
                return;
            }
            self.drop_first();
        }
    }

    /// Drops the oldest entries down to so many bytes, but never the newest one.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        while self.bytes > bytes && self.entries.len() > 1 {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some(Kept { entry: first, .. }) = self.entries.pop_front() else { return };
        self.bytes -= first.weight();
        if first.is_message() {
            self.messages -= 1;
        }
        if let Some(position) = &first.position {
            self.base = position.clone();
            if position.epoch == self.floor.epoch && position.offset > self.floor.offset {
                self.floor = position.clone();
            }
        }
    }

    /// Forgets every entry and begins at `start`; numbers go on.
    pub(super) fn start_at(&mut self, start: Position) {
        *self = Self { next_seq: self.next_seq, ..Self::new(start) };
    }

    /// Forgets every entry; cursors find themselves evicted.
    pub(super) fn clear(&mut self) {
        while !self.entries.is_empty() {
            self.drop_first();
        }
    }

    /// Appends entries from `seq` on, at most `max_bytes` of them but at least one if there is one.
    pub(super) fn read(&self, seq: u64, max_bytes: usize, into: &mut Vec<Arc<Entry>>) -> Result<(), Evicted> {
        if seq < self.base_seq() {
            return Err(Evicted { seq: self.base_seq(), position: self.base.clone() });
        }
        let skip = usize::try_from(seq - self.base_seq()).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let page = self.entries.iter().skip(skip).take_while(|kept| {
            let first = bytes == 0;
            bytes += kept.entry.weight();
            first || bytes <= max_bytes
        });
        into.extend(page.map(|kept| kept.entry.clone()));
        Ok(())
    }

    /// The same, but of messages of one key only the newest: what older ones said is not so any more. Gaps stay.
    pub(super) fn read_newest(
        &self,
        seq: u64,
        of: &Newest<'_>,
        into: &mut Vec<Arc<Entry>>,
    ) -> Result<(), Evicted> {
        if seq < self.base_seq() {
            return Err(Evicted { seq: self.base_seq(), position: self.base.clone() });
        }
        let skip = usize::try_from(seq - self.base_seq()).unwrap_or(usize::MAX);
        let start = into.len();
        let mut seen = HashSet::with_hasher(Seeded);
        for Kept { entry, .. } in self.entries.iter().skip(skip).rev() {
            let key = of.tag.and_then(|tag| entry.tag(tag));
            let stays = !entry.is_message() || (key.is_none() && of.keyless_stay);
            if stays || seen.insert(key) {
                into.push(entry.clone());
            }
        }
        into[start..].reverse();
        let mut bytes = 0;
        let fits = into[start..].iter().take(of.most).take_while(|entry| {
            let first = bytes == 0;
            bytes += entry.weight();
            first || bytes <= of.max_bytes
        });
        let fits = fits.count();
        into.truncate(start + fits);
        Ok(())
    }

    /// The sequence number of the first entry after `offset` (of the current epoch), if everything after it is here.
    pub(super) fn seq_after(&self, offset: u64) -> Option<u64> {
        if offset < self.floor.offset || offset > self.top.offset {
            return None;
        }
        Some(self.base_seq() + self.index_after(offset) as u64)
    }

    fn index_after(&self, offset: u64) -> usize {
        self.entries.partition_point(|kept| {
            kept.entry.position.as_ref().is_some_and(|p| p.epoch != self.top.epoch || p.offset <= offset)
        })
    }

    /// Messages from `seq` on.
    pub(super) fn count_from(&self, seq: u64) -> u64 {
        let skip = usize::try_from(seq.saturating_sub(self.base_seq())).unwrap_or(usize::MAX);
        self.entries.iter().skip(skip).filter(|kept| kept.entry.is_message()).count() as u64
    }

    /// Where the newest `count` messages begin: their first sequence number.
    pub(super) fn seq_of_newest(&self, count: u64) -> u64 {
        let floor = self.index_after(self.floor.offset);
        let keep = usize::try_from(count).unwrap_or(usize::MAX);
        let start = self.entries.len().saturating_sub(keep).max(floor);
        self.base_seq() + start as u64
    }

    /// The position just before entry `seq`.
    pub(super) fn position_before(&self, seq: u64) -> Position {
        let Some(index) = seq.checked_sub(self.base_seq() + 1) else { return self.base.clone() };
        let entry = usize::try_from(index).ok().and_then(|i| self.entries.get(i));
        entry.and_then(|kept| kept.entry.position.clone()).unwrap_or_else(|| self.top.clone())
    }

    /// Messages of the current epoch with `after < offset < before`, oldest first.
    pub(super) fn messages_between(
        &self,
        after: u64,
        before: u64,
    ) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        let from = self.index_after(after.max(self.floor.offset));
        let entries = self.entries.range(from.min(self.entries.len())..).map(|kept| &kept.entry);
        entries.filter(move |e| e.is_message() && e.position.as_ref().is_some_and(|p| p.offset < before))
    }

    /// Moves the top without an entry: only planted bugs do that.
    pub(super) fn skip_offset(&mut self) {
        self.top.offset += 1;
    }
}
