//! Another server, our own and the bare loop, measured in turns: the same load tool, the same core, the same payloads.

mod program;
mod talk;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use everwire_client::Address;
use serde::Serialize;

use self::program::Process;
use self::talk::{Broadcast, Talk, volley};
use super::Bench;
use super::echo::echoes;
use super::fanout::{CHANNEL, bare, ours, payload};
use crate::alternate::{Pair, in_turns};
use crate::crowd::Crowd;
use crate::dialect::Dialect;
use crate::floor::{Program, Running};
use crate::marker::Mark;
use crate::server::Server;
use crate::sides::Shared;
use crate::swarm::{Opening, Upgrade};
use crate::watched::Watched;

/// How the other server is started and spoken to. `{port}` is filled in everywhere, `{channel}` and `{data}` where
/// something is said.
#[derive(Debug, Args)]
pub struct Options {
    /// Its echo, if it has one
    #[arg(long, value_name = "URL")]
    echo: Option<String>,
    /// What asks for an echo, and comes back as it is
    #[arg(long, value_name = "TEXT", default_value = "{data}")]
    echo_text: String,
    /// Its broadcast, if it has one
    #[arg(long, value_name = "URL")]
    fanout: Option<String>,
    /// For the upgrade
    #[arg(long, value_name = "NAME")]
    subprotocol: Option<String>,
    /// What a connection says first
    #[arg(long, value_name = "TEXT")]
    first: Vec<String>,
    /// What stands in the answer to that, if more must wait for it
    #[arg(long, value_name = "MATCH")]
    greeted: Option<String>,
    /// What subscribes to a channel; nothing: whoever connects is subscribed
    #[arg(long, value_name = "TEXT")]
    subscribe: Option<String>,
    /// What stands in the answer to that
    #[arg(long, value_name = "MATCH", default_value = "")]
    subscribed: String,
    /// What publishes
    #[arg(long, value_name = "TEXT", default_value = "{data}")]
    publish: String,
    /// A message that must be answered, such as a ping in the server's own words
    #[arg(long, value_name = "TEXT=TEXT", value_parser = answer)]
    answer: Vec<(String, String)>,
    /// Idle connections whose memory is measured
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    idle: usize,
    /// What starts it; it listens on `{port}`
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

fn answer(text: &str) -> Result<(String, String), String> {
    let halves = text.split_once('=').ok_or("it has no =")?;
    Ok((halves.0.to_owned(), halves.1.to_owned()))
}

/// One figure of all three.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// What was measured; the same words for every server.
    pub what: String,
    /// Of the three figures.
    pub unit: &'static str,
    /// The floor's; `None` where there is none.
    pub floor: Option<f64>,
    /// Ours.
    pub ours: f64,
    /// The other server's.
    pub rival: f64,
    /// Ours to the floor's, from neighbouring blocks.
    pub ours_ratio: Option<f64>,
    /// The other server's to the floor's.
    pub rival_ratio: Option<f64>,
    /// How far it can be trusted: spreads, conditions.
    pub note: String,
}

/// What is printed.
#[derive(Debug, Serialize)]
pub struct Document {
    /// Processor, cores and kernel.
    pub machine: String,
    /// Blocks that counted.
    pub rounds: usize,
    /// Their length.
    pub block_ms: u64,
    /// The figures.
    pub standings: Vec<Standing>,
}

/// Echoes: bytes, connections, in flight.
const ECHOES: [(usize, usize, usize); 3] = [(64, 50, 1), (64, 50, 16), (1_024, 500, 1)];
/// Broadcasts: subscribers, publishes waiting.
const BROADCASTS: [(usize, usize); 3] = [(1_000, 1), (1_000, 16), (5_000, 1)];

/// Measures what the other server can do.
///
/// # Errors
/// It does not start, or does not do what was said of it.
pub fn measure(bench: Bench, options: &Options) -> Result<Vec<Standing>> {
    ensure!(options.echo.is_some() || options.fanout.is_some(), "neither --echo nor --fanout is given");
    let mut standings = Vec::new();
    if let Some(url) = &options.echo {
        for (size, conns, in_flight) in ECHOES {
            standings.push(options.echo(bench, url, size, conns, in_flight)?);
        }
    }
    if let Some(url) = &options.fanout {
        for (subscribers, waiting) in BROADCASTS {
            standings.push(options.broadcast(bench, url, subscribers, waiting)?);
        }
    }
    standings.push(options.memory(bench)?);
    Ok(standings)
}

impl Options {
    fn dialect(&self) -> Dialect {
        Dialect {
            subprotocol: self.subprotocol.clone(),
            first: self.first.clone(),
            greeted: self.greeted.clone().unwrap_or_default(),
            waits_for_greeting: self.greeted.is_some(),
            subscribe: self.subscribe.clone(),
            subscribed: self.subscribed.clone(),
            publish: self.publish.clone(),
            answers: self.answer.clone(),
            ..Dialect::raw()
        }
    }

