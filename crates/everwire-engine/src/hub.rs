//! A shard's part of the hub: which of its connections listen where, and what each must still be sent.
//!
//! A subscriber is *plain* when it is up to date and has no options: it is sent its channel's batch of this turn as it
//! is. Every other one is *particular*: it has a cursor into the channel's window. Catching up after a subscribe and
//! being slow are the same state. The hub knows connections as slots and never what they say.

mod batch;
mod counts;
mod cursor;
mod flush;
mod listener;
mod outboxes;
mod pace;
mod room;
mod walk;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use everwire_proto::ids::ClientId;
use everwire_proto::position::Position;
use everwire_proto::reply::Outgoing;
use everwire_proto::ws::Deflater;

pub use flush::{Carrier, Sent};
pub use listener::Overflow;

use self::listener::{Hot, Listener, OwnPart, Said, Sub};
use self::room::Room;
use crate::channel::{Cell, Located};
use crate::entry::{Entry, Form, MemberNote, write_frame};
use crate::hashes::NamedMap;
use crate::inbox::{HubKey, Page};
use crate::lags::Lags;
use crate::name::ChannelName;
use crate::outbox::Class;
use crate::plant::{Bug, planted};

/// How much of a window is read, and sent, for one connection and turn, bytes.
pub const PAGE_BYTES: usize = 64 * 1024;

/// The hub of one shard.
pub struct Hub {
    shard: u16,
    rooms: Vec<Option<Box<Room>>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    by_name: NamedMap<ChannelName, u32>,
    hot: Vec<Hot>,
    listeners: Vec<Option<Box<Listener>>>,
    /// Rooms with entries that no batch holds yet. One may stand here twice, or have none any more: to take it out would
    /// cost as much as there are others.
    dirty: Vec<u32>,
    /// Rooms whose batch has not been sent to all yet.
    walking: VecDeque<u32>,
    /// Slots with something due.
    ready: VecDeque<u32>,
    /// What connections are told, in one buffer until all of them have it.
    own: Vec<u8>,
    own_parts: Vec<OwnPart>,
    /// Bytes of those parts that are not sent yet.
    said_bytes: usize,
    segments: Vec<flush::Segment>,
    /// Batches that are done and will be used again.
    #[expect(clippy::vec_box, reason = "the box itself goes to a room and comes back")]
    spare: Vec<Box<batch::Batch>>,
    scratch: Vec<u8>,
    /// What a cursor reads of its window; empty between two of them.
    page: Vec<Arc<Entry>>,
    deflater: Deflater,
    turn: u64,
    outbox_bytes: usize,
    pending_bytes: usize,
    overflowed: Vec<Overflow>,
    /// Pages that cursors want from the broker.
    wanted: Vec<PageWanted>,
    /// Cursors whose page could not be read.
    unread: Vec<(u32, HubKey)>,
    /// Rooms whose number of members is to be told.
    counted: Vec<HubKey>,
    /// When slots whose subscriptions have a rate may be sent more, ms.
    paced: BinaryHeap<Reverse<(u64, u32)>>,
    /// The time of this flush, ms.
    now_ms: u64,
    /// Gaps that were told, for the counter.
    gaps_told: u64,
    /// Whatever else is counted.
    figures: Figures,
}

/// What a hub counts, in plain numbers: they are added to for every delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Subscriptions now.
    pub subscriptions: u64,
    /// Bytes in all outboxes now.
    pub outbox_bytes: u64,
    /// Frames given to sockets, or to the outbox of one that was full.
    pub frames: u64,
    /// Times that a channel's volatile messages were left out of a full outbox.
    pub left_out_volatile: u64,
    /// Times that a channel's presence events were left out of a full outbox.
    pub left_out_presence: u64,
    /// Times that too much waited in a room: stored messages were left to the window, others left out and told.
    pub collapsed: u64,
    /// From the publish to the offer to the last plain subscriber, for each batch.
    pub fanout: Lags,
}

/// A cursor needs what is no longer in the window but may be at the broker.
#[derive(Clone, Debug)]
pub struct PageWanted {
    /// For this slot.
    pub slot: u32,
    /// For this channel.
    pub key: HubKey,
    /// Everything after this position.
    pub after: Position,
}

