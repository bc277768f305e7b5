//! What this machine can do at all: the floor programs by themselves, without a server to hold against them.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use everwire_proto::ws::{Opcode, write_frame};
use serde::Serialize;

use super::args::{Usage, duration};
use super::table::{bytes, count};
use crate::alternate::{Side, UNSTEADY, median};
use crate::clock::now_ns;
use crate::crowd::Crowd;
use crate::dialect::Dialect;
use crate::floor::{Program, Running};
use crate::machine;
use crate::sides::{Echo, FanOut, Shared};
use crate::swarm::{Opening, Swarm};

/// Bytes of a payload.
const PAYLOAD: usize = 128;
/// Messages that one read of the broadcast brings.
const WAITING: usize = 4;
/// Connections of the echo.
const TALKERS: usize = 50;

/// How the floor is measured.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    conns: usize,
    /// Blocks of each program; one more comes first and does not count
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// The length of a block
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    block: Duration,
    /// Write the figures as JSON; - for standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// The figures of a machine.
#[derive(Clone, Debug, Serialize)]
pub struct Yardstick {
    /// The version of this object's form.
    pub schema: u32,
    /// Processor and kernel.
    pub machine: String,
    /// One for each program.
    pub figures: Vec<Figure>,
}

/// What one floor program makes.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// A short name.
    pub name: &'static str,
    /// What was done.
    pub what: String,
    /// CPU time of each, ns: the median of the blocks. Of `hold`, resident bytes.
    pub value: f64,
    /// `ns` or `bytes`.
    pub unit: &'static str,
    /// How many in a CPU-second.
    pub per_cpu_second: Option<f64>,
    /// How far the blocks lie apart, as a part of the median.
    pub spread: f64,
}

impl Yardstick {
    /// Whether the machine stood still enough.
    pub fn is_steady(&self) -> bool {
        self.figures.iter().all(|figure| figure.spread <= UNSTEADY)
    }

    /// A line for each figure.
    pub fn render(&self) -> String {
        let mut out = format!("{}\n\n", self.machine);
        for figure in &self.figures {
            let value = match figure.per_cpu_second {
                Some(rate) => format!("{:>7.0} ns each, {:>9} in a CPU-second", figure.value, count(rate)),
                None => format!("{:>10} each", bytes(figure.value)),
            };
            let spread = if figure.unit == "ns" {
                format!("; blocks within {:.0} %", figure.spread * 100.0)
            } else {
                String::new()
            };
            let _ = writeln!(out, "  {:<10} {value}   {}{spread}", figure.name, figure.what);
        }
        if !self.is_steady() {
            let _ = writeln!(
                out,
                "\n! The blocks differ by more than {:.0} %: something else runs here, and these figures are void. Run it again.",
                UNSTEADY * 100.0
            );
        }
        out
    }
}

/// Measures all floor programs, one after the other, on a core of their own.
///
/// # Errors
/// There is one core only, or a program could not run.
pub fn measure(options: &Options) -> Result<Yardstick> {
    let cores = machine::cores()?;
    let (Some(floor_core), Some(load_core)) = (cores.first(), cores.get(1)) else {
        return Err(
            Usage("two cores are needed: one for the floor program, one for the load".to_owned()).into()
        );
    };
    if options.conns == 0 || options.rounds == 0 {
        return Err(Usage("--conns and --rounds must be 1 at least".to_owned()).into());
    }
    let room = machine::raise_descriptors();
    if options.conns as u64 + 48 > room {
        let words =
            format!("--conns {}: this process may have {room} descriptors (`ulimit -Hn`)", options.conns);
        return Err(Usage(words).into());
    }
    // Whoever is pinned sees one core only.
    let machine = machine::words();
    machine::pin(&[*load_core])?;
    let figures = vec![
        send(options, *floor_core)?,
        broadcast(options, *floor_core)?,
        echo(options, *floor_core)?,
        hold(options, *floor_core)?,
    ];
    Ok(Yardstick { schema: 1, machine, figures })
}

/// The blocks of one side: median and spread of the CPU time of each.
fn blocks(side: &mut dyn Side, options: &Options) -> Result<(f64, f64)> {
    let mut each = Vec::new();
    for round in 0..=options.rounds {
        let block = side.block(options.block)?;
        if round > 0 {
            each.push(block.cpu_each());
        }
    }
    let (low, high) = each.iter().fold((f64::MAX, f64::MIN), |(low, high), ns| (low.min(*ns), high.max(*ns)));
    let middle = median(&each);
    Ok((middle, (high - low) / middle))
}

