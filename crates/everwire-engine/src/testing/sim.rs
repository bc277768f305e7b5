//! The simulation: what happens at each step, which faults, and what must be true at the end.

use std::collections::BTreeMap;
use std::fmt;

use everwire_proto::ids::Epoch;
use everwire_proto::position::Position;
use rustc_hash::FxHashMap;
use serde_json::json;

use super::central::Central;
use super::client::{Client, View, has_no_history, has_presence};
use super::cluster::{Cluster, Recipe};
use super::ledger::{Check, Ledger};
use super::pipe::Up;
use super::report::Report;
use super::seed::Rng;
use crate::channel::{HistoryLimits, Namespaces, OnSlow, Options};
use crate::entry::Form;
use crate::limits::{ConnectionLimits, NodeLimits, Times};
use crate::node::Settings;

/// Which world is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// One node with the in-process broker.
    Memory,
    /// Two or three nodes on a broker that is simulated too, with a faulty link to each.
    Brokered,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What it is made from.
    pub seed: u64,
    /// How many steps; then the faults end and everything must come to rest.
    pub steps: usize,
    /// Where.
    pub world: World,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// Its step; the number of steps and more: while everything came to rest.
    pub step: usize,
    /// Which promise, and how.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, step {}: {}", self.seed, self.step, self.what)
    }
}

/// Runs a plan to its end.
///
/// # Errors
/// The first promise that was broken.
pub fn run(plan: &Plan) -> Result<Report, Failure> {
    let mut step = 0;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut sim = Sim::new(plan);
        while step < plan.steps {
            sim.step(step)?;
            step += 1;
        }
        sim.come_to_rest()?;
        Ok(sim.report())
    }));
    // A panic is a finding like any other, and wants its seed.
    let outcome = outcome.unwrap_or_else(|_| Err("the engine panicked; its message stands above".to_owned()));
    outcome.map_err(|what| Failure { seed: plan.seed, step, what })
}

const BUSY: [&str; 8] = ["r1", "r2", "r3", "d:1", "v:1", "c:1", "q:1", "r4"];
/// Used seldom, so that they are evicted.
const SELDOM: usize = 24;

struct Sim {
    rng: Rng,
    cluster: Cluster,
    clients: Vec<Client>,
    ledger: Ledger,
    report: Report,
    channels: Vec<String>,
    /// No faults any more.
    calm: bool,
}

impl Sim {
    fn new(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let keep = rng.between(8, 60);
        let brokered = plan.world == World::Brokered;
        let central = brokered.then(|| Central::new(rng.bits(), usize::try_from(keep).unwrap_or(8)));
        let nodes = if brokered { 2 + rng.below(2) } else { 1 };
        let recipe = recipe(&mut rng, keep);
        let cluster = Cluster::new(recipe, nodes, central.clone(), rng.bits());
        let forms = [Form::Json, Form::JsonDeflated, Form::MsgPack, Form::MsgPackDeflated];
        let count = 4 + rng.below(8);
        let clients = (0..count).map(|n| Client::new(n, forms[rng.below(forms.len())])).collect();
        let seldom = (0..SELDOM).map(|n| format!("seldom{n}"));
        let channels = BUSY.iter().map(|c| (*c).to_owned()).chain(seldom).collect();
        let ledger = Ledger::new(central);
        Self { rng, cluster, clients, ledger, report: Report::default(), channels, calm: false }
    }

    fn report(&self) -> Report {
        let mut report = self.report;
        let faults = self.cluster.link_faults;
        report.link_breaks = faults.broken;
        report.link_losses = faults.lost;
        report.link_doubles = faults.doubled;
        report.link_reorders = faults.reordered;
        report.evicted_channels += self.evicted();
        report
    }

    fn evicted(&self) -> u64 {
        let counters = self.cluster.nodes.iter().map(|n| &n.node.counters.evicted);
        counters.map(|c| c.load(std::sync::atomic::Ordering::Relaxed)).sum()
    }

