//! What is to be done to a server: everything that makes two runs comparable, and nothing else.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Messages to many subscribers.
    Fanout,
    /// Messages that come back as they are.
    Echo,
    /// Messages through a channel of one's own.
    Pingpong,
    /// Opening connections.
    Connect,
    /// Connections that do nothing.
    Idle,
    /// Coming, subscribing, receiving, leaving.
    Churn,
    /// All come back at once and want what they missed.
    Recover,
    /// A mixture of commands.
    Mixed,
}

impl Kind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fanout => "fanout",
            Self::Echo => "echo",
            Self::Pingpong => "pingpong",
            Self::Connect => "connect",
            Self::Idle => "idle",
            Self::Churn => "churn",
            Self::Recover => "recover",
            Self::Mixed => "mixed",
        }
    }

    /// What is counted, and what a latency is from and to.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Fanout => ("deliveries", "from the intended publish to each delivery"),
            Self::Echo => ("echoes", "from the intended send to the echo"),
            Self::Pingpong => ("messages", "from the intended publish to the message"),
            Self::Connect => ("connections", "from the intended start to the first answer"),
            Self::Idle => ("messages", "none: nothing is sent"),
            Self::Churn => ("visits", "from the intended start to one's own message"),
            Self::Recover => ("recoveries", "from the moment all want back to the last missed message"),
            Self::Mixed => ("replies", "from the intended send to the reply"),
        }
    }
}

/// The plan of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What is measured.
    pub scenario: Kind,
    /// The server.
    pub url: String,
    /// `everwire`, `raw`, or `templates`.
    pub protocol: String,
    /// Connections, besides those that publish.
    pub conns: usize,
    /// Channels.
    pub channels: usize,
    /// The exponent of their popularity.
    pub zipf: f64,
    /// Bytes of a payload.
    pub size: usize,
    /// How often a second in all; 0: whenever the last is done.
    pub rate: f64,
    /// How many at once where the rate is 0.
    pub in_flight: usize,
    /// Connections that publish and do not subscribe; 0 until the server has told its limits.
    pub publishers: usize,
    /// Messages that each channel gets while nobody is there.
    pub missed: usize,
    /// Connections open, or the rate rises, over so long, ms.
    pub ramp_ms: u64,
    /// So much of the schedule is not counted, ms.
    pub warmup_ms: u64,
    /// So much is, ms.
    pub duration_ms: u64,
    /// So long silence ends the wait for stragglers, ms.
    pub drain_ms: u64,
    /// Source addresses; none: the system's choice.
    pub sources: Vec<IpAddr>,
}

impl Plan {
    /// What would make figures of two runs mean different things; empty: nothing.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut list = Vec::new();
        let mut look = |name: &str, a: String, b: String| {
            if a != b {
                list.push(format!("{name} {a} and {b}"));
            }
        };
        look("scenario", self.scenario.name().to_owned(), other.scenario.name().to_owned());
        for (name, get) in [
            ("connections", (|p: &Self| p.conns as f64) as fn(&Self) -> f64),
            ("channels", |p| p.channels as f64),
            ("zipf", |p| p.zipf),
            ("size", |p| p.size as f64),
            ("rate", |p| p.rate),
            ("in flight", |p| p.in_flight as f64),
            ("missed messages", |p| p.missed as f64),
        ] {
            look(name, get(self).to_string(), get(other).to_string());
        }
        list
    }
}

#[cfg(test)]
pub(super) fn sample(scenario: Kind) -> Plan {
    Plan {
        scenario,
        url: "ws://localhost:8765/ws".to_owned(),
        protocol: "everwire".to_owned(),
        conns: 1_000,
        channels: 1,
        zipf: 0.0,
        size: 128,
        rate: 20.0,
        in_flight: 1,
        publishers: 1,
        missed: 0,
        ramp_ms: 0,
        warmup_ms: 1_000,
        duration_ms: 10_000,
        drain_ms: 3_000,
        sources: Vec::new(),
    }
}
