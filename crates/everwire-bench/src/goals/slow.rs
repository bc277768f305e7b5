//! Some subscribers stop reading: what they cost, and what the others notice.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::fanout::ours;
use super::latency::Side;
use super::{Bench, Finding};
use crate::alternate::median;
use crate::clock::now_ns;
use crate::dialect::Dialect;
use crate::marker::Mark;
use crate::server::Server;
use crate::sides::{FanOut, Shared};
use crate::swarm::Heard;

const CHANNEL: &str = "crowd";
/// A message as it fills buffers, bytes, and how many of them.
const FILL: (usize, usize) = (1_024, 600);
/// The schedule of both measurements: messages a second, and messages a block.
const BEAT: (u32, u64) = (10, 40);

/// Some of `subscribers` stop reading.
pub(super) fn deaf(bench: Bench, subscribers: usize, deaf: usize) -> Result<Vec<Finding>> {
    let swarm = bench.swarm()?;
    let server = Server::start(bench.server_core, "", "[times]\nstalled = \"10m\"\nheartbeat = \"10m\"")?;
    let crowd = ours(&server, false)?;
    let publisher = crowd.open(&mut swarm.borrow_mut(), 1, |_| None)?[0];
    let conns = crowd.open(&mut swarm.borrow_mut(), subscribers, |_| Some(CHANNEL.to_owned()))?;
    let message = || {
        let dialect = Dialect::everwire();
        Box::new(move |due_ns| {
            let (mut text, mut out) = (String::new(), Vec::new());
            Mark { channel: 0, number: 0, due_ns }.write(128, &mut text);
            dialect.publication(CHANNEL, &text, &mut out);
            out
        })
    };
    let beat = |heard: usize| -> Result<f64> {
        let side = Side { swarm: swarm.clone(), publisher, message: message(), subscribers: heard as u64 };
        let mut values = Vec::new();
        for _ in 0..bench.rounds.count {
            let block = side.block(Duration::from_secs(1) / BEAT.0, BEAT.1)?;
            values.push(block.value_at_quantile(0.99) as f64);
        }
        Ok(median(&values))
    };
    let whole = beat(subscribers)?;
    let before = server.watched.resident_bytes()?;
    let (slow, healthy) = conns.split_at(deaf);
    slow.iter().for_each(|number| swarm.borrow_mut().set_deaf(*number, true));
    fill(&swarm, &server, publisher, healthy.len())?;
    let kernel = queued_bytes(server.address.port())?;
    let held = server.watched.resident_bytes()?.saturating_sub(before) / deaf as u64;
    let beside = beat(healthy.len())?;
    let ends = came_back(&swarm, slow)?;
    let what = format!("{deaf} of {subscribers} subscribers do not read");
    let most = kernel + held;
    let memory = Finding {
        goal: "S12",
        what: format!("{what}: memory of each"),
        floor: String::new(),
        figure: format!("{:.1} KiB", most as f64 / 1024.0),
        value: most as f64,
        limit: 65_536.0,
        more_is_better: false,
        note: format!(
            "{kernel} bytes in the fullest send queue of the kernel, {held} of the process; read again, {} got every \
             message, {} were told of a gap, {} were left in silence",
            ends.0, ends.1, ends.2
        ),
    };
    let p99 = Finding {
        goal: "S12",
        what: format!("{what}: p99 of the others"),
        floor: format!("{:.2} ms while all read", whole / 1e3),
        figure: format!("{:.2} ms", beside / 1e3),
        value: if ends.2 == 0 { beside / whole } else { f64::INFINITY },
        limit: 1.1,
        more_is_better: false,
        note: format!("{} messages a second, medians of {} blocks", BEAT.0, bench.rounds.count),
    };
    Ok(vec![memory, p99])
}

/// Publishes more than the buffers of one who does not read can take.
fn fill(swarm: &Shared, server: &Server, publisher: usize, healthy: usize) -> Result<()> {
    let (mut text, mut messages) = (String::new(), Vec::new());
    Mark { channel: 0, number: 0, due_ns: 0 }.write(FILL.0, &mut text);
    Dialect::everwire().publication(CHANNEL, &text, &mut messages);
    let (swarm, watched, deliveries) = (swarm.clone(), server.watched.clone(), healthy as u64);
    let mut side = FanOut { swarm, watched, publisher, messages, deliveries, least_bytes: 128 };
    (0..FILL.1).try_for_each(|_| side.once())
}

/// The most bytes that wait in the kernel for one connection of the server on this port.
fn queued_bytes(port: u16) -> Result<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let local = format!(":{port:04X}");
    let queues = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let ours = words.next()?.ends_with(&local);
        let queue = words.nth(2)?.split_once(':')?.0;
        ours.then(|| u64::from_str_radix(queue, 16).ok())?
    });
    queues.max().context("no connection of the server is in /proc/net/tcp")
}

/// All read again: how many got every message, were told of a gap, or were left with an untold one.
fn came_back(swarm: &Shared, slow: &[usize]) -> Result<(usize, usize, usize)> {
    let mut swarm = swarm.borrow_mut();
    // By connection: the last offset, whether a gap was told, whether one was not.
    let mut seen: HashMap<usize, (u64, bool, bool)> = slow.iter().map(|n| (*n, (0, false, false))).collect();
    slow.iter().for_each(|number| swarm.set_deaf(*number, false));
    let top = FILL.1 as u64 + BEAT.1;
    let (mut ended, start_ns) = (None, now_ns());
    while seen.values().any(|(last, ..)| *last < top) {
        swarm.turn(Some(Duration::from_millis(20)), &mut |_, number, what| match what {
            Heard::Frame(frame) => {
                let Some((last, told, untold)) = seen.get_mut(&number) else { return };
                let Some(offset) = super::storm::number(frame.payload, "offset") else { return };
                let gap = memchr::memmem::find(frame.payload, br#""type":"gap""#).is_some();
                *told |= gap;
                *untold |= !gap && *last > 0 && offset != *last + 1;
                *last = (*last).max(offset_of_end(frame.payload).unwrap_or(offset));
            }
            Heard::Closed(words) => ended = Some(words),
            Heard::Open => {}
        })?;
        if let Some(words) = ended {
            bail!("a slow one was cut: {words}");
        }
        if now_ns() - start_ns > 60_000_000_000 {
            bail!("not all of the slow ones came back to the top within a minute");
        }
    }
    let count = |which: fn(&(u64, bool, bool)) -> bool| seen.values().filter(|state| which(state)).count();
    Ok((count(|(_, t, u)| !t && !u), count(|(_, t, u)| *t && !u), count(|(_, _, u)| *u)))
}

/// Where a gap ends.
fn offset_of_end(payload: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(payload, br#""to":"#)?;
    super::storm::number(&payload[at..], "offset")
}