    fn step(&mut self, step: usize) -> Check {
        let ms = if self.rng.chance(8) { self.rng.between(500, 12_000) } else { self.rng.between(0, 25) };
        self.pass(ms)?;
        match self.rng.below(100) {
            0..=24 => self.some_turn()?,
            25..=59 => self.some_command(),
            60..=80 => self.some_read()?,
            81..=94 => self.some_carrying(),
            _ => self.some_fault(),
        }
        if step.is_multiple_of(16) {
            self.check_members()?;
        }
        Ok(())
    }

    fn check_members(&self) -> Check {
        let channels = self.channels.iter().filter(|c| has_presence(c));
        self.cluster.check_members(&channels.map(String::as_str).collect::<Vec<_>>())
    }

    /// Time goes on; over more than a moment everybody who can does what is due.
    fn pass(&mut self, ms: u64) -> Check {
        let mut left = ms;
        loop {
            let now = &mut self.cluster.now;
            let hop = left.min(250);
            now.mono_ms += hop;
            now.unix_ms += hop;
            left -= hop;
            if left == 0 {
                return Ok(());
            }
            self.round()?;
        }
    }

    /// Everybody once.
    fn round(&mut self) -> Check {
        for _ in 0..4 {
            self.carry_all();
        }
        for node in 0..self.cluster.nodes.len() {
            for shard in 0..self.cluster.nodes[node].shards.len() {
                self.cluster.turn(node, shard, &mut self.rng)?;
            }
        }
        for client in 0..self.clients.len() {
            if !self.clients[client].slow {
                self.read(client, usize::MAX)?;
            }
            self.hand_over(client);
        }
        Ok(())
    }

    fn carry_all(&mut self) {
        let (links, now) = (self.cluster.links.clone(), self.cluster.now);
        for link in &links {
            if !link.is_up() && (self.calm || self.rng.chance(50)) {
                link.come_back();
            }
            link.check_positions(now);
            for _ in 0..8 {
                link.carry_up(&links, now);
                link.carry_down(now);
            }
        }
    }

    fn some_turn(&mut self) -> Check {
        let node = self.rng.below(self.cluster.nodes.len());
        let shard = self.rng.below(self.cluster.nodes[node].shards.len());
        self.cluster.turn(node, shard, &mut self.rng)
    }

    fn some_carrying(&mut self) {
        let (links, now) = (self.cluster.links.clone(), self.cluster.now);
        for _ in 0..3 {
            let Some(link) = self.rng.pick(&links) else { return };
            if self.rng.chance(500) {
                link.carry_up(&links, now);
            } else {
                link.carry_down(now);
            }
        }
    }

    fn some_read(&mut self) -> Check {
        let client = self.rng.below(self.clients.len());
        if self.clients[client].slow && !self.rng.chance(20) {
            return Ok(());
        }
        let most = if self.rng.chance(500) { usize::MAX } else { 1 + self.rng.below(600) };
        self.read(client, most)
    }

    /// A client reads what its socket has.
    fn read(&mut self, client: usize, most: usize) -> Check {
        let Some(number) = self.clients[client].conn else { return Ok(()) };
        let conn = &mut self.cluster.conns[number];
        if conn.silent {
            return Ok(());
        }
        let mut bytes = conn.down.read(most);
        let (node, open) = (conn.node, conn.open && conn.ended_ms.is_none());
        // A channel of `c:` closes whoever is late, be it by this shard's own doing.
        let was_full = conn.down.was_full || conn.channels.contains("c:1");
        let ended = !conn.open && conn.down.is_empty();
        let (cluster, contiguous) = (&self.cluster, self.cluster.central.is_none());
        let members = |channel: &str| cluster.members(node, channel);
        let mut view =
            View { ledger: &mut self.ledger, report: &mut self.report, contiguous, members: &members, open };
        let goes_on = self.clients[client].read(&mut bytes, &mut view)?;
        if goes_on && !ended {
            self.hand_over(client);
            return Ok(());
        }
        self.closed(client, was_full)
    }