/// How a subscriber wants to listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// It wants presence events.
    pub watch: bool,
    /// It is spared its own live messages.
    pub mute: bool,
    /// It wants at most so many live messages a second: the newest.
    pub max_rate: Option<u32>,
}

/// What a subscription left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its room has no subscribers any more.
    pub empty: bool,
    /// It wanted presence events.
    pub watch: bool,
}

impl Hub {
    /// From now on outboxes have another limit; those that have more are looked at when something is added.
    pub fn set_outbox_bytes(&mut self, outbox_bytes: usize) {
        self.outbox_bytes = outbox_bytes;
    }

    /// An empty hub. `outbox_bytes` is the limit of each connection's outbox, `pending_bytes` of what waits in a room
    /// whose batch is still on its way.
    pub fn new(shard: u16, outbox_bytes: usize, pending_bytes: usize) -> Self {
        Self {
            shard,
            rooms: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            by_name: NamedMap::default(),
            hot: Vec::new(),
            listeners: Vec::new(),
            dirty: Vec::new(),
            walking: VecDeque::new(),
            ready: VecDeque::new(),
            own: Vec::new(),
            own_parts: Vec::new(),
            said_bytes: 0,
            segments: Vec::new(),
            spare: Vec::new(),
            scratch: Vec::new(),
            page: Vec::new(),
            deflater: Deflater::new(),
            turn: 0,
            outbox_bytes,
            pending_bytes,
            overflowed: Vec::new(),
            wanted: Vec::new(),
            unread: Vec::new(),
            counted: Vec::new(),
            paced: BinaryHeap::new(),
            now_ms: 0,
            gaps_told: 0,
            figures: Figures::default(),
        }
    }

    /// A connection begins to listen, in this form.
    pub fn open(&mut self, slot: u32, form: Form) {
        let at = slot as usize;
        if self.listeners.len() <= at {
            self.listeners.resize_with(at + 1, || None);
            self.hot.resize_with(at + 1, Hot::default);
        }
        self.hot[at] = Hot { form, ..Hot::default() };
        self.listeners[at] = Some(Box::default());
    }

    /// A connection ends. Its subscriptions must be gone already ([`Hub::leave`]).
    pub fn close(&mut self, slot: u32) {
        self.figures.outbox_bytes -= self.waiting_bytes(slot) as u64;
        self.unsay(slot);
        if let Some(listener) = self.listeners.get_mut(slot as usize) {
            debug_assert!(listener.as_ref().is_none_or(|l| l.subs.is_empty()));
            *listener = None;
            self.hot[slot as usize] = Hot::default();
        }
        // The slot's next connection must not pay for this one.
        self.overflowed.retain(|o| o.slot != slot);
        self.wanted.retain(|w| w.slot != slot);
    }

    /// Sets the public id by which one's own messages are known.
    pub fn name(&mut self, slot: u32, client: ClientId) {
        if let Some(listener) = self.listener(slot) {
            listener.client = client;
        }
    }

    fn listener(&mut self, slot: u32) -> Option<&mut Listener> {
        self.listeners.get_mut(slot as usize)?.as_deref_mut()
    }

    fn room(&mut self, key: HubKey) -> Option<&mut Room> {
        let at = key.index as usize;
        if self.generations.get(at) != Some(&key.generation) {
            return None;
        }
        self.rooms[at].as_deref_mut()
    }

    fn key(&self, index: u32) -> HubKey {
        HubKey { index, generation: self.generations[index as usize] }
    }

    /// The room of a channel that has listeners here.
    pub fn find(&self, channel: &str) -> Option<HubKey> {
        self.by_name.get(channel).map(|index| self.key(*index))
    }

