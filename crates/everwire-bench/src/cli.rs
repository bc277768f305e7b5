//! The command line of `everwire bench`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::alternate::Rounds;
use crate::floor::Program;
use crate::goals::{self, Bench, Finding, rivals};
use crate::load::args::{Options, Usage};
use crate::load::compare;
use crate::load::outcome::Outcome;
use crate::load::perform::perform as measure;
use crate::load::plan::Kind;
use crate::load::{report, secrets, table, yardstick};
use crate::machine;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Messages to many subscribers: latency and cost of each delivery, loss and duplicates
    #[command(after_help = "Without options: 1 000 subscribers of 1 channel, 20 publishes a second.")]
    Fanout(Box<Options>),
    /// Messages that come back as they are
    #[command(after_help = "Without options: 50 connections, 1 message in flight on each.")]
    Echo(Box<Options>),
    /// Messages through a channel of one's own: publish, and wait for the message
    #[command(after_help = "Without options: 50 connections, 1 000 messages a second in all.")]
    Pingpong(Box<Options>),
    /// Open connections and close them: how many a second, how long until the first answer
    #[command(after_help = "Without options: 200 connections a second, at most 100 at a time.")]
    Connect(Box<Options>),
    /// Connections that do nothing: memory and CPU of each
    #[command(after_help = "Without options: 1 000 connections, subscribed to 10 channels.")]
    Idle(Box<Options>),
    /// Connect, subscribe, receive a message, leave, over and over
    #[command(after_help = "Without options: 200 visits a second to 50 channels, at most 200 at a time.")]
    Churn(Box<Options>),
    /// All are cut off, messages are published, all come back and want what they missed
    #[command(after_help = "Without options: 1 000 subscribers of 10 channels, 50 messages missed in each.")]
    Recover(Box<Options>),
    /// A mixture: publish, ping, presence, history, subscribe
    #[command(
        after_help = "Without options: 200 connections in 20 channels, 1 000 commands a second in all."
    )]
    Mixed(Box<Options>),
    /// What this machine can do at all: bare loops of `send`, broadcast, echo, and held sockets
    Floor(yardstick::Options),
    /// Compare two files that --json wrote
    Compare {
        /// Before
        a: PathBuf,
        /// After
        b: PathBuf,
    },
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
    /// Another server beside ours and the floor, in alternating blocks; starts all three
    #[command(hide = true)]
    Rival {
        /// The server
        #[command(flatten)]
        server: Box<rivals::Options>,
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

/// Does it. 0: done, and everything held; 1: not; 2: it can't be done as it was asked.
pub fn run(task: &Task) -> ExitCode {
    match perform(task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

fn perform(task: &Task) -> Result<bool> {
    match task {
        Task::Fanout(options) => load(Kind::Fanout, options),
        Task::Echo(options) => load(Kind::Echo, options),
        Task::Pingpong(options) => load(Kind::Pingpong, options),
        Task::Connect(options) => load(Kind::Connect, options),
        Task::Idle(options) => load(Kind::Idle, options),
        Task::Churn(options) => load(Kind::Churn, options),
        Task::Recover(options) => load(Kind::Recover, options),
        Task::Mixed(options) => load(Kind::Mixed, options),
        Task::Floor(options) => {
            let floor = yardstick::measure(options)?;
            let json = serde_json::to_string_pretty(&floor)?;
            match &options.json {
                Some(path) if path.as_os_str() == "-" => writeln!(std::io::stdout(), "{json}")?,
                path => {
                    write!(std::io::stdout(), "{}", floor.render())?;
                    path.as_ref().map_or(Ok(()), |path| write(path, &json))?;
                }
            }
            Ok(floor.is_steady())
        }
        Task::Compare { a, b } => {
            let words = compare::compare(&read(a)?, &read(b)?).map_err(Usage)?;
            write!(std::io::stdout(), "{words}")?;
            Ok(true)
        }
        Task::Smoke(blocks) => {
            let machine = machine::words();
            let findings = goals::smoke(Bench::new(blocks.rounds())?)?;
            tell(&findings, *blocks, machine)
        }
        Task::Goals { names, blocks } => {
            // Before this thread is pinned: afterwards there is but one core.
            let machine = machine::words();
            let bench = Bench::new(blocks.rounds())?;
            let (mut all, mut met) = (Vec::new(), true);
            for name in
                if names.is_empty() { goals::NAMES.map(str::to_owned).to_vec() } else { names.clone() }
            {
                let findings = goals::goal(bench, &name)?;
                if blocks.json {
                    all.extend(findings);
                } else {
                    met &= tell(&findings, *blocks, String::new())?;
                }
            }
            Ok(if blocks.json { tell(&all, *blocks, machine)? } else { met })
        }
        Task::Rival { server, blocks } => {
            let machine = machine::words();
            let standings = rivals::measure(Bench::new(blocks.rounds())?, server)?;
            let Blocks { rounds, block_ms, .. } = *blocks;
            let document = rivals::Document { machine, rounds, block_ms, standings };
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&document)?)?;
            Ok(true)
        }
        Task::FloorProgram { program } => {
            program.run()?;
            Ok(true)
        }
    }
}

/// One run with its reports; whether it came to its end and everything held.
fn load(kind: Kind, options: &Options) -> Result<bool> {
    let job = options.job(kind)?;
    let stop = Arc::new(AtomicBool::new(false));
    // The second Ctrl-C does not wait for anything; in this order the first one only sets the flag.
    signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGINT, 130, stop.clone())?;
    signal_hook::flag::register(signal_hook::consts::SIGINT, stop.clone())?;
    let mut outcome = measure(&job, command_line(), stop)?;
    outcome.plan.url = secrets::text(&outcome.plan.url);
    outcome.asserts = options.assert.iter().map(|assertion| assertion.judge(&outcome)).collect();
    let table = table::render(&outcome);
    let json = serde_json::to_string_pretty(&outcome)?;
    if let Some(path) = &options.html {
        write(path, &report::render(&outcome))?;
    }
    match &options.json {
        Some(path) if path.as_os_str() == "-" => {
            write!(std::io::stderr(), "{table}")?;
            writeln!(std::io::stdout(), "{json}")?;
        }
        path => {
            write!(std::io::stdout(), "{table}")?;
            if let Some(path) = path {
                write(path, &json)?;
            }
        }
    }
    if let Some(words) = &outcome.broken {
        let _ = writeln!(std::io::stderr(), "error: {words}");
    }
    Ok(outcome.broken.is_none() && outcome.asserts.iter().all(|verdict| verdict.held))
}

