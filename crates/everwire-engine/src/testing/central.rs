//! A simulated broker outside of the nodes: one log a channel, offsets with holes, and to each node a link that loses,
//! delays, doubles and reorders what it carries, and breaks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use everwire_proto::codes::ErrorCode;
use everwire_proto::ids::Epoch;
use everwire_proto::position::Position;

use super::seed::Rng;
use crate::channel::{Arrival, Cell, Draft, HistoryQuery, Options, Prev, Publisher, Shared};
use crate::entry::{Entry, Kind, Publication};
use crate::inbox::{Answer, Inbox, Item, Page};
use crate::name::ChannelName;
use crate::ports::{Ask, Asked, Broker, Caps, Ticket};
use crate::time::Now;

/// One message of a log.
#[derive(Clone)]
struct Logged {
    offset: u64,
    /// The offset before it; 0 for the first.
    before: u64,
    publication: Publication,
}

struct Log {
    epoch: Epoch,
    top: u64,
    /// What is kept; the newest `keep`.
    kept: VecDeque<Logged>,
    keep: usize,
    ids: BTreeMap<(String, Box<str>), u64>,
    /// Every offset there ever was, with the one before it, by epoch: what the promises are checked against.
    all: BTreeMap<(Epoch, u64), u64>,
}

impl Log {
    fn top(&self) -> Position {
        Position { epoch: self.epoch.clone(), offset: self.top }
    }

    fn floor(&self) -> Position {
        let offset = self.kept.front().map_or(self.top, |first| first.before);
        Position { epoch: self.epoch.clone(), offset }
    }

    fn arrival(&self, logged: &Logged, rng: &mut Rng) -> Arrival {
        let prev = match logged.before {
            _ if rng.chance(100) => Prev::Unknown,
            0 => Prev::First,
            before => Prev::After(before),
        };
        let position = Position { epoch: self.epoch.clone(), offset: logged.offset };
        Arrival { position, prev, publication: logged.publication.clone() }
    }
}

/// What the broker itself holds.
pub(super) struct Central {
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    logs: BTreeMap<String, Log>,
    keep: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Central {
    /// A broker that keeps so many messages of a channel.
    pub(super) fn new(seed: u64, keep: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { rng: Rng::new(seed), logs: BTreeMap::new(), keep }) })
    }

    /// The offset before this one; 0 where there is none.
    pub(super) fn before(&self, channel: &str, epoch: &str, offset: u64) -> u64 {
        let state = lock(&self.state);
        let log = state.logs.get(channel);
        let key = Epoch::parse(epoch).map(|epoch| (epoch, offset));
        key.and_then(|key| log?.all.get(&key).copied()).unwrap_or(0)
    }

    /// Whether there never was a message with `low < offset <= high`.
    pub(super) fn is_empty_between(&self, channel: &str, epoch: &Epoch, low: u64, high: u64) -> bool {
        let state = lock(&self.state);
        let Some(log) = state.logs.get(channel) else { return true };
        log.all.range((epoch.clone(), low + 1)..=(epoch.clone(), high)).next().is_none()
    }

    /// The top of a channel's log, if it has one.
    pub(super) fn top(&self, channel: &str) -> Option<Position> {
        lock(&self.state).logs.get(channel).map(Log::top)
    }

    /// What is kept of a channel: the place before it, and its messages.
    pub(super) fn kept(&self, channel: &str) -> Option<(Position, Vec<(u64, String)>)> {
        let state = lock(&self.state);
        let log = state.logs.get(channel)?;
        let messages =
            log.kept.iter().filter_map(|l| Some((l.offset, super::ledger::text_of(&l.publication)?)));
        Some((log.floor(), messages.collect()))
    }

    /// A channel loses its past: a new epoch.
    pub(super) fn lose_past(&self, channel: &str) {
        let mut state = lock(&self.state);
        let epoch = Epoch::from_random(state.rng.bits());
        if let Some(log) = state.logs.get_mut(channel) {
            log.epoch = epoch;
            log.top = 0;
            log.kept.clear();
            log.ids.clear();
        }
    }
}

impl State {
    fn log(&mut self, channel: &str) -> (&mut Log, &mut Rng) {
        let (rng, keep) = (&mut self.rng, self.keep);
        let log = self.logs.entry(channel.to_owned()).or_insert_with(|| Log {
            epoch: Epoch::from_random(rng.bits()),
            top: 0,
            kept: VecDeque::new(),
            keep,
            ids: BTreeMap::new(),
            all: BTreeMap::new(),
        });
        (log, rng)
    }

