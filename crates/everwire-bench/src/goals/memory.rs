//! What a connection costs that does nothing.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::echo::echoes;
use super::fanout::ours;
use super::{Bench, Finding};
use crate::clock::now_ns;
use crate::crowd::Crowd;
use crate::dialect::{Dialect, frame};
use crate::frames::Frame;
use crate::marker::Mark;
use crate::server::Server;
use crate::swarm::{Heard, Swarm};

/// How long they are idle.
const IDLE: Duration = Duration::from_secs(10);

/// Nobody waits longer for a message.
const PATIENCE_NS: u64 = 60_000_000_000;

/// Resident memory for each idle connection: so many over some channels, history and presence on, each has received one
/// message and been idle for a while. The process has seen such a round before.
pub(super) fn idle(bench: Bench, conns: usize, channels: usize, limit: f64) -> Result<Finding> {
    let server = Server::start(bench.server_core, "", "")?;
    let crowd = ours(&server, false)?;
    let what =
        format!("{conns} sessions over {channels} channel(s), one message each, idle {} s", IDLE.as_secs());
    two_rounds(&server, conns, what, limit, || sessions(&server, &crowd, conns, channels))
}

/// What compression adds to an idle session, of the second round in one process each. There is no context of a connection's
/// own, so it is nothing but what the allocator's grain makes of two runs.
pub(super) fn idle_deflated(bench: Bench, conns: usize) -> Result<Finding> {
    let each = |compression| -> Result<f64> {
        let server = Server::start(bench.server_core, "compression = \"on\"", "")?;
        let crowd = ours(&server, compression)?;
        let (_, before) = sessions(&server, &crowd, conns, 100)?;
        let (with, _) = sessions(&server, &crowd, conns, 100)?;
        Ok(with.saturating_sub(before) as f64 / conns as f64)
    };
    let (plain, deflated) = (each(false)?, each(true)?);
    Ok(Finding {
        goal: "S14",
        what: format!("{conns} idle sessions: memory that compression adds to each"),
        floor: format!("{plain:.0} bytes a connection without"),
        figure: format!("{deflated:.0} bytes a connection"),
        value: (deflated - plain).max(0.0),
        limit: 16.0,
        more_is_better: false,
        note: "bytes; 16, the allocator's grain, count as none".to_owned(),
    })
}

/// The same of connections to the bare echo, each of which had one message back.
pub(super) fn idle_echo(bench: Bench, conns: usize, limit: f64) -> Result<Finding> {
    let server = Server::start(bench.server_core, "", "")?;
    let crowd = echoes(&server)?;
    let what = format!("{conns} connections to /echo/raw, one message each, idle {} s", IDLE.as_secs());
    two_rounds(&server, conns, what, limit, || {
        let mut swarm = Swarm::new()?;
        let numbers = crowd.open(&mut swarm, conns, |_| None)?;
        let mut message = Vec::new();
        frame(&mut message, "hello");
        numbers.iter().for_each(|number| swarm.send(*number, &message));
        let mut heard = 0;
        while heard < conns {
            swarm.turn(None, &mut |_, _, what| heard += usize::from(matches!(what, Heard::Frame(_))))?;
        }
        settle(&server, swarm)
    })
}

/// Two rounds in one process; each says what was resident with its connections, and when they had gone.
fn two_rounds(
    server: &Server,
    conns: usize,
    what: String,
    limit: f64,
    round: impl Fn() -> Result<(u64, u64)>,
) -> Result<Finding> {
    let fresh = server.watched.resident_bytes()?;
    let (first, before) = round()?;
    let (second, _) = round()?;
    let each = |bytes: u64, from: u64| bytes.saturating_sub(from) as f64 / conns as f64;
    let value = each(second, before);
    let note = format!(
        "resident: {} KiB fresh, {} KiB with the first round ({:.0} bytes a connection), {} KiB when they had gone, \
         {} KiB with the second",
        fresh / 1024,
        first / 1024,
        each(first, fresh),
        before / 1024,
        second / 1024
    );
    let figure = format!("{value:.0} bytes a connection");
    Ok(Finding { goal: "S7", what, floor: String::new(), figure, value, limit, more_is_better: false, note })
}

