//! What the store knows without reading: each channel's epoch, its newest offset, where its messages stand, and which
//! message ids it has seen.
//!
//! A message costs 24 bytes here and stands on the medium otherwise.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use everwire_engine::channel::{Cell, HistoryLimits, Prev};
use everwire_engine::name::ChannelName;
use everwire_proto::ids::Epoch;
use everwire_proto::position::Position;
use rustc_hash::FxHashMap;

use super::batch::Place;
use super::record::IdKey;

/// Where a message stands, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) place: Place,
    pub(super) len: u32,
    /// By the clock that never jumps; before the start of this process it is negative.
    pub(super) born_ms: i64,
}

/// How many message ids all channels remember, and how many they may.
#[derive(Debug)]
pub(super) struct AllIds {
    count: AtomicUsize,
    most: usize,
}

impl AllIds {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed) as u64
    }
}

/// The newest message ids of a channel.
#[derive(Debug)]
pub(super) struct Ids {
    seen: FxHashMap<Arc<IdKey>, u64>,
    order: VecDeque<(i64, Arc<IdKey>)>,
    all: Arc<AllIds>,
}

impl Drop for Ids {
    fn drop(&mut self) {
        self.all.count.fetch_sub(self.order.len(), Ordering::Relaxed);
    }
}

impl Ids {
    pub(super) fn new(all: &Arc<AllIds>) -> Self {
        Self { seen: FxHashMap::default(), order: VecDeque::new(), all: all.clone() }
    }

    /// The offset that this id was stored at.
    pub(super) fn find(&self, key: &IdKey) -> Option<u64> {
        self.seen.get(key).copied()
    }

    /// Remembers an id; seen before, it only takes the later offset. Where all channels remember as many as they may, the
    /// oldest of this one goes for it.
    pub(super) fn remember(&mut self, key: IdKey, offset: u64, born_ms: i64) {
        let key = Arc::new(key);
        if self.seen.insert(key.clone(), offset).is_none() {
            self.order.push_back((born_ms, key));
            let before = self.all.count.fetch_add(1, Ordering::Relaxed);
            if before >= self.all.most && self.order.len() > 1 {
                self.forget(i64::MIN, self.order.len() - 1);
            }
        }
    }

