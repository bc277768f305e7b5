//! A shard's turn: events in, writes out. The shell reads sockets and carries bytes; everything that they mean is here.
//!
//! A turn of the shell: [`Turn::attend`], [`Turn::heard`] and [`Turn::message`] for what was read, [`Turn::take_inbox`],
//! [`Turn::run_wheel`], [`Turn::flush`], then [`Turn::take_finished`] and [`Turn::take_released`], and sleep until
//! [`Turn::next_wake_ms`].

mod answers;
mod appointed;
mod carry;
mod changed;
mod ends;
mod expiry;
mod loopback;
mod orders;
mod relief;
mod subscriptions;
mod wheel;
#[cfg(feature = "testing")]
mod probe;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use everwire_proto::codes::CloseCode;
use everwire_proto::command::Command;
use everwire_proto::ids::{ClientId, SessionKey};
use everwire_proto::payload::Format;
use everwire_proto::reply::Outgoing;
use everwire_proto::secret::Secret;
use everwire_proto::{json, msgpack};
use rustc_hash::FxHashMap;

pub use self::loopback::Loopback;
pub use crate::hub::{Carrier, Figures, Sent};

use self::answers::Pending;
use self::changed::Change;
use self::ends::Leave;
use self::subscriptions::Joining;
use self::wheel::Wheel;
use crate::channel::{Cell, Options};
use crate::entry::Form;
use crate::hub::Hub;
use crate::inbox::{ConnKey, HubKey, Item};
use crate::lags::Lags;
use crate::node::{Counters, Node, Settings};
use crate::plant::{Bug, planted};
use crate::session::{Deny, HISTORY_BYTES, Pause, Phase, Session};
use crate::time::{Now, SharedBucket};

/// Bytes said in one turn before the shell is asked to flush first.
const SAID_BYTES: usize = 4 << 20;

/// Bytes of commands that wait for a channel's broker before the connection is held.
const WAITING_BYTES: usize = 64 * 1024;

/// What the shell does with a connection next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Give the next message.
    Continue,
    /// Keep what was read and read no more, until [`Turn::take_released`] names the connection.
    Hold,
    /// Throw away whatever else it sends; it will be in [`Turn::take_finished`].
    Stop,
}

/// What is known of a connection when it is handed over.
#[derive(Clone, Debug)]
pub struct Peer {
    /// How it reads and writes.
    pub form: Form,
    /// A token that came with the upgrade.
    pub token: Option<Secret<Box<str>>>,
    /// The bucket of all connections from its address; `None`: it has no address that could be told from others.
    pub address: Option<Arc<SharedBucket>>,
}

/// A channel that a connection is in by a token of its own.
#[derive(Debug)]
struct Entered {
    key: HubKey,
    /// When that token ends, ms since 1970 UTC.
    ends: Option<u64>,
    /// Its id.
    token_id: Option<Box<str>>,
    /// The number of the key that signed it.
    signed_by: u32,
}

/// Boxed: nearly no connection has any.
type Entrances = Box<Vec<Entered>>;

/// One connection with a session.
#[derive(Debug)]
struct Conn {
    session: Session,
    generation: u32,
    held: Option<Held>,
    /// Pages of history that were asked for and are on their way.
    coming: u8,
    /// It has left its channels and its seat.
    ended: bool,
    waiting: Option<Box<Waiting>>,
    /// Channels that it is in by a token of their own.
    entered: Option<Entrances>,
}

/// So many pages of history may be on their way to a connection however small its outbox: one at a time would make a
/// client that asks for several wait for the broker each time.
const FREE_PAGES: u8 = 3;

impl Conn {
    /// What pages on their way count for the outbox.
    fn coming_bytes(&self) -> usize {
        usize::from(self.coming.saturating_sub(FREE_PAGES)) * HISTORY_BYTES
    }
}

/// Why a connection is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Its bucket is empty until then.
    Bucket,
    /// Its outbox is over half its limit.
    Outbox,
    /// Too many commands wait for a channel.
    Waiting,
}

