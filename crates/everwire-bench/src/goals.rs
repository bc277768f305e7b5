//! The goals that this project set itself, each as one measurement: floor, figure, ratio.

mod beside;
mod echo;
mod fanout;
mod latency;
mod memory;
pub mod rivals;
mod rooms;
mod sealed;
mod slow;
mod storm;

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use crate::alternate::{Pair, Rounds};
use crate::machine;
use crate::sides::Shared;
use crate::swarm::Swarm;

/// What one measurement says.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Which goal it belongs to.
    pub goal: &'static str,
    /// What was measured, in words.
    pub what: String,
    /// The floor, with its unit; empty where there is none.
    pub floor: String,
    /// The figure, with its unit.
    pub figure: String,
    /// What is held against the limit: a ratio, or the figure itself.
    pub value: f64,
    /// The limit.
    pub limit: f64,
    /// Whether more is better.
    pub more_is_better: bool,
    /// How far it can be trusted: spreads, conditions.
    pub note: String,
}

impl Finding {
    /// Whether the goal is met.
    pub fn is_met(&self) -> bool {
        if self.more_is_better { self.value >= self.limit } else { self.value <= self.limit }
    }
}

/// Where and how long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// The core of the server and of the floor.
    pub server_core: usize,
    /// The core of the load tool.
    pub load_core: usize,
    /// Blocks.
    pub rounds: Rounds,
}

impl Bench {
    /// The first two cores; this thread stays on the second.
    ///
    /// # Errors
    /// There is only one core: load and server would take it from each other.
    pub fn new(rounds: Rounds) -> Result<Self> {
        let cores = machine::cores()?;
        ensure!(cores.len() >= 2, "two cores are needed: one for the server, one for the load");
        machine::raise_descriptors();
        machine::pin(&[cores[1]])?;
        Ok(Self { server_core: cores[0], load_core: cores[1], rounds })
    }

    fn swarm(&self) -> Result<Shared> {
        Ok(Rc::new(RefCell::new(Swarm::new()?)))
    }
}

/// How far a pair can be trusted, in words.
fn trust(pair: &Pair) -> String {
    let steady = if pair.is_steady() { "" } else { "VOID, the floor was unsteady: " };
    let (low, high) = pair.ratio_range;
    let spread = pair.floor_spread * 100.0;
    format!("{steady}ratios {low:.2}..{high:.2}; the floor's blocks within {spread:.0} %")
}

/// The two figures that the foundation promised.
///
/// # Errors
/// A measurement could not be made.
pub fn smoke(bench: Bench) -> Result<Vec<Finding>> {
    let mut fan_out = fanout::merged(bench, 1_000, 1)?;
    fan_out.limit = 1.5;
    Ok(vec![fan_out, memory::idle(bench, 10_000, 100, 2_048.0)?])
}

/// The goals that this command measures.
pub const NAMES: [&str; 15] =
    ["S1", "S2", "S3", "S5", "S6", "S7", "S8", "S9", "S10", "S12", "S13", "S14", "S15", "S16", "S17"];

/// Measures what belongs to one goal.
///
/// # Errors
/// There is no such goal; a measurement could not be made.
pub fn goal(bench: Bench, name: &str) -> Result<Vec<Finding>> {
    let all = |findings: Vec<Result<Finding>>| findings.into_iter().collect::<Result<Vec<_>>>();
    match name {
        "S1" => all([1_000, 5_000].map(|n| fanout::merged(bench, n, 1)).into()),
        "S2" => all([(1_000, 4), (5_000, 4), (1_000, 16), (5_000, 16)]
            .map(|(n, waiting)| fanout::merged(bench, n, waiting))
            .into()),
        "S3" => all(vec![rooms::many(bench, 9_984), rooms::huge(bench, 18_000)]),
        "S5" => {
            let mut findings = Vec::new();
            for size in [64, 1_024] {
                for conns in [50, 500] {
                    for in_flight in [1, 16] {
                        findings.push(echo::raw(bench, size, conns, in_flight)?);
                    }
                }
            }
            Ok(findings)
        }
        "S6" => all([1, 16].map(|in_flight| echo::protocol(bench, 100, in_flight)).into()),
        "S7" => all(vec![
            memory::idle_echo(bench, 10_000, 512.0),
            memory::idle(bench, 10_000, 100, 1_229.0),
            memory::idle(bench, 10_000, 10_000, 2_560.0),
        ]),
        "S8" => Ok(vec![memory::idle_cpu(bench, 10_000)?]),
        "S9" => latency::beat(bench, 1_000, 100),
        "S10" => storm::recover(bench, 18_000, 50),
        "S12" => slow::deaf(bench, 10_000, 500),
        "S13" => Ok(vec![memory::cycles(bench, 1_000_000)?]),
        "S14" => all(vec![fanout::compressed(bench, 1_000, 512), memory::idle_deflated(bench, 10_000)]),
        "S15" => {
            let floor_ns = fanout::pair(bench, 1_000, 1)?.0.floor_ns;
            Ok(vec![beside::echo(bench, 17_900, floor_ns)?])
        }
        "S16" => Ok(vec![sealed::idle(bench, 10_000, 8_192.0)?]),
        "S17" => Ok(vec![sealed::storm(bench)?]),
        _ => bail!("there is no goal {name:?}: the names are {}", NAMES.join(" ")),
    }
}