    /// Takes back the newest id: its message was not stored.
    pub(super) fn take_back(&mut self, key: &IdKey) {
        if self.order.back().is_some_and(|(_, newest)| **newest == *key) {
            self.order.pop_back();
            self.seen.remove(key);
            self.all.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets what is too old, and the oldest beyond `keep`.
    pub(super) fn forget(&mut self, before_ms: i64, keep: usize) {
        while let Some((born_ms, _)) = self.order.front() {
            if self.order.len() <= keep && *born_ms >= before_ms {
                return;
            }
            if let Some((_, key)) = self.order.pop_front() {
                self.seen.remove(&key);
                self.all.count.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// After a start: moved records come in another order than they were born in.
    pub(super) fn sort(&mut self) {
        self.order.make_contiguous().sort_by_key(|(born_ms, _)| *born_ms);
    }
}

/// One channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: ChannelName,
    /// The random bits of its epoch.
    pub(super) epoch: u64,
    /// The newest offset that is stored.
    pub(super) top: u64,
    /// The newest offset that is given out; above `top` only while a batch is on its way.
    pub(super) given: u64,
    /// Where its messages stand: the newest has the offset `top`, and there are no holes.
    pub(super) spots: VecDeque<Spot>,
    pub(super) bytes: u64,
    pub(super) ids: Option<Box<Ids>>,
    /// What is kept; `None`: nobody said yet, so everything.
    pub(super) limits: Option<HistoryLimits>,
    /// The segment of the newest record that names its epoch and its top.
    pub(super) anchor: u32,
    /// Who is to hear what comes.
    pub(super) listening: Option<Arc<Cell>>,
}

impl Channel {
    pub(super) fn new(name: ChannelName, epoch: u64) -> Self {
        Self {
            name,
            epoch,
            top: 0,
            given: 0,
            spots: VecDeque::new(),
            bytes: 0,
            ids: None,
            limits: None,
            anchor: 0,
            listening: None,
        }
    }

    /// This offset as a position.
    pub(super) fn at(&self, offset: u64) -> Position {
        Position { epoch: Epoch::from_random(self.epoch), offset }
    }

    /// The position before the oldest message that is kept.
    pub(super) fn floor(&self) -> u64 {
        self.top - self.spots.len() as u64
    }

    /// Where the message with this offset stands.
    pub(super) fn spot(&self, offset: u64) -> Option<&Spot> {
        let index = offset.checked_sub(self.floor() + 1)?;
        self.spots.get(usize::try_from(index).ok()?)
    }

    pub(super) fn spot_mut(&mut self, offset: u64) -> Option<&mut Spot> {
        let index = offset.checked_sub(self.floor() + 1)?;
        self.spots.get_mut(usize::try_from(index).ok()?)
    }

    /// Messages with `after < offset < before`.
    pub(super) fn between(&self, after: u64, before: u64) -> impl DoubleEndedIterator<Item = (u64, Spot)> {
        let first = self.floor() + 1;
        let from = after.saturating_add(1).max(first);
        let to = before.min(self.top + 1);
        (from..to.max(from)).filter_map(move |offset| Some((offset, *self.spot(offset)?)))
    }

    /// Whether nobody would miss it.
    fn is_idle(&self) -> bool {
        self.spots.is_empty() && self.ids.is_none() && self.listening.is_none() && self.given == self.top
    }
}

/// What comes before an offset in a stream without holes.
pub(super) fn prev(offset: u64) -> Prev {
    match offset {
        1 => Prev::First,
        offset => Prev::After(offset - 1),
    }
}

/// A segment as the index sees it.
#[derive(Debug)]
pub(super) struct Stored {
    /// For reading.
    pub(super) file: Arc<File>,
    pub(super) salt: u64,
    pub(super) bytes: u64,
    /// Bytes of messages that are kept.
    pub(super) live: u64,
    /// Channels whose anchor is here.
    pub(super) anchors: u64,
    /// It is being emptied.
    pub(super) leaving: bool,
    /// It renews epochs of what stands before it, so it stays as long as that does.
    pub(super) renews: bool,
}

impl Stored {
    /// Bytes that emptying it would have to write anew, about.
    fn held(&self) -> u64 {
        self.live + self.anchors * ANCHOR_BYTES
    }
}

/// What a record takes that has a channel's name and no payload, about.
const ANCHOR_BYTES: u64 = 64;

/// Limits of a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    pub(super) channels: usize,
    pub(super) ids: usize,
    pub(super) ids_in_all: usize,
    pub(super) id_ms: i64,
}

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    names: FxHashMap<ChannelName, u32>,
    channels: Vec<Option<Channel>>,
    free: Vec<u32>,
    pub(super) segments: std::collections::BTreeMap<u32, Stored>,
    pub(super) keep: Keep,
    /// What all channels remember of message ids.
    pub(super) all_ids: Arc<AllIds>,
    /// Channels that were given up for others, since the start.
    pub(super) given_up: Arc<AtomicU64>,
    swept: usize,
}

impl Index {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            names: FxHashMap::default(),
            channels: Vec::new(),
            free: Vec::new(),
            segments: std::collections::BTreeMap::new(),
            keep,
            all_ids: Arc::new(AllIds { count: AtomicUsize::new(0), most: keep.ids_in_all }),
            given_up: Arc::default(),
            swept: 0,
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    pub(super) fn channel(&mut self, slot: u32) -> &mut Channel {
        self.get(slot).expect("a slot that was looked up under this lock")
    }

    /// The channel of a slot that may have been given up since.
    pub(super) fn get(&mut self, slot: u32) -> Option<&mut Channel> {
        self.channels.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// A new channel, whatever the limit.
    pub(super) fn add(&mut self, channel: Channel) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.channels.push(None);
            u32::try_from(self.channels.len() - 1).expect("channels are far below 4 billions")
        });
        self.names.insert(channel.name.clone(), slot);
        self.channels[slot as usize] = Some(channel);
        slot
    }

