//! The command line of `everwire bench`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::alternate::Rounds;
use crate::floor::Program;
use crate::goals::{self, Bench, Finding};

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Fan-out and memory against the project's first promises; starts its own server
    Smoke(Blocks),
    /// The project's goals, each against its floor; all of them without a name
    Goals {
        /// Such as S1 S5
        names: Vec<String>,
        /// How long
        #[command(flatten)]
        blocks: Blocks,
    },
    /// One of the bare loops that others are measured against; the load tool starts it itself
    #[command(hide = true)]
    FloorProgram {
        #[command(subcommand)]
        /// Which
        program: Program,
    },
}

/// Alternating blocks.
#[derive(Clone, Copy, Debug, Args)]
pub struct Blocks {
    /// Blocks of each side
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The length of a block, ms
    #[arg(long, default_value_t = 2_000)]
    block_ms: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Blocks {
    fn rounds(self) -> Rounds {
        Rounds { count: self.rounds, block: Duration::from_millis(self.block_ms), again: 2 }
    }
}

/// Does it. 0: done, and every goal met; 1: not.
pub fn run(task: &Task) -> ExitCode {
    match perform(task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: &Task) -> Result<bool> {
    match task {
        Task::Smoke(blocks) => {
            let findings = goals::smoke(Bench::new(blocks.rounds())?)?;
            print(&findings, blocks.json)?;
            Ok(findings.iter().all(Finding::is_met))
        }
        Task::Goals { names, blocks } => {
            let bench = Bench::new(blocks.rounds())?;
            let mut met = true;
            for name in
                if names.is_empty() { goals::NAMES.map(str::to_owned).to_vec() } else { names.clone() }
            {
                let findings = goals::goal(bench, &name)?;
                print(&findings, blocks.json)?;
                met &= findings.iter().all(Finding::is_met);
            }
            Ok(met)
        }
        Task::FloorProgram { program } => {
            program.run()?;
            Ok(true)
        }
    }
}

fn print(findings: &[Finding], json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(findings)?)?;
        return Ok(());
    }
    for f in findings {
        let (sign, word) =
            (if f.more_is_better { ">=" } else { "<=" }, if f.is_met() { "met" } else { "MISSED" });
        writeln!(out, "{:<4} {}\n     floor {}; figure {}", f.goal, f.what, f.floor, f.figure)?;
        writeln!(out, "     {:.3}, goal {sign} {}: {word}\n     {}\n", f.value, f.limit, f.note)?;
    }
    Ok(())
}
