//! Everybody comes back at once, and has missed something.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::fanout::{ours, payload};
use super::{Bench, Finding};
use crate::clock::now_ns;
use crate::crowd::Crowd;
use crate::dialect::{Dialect, frame};
use crate::server::Server;
use crate::swarm::{Heard, Swarm};

const CHANNEL: &str = "storm";
/// Connections on their way at once.
const AT_ONCE: usize = 256;

/// What one of them has got so far.
#[derive(Clone, Copy, Default)]
struct Got {
    recovered: bool,
    messages: u64,
    last: u64,
    wrong: u64,
}

/// So many connections connect, subscribe to one channel and recover so many messages; then it is over.
pub(super) fn recover(bench: Bench, conns: usize, missed: u64) -> Result<Vec<Finding>> {
    let server = Server::start(bench.server_core, "", "")?;
    // One address has few ports left among so many, and the kernel searches long for each.
    let from = (1..=8).map(|n| IpAddr::from([127, 0, 0, n])).collect();
    let crowd = Crowd { from, ..ours(&server, false)? };
    let mut swarm = Swarm::new()?;
    let first = crowd.open(&mut swarm, 1, |_| Some(CHANNEL.to_owned()))?[0];
    let dialect = Dialect::everwire();
    let mut messages = Vec::new();
    (0..missed).for_each(|_| dialect.publication(CHANNEL, &payload(), &mut messages));
    frame(&mut messages, r#"{"type":"history","id":9,"channel":"storm","limit":1}"#);
    swarm.send(first, &messages);
    let epoch = epoch(&mut swarm)?;
    let mut greeting = Vec::new();
    crowd.dialect.iter().for_each(|dialect| dialect.greeting(&mut greeting));
    let subscribe = format!(
        r#"{{"type":"subscribe","id":1,"channel":"{CHANNEL}","since":{{"epoch":"{epoch}","offset":0}}}}"#
    );
    frame(&mut greeting, &subscribe);
    // Once before it counts: tables grow, pages are touched.
    storm(&mut swarm, &crowd, conns.min(2_000), missed, &greeting)?;
    let cpu_ns = server.watched.cpu_ns()?;
    let (wall_ns, wrong) = storm(&mut swarm, &crowd, conns, missed, &greeting)?;
    let cpu_ns = server.watched.cpu_ns()? - cpu_ns;
    let per_second = conns as f64 * 1e9 / cpu_ns as f64;
    let what = format!("{conns} connect, subscribe and recover {missed} messages");
    let note = format!("{wrong} lost or doubled; {:.0} µs of CPU each", cpu_ns as f64 / 1e3 / conns as f64);
    let whole = Finding {
        goal: "S10",
        what: what.clone(),
        floor: String::new(),
        figure: format!("{per_second:.0} a second of server CPU"),
        value: if wrong == 0 { per_second } else { 0.0 },
        limit: 10_000.0,
        more_is_better: true,
        note: note.clone(),
    };
    let seconds = wall_ns as f64 / 1e9;
    let figure = format!("{seconds:.2} s");
    let (limit, floor) = (3.0, String::new());
    let all = Finding {
        what: format!("{what}: all are back"),
        figure,
        value: seconds,
        limit,
        floor,
        more_is_better: false,
        ..whole.clone()
    };
    Ok(vec![whole, all])
}

/// The epoch of the channel, from the answer about its history.
fn epoch(swarm: &mut Swarm) -> Result<String> {
    let until_ns = now_ns() + 10_000_000_000;
    let mut epoch = None;
    while epoch.is_none() && now_ns() < until_ns {
        swarm.turn(Some(Duration::from_millis(100)), &mut |_, _, what| {
            if let Heard::Frame(f) = what
                && let Ok(object) = serde_json::from_slice::<serde_json::Value>(f.payload)
                && object["type"] == "history"
            {
                epoch = object["position"]["epoch"].as_str().map(str::to_owned);
            }
        })?;
    }
    epoch.context("the channel has no epoch")
}

/// One storm; how long it took, and how many messages were lost or came twice.
fn storm(swarm: &mut Swarm, crowd: &Crowd, conns: usize, missed: u64, greeting: &[u8]) -> Result<(u64, u64)> {
    let mut got: Vec<Got> = Vec::new();
    let (mut begun, mut back, mut ended) = (0, 0, None);
    let mut numbers = Vec::with_capacity(conns);
    let start_ns = now_ns();
    while back < conns {
        while begun < conns && begun - back < AT_ONCE {
            let from = crowd.from[begun % crowd.from.len()];
            let number = swarm.dial(crowd.to, Some(from), &crowd.opening)?;
            if got.len() <= number {
                got.resize(number + 1, Got::default());
            }
            got[number] = Got::default();
            numbers.push(number);
            begun += 1;
        }
        swarm.turn(Some(Duration::from_millis(100)), &mut |swarm, number, what| match what {
            Heard::Open => swarm.send(number, greeting),
            Heard::Closed(words) => ended = Some(words),
            Heard::Frame(f) => {
                let Some(state) = got.get_mut(number) else { return };
                if memchr::memmem::find(f.payload, br#""recovered":true"#).is_some() {
                    state.recovered = true;
                } else if let Some(offset) = offset(f.payload) {
                    state.wrong += u64::from(offset != state.last + 1);
                    state.last = offset;
                    state.messages += 1;
                    back += usize::from(state.messages == missed && state.recovered);
                }
            }
        })?;
        if let Some(words) = ended {
            bail!("a connection ended: {words}");
        }
        if now_ns() - start_ns > 120_000_000_000 {
            bail!("{back} of {conns} are back after two minutes");
        }
    }
    let wall_ns = now_ns() - start_ns;
    let wrong = numbers.iter().map(|number| got[*number].wrong).sum();
    numbers.into_iter().for_each(|number| swarm.cut(number));
    Ok((wall_ns, wrong))
}

/// The offset of a message.
fn offset(payload: &[u8]) -> Option<u64> {
    memchr::memmem::find(payload, br#""type":"message""#)?;
    number(payload, "offset")
}

/// The first number under this key.
pub(super) fn number(payload: &[u8], key: &str) -> Option<u64> {
    let key = format!("\"{key}\":");
    let at = memchr::memmem::find(payload, key.as_bytes())? + key.len();
    let digits = payload[at..].iter().take_while(|b| b.is_ascii_digit());
    Some(digits.fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}