/// Commands that wait because an earlier one on the same channel is not answered yet.
#[derive(Debug, Default)]
struct Waiting {
    channels: Vec<Box<str>>,
    commands: VecDeque<(Box<str>, Box<[u8]>)>,
    bytes: usize,
}

/// The channel that was published to last: who says much says it to one, whose name needs no other check.
#[derive(Debug)]
struct Last {
    cell: Arc<Cell>,
    /// The settings of its namespace, as they are now.
    options: Arc<Options>,
}

impl Last {
    fn is(&self, channel: &str) -> bool {
        self.cell.name.as_str() == channel && !self.cell.is_dead()
    }
}

/// One shard's turn.
#[derive(Debug)]
pub struct Turn {
    node: Arc<Node>,
    settings: Arc<Settings>,
    shard: u16,
    hub: Hub,
    conns: Vec<Option<Box<Conn>>>,
    generations: Vec<u32>,
    count: usize,
    wheel: Wheel,
    /// Taken from the inbox and not done yet.
    items: VecDeque<Item>,
    asks: FxHashMap<u64, (u64, Pending)>,
    next_ask: u64,
    last: Option<Last>,
    joining: FxHashMap<HubKey, Vec<Joining>>,
    /// The settings that rooms follow, or are about to.
    followed: Arc<Settings>,
    /// Settings that some rooms have not followed yet.
    changing: VecDeque<Change>,
    leaves: BinaryHeap<Leave>,
    paused: BinaryHeap<Reverse<(u64, u32, u32)>>,
    held: Vec<u32>,
    closing: Vec<u32>,
    finished: Vec<u32>,
    released: Vec<u32>,
    /// Who connects is told then that the server goes away: between which times.
    byes: FxHashMap<u32, [u64; 2]>,
    swept_ms: u64,
    round: usize,
    /// Messages that were read, of all connections.
    heard: u64,
    /// What this shard told the node that its outboxes hold.
    told_bytes: u64,
    /// How long publishes waited for their answer.
    publish_lags: Lags,
    /// It told which is the largest.
    told_largest: bool,
}

impl Turn {
    /// The turn of one shard of a node.
    pub fn new(node: Arc<Node>, shard: u16, now: Now) -> Self {
        let settings = node.settings();
        let outbox_bytes = settings.limits.outbox_bytes as usize;
        let hub = Hub::new(shard, outbox_bytes, node.shared.limits.pending_bytes);
        Self {
            node,
            followed: settings.clone(),
            settings,
            shard,
            hub,
            conns: Vec::new(),
            generations: Vec::new(),
            count: 0,
            wheel: Wheel::new(now.mono_ms),
            items: VecDeque::new(),
            asks: FxHashMap::default(),
            next_ask: 0,
            last: None,
            joining: FxHashMap::default(),
            changing: VecDeque::new(),
            leaves: BinaryHeap::new(),
            paused: BinaryHeap::new(),
            held: Vec::new(),
            closing: Vec::new(),
            finished: Vec::new(),
            released: Vec::new(),
            byes: FxHashMap::default(),
            swept_ms: now.mono_ms,
            round: usize::from(shard),
            heard: 0,
            told_bytes: 0,
            publish_lags: Lags::default(),
            told_largest: false,
        }
    }

    /// Connections with a session.
    pub fn connection_count(&self) -> usize {
        self.count
    }

    /// Messages of connections that came to [`Turn::message`], readable or not.
    pub fn heard_count(&self) -> u64 {
        self.heard
    }

    /// How long publishes of connections waited for their answer, refused ones too.
    pub fn publish_lags(&self) -> Lags {
        self.publish_lags
    }

    /// What the hub has counted.
    pub fn figures(&self) -> Figures {
        self.hub.figures()
    }