    /// How it is reached once it runs.
    fn crowd(&self, process: &Process, url: &str) -> Result<Crowd> {
        let url = url.replace("{port}", &process.address.port().to_string());
        let address = Address::parse(&url).map_err(anyhow::Error::msg)?;
        let dialect = self.dialect();
        let opening = Opening::WebSocket(Upgrade::new(&address, dialect.subprotocol.as_deref(), false)?);
        Ok(Crowd { to: process.address, from: Vec::new(), opening, dialect: Some(dialect) })
    }

    fn talk(&self, swarm: &Shared, watched: &Watched) -> Talk {
        Talk { swarm: swarm.clone(), watched: watched.clone(), answers: self.dialect() }
    }

    /// What all three are sent and send back.
    fn echo_message(&self, size: usize) -> Vec<u8> {
        let mut text = String::new();
        Mark { channel: 0, number: 0, due_ns: 0 }.write(size, &mut text);
        let mut message = Vec::new();
        crate::dialect::frame(&mut message, &self.echo_text.replace("{data}", &text));
        message
    }

    fn echo(&self, bench: Bench, url: &str, size: usize, conns: usize, in_flight: usize) -> Result<Standing> {
        let swarm = bench.swarm()?;
        let floor = Running::start(Program::Echo, bench.server_core)?;
        let server = Server::start(bench.server_core, "", "")?;
        let process = Process::start(&self.command, bench.server_core)?;
        let message = self.echo_message(size);
        let side = |crowd: &Crowd, watched: &Watched| -> Result<_> {
            let conns = crowd.open(&mut swarm.borrow_mut(), conns, |_| None)?;
            let talk = self.talk(&swarm, watched);
            Ok(volley(talk, conns, &message.repeat(in_flight), in_flight))
        };
        let mut bare = side(&bare(&floor), &floor.watched)?;
        let mut own = side(&echoes(&server)?, &server.watched)?;
        let mut other = side(&self.crowd(&process, url)?, &process.watched)?;
        let pairs = in_turns(&mut bare, [&mut own, &mut other], bench.rounds)?;
        let what = format!("echo of {size} B, {conns} connections, {in_flight} in flight");
        Ok(standing(what, "messages in a CPU-second", &pairs, String::new()))
    }

    fn broadcast(&self, bench: Bench, url: &str, subscribers: usize, waiting: usize) -> Result<Standing> {
        let swarm = bench.swarm()?;
        let side = |crowd: &Crowd, watched: &Watched, messages: Vec<u8>| -> Result<Broadcast> {
            let publisher = crowd.open(&mut swarm.borrow_mut(), 1, |_| None)?[0];
            crowd.open(&mut swarm.borrow_mut(), subscribers, |_| Some(CHANNEL.to_owned()))?;
            let talk = self.talk(&swarm, watched);
            Ok(Broadcast::new(talk, publisher, messages, (subscribers * waiting) as u64))
        };
        let published = |dialect: &Dialect| {
            let mut out = Vec::new();
            (0..waiting).for_each(|_| dialect.publication(CHANNEL, &payload(), &mut out));
            out
        };
        let server = Server::start(bench.server_core, "", "")?;
        let mut own = side(&ours(&server, false)?, &server.watched, published(&Dialect::everwire()))?;
        let frame = own.first_frame()?;
        let program = match waiting {
            1 => Program::Send { conns: subscribers, frame: frame.len() },
            _ => Program::Broadcast,
        };
        let floor = Running::start(program, bench.server_core)?;
        let mut bare = side(&bare(&floor), &floor.watched, frame.repeat(waiting))?;
        let process = Process::start(&self.command, bench.server_core)?;
        let mut other = side(&self.crowd(&process, url)?, &process.watched, published(&self.dialect()))?;
        let bytes = (frame.len(), other.first_frame()?.len());
        let pairs = in_turns(&mut bare, [&mut own, &mut other], bench.rounds)?;
        let what = format!("1 channel x {subscribers}, {waiting} publish(es) waiting");
        let note = format!("its first frame {} bytes, Everwire's {}; ", bytes.1, bytes.0);
        Ok(standing(what, "deliveries in a CPU-second", &pairs, note))
    }

