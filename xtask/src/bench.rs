//! `cargo xtask bench`: measures a fresh release build, and keeps the figures where everybody sees them.
//!
//! `report` and `rivals` write `docs/benchmarks.json`, and from it `docs/benchmarks.md`; after each goal and each rival,
//! so that a run that was stopped has lost one of them. Everything else goes to `everwire bench` as it stands.
//! Read first: [`record::Book`], [`page::render`].

pub mod record;
pub mod page;
mod goals;
mod bounded;
mod report;
mod rivals;

use std::path::Path;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::call::Call;
use crate::server;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Measure {
    /// The project's goals, kept in docs/benchmarks.json and docs/benchmarks.md; all of them without a name
    Report {
        /// Such as S1 S5; only theirs are replaced
        names: Vec<String>,
        /// How long
        #[command(flatten)]
        blocks: Blocks,
    },
    /// Other servers beside Everwire and the floor, kept in the same files; all of them without a name
    Rivals {
        /// Such as ws socket.io; only theirs are replaced
        names: Vec<String>,
        /// How long
        #[command(flatten)]
        blocks: Blocks,
    },
    /// Writes docs/benchmarks.md from docs/benchmarks.json once more, without measuring
    Page,
    /// Everything else is handed to `everwire bench`: `smoke`, `goals S1`, `fanout --conns 500`, ...
    #[command(external_subcommand)]
    Pass(Vec<String>),
}

/// How long each is measured, and which are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Blocks {
    /// Blocks of each side that count
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// The length of a block, ms
    #[arg(long, default_value_t = 2_000)]
    pub block_ms: u64,
    /// Leave out what was measured at this very commit already
    #[arg(long)]
    pub resume: bool,
}

/// Does what the command line says.
pub fn run(root: &Path, measure: &Measure) -> Result<()> {
    match measure {
        Measure::Report { names, blocks } => report::run(root, names, *blocks),
        Measure::Rivals { names, blocks } => rivals::run(root, names, *blocks),
        Measure::Page => record::Book::read(root)?.write(root),
        Measure::Pass(words) => pass(root, words),
    }
}

/// Runs `everwire bench` of a fresh release build; it ends with 1 where a goal is missed.
fn pass(root: &Path, words: &[String]) -> Result<()> {
    let binary = server::build(root, true)?;
    words.iter().fold(Call::new(root, "").arg(binary).arg("bench"), Call::arg).run()
}
