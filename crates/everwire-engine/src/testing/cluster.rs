//! Nodes with their shards, and the connections between them and the clients: the part that the server's shell plays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use everwire_proto::codes::ErrorCode;
use everwire_proto::reply::PresenceSummary;

use super::central::{Central, Link, LinkFaults};
use super::ledger::{Check, payload_text};
use super::pipe::{Down, Lane, Up};
use super::seed::{Rng, Seeded};
use crate::channel::Shared;
use crate::entry::{Form, MemberCard};
use crate::inbox::Inbox;
use crate::limits::NodeLimits;
use crate::memory::Memory;
use crate::name::ChannelName;
use crate::node::{Node, Settings};
use crate::ports::{Authority, Broker, Entrance, Identity};
use crate::time::{Entropy, Now};
use crate::turn::{Carrier, Flow, Peer, Sent, Turn};

/// One connection, as both sides see it.
pub(super) struct Conn {
    pub(super) node: usize,
    shard: usize,
    pub(super) slot: u32,
    opened_ms: u64,
    /// Commands that were taken, by bucket.
    taken: [u64; 2],
    pub(super) up: VecDeque<Up>,
    pub(super) down: Down,
    held: bool,
    /// The server has it.
    pub(super) open: bool,
    /// Nothing gets through any more, and nobody says so.
    pub(super) silent: bool,
    /// The client cut it; the server learns of it then.
    pub(super) reset_at_ms: Option<u64>,
    /// When the server last received something.
    pub(super) heard_ms: u64,
    /// The client that the server takes it for, and since when.
    pub(super) client: Option<(String, u64)>,
    /// What it was subscribed to when last seen.
    pub(super) channels: BTreeSet<String>,
    /// Of these, what it was in when it ended: there it has a grace.
    left: BTreeSet<String>,
    /// What it had asked for when last seen: it may be in and out again within a turn.
    joining: BTreeSet<String>,
    /// When it ended for the server without a goodbye: its memberships have a grace.
    pub(super) ended_ms: Option<u64>,
    /// Its socket was full then.
    pub(super) was_starved: bool,
    goodbye: bool,
}

pub(super) struct Shard {
    pub(super) turn: Turn,
    slots: Vec<Option<usize>>,
}

pub(super) struct SimNode {
    pub(super) node: Arc<Node>,
    pub(super) shards: Vec<Shard>,
}

/// A token is the name of a user here.
struct Named;

impl Authority for Named {
    fn check(&self, token: &str, _now: Now) -> Result<Identity, (ErrorCode, String)> {
        Ok(Identity { user: Some(token.into()), ..Identity::default() })
    }
    fn check_entrance(&self, _token: &str, _now: Now) -> Result<Entrance, (ErrorCode, String)> {
        Err((ErrorCode::TokenInvalid, "no channel of the simulation wants a token".to_owned()))
    }
}

/// How nodes are made.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) settings: Settings,
    pub(super) limits: NodeLimits,
    pub(super) shards: u16,
    pub(super) pipe_bytes: usize,
}

pub(super) struct Cluster {
    pub(super) recipe: Recipe,
    pub(super) nodes: Vec<SimNode>,
    pub(super) links: Vec<Arc<Link>>,
    pub(super) central: Option<Arc<Central>>,
    pub(super) conns: Vec<Conn>,
    pub(super) now: Now,
    pub(super) link_faults: LinkFaults,
    seed: u64,
}

/// A shard's sockets.
struct Sockets<'a> {
    conns: &'a mut [Conn],
    slots: &'a [Option<usize>],
    rng: &'a mut Rng,
}

impl Carrier for Sockets<'_> {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        match self.slots.get(slot as usize).copied().flatten() {
            Some(conn) => self.conns[conn].down.write(bytes, self.rng),
            None => Sent::Gone,
        }
    }
}