    /// What a connection holds that has had one message and is idle: all of it echo, or where there is none a channel.
    fn memory(&self, bench: Bench) -> Result<Standing> {
        let (url, channel) = match (&self.echo, &self.fanout) {
            (Some(url), _) => (url, false),
            (None, Some(url)) => (url, true),
            (None, None) => unreachable!("one of them is there"),
        };
        let server = Server::start(bench.server_core, "", "")?;
        let own = if channel { ours(&server, false)? } else { echoes(&server)? };
        let process = Process::start(&self.command, bench.server_core)?;
        let other = self.crowd(&process, url)?;
        let held = |crowd: &Crowd, watched: &Watched, dialect: &Dialect, message: &[u8]| -> Result<f64> {
            let round = |count: usize| -> Result<u64> {
                let swarm = bench.swarm()?;
                let talk = self.talk(&swarm, watched);
                let numbers =
                    crowd.open(&mut swarm.borrow_mut(), count, |_| channel.then(|| CHANNEL.to_owned()))?;
                let mut published = Vec::new();
                dialect.publication(CHANNEL, &payload(), &mut published);
                if channel {
                    let publisher = crowd.open(&mut swarm.borrow_mut(), 1, |_| None)?[0];
                    Broadcast::new(talk.clone(), publisher, published, count as u64).first_frame()?;
                } else {
                    volley(talk.clone(), numbers, message, 1).once()?;
                }
                talk.rest(IDLE)?;
                Ok(watched.resident_bytes()?)
            };
            // Code and tables that the first connections bring are not the connections'.
            let before = round(WARMING)?;
            self.talk(&bench.swarm()?, watched).rest(IDLE)?;
            let bytes = round(self.idle)?.saturating_sub(before);
            Ok(bytes as f64 / self.idle.saturating_sub(WARMING).max(1) as f64)
        };
        let ours = held(&own, &server.watched, &Dialect::everwire(), &self.echo_message(64))?;
        let rival = held(&other, &process.watched, &self.dialect(), &self.echo_message(64))?;
        let of = if channel { "in one channel" } else { "at the echo" };
        Ok(Standing {
            what: format!("memory of each of {} idle connections {of}", self.idle),
            unit: "bytes",
            floor: None,
            ours,
            rival,
            ours_ratio: None,
            rival_ratio: None,
            note: format!(
                "VmRSS beyond that with {WARMING} connections, each has had one message and been idle {} s; what the \
                 kernel holds is not in it",
                IDLE.as_secs()
            ),
        })
    }
}

/// How long they are idle.
const IDLE: Duration = Duration::from_secs(5);
/// Connections of the first round.
const WARMING: usize = 100;

fn standing(what: String, unit: &'static str, [own, other]: &[Pair; 2], note: String) -> Standing {
    let void = if own.is_steady() { "" } else { "VOID, the floor was unsteady: " };
    let [(low, high), (own_low, own_high)] = [other, own].map(|pair| {
        let (low, high) = pair.ratio_range;
        (1.0 / high, 1.0 / low)
    });
    let note = format!(
        "{void}{note}ratios {low:.2}..{high:.2}, Everwire's {own_low:.2}..{own_high:.2}; the floor's blocks within {:.0} %",
        own.floor_spread * 100.0
    );
    Standing {
        what,
        unit,
        floor: Some(1e9 / own.floor_ns),
        ours: 1e9 / own.figure_ns,
        rival: 1e9 / other.figure_ns,
        ours_ratio: Some(1.0 / own.ratio),
        rival_ratio: Some(1.0 / other.ratio),
        note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alternate::{Block, Rounds, Side};
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn the_other_servers_words_are_taken_as_they_are() {
        let words = [
            "x",
            "--fanout",
            "ws://127.0.0.1:{port}/",
            "--first",
            "40",
            "--greeted",
            "40{",
            "--answer",
            "2=3",
        ];
        let line =
            Line::try_parse_from(words.iter().chain(&["--echo-text", "42[{data}]", "--", "node", "--x"]));
        let options = line.unwrap().options;
        let dialect = options.dialect();
        assert!(
            dialect.waits_for_greeting
                && dialect.is_greeted(br#"40{"sid":1}"#)
                && !dialect.is_greeted(b"0{40")
        );
        assert!(dialect.answer(b"2", &mut Vec::new()) && dialect.subscribe.is_none());
        assert_eq!(options.command, ["node", "--x"]);
        // Six bytes of header and mask, which hide the rest; the envelope is around the payload.
        assert_eq!(options.echo_message(64).len(), 6 + 64 + "42[]".len());
        assert!(Line::try_parse_from(["x", "--echo", "ws://x/"]).is_err(), "nothing would be started");
    }

    /// CPU ns of its blocks, one after the other.
    struct Scripted(Vec<u64>);

    impl Side for Scripted {
        fn block(&mut self, _: Duration) -> Result<Block> {
            Ok(Block { done: 1, cpu_ns: self.0.remove(0), wall_ns: 1 })
        }
    }

    #[test]
    fn a_void_run_says_so_and_more_is_better() {
        let run = |floor: [u64; 2]| {
            let rounds = Rounds { count: 2, block: Duration::ZERO, again: 0 };
            let mut floor = Scripted(vec![1, floor[0], floor[1]]);
            let (mut own, mut other) = (Scripted(vec![1, 1_000, 1_000]), Scripted(vec![1, 2_000, 2_000]));
            let pairs = in_turns(&mut floor, [&mut own, &mut other], rounds).unwrap();
            standing("x".to_owned(), "messages in a CPU-second", &pairs, String::new())
        };
        let steady = run([1_000, 1_000]);
        assert_eq!((steady.ours_ratio, steady.rival_ratio, steady.rival), (Some(1.0), Some(0.5), 500_000.0));
        assert!(!steady.note.contains("VOID") && run([1_000, 2_000]).note.contains("VOID"));
    }
}
