//! Many small channels, and one that is huge, against one of a thousand.

use std::time::Duration;

use anyhow::Result;
use everwire_proto::ws::{Opcode, write_frame};

use super::fanout::{CHANNEL, bare, ours, payload, server_side};
use super::{Bench, Finding};
use crate::alternate::{Block, Rounds, Side, UNSTEADY, median};
use crate::clock::now_ns;
use crate::dialect::{Dialect, frame};
use crate::floor::pairs::DIGITS;
use crate::floor::{Program, Running};
use crate::server::Server;
use crate::sides::{FanOut, Shared};
use crate::watched::Watched;

/// Bytes of what the bare loops send, as long as what our server does.
const FRAME: usize = 245;

/// Publishes in flight.
const IN_FLIGHT: usize = 64;

/// Publishes to channels in an order in which no connection is met twice in a burst.
struct Rooms {
    swarm: Shared,
    watched: Watched,
    publisher: usize,
    bursts: Vec<Vec<u8>>,
    next: usize,
    /// Deliveries of a burst, and the reply that ends it.
    frames: u64,
    least_bytes: usize,
}

/// The channels that are published to, burst by burst.
fn bursts(channels: usize, mut publish: impl FnMut(usize, &mut Vec<u8>)) -> Vec<Vec<u8>> {
    let burst = |burst: usize| {
        let mut out = Vec::new();
        for place in 0..IN_FLIGHT {
            publish((burst * IN_FLIGHT + place) * 7_919 % channels, &mut out);
        }
        out
    };
    (0..channels / IN_FLIGHT).map(burst).collect()
}

impl Rooms {
    /// Publishes to channels that two hear each.
    fn pairs(swarm: Shared, watched: Watched, publisher: usize, channels: usize) -> Self {
        let dialect = Dialect::everwire();
        let bursts = bursts(channels, |channel, out| {
            dialect.publication(&format!("pair-{channel}"), &payload(), out);
        });
        Self { swarm, watched, publisher, bursts, next: 0, frames: 2 * IN_FLIGHT as u64, least_bytes: 128 }
    }

