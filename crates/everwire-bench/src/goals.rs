//! The goals that this project set itself, each as one measurement: floor, figure, ratio.

mod fanout;
mod memory;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::alternate::Rounds;
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

/// The two figures that the foundation promised.
///
/// # Errors
/// A measurement could not be made.
pub fn smoke(bench: Bench) -> Result<Vec<Finding>> {
    let mut fan_out = fanout::merged(bench, 1_000, 1)?;
    fan_out.limit = 1.5;
    Ok(vec![fan_out, memory::idle(bench, 10_000, Duration::from_secs(10))?])
}