fn figure(name: &'static str, what: String, (value, spread): (f64, f64)) -> Figure {
    Figure { name, what, value, unit: "ns", per_cpu_second: Some(1e9 / value), spread }
}

fn bare(running: &Running) -> Crowd {
    Crowd { to: running.address, from: Vec::new(), opening: Opening::Bare, dialect: None }
}

fn swarm() -> Result<Shared> {
    Ok(Rc::new(RefCell::new(Swarm::new()?)))
}

/// A publisher and its subscribers at a floor program.
fn fan_out(program: Program, options: &Options, core: usize, waiting: usize) -> Result<(f64, f64)> {
    let running = Running::start(program, core)?;
    let swarm = swarm()?;
    let publisher = bare(&running).open(&mut swarm.borrow_mut(), 1, |_| None)?[0];
    bare(&running).open(&mut swarm.borrow_mut(), options.conns, |_| None)?;
    let mut side = FanOut {
        swarm,
        watched: running.watched.clone(),
        publisher,
        messages: message().repeat(waiting),
        deliveries: (options.conns * waiting) as u64,
        least_bytes: PAYLOAD,
    };
    blocks(&mut side, options)
}

fn message() -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, &[b'.'; PAYLOAD]);
    frame
}

fn send(options: &Options, core: usize) -> Result<Figure> {
    let program = Program::Send { conns: options.conns, frame: message().len() };
    let what = format!("a bare `send` of {PAYLOAD} bytes to each of {} sockets", options.conns);
    Ok(figure("send", what, fan_out(program, options, core, 1)?))
}

fn broadcast(options: &Options, core: usize) -> Result<Figure> {
    let what = format!("an epoll broadcast, {WAITING} messages waiting, {} sockets", options.conns);
    Ok(figure("broadcast", what, fan_out(Program::Broadcast, options, core, WAITING)?))
}

fn echo(options: &Options, core: usize) -> Result<Figure> {
    let running = Running::start(Program::Echo, core)?;
    let swarm = swarm()?;
    let conns = bare(&running).open(&mut swarm.borrow_mut(), TALKERS, |_| None)?;
    let mut message = Vec::new();
    Dialect::raw().publication("", &".".repeat(PAYLOAD), &mut message);
    let mut side = Echo {
        swarm,
        watched: running.watched.clone(),
        messages: vec![message; conns.len()],
        conns,
        in_flight: 1,
        answers: 1,
    };
    let what = format!("an epoll echo of {PAYLOAD} bytes, {TALKERS} sockets, 1 in flight on each");
    Ok(figure("echo", what, blocks(&mut side, options)?))
}

fn hold(options: &Options, core: usize) -> Result<Figure> {
    let running = Running::start(Program::Hold, core)?;
    let mut swarm = Swarm::new()?;
    let before = running.watched.resident_bytes()?;
    let descriptors = running.watched.descriptors()? + options.conns;
    bare(&running).open(&mut swarm, options.conns, |_| None)?;
    // The kernel has opened them; the program has still to take them.
    let until_ns = now_ns() + 10_000_000_000;
    while running.watched.descriptors().context("the program has ended")? < descriptors {
        anyhow::ensure!(now_ns() < until_ns, "the program did not accept all connections within 10 s");
        swarm.turn(Some(Duration::from_millis(1)), &mut |_, _, _| {})?;
    }
    let grown = running.watched.resident_bytes()?.saturating_sub(before);
    let what =
        format!("resident, for each of {} accepted sockets (the kernel's part is not in it)", options.conns);
    let value = grown as f64 / options.conns as f64;
    Ok(Figure { name: "hold", what, value, unit: "bytes", per_cpu_second: None, spread: 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsteady_floor_is_void() {
        let hold = Figure {
            name: "hold",
            what: "held".to_owned(),
            value: 128.0,
            unit: "bytes",
            per_cpu_second: None,
            spread: 0.0,
        };
        let mut floor = Yardstick {
            schema: 1,
            machine: "a machine".to_owned(),
            figures: vec![figure("send", "sent".to_owned(), (1_250.0, 0.05)), hold],
        };
        let words = floor.render();
        assert!(
            words.contains("send          1250 ns each,   800 000 in a CPU-second   sent; blocks within 5 %"),
            "{words}"
        );
        assert!(words.contains("128 B each   held\n") && !words.contains("void"), "{words}");
        floor.figures[0].spread = 0.2;
        assert!(floor.render().contains("void") && !floor.is_steady());
    }
}