    /// The server ended a connection: it must have had a reason.
    fn closed(&mut self, client: usize, was_full: bool) -> Check {
        let code = self.clients[client].closed_with;
        match code {
            None | Some(1000 | 4200) => {}
            Some(4100) if was_full => self.report.slow_closes += 1,
            Some(4101) => self.report.missed_heartbeats += 1,
            Some(code) => {
                return Err(format!("client {client} was closed with {code}, and did nothing for it"));
            }
        }
        self.drop_conn(client, 0);
        Ok(())
    }

    /// The client lets its connection go; the server learns of it after so many ms.
    fn drop_conn(&mut self, client: usize, after_ms: u64) {
        let Some(number) = self.clients[client].conn else { return };
        self.clients[client].lose();
        let now_ms = self.cluster.now.mono_ms;
        let conn = &mut self.cluster.conns[number];
        conn.up.clear();
        if conn.open && !conn.silent {
            conn.reset_at_ms = Some(now_ms + after_ms);
        }
    }

    /// What a client has written goes to its shard.
    fn hand_over(&mut self, client: usize) {
        let out = std::mem::take(&mut self.clients[client].out);
        if let Some(number) = self.clients[client].conn
            && !self.cluster.conns[number].silent
        {
            self.cluster.conns[number].up.extend(out);
        }
    }

    fn some_command(&mut self) {
        let client = self.rng.below(self.clients.len());
        if self.clients[client].conn.is_none() {
            if self.rng.chance(400) {
                self.dial(client);
            }
            return;
        }
        let burst = if self.rng.chance(60) { 30 } else { 1 };
        let channel = self.some_channel();
        for _ in 0..burst {
            self.command(client, &channel);
        }
        self.hand_over(client);
    }

    fn some_channel(&mut self) -> String {
        let busy = self.rng.chance(900);
        let at = if busy { self.rng.below(BUSY.len()) } else { BUSY.len() + self.rng.below(SELDOM) };
        self.channels[at].clone()
    }

    fn dial(&mut self, client: usize) {
        let node = self.rng.below(self.cluster.nodes.len());
        let shard = self.rng.below(self.cluster.nodes[node].shards.len());
        let number = self.cluster.dial(node, shard, self.clients[client].form);
        self.ledger.owner(number, client);
        let resume = self.rng.chance(700);
        self.clients[client].open(number, resume);
        self.hand_over(client);
    }

    fn command(&mut self, client: usize, channel: &str) {
        let rng = &mut self.rng;
        let me = &mut self.clients[client];
        let (subscribed, moving) = (me.is_subscribed(channel), me.is_moving(channel));
        match rng.below(20) {
            0..=4 if !moving && !subscribed => self.subscribe(client, channel),
            0 if !moving && subscribed => me.unsubscribe(channel),
            1 if !moving && subscribed && rng.chance(300) => {
                me.unsubscribe(channel);
                self.subscribe(client, channel);
            }
            5..=11 => {
                let (keyed, volatile) = (rng.chance(500), rng.chance(150) || has_no_history(channel));
                let size = if rng.chance(150) { rng.below(600) } else { rng.below(30) };
                me.publish(&mut self.ledger, channel, keyed && !volatile, volatile, size);
            }
            12 | 13 => {
                if let Some(unsure) = me.unsure.pop() {
                    me.publish_again(&mut self.ledger, &unsure);
                }
            }
            14 if !has_no_history(channel) => me.history(channel, rng.between(1, 6), rng.chance(300)),
            15 if has_presence(channel) => me.presence(channel),
            16 if subscribed && !moving && has_presence(channel) => me.set_state(channel, rng.between(0, 9)),
            17 => me.ping(),
            18 if rng.chance(300) => self.blunder(client, channel),
            _ => {}
        }
    }