    /// Publishes to channels that nobody hears: a reply says when all of a burst was taken.
    fn none(swarm: Shared, watched: Watched, publisher: usize, channels: usize) -> Self {
        let dialect = Dialect::everwire();
        let mut bursts = bursts(channels, |channel, out| {
            dialect.publication(&format!("none-{channel}"), &payload(), out);
        });
        bursts.iter_mut().for_each(|burst| frame(burst, r#"{"type":"ping","id":1}"#));
        Self { swarm, watched, publisher, bursts, next: 0, frames: 1, least_bytes: 0 }
    }

    /// The same for the bare loop, which is told what it is to pass on.
    fn bare(swarm: Shared, watched: Watched, publisher: usize, channels: usize) -> Self {
        let bursts = bursts(channels, |channel, out| {
            let mut body = [b'.'; FRAME - 4];
            let digits = DIGITS.start - 4..DIGITS.end - 4;
            body[digits.clone()]
                .copy_from_slice(format!("{channel:0width$}", width = digits.len()).as_bytes());
            write_frame(out, Opcode::Text, &body);
        });
        Self { swarm, watched, publisher, bursts, next: 0, frames: 2 * IN_FLIGHT as u64, least_bytes: 128 }
    }
}

impl Side for Rooms {
    fn block(&mut self, length: Duration) -> Result<Block> {
        let (start_ns, cpu_ns, mut done) = (now_ns(), self.watched.cpu_ns()?, 0);
        let end_ns = start_ns + u64::try_from(length.as_nanos())?;
        while now_ns() < end_ns {
            let mut once = FanOut {
                swarm: self.swarm.clone(),
                watched: self.watched.clone(),
                publisher: self.publisher,
                messages: std::mem::take(&mut self.bursts[self.next]),
                deliveries: self.frames,
                least_bytes: self.least_bytes,
            };
            once.once()?;
            self.bursts[self.next] = once.messages;
            self.next = (self.next + 1) % self.bursts.len();
            done += IN_FLIGHT as u64;
        }
        Ok(Block { done, cpu_ns: self.watched.cpu_ns()? - cpu_ns, wall_ns: now_ns() - start_ns })
    }
}

/// 10 000 channels of two subscribers each, on as many connections; publishes to nobody are subtracted.
pub(super) fn many(bench: Bench, channels: usize) -> Result<Finding> {
    let swarm = bench.swarm()?;
    // Blocks are taken in turns of three, each with a server of its own on the same core.
    let start = || Server::start(bench.server_core, "", "");
    let one = start()?;
    let mut thousand = server_side(&swarm, &one, 1_000, 1)?;
    let many = start()?;
    let crowd = ours(&many, false)?;
    let publisher = crowd.open(&mut swarm.borrow_mut(), 1, |_| None)?[0];
    let conns = crowd.open(&mut swarm.borrow_mut(), channels, |n| Some(format!("pair-{n}")))?;
    // Its second channel is its neighbour's first.
    super::fanout::subscribe_all(&swarm, &conns, |n| format!("pair-{}", (n + 1) % channels))?;
    let mut rooms = Rooms::pairs(swarm.clone(), many.watched.clone(), publisher, channels);
    let quiet = start()?;
    let publisher = ours(&quiet, false)?.open(&mut swarm.borrow_mut(), 1, |_| None)?[0];
    let mut nobody = Rooms::none(swarm.clone(), quiet.watched.clone(), publisher, channels);
    let mut each: [Vec<f64>; 3] = Default::default();
    let Rounds { count, block, .. } = bench.rounds;
    for round in 0..=count {
        let sides: [&mut dyn Side; 3] = [&mut thousand, &mut rooms, &mut nobody];
        for (values, side) in each.iter_mut().zip(sides) {
            let block = side.block(block)?;
            if round > 0 {
                values.push(block.cpu_each());
            }
        }
    }
    drop((thousand, rooms, nobody, swarm, one, many, quiet));
    let bare = [bare_send(bench, 1_000)?, bare_pairs(bench, channels)?];
    let [s1, pair, none] = each.map(|values| (median(&values), spread(&values)));
    let delivery = (pair.0 - none.0) / 2.0;
    Ok(Finding {
        goal: "S3",
        what: format!("{channels} channels x 2 subscribers, {IN_FLIGHT} in flight"),
        floor: format!("{:.0} ns a delivery in 1 channel x 1000", s1.0),
        figure: format!("{delivery:.0} ns a delivery"),
        value: delivery / s1.0,
        limit: 1.3,
        more_is_better: false,
        note: format!(
            "{}a publish to two costs {:.0} ns, to nobody {:.0} ns; blocks of 1 x 1000 within {:.0} %; the bare loop by \
             itself: {:.0} ns a send to 1000 sockets, {:.0} to two of {channels}",
            if s1.1 > UNSTEADY { "VOID, unsteady: " } else { "" },
            pair.0,
            none.0,
            s1.1 * 100.0,
            bare[0],
            bare[1]
        ),
    })
}

/// One channel of 18 000 against one of 1 000.
pub(super) fn huge(bench: Bench, subscribers: usize) -> Result<Finding> {
    let swarm = bench.swarm()?;
    let (one, many) = (Server::start(bench.server_core, "", "")?, Server::start(bench.server_core, "", "")?);
    let mut thousand = server_side(&swarm, &one, 1_000, 1)?;
    let mut huge = server_side(&swarm, &many, subscribers, 1)?;
    let pair = crate::alternate::alternate(&mut thousand, &mut huge, bench.rounds)?;
    drop((thousand, huge, swarm, one, many));
    let bare = [1_000, subscribers].map(|n| bare_send(bench, n)).into_iter().collect::<Result<Vec<_>>>()?;
    Ok(Finding {
        goal: "S3",
        what: format!("1 channel {CHANNEL} x {subscribers}"),
        floor: format!("{:.0} ns a delivery in 1 channel x 1000", pair.floor_ns),
        figure: format!("{:.0} ns a delivery", pair.figure_ns),
        value: pair.ratio,
        limit: 1.3,
        more_is_better: false,
        note: format!(
            "{}; the bare loop by itself: {:.0} ns a send to 1000 sockets, {:.0} to {subscribers}",
            super::trust(&pair),
            bare[0],
            bare[1]
        ),
    })
}

/// What a bare `send` costs when there are so many sockets, ns: they do not fit into the caches either.
fn bare_send(bench: Bench, sockets: usize) -> Result<f64> {
    let mut messages = Vec::new();
    write_frame(&mut messages, Opcode::Text, &[b'.'; FRAME - 4]);
    let deliveries = sockets as u64;
    bare_loop(bench, Program::Send { conns: sockets, frame: FRAME }, sockets, |swarm, watched, publisher| {
        FanOut { swarm, watched, publisher, messages, deliveries, least_bytes: 128 }
    })
}

/// The same to two sockets for each message, of so many.
fn bare_pairs(bench: Bench, channels: usize) -> Result<f64> {
    let program = Program::Pairs { conns: channels, frame: FRAME, burst: IN_FLIGHT };
    let side = |swarm, watched, publisher| Rooms::bare(swarm, watched, publisher, channels);
    Ok(bare_loop(bench, program, channels, side)? / 2.0)
}

/// CPU of a bare loop for each thing that it did, ns.
fn bare_loop<S: Side>(
    bench: Bench,
    program: Program,
    conns: usize,
    side: impl FnOnce(Shared, Watched, usize) -> S,
) -> Result<f64> {
    let running = Running::start(program, bench.server_core)?;
    let swarm = bench.swarm()?;
    let publisher = bare(&running).open(&mut swarm.borrow_mut(), 1, |_| None)?[0];
    bare(&running).open(&mut swarm.borrow_mut(), conns, |_| None)?;
    let mut side = side(swarm, running.watched.clone(), publisher);
    let blocks =
        (0..3).map(|_| Ok(side.block(bench.rounds.block)?.cpu_each())).collect::<Result<Vec<_>>>()?;
    Ok(median(&blocks))
}

fn spread(values: &[f64]) -> f64 {
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
    (high - low) / median(values)
}