    /// Makes a room for a channel that has none. The caller registers the interest with the cell.
    pub fn make_room(&mut self, cell: Arc<Cell>) -> HubKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.rooms.push(None);
            self.generations.push(0);
            u32::try_from(self.rooms.len() - 1).expect("a node has at most a few million channels")
        });
        self.by_name.insert(cell.name.clone(), index);
        self.rooms[index as usize] = Some(Box::new(Room::new(cell)));
        self.key(index)
    }

    /// Takes away a room without subscribers. The caller gives up the interest.
    pub fn drop_room(&mut self, key: HubKey) -> Option<Arc<Cell>> {
        let room = self.room(key).filter(|room| room.is_empty())?;
        let (cell, walks) = (room.cell.clone(), room.batch.is_some());
        let index = key.index;
        self.by_name.remove(&cell.name);
        self.rooms[index as usize] = None;
        self.generations[index as usize] = self.generations[index as usize].wrapping_add(1);
        self.free.push(index);
        // Only then: thousands of rooms may empty in a turn in which thousands of others are busy.
        if walks {
            self.walking.retain(|i| *i != index);
        }
        Some(cell)
    }

    /// The channel of a room.
    pub fn cell(&mut self, key: HubKey) -> Option<Arc<Cell>> {
        self.room(key).map(|room| room.cell.clone())
    }

    /// Rooms stand below this place.
    pub fn room_places(&self) -> u32 {
        u32::try_from(self.rooms.len()).unwrap_or(u32::MAX)
    }

    /// The room at a place, and its channel.
    pub fn room_at(&self, index: u32) -> Option<(HubKey, Arc<Cell>)> {
        let room = self.rooms.get(index as usize)?.as_ref()?;
        Some((self.key(index), room.cell.clone()))
    }

    /// The subscribers of a room.
    pub fn subscribers(&mut self, key: HubKey) -> Vec<u32> {
        self.room(key).map_or(vec![], |room| room.everyone())
    }

    /// Rooms with listeners.
    pub fn room_count(&self) -> usize {
        self.by_name.len()
    }

    /// Whether this connection is subscribed.
    pub fn is_subscribed(&self, slot: u32, key: HubKey) -> bool {
        self.listeners
            .get(slot as usize)
            .and_then(|l| l.as_ref())
            .is_some_and(|l| l.subs.iter().any(|s| s.room == key.index))
    }

    /// The channels of a connection.
    pub fn subscriptions(&self, slot: u32) -> Vec<HubKey> {
        let listener = self.listeners.get(slot as usize).and_then(|l| l.as_ref());
        listener.map_or(vec![], |l| l.subs.iter().map(|s| self.key(s.room)).collect())
    }

    /// How many channels a connection has.
    pub fn subscription_count(&self, slot: u32) -> usize {
        self.listeners.get(slot as usize).and_then(|l| l.as_ref()).map_or(0, |l| l.subs.len())
    }

    /// Enters a subscriber, as behind; `located` says where it begins. Its messages follow what was said to it so far.
    pub fn enter(&mut self, slot: u32, key: HubKey, how: Listening, located: &Located) {
        let Some(room) = self.room(key) else { return };
        let place = room.add_other(slot);
        let watch = how.watch.then(|| room.add_watcher(slot));
        if room.fresh {
            // Whatever waits in the inbox below this was covered by `located`.
            room.begin(located);
        }
        let cursor = cursor::Cursor::new(located, how);
        let Some(listener) = self.listener(slot) else { return };
        listener.subs.push(Sub::particular(key.index, place, watch, cursor));
        self.figures.subscriptions += 1;
        self.make_ready(slot);
    }

    /// Takes out a subscriber: from now on it is sent nothing of this channel. `None`: it was not subscribed.
    pub fn leave(&mut self, slot: u32, key: HubKey) -> Option<Left> {
        if planted(Bug::DeliverAfterUnsubscribed) && self.hot.get(slot as usize).is_some_and(|h| !h.blocked) {
            return self.is_subscribed(slot, key).then_some(Left { empty: false, watch: false });
        }
        let listener = self.listener(slot)?;
        let at = listener.subs.iter().position(|s| s.room == key.index)?;
        let sub = listener.subs.swap_remove(at);
        if listener.subs.is_empty() {
            listener.subs = Vec::new();
        }
        if let Some(outbox) = &mut listener.outbox {
            let before = outbox.bytes();
            outbox.forget(key);
            self.figures.outbox_bytes -= (before - outbox.bytes()) as u64;
        }
        self.figures.subscriptions -= 1;
        self.tidy_outbox(slot);
        if let Some(at) = sub.watch
            && let Some(moved) = self.room(key)?.remove_watcher(at)
            && let Some(theirs) = self.listener(moved).and_then(|l| l.sub(key.index))
        {
            theirs.watch = Some(at);
        }
        let form = self.hot[slot as usize].form;
        let moved = {
            let room = self.room(key)?;
            if sub.cursor.is_some() {
                room.remove_other(sub.place)
            } else {
                room.remove_plain(form, sub.place)
            }
        };
        self.replace(key.index, &moved);
        Some(Left { empty: self.room(key)?.is_empty(), watch: sub.watch.is_some() })
    }

    /// Tells the subscribers that moved in their room where they are now.
    fn replace(&mut self, room: u32, moved: &room::Moved) {
        for &(slot, place) in moved.iter() {
            if let Some(sub) = self.listener(slot).and_then(|l| l.sub(room)) {
                sub.place = place;
            }
        }
    }

    fn make_ready(&mut self, slot: u32) {
        let hot = &mut self.hot[slot as usize];
        if !hot.ready {
            hot.ready = true;
            self.ready.push_back(slot);
        }
    }

    /// Says something to one connection.
    pub fn say(&mut self, slot: u32, id: Option<u64>, what: &Outgoing<'_>) {
        if matches!(what, Outgoing::Gap { .. }) {
            self.gaps_told += 1;
        }
        let Some(hot) = self.hot.get(slot as usize) else { return };
        let form = hot.form;
        let start = self.own.len();
        write_frame(form, id, what, &mut self.own);
        self.keep_own(slot, start, Class::Own);
    }

    /// Puts ready bytes (a pong, a close frame) behind what was said so far.
    pub fn say_raw(&mut self, slot: u32, bytes: &[u8]) {
        let start = self.own.len();
        self.own.extend_from_slice(bytes);
        self.keep_own(slot, start, Class::Own);
    }

    fn is_open(&self, slot: u32) -> bool {
        self.listeners.get(slot as usize).is_some_and(Option::is_some)
    }

    /// Notes that `self.own[start..]` is for this slot; moves it to the outbox where the socket is full.
    fn keep_own(&mut self, slot: u32, start: usize, class: Class) {
        let end = self.own.len();
        if self.is_open(slot) && !self.hot[slot as usize].blocked {
            self.keep_part(slot, Said::Here(start, end), class);
            return;
        }
        let bytes = Said::Here(start, end).keep(&self.own);
        self.own.truncate(start);
        self.queue(slot, bytes, class);
    }

    /// Notes that this frame is for this slot too. It is not copied: thousands may be told the same.
    fn keep_shared(&mut self, slot: u32, frame: Bytes, class: Class) {
        if !self.is_open(slot) {
            return;
        }
        if self.hot[slot as usize].blocked {
            self.queue(slot, frame, class);
        } else {
            self.keep_part(slot, Said::Shared(frame), class);
        }
    }

    fn keep_part(&mut self, slot: u32, said: Said, class: Class) {
        if said.len() == 0 {
            return;
        }
        let at = slot as usize;
        self.said_bytes += said.len();
        let index = u32::try_from(self.own_parts.len()).expect("a turn is bounded");
        self.own_parts.push(OwnPart { said, next: u32::MAX, class, slot });
        let hot = &mut self.hot[at];
        if hot.own_first == u32::MAX {
            hot.own_first = index;
        } else {
            self.own_parts[hot.own_last as usize].next = index;
        }
        self.hot[at].own_last = index;
        self.make_ready(slot);
    }

    /// What was said to it and not sent will never be.
    fn unsay(&mut self, slot: u32) {
        self.said_bytes -= self.own_bytes_of(slot, 0);
        if let Some(hot) = self.hot.get_mut(slot as usize) {
            (hot.own_first, hot.own_last) = (u32::MAX, u32::MAX);
        }
    }

    /// An entry of a channel arrives: life of a message, stop 7.
    pub fn deliver(&mut self, key: HubKey, entry: Arc<Entry>) {
        // life 7/9: into the channel's batch of this turn.
        let Some(room) = self.room(key) else { return };
        let first = room.pending.is_empty();
        room.pending_bytes += entry.weight();
        room.pending.push(entry);
        let pending_bytes = room.pending_bytes;
        if first {
            self.dirty.push(key.index);
        }
        if pending_bytes > self.pending_bytes {
            self.uncrowd(key);
        }
    }

    /// Entries arrive faster than the walk over a huge room goes: stored ones are read from the window instead.
    fn uncrowd(&mut self, key: HubKey) {
        let Some(room) = self.room(key) else { return };
        // The last stored one says where the window goes on; volatile ones have no number.
        let newest = room.pending.last().map_or(0, |e| e.seq);
        let top = room.pending.iter().rev().find_map(|e| {
            let seq = if planted(Bug::UncrowdForgets) { newest } else { e.seq };
            Some((seq + 1, e.position.clone()?))
        });
        let lost = room.pending.iter().any(|e| e.position.is_none());
        room.pending.clear();
        room.pending_bytes = 0;
        self.figures.collapsed += 1;
        if let Some((next_seq, top)) = top {
            self.fall_behind(key, next_seq, top);
        }
        if lost {
            self.tell_lost(key);
        }
    }

    /// The shard's inbox was full and stored entries were left out: every subscriber reads the window from where it
    /// is. `next_seq` is the first entry that will arrive again, `top` the position before it.
    pub fn fall_behind(&mut self, key: HubKey, next_seq: u64, top: Position) {
        self.close_batch(key.index);
        let Some(room) = self.room(key) else { return };
        if next_seq <= room.delivered + 1 {
            return;
        }
        // What is pending is in the window too.
        room.pending.retain(|e| e.position.is_none());
        room.pending_bytes = room.pending.iter().map(|e| e.weight()).sum();
        let from = room.delivered + 1;
        room.delivered = next_seq - 1;
        let last = room.position.replace(top);
        self.particularise_all(key.index, from, last.as_ref());
        self.ready_others(key.index);
    }

    /// Volatile entries of this channel were left out: its subscribers are told.
    pub fn tell_lost(&mut self, key: HubKey) {
        let Some(room) = self.room(key) else { return };
        let cell = room.cell.clone();
        cell.told_lost(self.shard);
        let Some(room) = self.room(key) else { return };
        for slot in room.everyone() {
            self.say_volatile_gap(slot, &cell);
        }
    }

    fn say_volatile_gap(&mut self, slot: u32, cell: &Cell) {
        let reason = everwire_proto::reply::GapReason::SlowConsumer;
        let gap = Outgoing::Gap { channel: cell.name.as_str(), from: None, to: None, reason };
        self.say(slot, None, &gap);
    }

    /// A presence event arrives: for those who asked, save the member itself.
    pub fn note(&mut self, key: HubKey, note: &MemberNote) {
        let Some(room) = self.room(key) else { return };
        let watchers = std::mem::take(&mut room.watchers);
        for &slot in &watchers {
            let own = self.listener(slot).is_some_and(|l| l.client == note.member.client);
            if own && !planted(Bug::OwnJoin) && note.event == everwire_proto::reply::MemberEvent::Join {
                continue;
            }
            let frame = note.frame(self.hot[slot as usize].form, &mut self.deflater).clone();
            self.keep_shared(slot, frame, Class::Presence(key));
        }
        if let Some(room) = self.room(key) {
            room.watchers = watchers;
        }
    }

    /// Presence events of this channel were left out: whoever wants them is told to ask again.
    pub fn reset_presence(&mut self, key: HubKey) {
        let Some(room) = self.room(key) else { return };
        let (cell, watchers) = (room.cell.clone(), room.watchers.clone());
        let version = cell.told_unheard(self.shard);
        for slot in watchers {
            self.say(slot, None, &Outgoing::PresenceReset { channel: cell.name.as_str(), version });
        }
    }

    /// A page that a cursor wanted is here; `None`: it could not be read, and is asked for again after a while.
    pub fn page(&mut self, slot: u32, key: HubKey, page: Option<Page>) {
        if page.is_none() {
            // Not at once: a broker that has too much to do is not helped by a shard that never sleeps.
            self.unread.push((slot, key));
            return;
        }
        self.turn_page(slot, key, page);
    }

    /// Once a second: pages that could not be read are asked for again.
    pub fn retry_pages(&mut self) {
        for (slot, key) in std::mem::take(&mut self.unread) {
            if self.is_subscribed(slot, key) {
                self.turn_page(slot, key, None);
            }
        }
    }

    fn turn_page(&mut self, slot: u32, key: HubKey, page: Option<Page>) {
        let Some(cursor) = self.listener(slot).and_then(|l| l.sub(key.index)).and_then(|s| s.cursor.as_mut())
        else {
            return;
        };
        cursor.filled(page);
        self.make_ready(slot);
    }

    /// Pages that cursors want from the broker since the last call.
    pub fn take_wanted(&mut self) -> Vec<PageWanted> {
        std::mem::take(&mut self.wanted)
    }

    /// Connections whose outbox overflowed since the last call.
    pub fn take_overflowed(&mut self) -> Vec<Overflow> {
        std::mem::take(&mut self.overflowed)
    }

    /// Gaps told since the last call.
    pub fn take_gaps_told(&mut self) -> u64 {
        std::mem::take(&mut self.gaps_told)
    }

    /// What it has counted.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Bytes in all outboxes.
    pub fn outbox_bytes(&self) -> u64 {
        self.figures.outbox_bytes
    }

    /// Bytes said that are not sent yet, and in no outbox.
    pub fn own_bytes(&self) -> usize {
        self.said_bytes
    }

    /// Those of one connection; 0 where all connections together were told no more than `least`.
    pub fn own_bytes_of(&self, slot: u32, least: usize) -> usize {
        let mut next = match self.hot.get(slot as usize) {
            Some(hot) if self.said_bytes > least => hot.own_first,
            _ => return 0,
        };
        let mut bytes = 0;
        while let Some(part) = self.own_parts.get(next as usize) {
            bytes += part.said.len();
            next = part.next;
        }
        bytes
    }

    /// Bytes that wait in a connection's outbox.
    pub fn waiting_bytes(&self, slot: u32) -> usize {
        let listener = self.listeners.get(slot as usize).and_then(|l| l.as_ref());
        listener.and_then(|l| l.outbox.as_ref()).map_or(0, |o| o.bytes())
    }

    /// Whether the socket is full.
    pub fn is_blocked(&self, slot: u32) -> bool {
        self.hot.get(slot as usize).is_some_and(|hot| hot.blocked)
    }

    /// Since when it has taken nothing, ms of the clock that never jumps; `None` while it takes.
    pub fn stalled_since(&self, slot: u32) -> Option<u64> {
        let listener = self.listeners.get(slot as usize)?.as_ref()?;
        self.is_blocked(slot).then_some(listener.stalled_since_ms)
    }

    /// Whether a connection has neither something due nor something that waits.
    pub fn is_drained(&self, slot: u32) -> bool {
        let hot = self.hot.get(slot as usize);
        self.waiting_bytes(slot) == 0 && hot.is_none_or(|h| h.own_first == u32::MAX)
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, slot: u32) {
        if let Some(hot) = self.hot.get_mut(slot as usize)
            && std::mem::take(&mut hot.blocked)
        {
            // It took something: what it will be blamed for begins when it is full again.
            if let Some(listener) = self.listener(slot) {
                listener.stalled_since_ms = 0;
            }
            self.make_ready(slot);
        }
    }

    /// Throws away what waits, save a frame that was begun: a close frame is to follow.
    pub fn silence(&mut self, slot: u32) {
        self.unsay(slot);
        let before = self.waiting_bytes(slot);
        if let Some(listener) = self.listener(slot)
            && let Some(outbox) = &mut listener.outbox
        {
            outbox.keep_first(true);
        }
        self.figures.outbox_bytes -= (before - self.waiting_bytes(slot)) as u64;
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("shard", &self.shard)
            .field("rooms", &self.by_name.len())
            .finish_non_exhaustive()
    }
}