    /// The settings that this shard goes by.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    fn conn(&mut self, slot: u32) -> Option<&mut Conn> {
        self.conns.get_mut(slot as usize)?.as_deref_mut()
    }

    fn conn_key(&self, slot: u32) -> ConnKey {
        ConnKey { shard: self.shard, slot, generation: self.generations[slot as usize] }
    }

    /// A connection is handed over under a slot that is free.
    pub fn open(&mut self, slot: u32, peer: Peer, now: Now) {
        let at = slot as usize;
        if self.conns.len() <= at {
            self.conns.resize_with(at + 1, || None);
            self.generations.resize(at + 1, 0);
        }
        debug_assert!(self.conns[at].is_none(), "slot {slot} is taken");
        self.generations[at] = self.generations[at].wrapping_add(1);
        let (client, key) = self.fresh_ids();
        let holder = self.node.next_holder();
        let mut session = Session::new(client, key, peer.form, peer.token, holder, now);
        session.address = peer.address;
        self.hub.open(slot, peer.form);
        self.hub.name(slot, client);
        let generation = self.generations[at];
        self.conns[at] = Some(Box::new(Conn {
            session,
            generation,
            held: None,
            coming: 0,
            ended: false,
            waiting: None,
            entered: None,
        }));
        self.count += 1;
        self.arm(slot, now.mono_ms + self.settings.times.connect_ms);
    }

    fn fresh_ids(&self) -> (ClientId, SessionKey) {
        let [client, key] = [self.node.entropy.bits(), self.node.entropy.bits()].map(u128::to_le_bytes);
        let mut id = [0; 12];
        id.copy_from_slice(&client[..12]);
        (ClientId(id), SessionKey(key))
    }

    /// Bytes came in, whatever they mean: that is life.
    pub fn heard(&mut self, slot: u32, now: Now) {
        if let Some(conn) = self.conn(slot) {
            conn.session.heard_ms = now.mono_ms;
            conn.session.pinged = false;
        }
    }

    /// Puts ready bytes (a pong) behind what the connection is told already.
    pub fn raw(&mut self, slot: u32, bytes: &[u8]) {
        self.hub.say_raw(slot, bytes);
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, slot: u32) {
        self.hub.writable(slot);
    }

    /// One whole message of the connection.
    pub fn message(&mut self, slot: u32, payload: &[u8], now: Now) -> Flow {
        self.heard += 1;
        let deepest = self.settings.limits.json_depth;
        let Some(conn) = self.conn(slot) else { return Flow::Stop };
        if matches!(conn.session.phase, Phase::Closing(_)) || conn.ended {
            return Flow::Stop;
        }
        // life 2/9: decode; the payload itself is only checked.
        let decoded = match conn.session.form.format() {
            Format::Json => json::decode_within(payload, deepest),
            Format::MsgPack => msgpack::decode_within(payload, deepest),
        };
        let (id, command) = match &decoded {
            Ok(request) => (request.id, &request.command),
            Err(refusal) => {
                self.refuse(slot, refusal.id, &Deny::new(refusal.code, &*refusal.message));
                self.count_bad(slot, now);
                return self.flow(slot);
            }
        };
        if self.must_wait(slot, command) {
            return self.wait(slot, channel_of(command), payload);
        }
        match self.take_token(slot, command, now) {
            Ok(()) => self.command(slot, id, command, now),
            Err(pause) => self.refuse(slot, id, &pause.refusal()),
        }
        self.flow(slot)
    }

    fn count_bad(&mut self, slot: u32, now: Now) {
        let limit = self.settings.limits.bad_commands;
        let Some(conn) = self.conn(slot) else { return };
        if let Some(code) = conn.session.count_bad(limit, now) {
            self.close(slot, code, "too many commands that can't be read", now);
        }
    }

    /// Takes a token of every bucket; an empty one holds the connection, and a long wait also refuses.
    fn take_token(&mut self, slot: u32, command: &Command<'_>, now: Now) -> Result<(), Pause> {
        let Some(conn) = self.conns.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return Ok(());
        };
        let charged = conn.session.charge(command, &self.settings.limits, now);
        self.pause(slot, charged.unwrap_or_else(Pause::at_most), now);
        charged.map(|_| ())
    }

    /// A ping or a pong of the WebSocket came: it costs what a command does.
    pub fn control(&mut self, slot: u32, now: Now) -> Flow {
        let Some(conn) = self.conns.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return Flow::Stop;
        };
        if matches!(conn.session.phase, Phase::Closing(_)) || conn.ended {
            return Flow::Stop;
        }
        let pause = conn.session.charge_frame(&self.settings.limits, now);
        self.pause(slot, pause, now);
        self.flow(slot)
    }

    /// What follows is not read until the bucket allows it.
    #[inline]
    fn pause(&mut self, slot: u32, pause: Pause, now: Now) {
        if pause.ms > 0
            && let Some(conn) = self.conn(slot)
        {
            conn.held = Some(Held::Bucket);
            let generation = conn.generation;
            self.paused.push(Reverse((now.mono_ms + pause.ms, slot, generation)));
            Counters::count(&self.node.counters.paused[pause.payer as usize]);
        }
    }

    /// Bytes that wait for a connection, as far as they matter: where there is much.
    fn unsent_bytes(&self, slot: u32) -> usize {
        let limit = self.settings.limits.outbox_bytes as usize;
        let waiting = self.hub.waiting_bytes(slot);
        // What it was told and not sent counts too: it may all have to wait.
        waiting + self.hub.own_bytes_of(slot, (limit / 2).saturating_sub(waiting))
    }

    fn flow(&mut self, slot: u32) -> Flow {
        let limit = self.settings.limits.outbox_bytes as usize;
        let waiting = self.unsent_bytes(slot);
        let Some(conn) = self.conn(slot) else { return Flow::Stop };
        if matches!(conn.session.phase, Phase::Closing(_)) {
            return Flow::Stop;
        }
        // And what it has asked for: it can't be refused when it comes.
        let waiting = waiting + conn.coming_bytes();
        if conn.held.is_none() && waiting > limit / 2 {
            conn.held = Some(Held::Outbox);
            self.held.push(slot);
        }
        if self.conn(slot).is_some_and(|c| c.held.is_some()) { Flow::Hold } else { Flow::Continue }
    }

    /// Whether the shell should stop reading and flush: enough was said for one turn.
    pub fn is_full(&self) -> bool {
        self.hub.own_bytes() > SAID_BYTES
    }

    /// A turn begins that will come to [`Turn::take_inbox`], and no sleep before it: what is published meanwhile, by this
    /// shard's own connections too, wakes nobody.
    pub fn attend(&self) {
        self.node.inbox(self.shard).attend();
    }

    /// Takes what other shards, the broker and the API have for this one, until enough is said for one turn: a thousand
    /// members that join at once are a million events for those already there.
    pub fn take_inbox(&mut self, now: Now) {
        if self.items.is_empty() {
            let mut items = Vec::from(std::mem::take(&mut self.items));
            self.node.inbox(self.shard).take(&mut items);
            self.items = items.into();
        }
        while !self.is_full()
            && let Some(item) = self.items.pop_front()
        {
            match item {
                Item::Entry(key, entry) => self.hub.deliver(key, entry),
                Item::Member(key, note) => self.hub.note(key, &note),
                Item::Behind(key) => {
                    if let Some(cell) = self.hub.cell(key) {
                        let (next_seq, top) = cell.catch_up(self.shard);
                        self.hub.fall_behind(key, next_seq, top);
                    }
                }
                Item::Lost(key) => {
                    Counters::count(&self.node.counters.lost);
                    self.hub.tell_lost(key);
                }
                Item::Unheard(key) => {
                    Counters::count(&self.node.counters.unheard);
                    self.hub.reset_presence(key);
                }
                Item::Counted(key) => self.hub.note_count(key),
                // The flush of this turn looks.
                Item::Weigh => {}
                Item::Live(key) => self.channel_live(key, now),
                Item::Failed(key) => self.channel_failed(key, now),
                Item::Answer(number, answer) => self.answered(number, answer, now),
                Item::Resumed(at) => self.resumed_elsewhere(at, now),
                Item::Changed { rooms } => self.change_settings(rooms),
                Item::Expel(expulsion) => self.expel(&expulsion, now),
                Item::KeysGone(keys) => self.end_keys(&keys, now),
                Item::Order(order, reply) => reply.give(self.obey(&order, now)),
                // No shard orders anything.
                Item::Report(..) => {}
            }
        }
        if self.items.is_empty() && self.items.capacity() > 64 * 1024 {
            self.items = VecDeque::new();
        }
        self.follow_settings(now);
    }

    /// Sends what is due, to at most `budget` sockets. Whether there is more: then take the next turn without sleeping.
    pub fn flush(&mut self, carrier: &mut impl Carrier, now: Now, budget: usize) -> bool {
        let more = self.hub.flush(carrier, now, budget);
        self.weigh_outboxes();
        let overflowed = self.hub.take_overflowed();
        if !overflowed.is_empty() {
            for overflow in overflowed {
                self.close_slow(overflow.slot, "the outbox is full", now);
            }
            self.tell_bytes();
        }
        self.ask_wanted(now);
        let gaps = self.hub.take_gaps_told();
        if gaps > 0 {
            self.node.counters.gaps.fetch_add(gaps, Ordering::Relaxed);
        }
        self.finish_closing(now);
        self.release_drained();
        more || self.hub.is_due() || !(self.items.is_empty() && self.changing.is_empty())
    }

    /// Connections that are to be cut: their close frame went out, or will never.
    pub fn take_finished(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.finished)
    }

    /// Connections that may be read again.
    pub fn take_released(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.released)
    }

    fn release(&mut self, slot: u32) {
        if let Some(conn) = self.conn(slot)
            && conn.held.take().is_some()
        {
            self.released.push(slot);
        }
    }

    fn release_drained(&mut self) {
        let limit = self.settings.limits.outbox_bytes as usize;
        let mut held = std::mem::take(&mut self.held);
        held.retain(|slot| {
            let coming = self.conn(*slot).map_or(0, |conn| conn.coming_bytes());
            let still = self.unsent_bytes(*slot) + coming > limit / 2;
            if !still && self.conn(*slot).is_some_and(|c| c.held == Some(Held::Outbox)) {
                self.release(*slot);
            }
            still
        });
        self.held = held;
    }

    /// Says something to a connection.
    fn say(&mut self, slot: u32, id: Option<u64>, what: &Outgoing<'_>) {
        self.hub.say(slot, id, what);
    }

    /// Replies to a command; to one without an id nobody waits for the reply.
    fn reply(&mut self, slot: u32, id: Option<u64>, what: &Outgoing<'_>) {
        if id.is_some() || planted(Bug::ReplyUnasked) {
            self.hub.say(slot, id, what);
        }
    }

    /// Tells a refusal; without an id it goes as a push.
    fn refuse(&mut self, slot: u32, id: Option<u64>, deny: &Deny) {
        self.node.counters.refuse(deny.code);
        let base_path = &self.settings.base_path;
        let error = Outgoing::Error {
            code: deny.code,
            message: &deny.message,
            retry_after_ms: deny.retry_after_ms,
            position: deny.position.as_ref(),
            base_path,
        };
        self.hub.say(slot, id, &error);
    }

    /// Ends a connection from this side: a close frame behind what it was told.
    pub fn close(&mut self, slot: u32, code: CloseCode, reason: &str, now: Now) {
        self.end(slot, false, now);
        self.begin_closing(slot, code.code(), reason, 5_000, now);
    }
}

/// The channel that a command speaks of.
fn channel_of<'c>(command: &'c Command<'_>) -> Option<&'c str> {
    match command {
        Command::Subscribe(c) => Some(&c.channel),
        Command::Publish(c) => Some(&c.channel),
        Command::History(c) => Some(&c.channel),
        Command::Unsubscribe { channel }
        | Command::Presence { channel, .. }
        | Command::PresenceUpdate { channel, .. } => Some(channel),
        Command::Connect(_)
        | Command::Refresh { .. }
        | Command::Call { .. }
        | Command::Ping
        | Command::Pong => None,
    }
}
