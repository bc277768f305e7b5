//! What the shards of one node share: its channels, its sessions, its settings.

mod listing;
mod owner;
mod seats;

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use everwire_proto::codes::{CloseCode, ErrorCode};

pub use self::listing::ChannelCursor;
pub use self::owner::Owner;
pub use self::seats::{Known, Seat};

use self::seats::Seats;
use crate::channel::{Cell, Namespaces, Options, Shared};
use crate::hashes::{NamedMap, Seeded};
use crate::inbox::{Expulsion, Inbox, Item, Order, ReplyTo};
use crate::limits::{ConnectionLimits, Times};
use crate::name::ChannelName;
use crate::party::Parties;
use crate::plant::{Bug, planted};
use crate::ports::{Authority, Broker};
use crate::time::{Entropy, Now};

const STRIPES: usize = 64;

/// Ended sessions that one sweep forgets: it must not hold up a shard.
const FORGOTTEN: usize = 20_000;

/// Settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name, told in `connected`.
    pub name: Box<str>,
    /// The namespaces.
    pub namespaces: Namespaces,
    /// Limits of each connection.
    pub limits: ConnectionLimits,
    /// Times.
    pub times: Times,
    /// Whether the first command must be `connect`, with a token.
    pub connect_required: bool,
    /// What the paths of links in errors begin with, such as `/realtime`, or nothing.
    pub base_path: Box<str>,
}

/// Counters that only rise; read by `/stats` and `/metrics`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Publications taken.
    pub published: AtomicU64,
    /// Commands refused, in the order of [`ErrorCode::ALL`].
    pub refused: [AtomicU64; ErrorCode::ALL.len()],
    /// Connections with a session that were closed with one of our codes, in the order of [`CloseCode::ALL`].
    pub closed: [AtomicU64; CloseCode::ALL.len()],
    /// Recoveries that were whole.
    pub recovered: AtomicU64,
    /// Recoveries that were not.
    pub unrecovered: AtomicU64,
    /// Gaps told.
    pub gaps: AtomicU64,
    /// Connections ended because they did not read.
    pub slow: AtomicU64,
    /// Channels evicted.
    pub evicted: AtomicU64,
    /// Volatile messages left out of a full inbox, in marks.
    pub lost: AtomicU64,
    /// Presence events left out of a full inbox, in marks.
    pub unheard: AtomicU64,
    /// Outboxes that were emptied or ended because all of them together held too much.
    pub relieved: AtomicU64,
    /// Times that a connection was not read for a while because a bucket was empty, in the order of [`Payer::ALL`].
    pub paused: [AtomicU64; Payer::ALL.len()],
    /// Connections refused because their user has too many.
    pub crowded_users: AtomicU64,
}

/// Whose bucket a command draws on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payer {
    /// The connection's, for commands.
    Connection,
    /// The connection's for `subscribe` and `unsubscribe`.
    Subscribes,
    /// The connection's for publishes.
    Publishes,
    /// That of all connections of its user.
    User,
    /// That of all connections from its address.
    Address,
}

impl Payer {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Connection, Self::Subscribes, Self::Publishes, Self::User, Self::Address];

    /// A word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Subscribes => "subscribes",
            Self::Publishes => "publishes",
            Self::User => "user",
            Self::Address => "address",
        }
    }
}

impl Counters {
    /// Adds one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refusal.
    pub fn refuse(&self, code: ErrorCode) {
        // The table is in the order of the enum.
        Self::count(&self.refused[code as usize]);
    }

    /// Counts a close; one with a code of the peer's own invention is none of ours.
    pub fn close(&self, code: u16) {
        if let Some(at) = CloseCode::ALL.iter().position(|known| known.code() == code) {
            Self::count(&self.closed[at]);
        }
    }
}

#[derive(Default)]
struct Stripe {
    cells: NamedMap<ChannelName, Arc<Cell>>,
    /// Candidates for eviction, roughly oldest first: (last use when queued, name).
    queue: VecDeque<(u64, ChannelName)>,
}

/// Every channel that the node may know is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The limit, [`crate::limits::NodeLimits::channels`].
    pub channels: usize,
}

/// What the outboxes of a node hold, told by its shards once a turn.
#[derive(Debug)]
pub struct Outboxes {
    bytes: AtomicU64,
    /// By shard: one more than the bytes of its largest when the shard last looked; 0: it has not looked, as there was no
    /// need to.
    largest: Box<[AtomicU64]>,
}

