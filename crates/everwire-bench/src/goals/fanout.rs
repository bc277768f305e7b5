//! One channel, many subscribers: what a delivery costs.

use anyhow::{Context as _, Result};
use everwire_client::Address;
use everwire_proto::ws::{Opcode, write_frame};

use super::{Bench, Finding, trust};
use crate::alternate::{Pair, alternate};
use crate::crowd::Crowd;
use crate::dialect::Dialect;
use crate::floor::{Program, Running};
use crate::marker::Mark;
use crate::server::Server;
use crate::sides::{FanOut, Shared};
use crate::swarm::{Heard, Opening, Upgrade};

pub(super) const CHANNEL: &str = "fan";

/// How our server is spoken to: each connection shows a token.
pub(super) fn ours(server: &Server, compression: bool) -> Result<Crowd> {
    let mut dialect = Dialect::everwire();
    dialect.first = vec![format!(r#"{{"type":"connect","token":"{}"}}"#, server.token)];
    let address = Address::parse(&format!("ws://{}/ws", server.address)).map_err(anyhow::Error::msg)?;
    let upgrade = Upgrade::new(&address, dialect.subprotocol.as_deref(), compression)?;
    let opening = Opening::WebSocket(upgrade);
    Ok(Crowd { to: server.address, from: Vec::new(), opening, dialect: Some(dialect) })
}

pub(super) fn bare(running: &Running) -> Crowd {
    Crowd { to: running.address, from: Vec::new(), opening: Opening::Bare, dialect: None }
}

/// A payload of 128 bytes with its mark.
pub(super) fn payload() -> String {
    let mut text = String::new();
    Mark { channel: 0, number: 0, due_ns: 0 }.write(128, &mut text);
    text
}

pub(super) fn server_side(
    swarm: &Shared,
    server: &Server,
    subscribers: usize,
    waiting: usize,
) -> Result<FanOut> {
    let crowd = ours(server, false)?;
    let dialect = Dialect::everwire();
    let publisher = crowd.open(&mut swarm.borrow_mut(), 1, |_| None)?[0];
    crowd.open(&mut swarm.borrow_mut(), subscribers, |_| Some(CHANNEL.to_owned()))?;
    let mut messages = Vec::new();
    (0..waiting).for_each(|_| dialect.publication(CHANNEL, &payload(), &mut messages));
    Ok(FanOut {
        swarm: swarm.clone(),
        watched: server.watched.clone(),
        publisher,
        messages,
        deliveries: (subscribers * waiting) as u64,
        least_bytes: 128,
    })
}

/// Compressed once for all, against the same uncompressed.
pub(super) fn compressed(bench: Bench, subscribers: usize, size: usize) -> Result<Finding> {
    let swarm = bench.swarm()?;
    let server = Server::start(bench.server_core, "compression = \"on\"", "")?;
    let mut text = String::new();
    Mark { channel: 0, number: 0, due_ns: 0 }.write(size, &mut text);
    let side = |channel: &str, compression| -> Result<FanOut> {
        let crowd = ours(&server, compression)?;
        let publisher = ours(&server, false)?.open(&mut swarm.borrow_mut(), 1, |_| None)?[0];
        crowd.open(&mut swarm.borrow_mut(), subscribers, |_| Some(channel.to_owned()))?;
        let mut messages = Vec::new();
        Dialect::everwire().publication(channel, &text, &mut messages);
        let (swarm, watched) = (swarm.clone(), server.watched.clone());
        let deliveries = subscribers as u64;
        Ok(FanOut { swarm, watched, publisher, messages, deliveries, least_bytes: 20 })
    };
    let (mut floor, mut figure) = (side("plain-text", false)?, side("deflated", true)?);
    let pair = alternate(&mut floor, &mut figure, bench.rounds)?;
    Ok(Finding {
        goal: "S14",
        what: format!("1 channel x {subscribers}, {size} bytes, compressed"),
        floor: format!("{:.0} ns a delivery uncompressed", pair.floor_ns),
        figure: format!("{:.0} ns a delivery", pair.figure_ns),
        value: pair.ratio,
        limit: 1.1,
        more_is_better: false,
        note: trust(&pair),
    })
}

/// The frame that a subscriber is sent, as bytes on the wire: what the floor sends too.
fn delivered_frame(side: &mut FanOut) -> Result<Vec<u8>> {
    let mut swarm = side.swarm.borrow_mut();
    swarm.send(side.publisher, &side.messages);
    let (mut first, mut heard) = (None, 0);
    while heard < side.deliveries {
        swarm.turn(None, &mut |_, _, what| {
            if let Heard::Frame(frame) = what
                && frame.payload.len() >= side.least_bytes
            {
                heard += 1;
                first.get_or_insert_with(|| frame.payload.to_vec());
            }
        })?;
    }
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, &first.context("no message came")?);
    Ok(frame)
}

/// One channel with so many subscribers, so many publishes in one write, the next ones when the last is out: the bare
/// loop and our server, and the bytes of a frame.
pub(super) fn pair(bench: Bench, subscribers: usize, waiting: usize) -> Result<(Pair, usize)> {
    let swarm = bench.swarm()?;
    let server = Server::start(bench.server_core, "", "")?;
    let mut figure = server_side(&swarm, &server, subscribers, waiting)?;
    let frame = delivered_frame(&mut figure)?;
    let program = if waiting == 1 {
        Program::Send { conns: subscribers, frame: frame.len() }
    } else {
        Program::Broadcast
    };
    let running = Running::start(program, bench.server_core)?;
    let publisher = bare(&running).open(&mut swarm.borrow_mut(), 1, |_| None)?[0];
    bare(&running).open(&mut swarm.borrow_mut(), subscribers, |_| None)?;
    let mut floor = FanOut {
        swarm,
        watched: running.watched.clone(),
        publisher,
        messages: frame.repeat(waiting),
        deliveries: (subscribers * waiting) as u64,
        least_bytes: 128,
    };
    Ok((alternate(&mut floor, &mut figure, bench.rounds)?, frame.len()))
}

/// The same as a goal.
pub(super) fn merged(bench: Bench, subscribers: usize, waiting: usize) -> Result<Finding> {
    let (pair, frame) = pair(bench, subscribers, waiting)?;
    let note = format!("frame of {frame} bytes; {}", trust(&pair));
    let what = format!("1 channel x {subscribers}, {waiting} publish(es) waiting");
    let merged = waiting > 1;
    Ok(Finding {
        goal: if merged { "S2" } else { "S1" },
        what,
        floor: format!("{:.0} ns a delivery", pair.floor_ns),
        figure: format!("{:.0} ns a delivery", pair.figure_ns),
        value: if merged { 1.0 / pair.ratio } else { pair.ratio },
        limit: if merged { 0.95 } else { 1.10 },
        more_is_better: merged,
        note,
    })
}

/// One more channel for each of these connections.
pub(super) fn subscribe_all(
    swarm: &Shared,
    conns: &[usize],
    channel: impl Fn(usize) -> String,
) -> Result<()> {
    let dialect = Dialect::everwire();
    let mut swarm = swarm.borrow_mut();
    let mut there = 0;
    for (n, conn) in conns.iter().enumerate() {
        let mut out = Vec::new();
        dialect.subscription(&channel(n), &mut out);
        swarm.send(*conn, &out);
    }
    while there < conns.len() {
        swarm.turn(None, &mut |_, _, what| {
            there += usize::from(matches!(what, Heard::Frame(f) if dialect.is_subscribed(f.payload)));
        })?;
    }
    Ok(())
}