impl Cluster {
    pub(super) fn new(recipe: Recipe, nodes: usize, central: Option<Arc<Central>>, seed: u64) -> Self {
        let now = Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 };
        let mut cluster = Self {
            recipe,
            nodes: Vec::new(),
            links: Vec::new(),
            central,
            conns: Vec::new(),
            now,
            link_faults: LinkFaults::default(),
            seed,
        };
        for _ in 0..nodes {
            let (node, link) = cluster.make_node();
            cluster.nodes.push(node);
            cluster.links.extend(link);
        }
        cluster
    }

    fn make_node(&mut self) -> (SimNode, Option<Arc<Link>>) {
        // Not the step of the generator itself: nodes would then have each other's ids, one place further on.
        self.seed = self.seed.wrapping_add(0x517c_c1b7_2722_0a95);
        let Recipe { settings, limits, shards, .. } = self.recipe.clone();
        let inboxes = (0..shards).map(|_| Arc::new(Inbox::new(limits.inbox_bytes))).collect();
        let shared = Arc::new(Shared { inboxes, limits, history_bytes: 0.into(), message_ids: 0.into() });
        let entropy: Arc<dyn Entropy> = Arc::new(Seeded::new(self.seed));
        let link = self.central.clone().map(|central| Link::new(central, shared.clone()));
        let broker: Arc<dyn Broker> = match &link {
            Some(link) => link.clone(),
            None => Arc::new(Memory::new(shared.clone(), entropy.clone())),
        };
        let node = Arc::new(Node::new(settings, shared, broker, Arc::new(Named), entropy));
        let shard = |number| Shard { turn: Turn::new(node.clone(), number, self.now), slots: Vec::new() };
        let shards = (0..shards).map(shard).collect();
        (SimNode { node, shards }, link)
    }

    /// A client connects; the number of the connection.
    pub(super) fn dial(&mut self, node: usize, shard: usize, form: Form) -> usize {
        let number = self.conns.len();
        let there = &mut self.nodes[node].shards[shard];
        let free = there.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            there.slots.push(None);
            there.slots.len() - 1
        });
        there.slots[slot] = Some(number);
        let slot = u32::try_from(slot).expect("a simulation is small");
        there.turn.open(slot, Peer { form, token: None, address: None }, self.now);
        self.conns.push(Conn {
            node,
            shard,
            slot,
            opened_ms: self.now.mono_ms,
            taken: [0; 2],
            up: VecDeque::new(),
            down: Down::new(self.recipe.pipe_bytes),
            held: false,
            open: true,
            silent: false,
            reset_at_ms: None,
            heard_ms: self.now.mono_ms,
            client: None,
            channels: BTreeSet::new(),
            left: BTreeSet::new(),
            joining: BTreeSet::new(),
            ended_ms: None,
            was_starved: false,
            goodbye: false,
        });
        number
    }

    /// One turn of one shard.
    pub(super) fn turn(&mut self, node: usize, shard: usize, rng: &mut Rng) -> Check {
        let now = self.now;
        let there = &mut self.nodes[node].shards[shard];
        for slot in 0..there.slots.len() {
            let Some(number) = there.slots[slot] else { continue };
            read_one(there, slot, &mut self.conns[number], now, rng);
        }
        there.turn.take_inbox(now);
        there.turn.run_wheel(now);
        let budget = if rng.chance(400) { 1 + rng.below(3) } else { 512 };
        let mut sockets = Sockets { conns: &mut self.conns, slots: &there.slots, rng };
        there.turn.flush(&mut sockets, now, budget);
        for slot in there.turn.take_finished() {
            there.turn.closed(slot, now);
            if let Some(number) = there.slots[slot as usize].take() {
                self.conns[number].open = false;
                self.conns[number].end(now);
            }
        }
        for slot in there.turn.take_released() {
            if let Some(number) = there.slots[slot as usize] {
                self.conns[number].held = false;
            }
        }
        self.look(node, shard)
    }

    /// Notes how the shard sees its connections now.
    fn look(&mut self, node: usize, shard: usize) -> Check {
        let limit = self.recipe.settings.limits.outbox_bytes as usize;
        let there = &mut self.nodes[node].shards[shard];
        for at in 0..there.slots.len() {
            let Some(conn) = there.slots[at].map(|n| &mut self.conns[n]) else { continue };
            let slot = conn.slot;
            conn.note(there, self.now);
            if there.turn.has_ended(slot) {
                conn.end(self.now);
            }
            // One reply may stand on top of the limit before the connection is ended for it.
            let waiting = there.turn.waiting_at(slot);
            if waiting > limit + SLACK_BYTES {
                return Err(format!(
                    "promise 7: {waiting} bytes wait for one connection, the limit is {limit}"
                ));
            }
        }
        let (counted, found) = (there.turn.figures(), there.turn.found());
        if (counted.subscriptions, counted.outbox_bytes) != found {
            return Err(format!("the figures say {counted:?}, and there are {found:?}"));
        }
        Ok(())
    }

    /// A shard says goodbye to a connection. Whether it was there.
    pub(super) fn dismiss(&mut self, number: usize) -> bool {
        let Conn { node, shard, slot, open, ended_ms, .. } = self.conns[number];
        if !open || ended_ms.is_some() {
            return false;
        }
        let there = &mut self.nodes[node].shards[shard];
        self.conns[number].note(there, self.now);
        there.turn.dismiss(slot, [0, 3_000], self.now);
        self.conns[number].end(self.now);
        true
    }

    /// Section 7: nobody is given more commands than its buckets allow, and no node knows more channels than it may.
    pub(super) fn check_limits(&self) -> Check {
        let limits = &self.recipe.settings.limits;
        // With a broker outside, commands wait behind a subscribe before they are counted, and may be refused then.
        let counted = |c: &&Conn| c.open && self.central.is_none();
        for conn in self.conns.iter().filter(counted) {
            let earned = (self.now.mono_ms - conn.opened_ms) * u64::from(limits.commands_per_second) / 1_000;
            for (taken, burst) in conn.taken.into_iter().zip([limits.commands_burst, limits.channels]) {
                if taken > u64::from(burst) + earned + 2 {
                    return Err(format!("section 7: {taken} commands, {burst} at once and {earned} since"));
                }
            }
        }
        for SimNode { node, .. } in &self.nodes {
            if node.channel_count() > self.recipe.limits.channels {
                return Err(format!("section 7: a node knows {} channels", node.channel_count()));
            }
        }
        Ok(())
    }

    /// A node dies and is started anew; the connections it had.
    pub(super) fn kill_node(&mut self, node: usize, rng: &mut Rng) -> Vec<usize> {
        let (fresh, link) = self.make_node();
        if let Some(link) = link {
            let old = std::mem::replace(&mut self.links[node], link);
            old.break_down(&self.links, rng, self.now);
        }
        self.nodes[node] = fresh;
        let mut lost = Vec::new();
        for (number, conn) in self.conns.iter_mut().enumerate().filter(|(_, c)| c.node == node) {
            if conn.open {
                lost.push(number);
            }
            conn.open = false;
            conn.client = None;
        }
        lost
    }

    /// The numbers of the same.
    pub(super) fn summary(&self, node: usize, channel: &str) -> PresenceSummary {
        let cell = self.nodes[node].node.find(channel);
        cell.map_or(PresenceSummary { users: 0, clients: 0, version: 0 }, |cell| cell.presence_summary())
    }

    /// Who is in a channel at a node, by the cell itself.
    pub(super) fn members(&self, node: usize, channel: &str) -> BTreeSet<String> {
        let Some(cell) = self.nodes[node].node.find(channel) else { return BTreeSet::new() };
        cell.presence(usize::MAX, None).members.iter().map(|m| m.client.to_string()).collect()
    }

    /// The same, with what they say of themselves.
    pub(super) fn states(&self, node: usize, channel: &str) -> BTreeMap<String, String> {
        let Some(cell) = self.nodes[node].node.find(channel) else { return BTreeMap::new() };
        let state = |card: &MemberCard| card.state.as_ref().and_then(|s| payload_text(s.view()));
        let named = |card: &MemberCard| {
            let state = state(card).map_or(serde_json::Value::Null, serde_json::Value::String);
            (card.client.to_string(), state.to_string())
        };
        cell.presence(usize::MAX, None).members.iter().map(named).collect()
    }

    /// Promise 6: whoever is a member has a reason to be, and whoever has a reason is one.
    pub(super) fn check_members(&self, channels: &[&str]) -> Check {
        // Whatever ended before that has left no trace, unless its session goes on.
        let trace = 3 * self.recipe.settings.times.presence_grace_ms + LATE_MS;
        let recent = |c: &&Conn| c.ended_ms.is_none_or(|at| at + trace > self.now.mono_ms);
        let name = |c: &Conn| c.client.as_ref().map(|(client, _)| client.clone());
        let names: BTreeSet<String> = self.conns.iter().filter(recent).filter_map(name).collect();
        let goes_on = |c: &&Conn| c.client.as_ref().is_some_and(|(client, _)| names.contains(client));
        let conns: Vec<&Conn> = self.conns.iter().filter(goes_on).collect();
        for (node, channel) in (0..self.nodes.len()).flat_map(|n| channels.iter().map(move |c| (n, *c))) {
            let members = self.members(node, channel);
            let reasons = self.reasons(&conns, node, channel);
            for member in &members {
                let until = reasons.get(member.as_str()).copied().unwrap_or(0);
                if until.saturating_add(LATE_MS) < self.now.mono_ms {
                    return Err(format!("promise 6: {channel}: {member} is a ghost since {until}"));
                }
            }
            for (client, until) in reasons {
                if until == u64::MAX && !members.contains(client) {
                    return Err(format!("promise 6: {channel}: {client} is subscribed and no member"));
                }
            }
            for client in self.graced(&conns, node, channel) {
                if !members.contains(client) {
                    return Err(format!("promise 6: {channel}: {client} has left within its grace"));
                }
            }
        }
        self.check_silence()
    }

    /// Until when each client may be a member; for ever while it is subscribed.
    fn reasons<'a>(&self, conns: &[&'a Conn], node: usize, channel: &str) -> BTreeMap<&'a str, u64> {
        let grace = self.recipe.settings.times.presence_grace_ms;
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        let here = || conns.iter().filter(|c| c.node == node);
        for conn in here().filter(|c| c.channels.contains(channel)) {
            let Some((client, since)) = &conn.client else { continue };
            // Its session went on elsewhere, which it has not heard yet: it may be a member, and need not be one.
            let gone_on =
                here().any(|c| c.client.as_ref().is_some_and(|(of, at)| of == client && at > since));
            let until = match conn.ended_ms {
                None if conn.open && gone_on => self.now.mono_ms,
                None if conn.open => u64::MAX,
                None => 0,
                Some(at) => at + grace,
            };
            let reason = reasons.entry(client).or_default();
            *reason = until.max(*reason);
        }
        for (client, since) in here().filter_map(|c| c.client.as_ref()) {
            // Whoever resumes has a grace to subscribe again.
            if let Some(reason) = reasons.get_mut(client.as_str()) {
                *reason = (*reason).max(since + grace);
            }
        }
        reasons
    }

    /// Whoever ended without a goodbye, has a grace, and did nothing since.
    fn graced<'a>(&self, conns: &[&'a Conn], node: usize, channel: &str) -> Vec<&'a str> {
        let grace = self.recipe.settings.times.presence_grace_ms;
        let here = || conns.iter().filter(|c| c.node == node);
        let name = |c: &'a Conn| c.client.as_ref().map(|(client, _)| &**client);
        let ended = here().filter(|c| {
            c.left.contains(channel) && c.ended_ms.is_some_and(|at| at + grace > self.now.mono_ms)
        });
        let once = |client: &&str| here().filter(|c| name(c) == Some(client)).count() == 1;
        ended.filter_map(|c| name(c)).filter(once).collect()
    }

    /// Promise 6, second half: what died in silence is noticed in time.
    fn check_silence(&self) -> Check {
        let times = &self.recipe.settings.times;
        let limit = times.heartbeat_ms + times.heartbeat_grace_ms + LATE_MS;
        let silent = |c: &&Conn| c.open && c.ended_ms.is_none() && c.heard_ms + limit < self.now.mono_ms;
        match self.conns.iter().find(silent) {
            Some(conn) => Err(format!("section 5: nothing was heard since {} and it is kept", conn.heard_ms)),
            None => Ok(()),
        }
    }
}