    /// Numbers and appends; the arrival for all who listen, unless it is a duplicate.
    fn publish(&mut self, channel: &str, draft: Draft, now: Now) -> (Answer, Option<Arrival>) {
        let (log, rng) = self.log(channel);
        let key = draft.message_id.clone().map(|id| (publisher(&draft.publisher), id));
        if let Some(offset) = key.as_ref().and_then(|key| log.ids.get(key)) {
            let position = Some(Position { epoch: log.epoch.clone(), offset: *offset });
            return (Answer::Published { position, duplicate: true }, None);
        }
        let before = log.top;
        log.top += rng.between(1, 3);
        let logged = Logged { offset: log.top, before, publication: publication(draft, now) };
        log.all.insert((log.epoch.clone(), log.top), before);
        if let Some(key) = key {
            log.ids.insert(key, log.top);
        }
        let arrival = log.arrival(&logged, rng);
        log.kept.push_back(logged);
        if log.kept.len() > log.keep {
            log.kept.pop_front();
        }
        (Answer::Published { position: Some(log.top()), duplicate: false }, Some(arrival))
    }

    fn page(&mut self, cell: &Cell, query: &HistoryQuery) -> Page {
        let (log, _) = self.log(cell.name.as_str());
        let (after, before) = query.bounds(&log.epoch);
        let mut found: Vec<_> = log.kept.iter().filter(|l| l.offset > after && l.offset < before).collect();
        if query.reverse {
            found.reverse();
        }
        let more = found.len() > query.limit.min(16);
        found.truncate(query.limit.min(16));
        let entry = |logged: &&Logged| {
            let position = Position { epoch: log.epoch.clone(), offset: logged.offset };
            Arc::new(Entry::new(
                cell.name.clone(),
                0,
                Some(position),
                Kind::Message(logged.publication.clone()),
            ))
        };
        Page { position: log.top(), floor: log.floor(), entries: found.iter().map(entry).collect(), more }
    }
}

fn publisher(who: &Publisher) -> String {
    format!("{who:?}")
}

fn publication(draft: Draft, now: Now) -> Publication {
    let Draft { payload, message_id, from, tags, .. } = draft;
    Publication { payload, message_id, from, time: now.unix_ms, tags }
}

/// From a node to the broker, in order.
enum Request {
    Publish(Arc<Cell>, Draft, Ticket),
    History(Arc<Cell>, HistoryQuery, Ticket),
    Attach(Arc<Cell>),
    Detach(Arc<Cell>),
    Fill(Arc<Cell>, Position),
}

/// From the broker to a node.
#[derive(Clone)]
enum Delivery {
    Arrival(String, Arrival),
    Volatile(String, Publication),
    Answer(Ticket, Answer),
    Attached(Arc<Cell>, Position),
    Filled(Arc<Cell>, Vec<Arrival>, Position, Position),
}

#[derive(Default)]
struct Wire {
    up: VecDeque<Request>,
    down: VecDeque<Delivery>,
    connected: bool,
    /// What this node wants to hear of, whatever the link is doing.
    desired: BTreeMap<String, Arc<Cell>>,
    /// What the broker delivers to this node.
    subscribed: BTreeSet<String>,
    checked_ms: u64,
    /// It was asked for more than it can.
    refused: bool,
}

/// What went wrong with a link, so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinkFaults {
    pub(super) broken: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
}

/// One node's link to the broker: the port that its engine uses, and the task that owns it.
pub(super) struct Link {
    central: Arc<Central>,
    shared: Arc<Shared>,
    inboxes: Vec<Arc<Inbox>>,
    wire: Mutex<Wire>,
}

impl Link {
    pub(super) fn new(central: Arc<Central>, shared: Arc<Shared>) -> Arc<Self> {
        let inboxes = shared.inboxes.clone();
        let wire = Mutex::new(Wire { connected: true, ..Wire::default() });
        Arc::new(Self { central, shared, inboxes, wire })
    }

