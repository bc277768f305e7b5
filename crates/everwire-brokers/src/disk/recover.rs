//! A start: the index is built from the log.

use std::path::Path;
use std::sync::Arc;

use everwire_engine::channel::Namespaces;
use everwire_engine::name::ChannelName;
use everwire_engine::time::Now;
use rustc_hash::FxHashMap;

use super::batch::{Place, Tail};
use super::error::OpenError;
use super::index::{Channel, Ids, Index, Keep, Spot, Stored};
use super::record::{Head, IdKey, Record, renewed};
use super::scan::{load_each, scan};
use super::segment;

/// What a log told.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) index: Index,
    /// The newest segment, if it can be appended to.
    pub(super) newest: Option<u32>,
    /// Bytes of a torn tail behind the newest segment's last whole batch.
    pub(super) torn: usize,
    /// How its writer ended.
    pub(super) last: Last,
}

/// The last writer of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Last {
    /// It ended in order.
    pub(super) closed: bool,
    /// It acknowledged before the data was on the medium.
    pub(super) lazy: bool,
    /// The machine's boot that it ran in.
    pub(super) boot: String,
}

struct Builder {
    index: Index,
    /// Messages out of the order of their offsets, by slot: moved ones, and those before a hole.
    strays: FxHashMap<u32, Vec<(u64, Spot)>>,
    last: Last,
    renewals: bool,
    now: Now,
}

/// Reads the log of a store.
pub(super) fn recover(
    dir: &Path,
    keep: Keep,
    namespaces: &Namespaces,
    now: Now,
) -> Result<Recovered, OpenError> {
    let numbers = segment::list(dir).map_err(|error| OpenError::io(dir, error))?;
    let index = Index::new(keep);
    let mut builder =
        Builder { index, strays: FxHashMap::default(), last: Last::default(), renewals: false, now };
    let (mut newest, mut torn) = (None, 0);
    load_each(dir, &numbers, |number, bytes, file| {
        let is_newest = numbers.last() == Some(&number);
        builder.renewals = false;
        let scanned = scan(dir, number, is_newest, bytes, file, |at, len, record| {
            builder.take(at, len, record);
        })?;
        if scanned.tail == Tail::Damaged {
            let path = segment::path(dir, number);
            return Err(OpenError::Damaged { path, at: scanned.end, dir: dir.to_owned() });
        }
        let Some(header) = scanned.header else {
            let path = segment::path(dir, number);
            return std::fs::remove_file(&path).map_err(|error| OpenError::io(&path, error));
        };
        let stored = Stored {
            file: Arc::new(scanned.file),
            salt: header.salt,
            bytes: scanned.end as u64,
            live: 0,
            anchors: 0,
            leaving: false,
            renews: builder.renewals,
        };
        builder.index.segments.insert(number, stored);
        (newest, torn) = (Some(number), scanned.behind);
        Ok(())
    })?;
    let (index, last) = builder.finish(namespaces);
    Ok(Recovered { index, newest, torn, last })
}

impl Builder {
    fn take(&mut self, place: Place, len: usize, record: Record<'_>) {
        self.last.closed = record == Record::Closed;
        match record {
            Record::Message { head, id, .. } => {
                let Some(slot) = self.slot(&head) else { return };
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                let spot = Spot { place, len, born_ms: self.born_ms(head.time) };
                self.message(slot, head.offset, spot);
                if let Some(id) = id {
                    self.id(slot, &head, id);
                }
            }
            Record::Top { head } => {
                let Some(slot) = self.slot(&head) else { return };
                self.top(slot, head.offset, place.segment);
            }
            Record::Id { head, id } => {
                let Some(slot) = self.slot(&head) else { return };
                self.top(slot, head.offset, place.segment);
                self.id(slot, &head, id);
            }
            Record::Opened { boot, lazy } => {
                self.last = Last { closed: false, lazy, boot: boot.to_owned() };
            }
            Record::Closed => {}
            Record::Renewed { salt } => {
                self.renewals = true;
                for slot in self.index.slots() {
                    let channel = self.index.channel(slot);
                    channel.epoch = renewed(channel.epoch, salt);
                }
            }
        }
    }