    /// Whether there is room for another channel; idle ones go for it, a bounded effort.
    pub(super) fn make_room(&mut self) -> bool {
        let mut tries = 1_024;
        while self.count() >= self.keep.channels && tries > 0 && !self.channels.is_empty() {
            tries -= 1;
            self.swept = (self.swept + 1) % self.channels.len();
            let slot = self.swept;
            if self.channels[slot].as_ref().is_some_and(Channel::is_idle) {
                self.forget(u32::try_from(slot).unwrap_or(u32::MAX));
                self.given_up.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count() < self.keep.channels
    }

    /// Gives a channel up: it begins anew, with another epoch, when it is used again.
    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(channel) = self.channels[slot as usize].take() {
            if let Some(left) = self.segments.get_mut(&channel.anchor) {
                left.anchors = left.anchors.saturating_sub(1);
            }
            self.names.remove(&channel.name);
            self.free.push(slot);
        }
    }

    /// A message is stored behind the newest one.
    pub(super) fn append(&mut self, slot: u32, offset: u64, spot: Spot) {
        let channel = self.channel(slot);
        channel.spots.push_back(spot);
        channel.top = offset;
        channel.given = channel.given.max(offset);
        channel.bytes += u64::from(spot.len);
        self.anchor(slot, spot.place.segment);
        self.live(spot, true);
    }

    /// Everything of a channel is forgotten, up to this offset, which no message has. Its ids are not: what was stored
    /// once is not stored again. A start finds the hole, and lets go of what stands before it too.
    pub(super) fn clear(&mut self, slot: u32, offset: u64, segment: u32) {
        let channel = self.channel(slot);
        let gone = std::mem::take(&mut channel.spots);
        channel.bytes = 0;
        channel.top = offset;
        channel.given = channel.given.max(offset);
        self.anchor(slot, segment);
        for spot in gone {
            self.live(spot, false);
        }
    }

    /// The newest record that names a channel's epoch and top stands in this segment.
    pub(super) fn anchor(&mut self, slot: u32, segment: u32) {
        let before = std::mem::replace(&mut self.channel(slot).anchor, segment);
        if before == segment {
            return;
        }
        if let Some(left) = self.segments.get_mut(&before) {
            left.anchors = left.anchors.saturating_sub(1);
        }
        if let Some(entered) = self.segments.get_mut(&segment) {
            entered.anchors += 1;
        }
    }

    fn live(&mut self, spot: Spot, more: bool) {
        let Some(segment) = self.segments.get_mut(&spot.place.segment) else { return };
        let len = u64::from(spot.len);
        segment.live = if more { segment.live + len } else { segment.live.saturating_sub(len) };
    }

    /// A message stands elsewhere now.
    pub(super) fn moved(&mut self, slot: u32, offset: u64, from: Place, to: Place) {
        let channel = self.channel(slot);
        let newest = channel.top == offset;
        let Some(spot) = channel.spot_mut(offset).filter(|spot| spot.place == from) else { return };
        let before = *spot;
        spot.place = to;
        if newest {
            self.anchor(slot, to.segment);
        }
        self.live(before, false);
        self.live(Spot { place: to, ..before }, true);
    }

    /// Lets go of what a channel's limits don't keep.
    pub(super) fn trim(&mut self, slot: u32, now_ms: i64) {
        let keep = self.keep;
        let mut gone = Vec::new();
        let channel = self.channel(slot);
        if let Some(limits) = channel.limits {
            let age_ms = i64::try_from(limits.age_ms).unwrap_or(i64::MAX);
            while let Some(first) = channel.spots.front().copied() {
                let too_old = now_ms.saturating_sub(first.born_ms) > age_ms;
                let too_many = channel.spots.len() > limits.messages || channel.bytes > limits.bytes as u64;
                if !too_old && !too_many {
                    break;
                }
                channel.spots.pop_front();
                channel.bytes -= u64::from(first.len);
                gone.push(first);
            }
        }
        if let Some(ids) = &mut channel.ids {
            ids.forget(now_ms - keep.id_ms, keep.ids);
            if ids.is_empty() {
                channel.ids = None;
            }
        }
        for spot in gone {
            self.live(spot, false);
        }
    }

    /// A piece of the round that trims channels that nobody uses; `share` of them all.
    pub(super) fn sweep(&mut self, share: usize, now_ms: i64) {
        for _ in 0..self.channels.len().div_ceil(share.max(1)) {
            self.swept = (self.swept + 1) % self.channels.len();
            if self.channels[self.swept].is_some() {
                self.trim(u32::try_from(self.swept).unwrap_or(u32::MAX), now_ms);
            }
        }
    }

    /// Where a channel has got to.
    pub(super) fn top(&self, name: &str) -> Option<Position> {
        let channel = self.channels.get(self.find(name)? as usize)?.as_ref()?;
        Some(channel.at(channel.top))
    }

    /// Channels that `wanted` takes, at most `most`, from this slot on; so many slots are looked at. And the slot where it
    /// goes on.
    pub(super) fn list(
        &self,
        from: usize,
        most: usize,
        looked_at: usize,
        mut wanted: impl FnMut(&ChannelName) -> bool,
    ) -> (Vec<(ChannelName, Position)>, Option<usize>) {
        let mut page = Vec::new();
        let until = from.saturating_add(looked_at).min(self.channels.len());
        for slot in from..until {
            if page.len() == most {
                return (page, Some(slot));
            }
            if let Some(channel) = self.channels[slot].as_ref().filter(|channel| wanted(&channel.name)) {
                page.push((channel.name.clone(), channel.at(channel.top)));
            }
        }
        (page, (until < self.channels.len()).then_some(until))
    }

    /// Every channel, for the end of a start.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> + use<> {
        let there = self.channels.iter().enumerate().filter(|(_, c)| c.is_some());
        let there: Vec<_> = there.filter_map(|(slot, _)| u32::try_from(slot).ok()).collect();
        there.into_iter()
    }