    /// Carries at most one request to the broker and what it causes to all links.
    pub(super) fn carry_up(&self, all: &[Arc<Link>], now: Now) {
        let request = {
            let mut wire = lock(&self.wire);
            if !wire.connected {
                return;
            }
            wire.up.pop_front()
        };
        let Some(request) = request else { return };
        let mut state = lock(&self.central.state);
        match request {
            Request::Publish(cell, draft, ticket) => {
                let channel = cell.name.as_str();
                if draft.volatile || !cell.keeps_history() {
                    let publication = publication(draft, now);
                    fan_out(all, channel, &Delivery::Volatile(channel.to_owned(), publication));
                    let answer = Answer::Published { position: None, duplicate: false };
                    self.deliver(Delivery::Answer(ticket, answer));
                    return;
                }
                let (answer, arrival) = state.publish(channel, draft, now);
                if let Some(arrival) = arrival {
                    fan_out(all, channel, &Delivery::Arrival(channel.to_owned(), arrival));
                }
                self.deliver(Delivery::Answer(ticket, answer));
            }
            Request::History(cell, query, ticket) => {
                let page = state.page(&cell, &query);
                self.deliver(Delivery::Answer(ticket, Answer::Page(page)));
            }
            Request::Attach(cell) => {
                let top = state.log(cell.name.as_str()).0.top();
                lock(&self.wire).subscribed.insert(cell.name.as_str().to_owned());
                self.deliver(Delivery::Attached(cell, top));
            }
            Request::Detach(cell) => {
                // Attached anew meanwhile: the later wish counts.
                let mut wire = lock(&self.wire);
                if !wire.desired.contains_key(cell.name.as_str()) {
                    wire.subscribed.remove(cell.name.as_str());
                }
            }
            Request::Fill(cell, after) => {
                let (log, rng) = state.log(cell.name.as_str());
                let same = log.epoch == after.epoch;
                let found = log.kept.iter().filter(|l| !same || l.offset > after.offset);
                let arrivals: Vec<_> = found.take(16).map(|l| log.arrival(l, rng)).collect();
                let (floor, top) = (log.floor(), log.top());
                self.deliver(Delivery::Filled(cell, arrivals, floor, top));
            }
        }
    }

    fn deliver(&self, delivery: Delivery) {
        lock(&self.wire).down.push_back(delivery);
    }

    /// Brings one delivery to the node.
    pub(super) fn carry_down(&self, now: Now) {
        let delivery = lock(&self.wire).down.pop_front();
        let Some(delivery) = delivery else { return };
        let cell_of = |channel: &str| lock(&self.wire).desired.get(channel).cloned();
        let (cell, wanted) = match delivery {
            Delivery::Answer(ticket, answer) => {
                // Nobody of this simulation waits at the desk.
                if let Some(inbox) = self.inboxes.get(usize::from(ticket.shard)) {
                    inbox.push(Item::Answer(ticket.number, answer));
                }
                return;
            }
            Delivery::Volatile(channel, publication) => {
                if let Some(cell) = cell_of(&channel) {
                    cell.arrive_volatile(publication, now);
                }
                return;
            }
            Delivery::Arrival(channel, arrival) => {
                let Some(cell) = cell_of(&channel) else { return };
                let wanted = cell.arrive(arrival, now);
                (cell, wanted)
            }
            Delivery::Attached(cell, top) => {
                let wanted = cell.attached(top, now);
                (cell, wanted)
            }
            Delivery::Filled(cell, arrivals, floor, top) => {
                let wanted = cell.filled(arrivals, floor, top, now);
                (cell, wanted)
            }
        };
        if let Some(after) = wanted {
            lock(&self.wire).up.push_back(Request::Fill(cell, after));
        }
    }

    /// One delivery goes wrong, if there is one that may: arrivals only, as over a publish-subscribe connection.
    pub(super) fn disturb(&self, rng: &mut Rng, faults: &mut LinkFaults) {
        let mut wire = lock(&self.wire);
        let arrivals = wire.down.iter().enumerate();
        let arrivals: Vec<_> =
            arrivals.filter(|(_, d)| matches!(d, Delivery::Arrival(..))).map(|(i, _)| i).collect();
        let Some(at) = rng.pick(&arrivals).copied() else { return };
        match rng.below(3) {
            0 => {
                wire.down.remove(at);
                faults.lost += 1;
            }
            1 => {
                let again = wire.down[at].clone();
                wire.down.push_back(again);
                faults.doubled += 1;
            }
            _ => {
                let last = wire.down.len() - 1;
                wire.down.swap(at, last);
                faults.reordered += u64::from(at != last);
            }
        }
    }