impl Outboxes {
    fn new(shards: usize) -> Self {
        Self { bytes: AtomicU64::new(0), largest: (0..shards).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A shard's have grown, or shrunk.
    pub fn change(&self, before: u64, after: u64) {
        // Modulo 2^64, as the atomic itself.
        self.bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// The largest one of a shard; `None`: it does not look any more.
    pub fn tell_largest(&self, shard: u16, bytes: Option<u64>) {
        self.largest[usize::from(shard)].store(bytes.map_or(0, |bytes| bytes + 1), Ordering::Relaxed);
    }

    /// The largest one of all other shards, as they told.
    pub fn largest_besides(&self, shard: u16) -> u64 {
        let others = self.others(shard).map(|(_, told)| told.saturating_sub(1));
        others.max().unwrap_or(0)
    }

    /// The other shards that have not looked.
    pub fn unlooked_besides(&self, shard: u16) -> impl Iterator<Item = u16> {
        self.others(shard).filter(|(_, told)| *told == 0).map(|(other, _)| other)
    }

    fn others(&self, shard: u16) -> impl Iterator<Item = (u16, u64)> {
        let all = (0u16..).zip(&self.largest).map(|(other, told)| (other, told.load(Ordering::Relaxed)));
        all.filter(move |(other, _)| *other != shard)
    }
}

/// One node.
pub struct Node {
    /// Settings; each shard has its own reference.
    settings: RwLock<Arc<Settings>>,
    /// What all cells share.
    pub shared: Arc<Shared>,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// The authority.
    pub authority: Arc<dyn Authority>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Counters.
    pub counters: Counters,
    /// Users that have a connection.
    pub users: Arc<Parties>,
    /// What the outboxes of all shards hold.
    pub outboxes: Outboxes,
    stripes: Vec<Mutex<Stripe>>,
    seats: Mutex<Seats>,
    cells: AtomicUsize,
    holders: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// A node without channels.
    pub fn new(
        settings: Settings,
        shared: Arc<Shared>,
        broker: Arc<dyn Broker>,
        authority: Arc<dyn Authority>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let outboxes = Outboxes::new(shared.inboxes.len());
        Self {
            settings: RwLock::new(Arc::new(settings)),
            shared,
            broker,
            authority,
            entropy,
            counters: Counters::default(),
            users: Arc::default(),
            outboxes,
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            seats: Mutex::default(),
            cells: AtomicUsize::new(0),
            holders: AtomicU64::new(1),
        }
    }

    /// The settings that hold now.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other settings hold from now on: in each channel at once, in each shard from its next turn, and for those who are
    /// subscribed there over its next turns.
    pub fn change(&self, settings: Settings, now: Now) {
        let settings = Arc::new(settings);
        let before = std::mem::replace(
            &mut *self.settings.write().unwrap_or_else(PoisonError::into_inner),
            settings.clone(),
        );
        let rooms = before.namespaces != settings.namespaces;
        if rooms {
            for stripe in &self.stripes {
                self.change_cells(stripe, &settings.namespaces, now);
            }
        }
        for inbox in &self.shared.inboxes {
            inbox.push(Item::Changed { rooms });
        }
    }

    fn change_cells(&self, stripe: &Mutex<Stripe>, namespaces: &Namespaces, now: Now) {
        let cells: Vec<_> = lock(stripe).cells.values().cloned().collect();
        for cell in cells {
            // Channels of a namespace that is gone are left by their subscribers, and go when there is need.
            let Some(options) = namespaces.options_of(cell.name.as_str()) else { continue };
            cell.change(options, now);
            if !cell.is_dead() {
                continue;
            }
            let mut stripe = lock(stripe);
            if stripe.cells.get(&cell.name).is_some_and(|known| Arc::ptr_eq(known, &cell)) {
                stripe.cells.remove(&cell.name);
                self.cells.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// The inbox of a shard.
    pub fn inbox(&self, shard: u16) -> &Arc<Inbox> {
        &self.shared.inboxes[usize::from(shard)]
    }

    /// Ends connections, on whichever shard they are: their shards do it in their next turn.
    pub fn expel(&self, expulsion: Expulsion) {
        let expulsion = Arc::new(expulsion);
        for inbox in &self.shared.inboxes {
            inbox.push(Item::Expel(expulsion.clone()));
        }
    }

    /// Keys of tokens are good no more: whoever is in by a token of theirs goes as if it had ended now, unless a refresh
    /// with another one comes first.
    pub fn end_keys(&self, keys: Vec<u32>) {
        if keys.is_empty() {
            return;
        }
        let keys: Arc<[u32]> = keys.into();
        for inbox in &self.shared.inboxes {
            inbox.push(Item::KeysGone(keys.clone()));
        }
    }

    /// Has one shard do something with its connections; what it did is reported from its next turn.
    pub fn order(&self, shard: u16, order: Arc<Order>, reply: ReplyTo) {
        self.inbox(shard).push(Item::Order(order, reply));
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> u16 {
        u16::try_from(self.shared.inboxes.len()).unwrap_or(u16::MAX)
    }

    /// A number that no other connection of this node's life has.
    pub fn next_holder(&self) -> u64 {
        self.holders.fetch_add(1, Ordering::Relaxed)
    }

    /// Channels known now.
    pub fn channel_count(&self) -> usize {
        self.cells.load(Ordering::Relaxed)
    }

    fn stripe(&self, name: &str) -> &Mutex<Stripe> {
        // High bits: the map inside uses the low ones.
        let hash = Seeded.hash_one(name) >> 40;
        &self.stripes[usize::try_from(hash).unwrap_or(0) % STRIPES]
    }

    /// The cell of a channel, if this node knows it.
    pub fn find(&self, name: &str) -> Option<Arc<Cell>> {
        let stripe = lock(self.stripe(name));
        stripe.cells.get(name).filter(|cell| !cell.is_dead()).cloned()
    }

    /// The cell of a channel, made where there is none. `name` has been checked, `options` are its namespace's.
    ///
    /// # Errors
    /// [`Full`]: a new cell would be one too many, and no other one is idle.
    pub fn cell(&self, name: &str, options: &Arc<Options>, now: Now) -> Result<Arc<Cell>, Full> {
        if let Some(cell) = self.find(name) {
            return Ok(cell);
        }
        // Before the new cell is there: it is idle itself, and must not be the one that goes.
        self.make_room(now);
        if self.channel_count() >= self.shared.limits.channels && !planted(Bug::CrowdedNode) {
            return Err(Full { channels: self.shared.limits.channels });
        }
        let mut stripe = lock(self.stripe(name));
        if let Some(cell) = stripe.cells.get(name)
            && !cell.is_dead()
        {
            return Ok(cell.clone());
        }
        // The shard may not have heard of new settings yet. These are the node's, and should they change now, the walk over
        // all cells comes to this one behind the lock.
        let settings = self.settings();
        let options = settings.namespaces.options_of(name).unwrap_or(options);
        let name = ChannelName::parse(name).expect("the caller checked the name");
        let cell = Arc::new(self.broker.cell(name.clone(), options.clone(), now));
        stripe.queue.push_back((now.mono_ms, name.clone()));
        if stripe.cells.insert(name, cell.clone()).is_none() {
            self.cells.fetch_add(1, Ordering::Relaxed);
        }
        Ok(cell)
    }

    fn over_budget(&self) -> bool {
        let limits = &self.shared.limits;
        self.channel_count() >= limits.channels
            || self.shared.history_bytes.load(Ordering::Relaxed) > limits.history_bytes
    }

    /// Evicts idle channels, oldest first within a stripe, while the node is over its budget; a bounded effort.
    pub fn make_room(&self, now: Now) {
        let mut at = now.mono_ms as usize;
        for _ in 0..STRIPES {
            if !self.over_budget() {
                return;
            }
            at = (at + 1) % STRIPES;
            self.evict_from(at);
        }
    }

    fn evict_from(&self, stripe: usize) {
        for _ in 0..16 {
            let candidate = {
                let mut stripe = lock(&self.stripes[stripe]);
                let Some((queued, name)) = stripe.queue.pop_front() else { return };
                stripe.cells.get(&name).cloned().map(|cell| (queued, name, cell))
            };
            let Some((queued, name, cell)) = candidate else { continue };
            // Cell locks are never taken under a stripe's lock.
            let used = cell.last_used_ms();
            let evicted = used <= queued && cell.evict_if_idle();
            let mut stripe = lock(&self.stripes[stripe]);
            if !evicted {
                stripe.queue.push_back((used, name));
                continue;
            }
            if stripe.cells.get(&name).is_some_and(|c| Arc::ptr_eq(c, &cell)) {
                stripe.cells.remove(&name);
                self.cells.fetch_sub(1, Ordering::Relaxed);
            }
            drop(stripe);
            Counters::count(&self.counters.evicted);
            if !self.over_budget() {
                return;
            }
        }
    }

    /// One piece of the round that drops what is too old; call it about once a second with a rising `round`.
    pub fn sweep(&self, round: usize, now: Now) {
        let cells: Vec<_> = lock(&self.stripes[round % STRIPES]).cells.values().cloned().collect();
        for cell in cells {
            cell.sweep(now);
        }
        self.make_room(now);
        self.forget_ended(now, FORGOTTEN);
    }

    /// Users that have a connection.
    pub fn user_count(&self) -> usize {
        self.users.count()
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.settings().name).finish_non_exhaustive()
    }
}