    /// Every epoch becomes another one; the record that says so stands in this segment.
    pub(super) fn renew(&mut self, salt: u64, segment: u32) {
        for channel in self.channels.iter_mut().flatten() {
            channel.epoch = super::record::renewed(channel.epoch, salt);
        }
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.renews = true;
        }
    }

    /// Counts anew what each segment holds that is kept.
    pub(super) fn count_live(&mut self) {
        let Self { channels, segments, .. } = self;
        segments.values_mut().for_each(|segment| (segment.live, segment.anchors) = (0, 0));
        for channel in channels.iter().flatten() {
            if let Some(segment) = segments.get_mut(&channel.anchor) {
                segment.anchors += 1;
            }
            // One look-up for each run of messages in the same segment.
            let mut spots = channel.spots.iter().peekable();
            while let Some(first) = spots.next() {
                let mut bytes = u64::from(first.len);
                while let Some(spot) = spots.next_if(|spot| spot.place.segment == first.place.segment) {
                    bytes += u64::from(spot.len);
                }
                if let Some(segment) = segments.get_mut(&first.place.segment) {
                    segment.live += bytes;
                }
            }
        }
    }

    /// A segment that holds little of what is kept, `active` excepted; `slack` bytes may be wasted.
    pub(super) fn worth_emptying(&self, active: u32, slack: u64) -> Option<u32> {
        let sealed = || self.segments.iter().filter(|(number, _)| **number != active);
        let (bytes, held) = sealed().fold((0, 0), |(b, h), (_, s)| (b + s.bytes, h + s.held()));
        if sealed().any(|(_, segment)| segment.leaving) {
            return None;
        }
        let wasteful = bytes > 2 * held + slack;
        let first = self.segments.keys().next().copied();
        let may_go = |number: u32, segment: &Stored| !segment.renews || first == Some(number);
        let candidates = sealed().filter(|(number, segment)| may_go(**number, segment));
        let least = candidates.min_by_key(|(_, segment)| segment.held() * 1_000 / segment.bytes.max(1))?;
        let (number, segment) = least;
        let empty = segment.live == 0 && segment.held() * 2 < segment.bytes;
        (empty || wasteful && segment.held() * 10 < segment.bytes * 6).then_some(*number)
    }

    /// Whether nothing that is kept stands in this segment.
    pub(super) fn is_empty(&self, number: u32) -> bool {
        self.segments.get(&number).is_some_and(|segment| segment.live == 0 && segment.anchors == 0)
    }
}