/// As it was typed, as far as a shell's quotes can be guessed, but for secrets.
fn command_line() -> String {
    let mut words = secrets::command(&std::env::args().collect::<Vec<_>>());
    if let Some(first) = words.first_mut() {
        *first =
            Path::new(first).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+%@".contains(c);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("{} can't be written", path.display()))
}

fn read(path: &Path) -> Result<Outcome> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Usage(format!("{} can't be read: {error}", path.display())))?;
    Ok(Outcome::parse(&text).map_err(|words| Usage(format!("{}: {words}", path.display())))?)
}

/// What `--json` prints: one document, whatever was measured.
#[derive(Debug, Serialize)]
struct Document<'a> {
    machine: String,
    rounds: usize,
    block_ms: u64,
    findings: &'a [Finding],
}

/// Prints findings; whether all goals are met.
fn tell(findings: &[Finding], blocks: Blocks, machine: String) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    let met = findings.iter().all(Finding::is_met);
    if blocks.json {
        let Blocks { rounds, block_ms, .. } = blocks;
        let document = Document { machine, rounds, block_ms, findings };
        writeln!(out, "{}", serde_json::to_string_pretty(&document)?)?;
        return Ok(met);
    }
    for f in findings {
        let (sign, word) =
            (if f.more_is_better { ">=" } else { "<=" }, if f.is_met() { "met" } else { "MISSED" });
        writeln!(out, "{:<4} {}\n     floor {}; figure {}", f.goal, f.what, f.floor, f.figure)?;
        writeln!(out, "     {:.3}, goal {sign} {}: {word}\n     {}\n", f.value, f.limit, f.note)?;
    }
    Ok(met)
}
