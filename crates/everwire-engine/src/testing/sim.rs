//! The simulation: what happens at each step, which faults, and what must be true at the end.

use std::fmt;

use self::recipe::recipe;
use super::central::Central;
use super::client::{Client, View, has_presence};
use super::cluster::Cluster;
use super::ledger::{Check, Ledger};
use super::report::Report;
use super::seed::Rng;
use crate::entry::Form;

mod recipe;
mod commands;
mod backend;
mod faults;
mod rest;

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
    backend_sent: u64,
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
        Self {
            rng,
            cluster,
            clients,
            ledger,
            report: Report::default(),
            channels,
            backend_sent: 0,
            calm: false,
        }
    }

    fn report(&self) -> Report {
        let mut report = self.report;
        let faults = self.cluster.link_faults;
        report.link_breaks = faults.broken;
        report.link_losses = faults.lost;
        report.link_doubles = faults.doubled;
        report.link_reorders = faults.reordered;
        report.evicted_channels += self.evicted();
        report.slow_closes += self.ended_slow();
        report
    }

    fn evicted(&self) -> u64 {
        let counters = self.cluster.nodes.iter().map(|n| &n.node.counters.evicted);
        counters.map(|c| c.load(std::sync::atomic::Ordering::Relaxed)).sum()
    }

    fn ended_slow(&self) -> u64 {
        let counters = self.cluster.nodes.iter().map(|n| &n.node.counters.slow);
        counters.map(|c| c.load(std::sync::atomic::Ordering::Relaxed)).sum()
    }

    fn step(&mut self, step: usize) -> Check {
        let ms = if self.rng.chance(8) { self.rng.between(500, 12_000) } else { self.rng.between(0, 25) };
        self.pass(ms)?;
        match self.rng.below(100) {
            0..=24 => self.some_turn()?,
            25..=57 => self.some_command(),
            58 | 59 => self.some_backend()?,
            60..=80 => self.some_read()?,
            81..=94 => self.some_carrying(),
            _ => self.some_fault(),
        }
        if step.is_multiple_of(16) {
            self.check_members()?;
            self.cluster.check_limits()?;
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
        let starved = conn.was_starved || conn.down.is_starved();
        let (cluster, contiguous) = (&self.cluster, self.cluster.central.is_none());
        let members = |channel: &str| cluster.members(node, channel);
        let summary = |channel: &str| cluster.summary(node, channel);
        let mut view = View {
            ledger: &mut self.ledger,
            report: &mut self.report,
            contiguous,
            members: &members,
            summary: &summary,
            limits: &cluster.recipe.settings.limits,
            now_ms: cluster.now.mono_ms,
            untroubled: contiguous || !cluster.links[node].has_refused(),
            open,
        };
        let goes_on = self.clients[client].read(&mut bytes, &mut view)?;
        if goes_on && !ended {
            self.hand_over(client);
            return Ok(());
        }
        self.closed(client, was_full, starved)
    }

    /// The server ended a connection: it must have had a reason.
    fn closed(&mut self, client: usize, was_full: bool, starved: bool) -> Check {
        let code = self.clients[client].closed_with;
        match code {
            Some(1000 | 4200) => {}
            // Cut without a word, or for its silence: only who does not take what it is sent.
            None if starved => {}
            None => return Err(format!("client {client} was cut without a word")),
            Some(4101) if !was_full && !self.clients[client].was_slow => {
                return Err(format!("client {client} was ended for a silence that is the server's"));
            }
            Some(4100) if was_full => {}
            Some(4101) => self.report.missed_heartbeats += 1,
            Some(1008) if self.clients[client].babbled(self.cluster.recipe.settings.limits.bad_commands) => {
                self.report.babblers += 1;
            }
            Some(1012) if self.clients[client].bye || !self.clients[client].connected => {}
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
        if conn.silent || self.rng.chance(500) {
            // Else what was on its way arrives, though nobody waits for an answer.
            conn.up.clear();
        }
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
}