    fn subscribe(&mut self, client: usize, channel: &str) {
        let rng = &mut self.rng;
        let me = &mut self.clients[client];
        let since = match rng.below(10) {
            0..=6 => me.known.get(channel).cloned(),
            7 if rng.chance(200) => {
                me.known.get(channel).map(|p| Position { offset: p.offset / 2, ..p.clone() })
            }
            8 if rng.chance(200) => Epoch::parse("foreign").map(|epoch| Position { epoch, offset: 3 }),
            9 if rng.chance(200) => {
                me.known.get(channel).map(|p| Position { offset: p.offset + 1_000, ..p.clone() })
            }
            _ => None,
        };
        let rewind = rng.chance(150).then(|| rng.between(1, 20));
        let watch = has_presence(channel) && rng.chance(400);
        me.subscribe(channel, since, rewind, rng.chance(200), watch);
    }

    fn blunder(&mut self, client: usize, channel: &str) {
        let me = &mut self.clients[client];
        let (subscribed, moving) = (me.is_subscribed(channel), me.is_moving(channel));
        match self.rng.below(4) {
            0 if subscribed && !moving => {
                me.blunder(json!({"type": "subscribe", "channel": channel}), "already_subscribed");
            }
            1 if !subscribed && !moving => {
                me.blunder(json!({"type": "unsubscribe", "channel": channel}), "not_subscribed");
            }
            2 => me.blunder(json!({"type": "subscribe", "channel": "no space"}), "bad_channel_name"),
            _ => me.blunder(json!({"type": "publish", "channel": channel}), "bad_request"),
        }
    }

    fn some_fault(&mut self) {
        let client = self.rng.below(self.clients.len());
        match self.rng.below(12) {
            0 | 1 => {
                if self.clients[client].conn.is_some() {
                    self.report.cuts += 1;
                }
                let after = if self.rng.chance(500) { 0 } else { self.rng.between(0, 20_000) };
                self.drop_conn(client, after);
            }
            2 => self.fall_silent(client),
            3..=5 => {
                let me = &mut self.clients[client];
                if me.conn.is_some() {
                    me.slow = !me.slow;
                    self.report.slow_readers += u64::from(me.slow);
                }
            }
            6 => self.say_goodbye(client),
            7 if self.rng.chance(100) => self.kill_node(),
            8 | 9 => self.disturb(),
            10 if self.rng.chance(500) => self.break_link(),
            10 => self.flood(client),
            11 if self.rng.chance(150) => self.lose_past(),
            _ => {}
        }
    }

    /// The client is gone without a word, like a phone in a tunnel; it will come back on another connection.
    fn fall_silent(&mut self, client: usize) {
        let Some(number) = self.clients[client].conn else { return };
        self.report.silences += 1;
        self.cluster.conns[number].silent = true;
        self.drop_conn(client, 0);
    }

    fn say_goodbye(&mut self, client: usize) {
        let Some(number) = self.clients[client].conn else { return };
        self.report.goodbyes += 1;
        self.hand_over(client);
        let conn = &mut self.cluster.conns[number];
        conn.up.push_back(Up::Close(1000));
        let up = std::mem::take(&mut conn.up);
        self.drop_conn(client, 1_000);
        // What was written before the goodbye still arrives.
        self.cluster.conns[number].up = up;
    }

    fn kill_node(&mut self) {
        self.report.node_deaths += 1;
        self.report.evicted_channels += self.evicted();
        let node = self.rng.below(self.cluster.nodes.len());
        let lost = self.cluster.kill_node(node, &mut self.rng);
        self.report.evicted_channels -= self.evicted().min(self.report.evicted_channels);
        for client in &mut self.clients {
            if client.conn.is_some_and(|conn| lost.contains(&conn)) {
                client.lose();
            }
        }
    }

