//! How long a message takes, under one schedule for both sides.

use std::time::Duration;

use anyhow::{Result, bail};
use everwire_proto::ws::{Opcode, write_frame};
use hdrhistogram::Histogram;

use super::fanout::{bare, ours};
use super::{Bench, Finding};
use crate::alternate::{UNSTEADY, median, spread};
use crate::clock::now_ns;
use crate::dialect::Dialect;
use crate::floor::{Program, Running};
use crate::marker::Mark;
use crate::server::Server;
use crate::sides::Shared;
use crate::swarm::Heard;

const CHANNEL: &str = "beat";

/// Makes the message that is meant to be sent then.
pub(super) type Message = Box<dyn Fn(u64) -> Vec<u8>>;

pub(super) struct Side {
    pub(super) swarm: Shared,
    pub(super) publisher: usize,
    pub(super) message: Message,
    pub(super) subscribers: u64,
}

impl Side {
    /// Sends one every `every`, each at its time whatever became of the one before; latencies in µs.
    pub(super) fn block(&self, every: Duration, count: u64) -> Result<Histogram<u64>> {
        let mut swarm = self.swarm.borrow_mut();
        let mut latencies = Histogram::new_with_max(60_000_000, 3)?;
        let every_ns = u64::try_from(every.as_nanos())?;
        let start_ns = now_ns();
        let (mut sent, mut heard) = (0, 0);
        while heard < count * self.subscribers {
            let now = now_ns();
            while sent < count && start_ns + sent * every_ns <= now {
                swarm.send(self.publisher, &(self.message)(start_ns + sent * every_ns));
                sent += 1;
            }
            if now > start_ns + (count + 1) * every_ns + 10_000_000_000 {
                bail!("{heard} of {} messages came", count * self.subscribers);
            }
            let next_ns = if sent < count { start_ns + sent * every_ns } else { now + 10_000_000 };
            let mut ended = None;
            // A poll that sleeps wakes up to a millisecond late, which both sides would pay: the last one spins.
            let left = Duration::from_nanos(next_ns.saturating_sub(now));
            let patience = left.saturating_sub(Duration::from_millis(1));
            swarm.turn(Some(patience), &mut |_, _, what| match what {
                Heard::Frame(frame) => {
                    if let Some(mark) = Mark::find(frame.payload) {
                        heard += 1;
                        latencies.saturating_record((now_ns() - mark.due_ns) / 1_000);
                    }
                }
                Heard::Closed(words) => ended = Some(words),
                Heard::Open => {}
            })?;
            if let Some(words) = ended {
                bail!("a connection ended: {words}");
            }
        }
        Ok(latencies)
    }
}

/// What our server is sent, and what it delivers and the floor passes on: as long as each other's.
fn messages() -> (Message, Message) {
    let data = |due_ns| {
        let mut text = String::new();
        Mark { channel: 0, number: 0, due_ns }.write(128, &mut text);
        text
    };
    let dialect = Dialect::everwire();
    let published = move |due_ns| {
        let mut out = Vec::new();
        dialect.publication(CHANNEL, &data(due_ns), &mut out);
        out
    };
    let delivered = move |due_ns| {
        let mut out = Vec::new();
        let text = data(due_ns);
        // As long as what our server delivers.
        let object = format!(
            r#"{{"type":"message","channel":"beat","offset":1234,"data":"{text}","from":{{"client":"0123456789abcdef"}},"time":1234567890123}}"#
        );
        write_frame(&mut out, Opcode::Text, object.as_bytes());
        out
    };
    (Box::new(published), Box::new(delivered))
}

/// Latency at so many messages a second to so many subscribers, against the bare broadcast under the same schedule.
pub(super) fn beat(bench: Bench, subscribers: usize, per_second: u32) -> Result<Vec<Finding>> {
    let swarm = bench.swarm()?;
    let server = Server::start(bench.server_core, "", "")?;
    let crowd = ours(&server, false)?;
    let publisher = crowd.open(&mut swarm.borrow_mut(), 1, |_| None)?[0];
    crowd.open(&mut swarm.borrow_mut(), subscribers, |_| Some(CHANNEL.to_owned()))?;
    let running = Running::start(Program::Broadcast, bench.server_core)?;
    let first = bare(&running).open(&mut swarm.borrow_mut(), 1, |_| None)?[0];
    bare(&running).open(&mut swarm.borrow_mut(), subscribers, |_| None)?;
    let (published, delivered) = messages();
    let side = |publisher, message| Side {
        swarm: swarm.clone(),
        publisher,
        message,
        subscribers: subscribers as u64,
    };
    let floor = side(first, delivered);
    let figure = side(publisher, published);
    let every = Duration::from_secs(1) / per_second;
    let count = u64::try_from(bench.rounds.block.as_nanos() / every.as_nanos())?.max(1);
    let mut quantiles = [[vec![], vec![]], [vec![], vec![]]];
    for round in 0..=bench.rounds.count {
        for (at, side) in [&floor, &figure].into_iter().enumerate() {
            let block = side.block(every, count)?;
            for (place, quantile) in [0.5, 0.99].into_iter().enumerate() {
                if round > 0 {
                    quantiles[place][at].push(block.value_at_quantile(quantile) as f64);
                }
            }
        }
    }
    let finding = |place: usize, name: &str, limit| {
        let [floor, figure] = &quantiles[place];
        let ratios: Vec<_> = floor.iter().zip(figure).map(|(floor, figure)| figure / floor).collect();
        let spread = spread(floor);
        let void = if spread > UNSTEADY { "VOID, the floor was unsteady: " } else { "" };
        Finding {
            goal: "S9",
            what: format!(
                "{name} at {} deliveries/s to {subscribers}",
                subscribers as u64 * u64::from(per_second)
            ),
            floor: format!("{:.2} ms", median(floor) / 1e3),
            figure: format!("{:.2} ms", median(figure) / 1e3),
            value: median(&ratios),
            limit,
            more_is_better: false,
            note: format!("{void}the floor's blocks within {:.0} %", spread * 100.0),
        }
    };
    Ok(vec![finding(0, "p50", 1.1), finding(1, "p99", 1.2)])
}
