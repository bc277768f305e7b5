//! What a connection costs that does nothing.

use std::time::Duration;

use anyhow::Result;

use super::fanout::ours;
use super::{Bench, Finding};
use crate::clock::now_ns;
use crate::crowd::Crowd;
use crate::marker::Mark;
use crate::server::Server;
use crate::swarm::{Heard, Swarm};

/// Resident memory for each idle connection: so many over 100 channels, history and presence on, each has received one
/// message and been idle for a while. The process has seen such a round before.
pub(super) fn idle(bench: Bench, conns: usize, idle: Duration) -> Result<Finding> {
    let server = Server::start(bench.server_core, "")?;
    let crowd = ours(&server, false)?;
    let channels = 100;
    let fresh = server.watched.resident_bytes()?;
    let (first, before) = round(&server, &crowd, conns, channels, idle)?;
    let (second, _) = round(&server, &crowd, conns, channels, idle)?;
    let each = |bytes: u64, from: u64| bytes.saturating_sub(from) as f64 / conns as f64;
    let value = each(second, before);
    Ok(Finding {
        goal: "S7",
        what: format!(
            "{conns} sessions over {channels} channels, one message each, idle {} s",
            idle.as_secs()
        ),
        floor: String::new(),
        figure: format!("{value:.0} bytes a connection"),
        value,
        limit: 2_048.0,
        more_is_better: false,
        note: format!(
            "resident: {} KiB fresh, {} KiB with the first round ({:.0} bytes a connection), {} KiB when they had gone, {} KiB with the second",
            fresh / 1024,
            first / 1024,
            each(first, fresh),
            before / 1024,
            second / 1024
        ),
    })
}

/// Opens them, sends each one message, waits; resident bytes then, and after all of them went and some time passed.
fn round(
    server: &Server,
    crowd: &Crowd,
    conns: usize,
    channels: usize,
    idle: Duration,
) -> Result<(u64, u64)> {
    let mut swarm = Swarm::new()?;
    let channel = |n: usize| format!("idle-{}", n % channels);
    let publisher = crowd.open(&mut swarm, 1, |_| None)?[0];
    crowd.open(&mut swarm, conns, |n| Some(channel(n)))?;
    let dialect = crowd.dialect.clone().unwrap_or_else(crate::dialect::Dialect::everwire);
    let mut messages = Vec::new();
    for n in 0..channels {
        let mut data = String::new();
        Mark { channel: 0, number: n as u64, due_ns: 0 }.write(128, &mut data);
        dialect.publication(&channel(n), &data, &mut messages);
    }
    swarm.send(publisher, &messages);
    let mut heard = 0;
    while heard < conns {
        swarm.turn(None, &mut |_, _, what| {
            heard += usize::from(matches!(what, Heard::Frame(f) if dialect.is_delivered(f.payload)));
        })?;
    }
    rest(&mut swarm, idle)?;
    let with = server.watched.resident_bytes()?;
    drop(swarm);
    // The server sees their ends, and members leave after the grace.
    rest(&mut Swarm::new()?, idle + Duration::from_secs(15))?;
    Ok((with, server.watched.resident_bytes()?))
}

/// Lets time pass; pings are answered.
fn rest(swarm: &mut Swarm, length: Duration) -> Result<()> {
    let end_ns = now_ns() + u64::try_from(length.as_nanos())?;
    while now_ns() < end_ns {
        swarm.turn(Some(Duration::from_millis(100)), &mut |_, _, _| {})?;
    }
    Ok(())
}
