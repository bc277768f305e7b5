//! Messages that come back: through the bare echo, and through the whole protocol.

use std::fmt::Write as _;

use anyhow::Result;
use everwire_client::Address;

use super::fanout::{bare, ours};
use super::{Bench, Finding, trust};
use crate::alternate::alternate;
use crate::crowd::Crowd;
use crate::dialect::{Dialect, frame};
use crate::floor::{Program, Running};
use crate::server::Server;
use crate::sides::Echo;
use crate::swarm::{Opening, Upgrade};

/// How the bare echo of our server is spoken to.
pub(super) fn echoes(server: &Server) -> Result<Crowd> {
    let address = Address::parse(&format!("ws://{}/echo/raw", server.address)).map_err(anyhow::Error::msg)?;
    let opening = Opening::WebSocket(Upgrade::new(&address, None, false)?);
    Ok(Crowd { to: server.address, from: Vec::new(), opening, dialect: Some(Dialect::raw()) })
}

/// Messages per server-CPU-second through `/echo/raw` against the bare epoll echo.
pub(super) fn raw(bench: Bench, size: usize, conns: usize, in_flight: usize) -> Result<Finding> {
    let swarm = bench.swarm()?;
    let server = Server::start(bench.server_core, "", "")?;
    let floor_program = Running::start(Program::Echo, bench.server_core)?;
    let crowd = echoes(&server)?;
    let mut message = Vec::new();
    frame(&mut message, &"x".repeat(size));
    let figure_conns = crowd.open(&mut swarm.borrow_mut(), conns, |_| None)?;
    let floor_conns = bare(&floor_program).open(&mut swarm.borrow_mut(), conns, |_| None)?;
    let side = |watched, numbers| Echo {
        swarm: swarm.clone(),
        watched,
        conns: numbers,
        messages: vec![message.clone(); conns],
        in_flight,
        answers: 1,
    };
    let mut floor = side(floor_program.watched.clone(), floor_conns);
    let mut figure = side(server.watched.clone(), figure_conns);
    let pair = alternate(&mut floor, &mut figure, bench.rounds)?;
    Ok(Finding {
        goal: "S5",
        what: format!("echo of {size} B, {conns} connections, {in_flight} in flight"),
        floor: per_second(pair.floor_ns),
        figure: per_second(pair.figure_ns),
        value: 1.0 / pair.ratio,
        limit: 0.95,
        more_is_better: true,
        note: trust(&pair),
    })
}

/// The same through the protocol: publish to a channel of one, acknowledgement and message back.
pub(super) fn protocol(bench: Bench, conns: usize, in_flight: usize) -> Result<Finding> {
    let swarm = bench.swarm()?;
    let server = Server::start(bench.server_core, "", "")?;
    let mut text = "ew~".to_owned();
    text.extend(std::iter::repeat_n('x', 61));
    let crowd = ours(&server, false)?;
    let echo = echoes(&server)?;
    let numbers = crowd.open(&mut swarm.borrow_mut(), conns, |n| Some(channel(n)))?;
    let echoes = echo.open(&mut swarm.borrow_mut(), conns, |_| None)?;
    let mut raw_message = Vec::new();
    frame(&mut raw_message, &"x".repeat(64));
    let mut floor = Echo {
        swarm: swarm.clone(),
        watched: server.watched.clone(),
        messages: vec![raw_message; conns],
        conns: echoes,
        in_flight,
        answers: 1,
    };
    let messages = (0..conns).map(|n| {
        let mut out = Vec::new();
        let mut said = String::new();
        // Writing to a string can't fail.
        let _ = write!(said, r#"{{"type":"publish","id":7,"channel":"{}","data":"{text}"}}"#, channel(n));
        frame(&mut out, &said);
        out
    });
    let messages = messages.collect();
    let watched = server.watched.clone();
    let mut figure = Echo { swarm, watched, messages, conns: numbers, in_flight, answers: 2 };
    let pair = alternate(&mut floor, &mut figure, bench.rounds)?;
    Ok(Finding {
        goal: "S6",
        what: format!(
            "publish, acknowledgement and message back, {conns} connections, {in_flight} in flight"
        ),
        floor: format!("{} through /echo/raw", per_second(pair.floor_ns)),
        figure: per_second(pair.figure_ns),
        value: 1.0 / pair.ratio,
        limit: if in_flight == 1 { 0.65 } else { 0.30 },
        more_is_better: true,
        note: trust(&pair),
    })
}

fn channel(n: usize) -> String {
    format!("own-{n}")
}

fn per_second(ns: f64) -> String {
    format!("{:.0} messages per CPU-second", 1e9 / ns)
}