    /// Somebody fills a channel that a slow client reads.
    fn flood(&mut self, publisher: usize) {
        let slow: Vec<_> = self.clients.iter().filter(|c| c.slow).flat_map(Client::channels).collect();
        let Some(channel) = self.rng.pick(&slow).cloned() else { return };
        let volatile = has_no_history(&channel) || self.rng.chance(600);
        if self.clients[publisher].slow || self.clients[publisher].conn.is_none() {
            return;
        }
        self.report.floods += 1;
        for _ in 0..60 {
            self.clients[publisher].publish(&mut self.ledger, &channel, false, volatile, 500);
        }
        self.hand_over(publisher);
    }

    fn disturb(&mut self) {
        let Some(link) = self.rng.pick(&self.cluster.links).cloned() else { return };
        link.disturb(&mut self.rng, &mut self.cluster.link_faults);
    }

    fn break_link(&mut self) {
        let links = self.cluster.links.clone();
        let Some(link) = self.rng.pick(&links).cloned() else { return };
        if link.is_up() {
            self.cluster.link_faults.broken += 1;
            link.break_down(&links, &mut self.rng, self.cluster.now);
        }
    }

    fn lose_past(&mut self) {
        let channel = self.some_channel();
        if let Some(central) = &self.cluster.central {
            self.report.lost_pasts += 1;
            central.lose_past(&channel);
        }
    }

    /// The faults end: everybody comes back, and then everything that was promised must be there.
    fn come_to_rest(&mut self) -> Check {
        self.calm = true;
        for client in 0..self.clients.len() {
            self.clients[client].slow = false;
            if self.clients[client].conn.is_none() {
                self.dial(client);
            }
        }
        // Long enough for heartbeats, graces, timeouts and position checks.
        self.rest(120_000)?;
        for client in 0..self.clients.len() {
            if self.clients[client].conn.is_none() {
                self.dial(client);
            }
        }
        self.rest(30_000)?;
        self.check_presence()?;
        self.check_tops()?;
        self.check_volatile()?;
        self.check_history()?;
        self.ledger.finish()
    }

    fn rest(&mut self, ms: u64) -> Check {
        for _ in 0..ms / 500 {
            self.pass(500)?;
            self.check_members()?;
        }
        Ok(())
    }

    /// Promise 2 at the end: everybody has, or was told the loss of, everything.
    fn check_tops(&mut self) -> Check {
        for client in &self.clients {
            let Some(number) = client.conn else {
                return Err(format!("client {} did not stay connected in a calm world", client.number));
            };
            if !client.is_settled() {
                return Err(format!("client {}: a command was never answered", client.number));
            }
            let node = self.cluster.conns[number].node;
            for channel in client.channels() {
                let Some(at) = client.position(&channel) else { continue };
                let top = match &self.cluster.central {
                    Some(central) => central.top(&channel),
                    None => self.cluster.nodes[node].node.find(&channel).map(|cell| cell.top()),
                };
                let top = top.ok_or("a channel with subscribers is known")?;
                let spared = self.ledger.all_from(&channel, at, &top, client.number);
                if *at != top && !spared {
                    return Err(format!(
                        "promise 2: client {} is at {at:?} of {channel}, the top is {top:?}",
                        client.number
                    ));
                }
            }
        }
        Ok(())
    }