/// A shard that has not had its turn for so long is late, in a simulation.
const LATE_MS: u64 = 5_000;

/// What may stand behind a full outbox: the close frame that ends the connection for it.
const SLACK_BYTES: usize = 128;

impl Conn {
    fn end(&mut self, now: Now) {
        if self.ended_ms.is_none() {
            self.ended_ms = Some(now.mono_ms);
            self.was_starved = self.down.is_starved();
            if self.goodbye {
                self.channels.clear();
                self.joining.clear();
            }
            self.left.clone_from(&self.channels);
            self.channels.append(&mut self.joining);
        }
    }
}

/// What a shard reads of one connection in one turn.
fn read_one(there: &mut Shard, at: usize, conn: &mut Conn, now: Now, rng: &mut Rng) {
    let slot = conn.slot;
    if conn.down.has_room_again() && !conn.silent {
        there.turn.writable(slot);
    }
    let most = if rng.chance(200) { 64 } else { 1 + rng.below(8) };
    for _ in 0..most {
        if conn.held || conn.silent || there.turn.is_full() {
            break;
        }
        let Some(up) = conn.up.pop_front() else { break };
        // What it is in now: the message may end it.
        conn.note(there, now);
        conn.heard_ms = now.mono_ms;
        there.turn.heard(slot, now);
        match up {
            Up::Life => {}
            Up::Close(code) => {
                conn.goodbye = code == 1000;
                there.turn.peer_closed(slot, Some(code), now);
            }
            Up::Message(message, lane) => {
                match lane {
                    Lane::Commands => conn.taken[0] += 1,
                    Lane::Subscribes => conn.taken[1] += 1,
                    Lane::Free => {}
                }
                match there.turn.message(slot, &message, now) {
                    Flow::Continue => {}
                    Flow::Hold => conn.held = true,
                    Flow::Stop => conn.up.clear(),
                }
            }
        }
    }
    conn.note(there, now);
    if conn.reset_at_ms.is_some_and(|ms| ms <= now.mono_ms) {
        there.turn.closed(slot, now);
        there.slots[at] = None;
        conn.open = false;
        conn.end(now);
    }
}

impl Conn {
    fn note(&mut self, there: &mut Shard, now: Now) {
        let Some(client) = there.turn.client_at(self.slot) else { return };
        let client = client.to_string();
        if self.client.as_ref().is_none_or(|(known, _)| *known != client) {
            self.client = Some((client, now.mono_ms));
        }
        let named = |list: Vec<ChannelName>| list.iter().map(|c| c.as_str().to_owned()).collect();
        self.channels = named(there.turn.channels_at(self.slot));
        self.joining = named(there.turn.joining_at(self.slot));
    }
}