/// CPU time of a connection that does nothing but answer a ping every 25 s.
pub(super) fn idle_cpu(bench: Bench, conns: usize) -> Result<Finding> {
    let server = Server::start(bench.server_core, "", "")?;
    let crowd = ours(&server, false)?;
    let mut swarm = Swarm::new()?;
    crowd.open(&mut swarm, conns, |n| Some(format!("idle-{}", n % 100)))?;
    // The first pings are all due in one stretch; from the second on they lie as they will.
    rest(&mut swarm, Duration::from_secs(30))?;
    let (cpu_ns, start_ns) = (server.watched.cpu_ns()?, now_ns());
    rest(&mut swarm, Duration::from_secs(50))?;
    let cpu_ns = server.watched.cpu_ns()? - cpu_ns;
    let seconds = (now_ns() - start_ns) as f64 / 1e9;
    let value = cpu_ns as f64 / 1e3 / seconds / conns as f64;
    Ok(Finding {
        goal: "S8",
        what: format!("CPU of {conns} idle sessions with a ping every 25 s"),
        floor: String::new(),
        figure: format!("{value:.2} µs a second and connection"),
        value,
        limit: 0.4,
        more_is_better: false,
        note: format!("over {seconds:.0} s, two pings and pongs each"),
    })
}

/// Resident memory after so many more connections came and went.
pub(super) fn cycles(bench: Bench, count: usize) -> Result<Finding> {
    const AT_ONCE: usize = 500;
    let server = Server::start(bench.server_core, "", "")?;
    let mut crowd = ours(&server, false)?;
    // Enough source ports, since each is taken for a minute after its connection.
    crowd.from = (1..=64).map(|n| IpAddr::from([127, 0, 0, n])).collect();
    let mut swarm = Swarm::new()?;
    let mut run = |cycles: usize| -> Result<()> {
        for _ in 0..cycles / AT_ONCE {
            let numbers = crowd.open(&mut swarm, AT_ONCE, |n| Some(format!("come-{}", n % 100)))?;
            numbers.into_iter().for_each(|number| swarm.cut(number));
        }
        Ok(())
    };
    let minute = Duration::from_secs(60);
    let tenth = count / 10;
    run(tenth)?;
    rest(&mut Swarm::new()?, minute)?;
    let first = server.watched.resident_bytes()?;
    run(count - tenth)?;
    rest(&mut Swarm::new()?, minute)?;
    let last = server.watched.resident_bytes()?;
    Ok(Finding {
        goal: "S13",
        what: format!("resident memory after {count} connections against after {tenth}, a minute later each"),
        floor: format!("{} KiB", first / 1024),
        figure: format!("{} KiB", last / 1024),
        value: last as f64 / first as f64,
        limit: 1.05,
        more_is_better: false,
        note: "each connected and subscribed, and was cut without a word".to_owned(),
    })
}

/// Opens sessions, sends each one message, waits.
fn sessions(server: &Server, crowd: &Crowd, conns: usize, channels: usize) -> Result<(u64, u64)> {
    let mut swarm = Swarm::new()?;
    let channel = |n: usize| format!("idle-{}", n % channels);
    let publisher = crowd.open(&mut swarm, 1, |_| None)?[0];
    crowd.open(&mut swarm, conns, |n| Some(channel(n)))?;
    let dialect = Dialect::everwire();
    let mut messages = Vec::new();
    for n in 0..channels {
        let mut data = String::new();
        Mark { channel: 0, number: n as u64, due_ns: 0 }.write(128, &mut data);
        dialect.publication(&channel(n), &data, &mut messages);
    }
    swarm.send(publisher, &messages);
    let (mut heard, begun_ns) = (0, now_ns());
    while heard < conns {
        swarm.turn(Some(Duration::from_millis(100)), &mut |_, _, what| {
            // All else that comes now is short, and so is not compressed.
            let is_one = |f: &Frame<'_>| f.deflated || dialect.is_delivered(f.payload);
            heard += usize::from(matches!(what, Heard::Frame(f) if is_one(&f)));
        })?;
        ensure!(
            now_ns() - begun_ns < PATIENCE_NS,
            "{heard} of {conns} sessions have their message after 60 s"
        );
    }
    settle(server, swarm)
}

/// Waits; what is resident then, and after all of them went and some time passed.
fn settle(server: &Server, mut swarm: Swarm) -> Result<(u64, u64)> {
    rest(&mut swarm, IDLE)?;
    let with = server.watched.resident_bytes()?;
    drop(swarm);
    // The server sees their ends, and members leave after the grace.
    rest(&mut Swarm::new()?, IDLE + Duration::from_secs(15))?;
    Ok((with, server.watched.resident_bytes()?))
}

/// Lets time pass; pings are answered.
pub(super) fn rest(swarm: &mut Swarm, length: Duration) -> Result<()> {
    let end_ns = now_ns() + u64::try_from(length.as_nanos())?;
    while now_ns() < end_ns {
        swarm.turn(Some(Duration::from_millis(100)), &mut |_, _, _| {})?;
    }
    Ok(())
}