    /// Promise 6 at the end: who is subscribed is there, nobody else, and every watcher knows it.
    fn check_presence(&self) -> Check {
        for channel in self.channels.iter().filter(|c| has_presence(c)) {
            for node in 0..self.cluster.nodes.len() {
                let here = |c: &&Client| c.conn.is_some_and(|n| self.cluster.conns[n].node == node);
                let subscribed = self.clients.iter().filter(here).filter(|c| c.is_subscribed(channel));
                let expected: std::collections::BTreeSet<String> =
                    subscribed.clone().filter_map(|c| c.me.clone()).collect();
                let members = self.cluster.members(node, channel);
                if members != expected {
                    return Err(format!(
                        "promise 6: {channel}: members {members:?}, subscribed {expected:?}"
                    ));
                }
                for client in subscribed {
                    let Some(watch) = client.watched(channel) else { continue };
                    if watch.members().as_ref() != Some(&expected) {
                        let seen = watch.members();
                        return Err(format!(
                            "promise 6: client {} sees {seen:?} in {channel}, not {expected:?}",
                            client.number
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// In a calm world a volatile message reaches everybody.
    fn check_volatile(&mut self) -> Check {
        let Some(publisher) = self.clients.iter().position(|c| c.conn.is_some()) else { return Ok(()) };
        for channel in self.channels.clone() {
            self.clients[publisher].publish(&mut self.ledger, &channel, false, true, 0);
            let sent = self.clients[publisher].last_payload();
            self.hand_over(publisher);
            self.rest(2_000)?;
            for client in self.clients.iter().filter(|c| c.is_subscribed(&channel) && c.number != publisher) {
                if !client.has_volatile(&channel, &sent) {
                    return Err(format!("client {} did not get {sent:?} of {channel}", client.number));
                }
            }
        }
        Ok(())
    }

    /// Promise 3 at the end: what was acknowledged is in the history, or older than what is kept.
    fn check_history(&mut self) -> Check {
        let kept: BTreeMap<String, (Position, Vec<(u64, String)>)> =
            self.channels.iter().filter_map(|c| Some((c.clone(), self.kept(c)?))).collect();
        for (channel, (floor, messages)) in kept {
            self.ledger.kept(&channel, &floor, &messages)?;
        }
        Ok(())
    }

    fn kept(&self, channel: &str) -> Option<(Position, Vec<(u64, String)>)> {
        if let Some(central) = &self.cluster.central {
            return central.kept(channel);
        }
        let cell = self.cluster.nodes[0].node.find(channel)?;
        let query =
            crate::channel::HistoryQuery { limit: usize::MAX, max_bytes: usize::MAX, ..Default::default() };
        let page = cell.history(&query, self.cluster.now);
        let messages = page
            .entries
            .iter()
            .filter_map(|entry| Some((entry.position.as_ref()?.offset, super::ledger::payload_of(entry)?)));
        Some((page.floor, messages.collect()))
    }
}

fn recipe(rng: &mut Rng, keep: u64) -> Recipe {
    let history = HistoryLimits {
        messages: usize::try_from(keep).unwrap_or(8),
        age_ms: if rng.chance(300) { rng.between(5_000, 60_000) } else { 600_000 },
        bytes: if rng.chance(300) { 16 * 1024 } else { 1 << 20 },
    };
    let open = Options { history: Some(history), ..Options::open() };
    let named = [
        ("d", Options { on_slow: OnSlow::Drop, ..open.clone() }),
        ("v", Options { history: None, on_slow: OnSlow::Drop, ..open.clone() }),
        ("c", Options { history: None, on_slow: OnSlow::Close, ..open.clone() }),
        ("q", Options { presence: false, ..open.clone() }),
    ];
    let mut namespaces =
        Namespaces { default: Some(open.into()), named: FxHashMap::default(), unnamed: None };
    for (name, options) in named {
        namespaces.named.insert(name.into(), options.into());
    }
    let limits = ConnectionLimits {
        outbox_bytes: [12 * 1024, 24 * 1024, 96 * 1024][rng.below(3)],
        commands_burst: if rng.chance(500) { 1_000_000 } else { 100 },
        ..ConnectionLimits::default()
    };
    let settings = Settings {
        name: "simulated".into(),
        namespaces,
        limits,
        times: Times::default(),
        connect_required: false,
    };
    let node = NodeLimits {
        channels: 12 + rng.below(20),
        inbox_bytes: [2_048, 16 << 20][rng.below(2)],
        message_ids: 10_000,
        ..NodeLimits::default()
    };
    let shards = u16::try_from(1 + rng.below(3)).unwrap_or(1);
    let pipe_bytes = [1_024, 4_096, 32_768][rng.below(3)];
    Recipe { settings, limits: node, shards, pipe_bytes }
}