    /// When it was born, by the clock that never jumps.
    fn born_ms(&self, time: u64) -> i64 {
        let age_ms = i64::try_from(self.now.unix_ms.saturating_sub(time)).unwrap_or(i64::MAX);
        i64::try_from(self.now.mono_ms).unwrap_or(i64::MAX).saturating_sub(age_ms)
    }

    fn slot(&mut self, head: &Head<'_>) -> Option<u32> {
        let Some(slot) = self.index.find(head.name) else {
            let name = ChannelName::parse(head.name).ok()?;
            return Some(self.index.add(Channel::new(name, head.epoch)));
        };
        let channel = self.index.channel(slot);
        if channel.epoch != head.epoch {
            // It was given up and began anew.
            *channel = Channel::new(channel.name.clone(), head.epoch);
            self.strays.remove(&slot);
        }
        Some(slot)
    }

    fn message(&mut self, slot: u32, offset: u64, spot: Spot) {
        let channel = self.index.channel(slot);
        if offset > channel.top {
            if offset > channel.top + 1 && !channel.spots.is_empty() {
                self.strand(slot);
            }
            let channel = self.index.channel(slot);
            channel.spots.push_back(spot);
            channel.top = offset;
            channel.anchor = spot.place.segment;
            return;
        }
        let newest = offset == channel.top;
        match channel.spot_mut(offset) {
            // The later one counts: it was moved.
            Some(there) => *there = spot,
            None => self.strays.entry(slot).or_default().push((offset, spot)),
        }
        if newest {
            self.index.channel(slot).anchor = spot.place.segment;
        }
    }

    /// What is there stands before a hole, which moved messages may fill.
    fn strand(&mut self, slot: u32) {
        let channel = self.index.channel(slot);
        let floor = channel.floor();
        let spots = std::mem::take(&mut channel.spots);
        self.strays.entry(slot).or_default().extend((floor + 1..).zip(spots));
    }

    fn top(&mut self, slot: u32, offset: u64, segment: u32) {
        if offset > self.index.channel(slot).top {
            self.strand(slot);
            self.index.channel(slot).top = offset;
        }
        let channel = self.index.channel(slot);
        if offset == channel.top {
            channel.anchor = segment;
        }
    }

    fn id(&mut self, slot: u32, head: &Head<'_>, key: IdKey) {
        let (born_ms, keep) = (self.born_ms(head.time), self.index.keep);
        if self.now.mono_ms as i64 - born_ms > keep.id_ms {
            return;
        }
        let all_ids = self.index.all_ids.clone();
        let ids = self.index.channel(slot).ids.get_or_insert_with(|| Box::new(Ids::new(&all_ids)));
        ids.remember(key, head.offset, born_ms);
        ids.forget(i64::MIN, keep.ids);
    }

    fn finish(mut self, namespaces: &Namespaces) -> (Index, Last) {
        for (slot, strays) in std::mem::take(&mut self.strays) {
            let channel = self.index.channel(slot);
            let first = channel.floor() + 1;
            let mut all: std::collections::BTreeMap<_, _> = strays.into_iter().collect();
            all.extend((first..).zip(std::mem::take(&mut channel.spots)));
            let mut next = channel.top;
            while let Some(spot) = all.remove(&next) {
                channel.spots.push_front(spot);
                next -= 1;
            }
        }
        let now_ms = i64::try_from(self.now.mono_ms).unwrap_or(i64::MAX);
        for slot in self.index.slots() {
            let channel = self.index.channel(slot);
            channel.spots.shrink_to_fit();
            channel.given = channel.top;
            channel.bytes = channel.spots.iter().map(|spot| u64::from(spot.len)).sum();
            channel.limits = namespaces.options_of(channel.name.as_str()).and_then(|o| o.history);
            if let Some(ids) = &mut channel.ids {
                ids.sort();
            }
            self.index.trim(slot, now_ms);
        }
        self.index.count_live();
        (self.index, self.last)
    }
}