    /// The connection breaks: what is on it is lost, and nobody knows which requests the broker took.
    pub(super) fn break_down(&self, all: &[Arc<Link>], rng: &mut Rng, now: Now) {
        let taken = rng.below(lock(&self.wire).up.len() + 1);
        for _ in 0..taken {
            self.carry_up(all, now);
        }
        let (up, down) = {
            let mut wire = lock(&self.wire);
            wire.connected = false;
            wire.subscribed.clear();
            (std::mem::take(&mut wire.up), std::mem::take(&mut wire.down))
        };
        for request in up {
            if let Request::Fill(cell, _) = request {
                cell.fill_failed();
            }
        }
        for delivery in down {
            if let Delivery::Filled(cell, ..) = delivery {
                cell.fill_failed();
            }
        }
    }

    pub(super) fn has_refused(&self) -> bool {
        lock(&self.wire).refused
    }

    pub(super) fn is_up(&self) -> bool {
        lock(&self.wire).connected
    }

    /// The connection is built anew, and with it every subscription that is wanted.
    pub(super) fn come_back(&self) {
        let mut wire = lock(&self.wire);
        wire.connected = true;
        let cells: Vec<_> = wire.desired.values().cloned().collect();
        wire.up.extend(cells.into_iter().map(Request::Attach));
    }

    /// The periodic position check (every 25 s): what was lost with nothing behind it would be noticed never.
    pub(super) fn check_positions(&self, now: Now) {
        let mut wire = lock(&self.wire);
        if !wire.connected || now.mono_ms < wire.checked_ms + 25_000 {
            return;
        }
        wire.checked_ms = now.mono_ms;
        let cells: Vec<_> = wire.desired.values().cloned().collect();
        wire.up.extend(cells.into_iter().map(Request::Attach));
    }
}

/// A broker, and what carries its answers whenever it is called.
pub type Carried = (Arc<dyn Broker>, Box<dyn FnMut(Now)>);

/// The simulated broker on its own, with a link that does what it should, and what carries on it.
pub fn simulated_broker(shared: Arc<Shared>) -> Carried {
    let links = [Link::new(Central::new(5, 1_000), shared)];
    let broker = links[0].clone();
    let carry = move |now| {
        for _ in 0..4 {
            links[0].carry_up(&links, now);
            links[0].carry_down(now);
        }
    };
    (broker, Box::new(carry))
}

fn fan_out(all: &[Arc<Link>], channel: &str, delivery: &Delivery) {
    for link in all {
        let mut wire = lock(&link.wire);
        if wire.subscribed.contains(channel) {
            wire.down.push_back(delivery.clone());
        }
    }
}

/// More requests than this are refused at once.
const WAITING: usize = 256;

impl Broker for Link {
    fn caps(&self) -> Caps {
        Caps { in_process: false, durable: true }
    }

    fn cell(&self, name: ChannelName, options: Arc<Options>, now: Now) -> Cell {
        Cell::foreign(name, options, self.shared.clone(), now)
    }

    fn ask(&self, cell: &Arc<Cell>, ask: Ask, ticket: Ticket, _now: Now) -> Asked {
        let mut wire = lock(&self.wire);
        if wire.up.len() >= WAITING {
            wire.refused = true;
            return Asked::Now(Answer::Failed(ErrorCode::Overloaded));
        }
        wire.up.push_back(match ask {
            Ask::Clear => return Asked::Now(Answer::Failed(ErrorCode::NotAvailable)),
            Ask::Publish(draft) => Request::Publish(cell.clone(), draft, ticket),
            Ask::History(query) => Request::History(cell.clone(), query, ticket),
        });
        Asked::Later
    }

    fn attach(&self, cell: &Arc<Cell>, _now: Now) {
        let mut wire = lock(&self.wire);
        wire.desired.insert(cell.name.as_str().to_owned(), cell.clone());
        if wire.connected {
            wire.up.push_back(Request::Attach(cell.clone()));
        }
    }

    fn detach(&self, cell: &Arc<Cell>, _now: Now) {
        let mut wire = lock(&self.wire);
        wire.desired.remove(cell.name.as_str());
        wire.up.push_back(Request::Detach(cell.clone()));
    }
}