#[cfg(test)]
mod tests {
    use everwire_engine::channel::Publisher;

    use super::*;

    fn index() -> Index {
        Index::new(Keep { channels: 3, ids: 2, ids_in_all: 1_000, id_ms: 100 })
    }

    fn spot(at: u32, born_ms: i64) -> Spot {
        Spot { place: Place { segment: 1, at }, len: 10, born_ms }
    }

    fn add(index: &mut Index, name: &str) -> u32 {
        index.add(Channel::new(ChannelName::parse(name).unwrap(), 5))
    }

    #[test]
    fn a_channel_keeps_what_its_limits_say() {
        let mut index = index();
        let slot = add(&mut index, "a");
        index.channel(slot).limits = Some(HistoryLimits { messages: 3, age_ms: 50, bytes: 1_000 });
        for offset in 1..=5 {
            index.append(slot, offset, spot(u32::try_from(offset).unwrap(), i64::try_from(offset).unwrap()));
            index.trim(slot, 5);
        }
        let offsets = |index: &mut Index, after, before| {
            index.channel(slot).between(after, before).map(|(o, s)| (o, s.place.at)).collect::<Vec<_>>()
        };
        assert_eq!(offsets(&mut index, 0, u64::MAX), [(3, 3), (4, 4), (5, 5)]);
        assert_eq!(offsets(&mut index, 3, 5), [(4, 4)]);
        assert_eq!(offsets(&mut index, 9, 2), []);
        index.trim(slot, 54);
        assert_eq!(offsets(&mut index, 0, u64::MAX), [(4, 4), (5, 5)], "too old is gone");
        index.channel(slot).limits = Some(HistoryLimits { messages: 3, age_ms: 50, bytes: 10 });
        index.trim(slot, 54);
        assert_eq!((index.channel(slot).floor(), index.channel(slot).bytes), (4, 10));
        assert_eq!(index.channel(slot).spot(4), None);
    }

    #[test]
    fn ids_are_bounded_and_can_be_taken_back() {
        let key = |id: &str| (Publisher::Backend, Box::from(id));
        let all = Arc::new(AllIds { count: AtomicUsize::new(0), most: 3 });
        let mut ids = Ids::new(&all);
        ids.remember(key("a"), 1, 0);
        ids.remember(key("b"), 2, 1);
        ids.take_back(&key("a"));
        assert_eq!(ids.find(&key("a")), Some(1), "only the newest is taken back");
        ids.take_back(&key("b"));
        assert_eq!((ids.find(&key("b")), ids.find(&key("a"))), (None, Some(1)));
        ids.remember(key("c"), 3, 2);
        ids.forget(2, 10);
        assert_eq!((ids.find(&key("a")), ids.find(&key("c"))), (None, Some(3)));
        ids.forget(0, 0);
        assert!(ids.is_empty());
        // Where all together are full, the oldest of the channel goes; one that has none yet gets its first.
        for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            ids.remember(key(name), n as u64, 0);
        }
        let mut other = Ids::new(&all);
        other.remember(key("a"), 7, 0);
        assert_eq!(
            (ids.find(&key("a")), ids.find(&key("d")), other.find(&key("a"))),
            (None, Some(3), Some(7))
        );
        assert_eq!(all.count.load(Ordering::Relaxed), 4);
        drop((ids, other));
        assert_eq!(all.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn only_idle_channels_make_room() {
        let mut index = index();
        for name in ["a", "b", "c"] {
            let slot = add(&mut index, name);
            index.append(slot, 1, spot(0, 0));
        }
        assert!(!index.make_room());
        let slot = index.find("b").unwrap();
        index.channel(slot).limits = Some(HistoryLimits { messages: 1, age_ms: 0, bytes: 1_000 });
        index.trim(slot, 10);
        assert!(index.make_room());
        assert_eq!((index.find("b"), index.count()), (None, 2));
        assert_eq!(add(&mut index, "d"), slot, "its slot is used again");
    }
}
