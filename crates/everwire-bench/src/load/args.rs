//! The options of a run, and the plan that they make.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::assertion::Assertion;
use super::plan::{Kind, Plan};
use crate::dialect::Dialect;
use crate::machine;
use crate::marker::MARK_BYTES;

/// Descriptors that the load tool needs besides its connections.
const OWN_DESCRIPTORS: u64 = 48;

/// The largest payload, bytes: a frame must fit into half a read of the swarm.
const LARGEST: usize = 100_000;

/// What cannot be done as it was asked; exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// How a server is spoken to, before templates change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Everwire's JSON
    Everwire,
    /// The payload alone; whoever connects is subscribed
    Raw,
}

/// The options of every scenario.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The server [default: ws://localhost:8765/ws, for echo …/echo/raw]
    #[arg(long, help_heading = "Target")]
    pub url: Option<String>,
    /// Its process, for CPU and memory; found by its port where it runs here. May be repeated
    #[arg(long, value_name = "PID", help_heading = "Target")]
    pub pid: Vec<u32>,
    /// A line for each upgrade, such as 'Authorization: Bearer KEY'. May be repeated
    #[arg(long, value_name = "NAME: VALUE", value_parser = header, help_heading = "Target")]
    pub header: Vec<(String, String)>,
    /// With wss://: trust the certificates in this file (PEM) instead of the system's list
    #[arg(long, value_name = "FILE", help_heading = "Target")]
    pub ca: Option<PathBuf>,
    /// The API key for the server's /metrics, where its process is not seen here; without it, an Authorization or X-API-Key of --header
    #[arg(long, value_name = "KEY", value_parser = key, help_heading = "Target")]
    pub metrics_key: Option<String>,
    /// A source address, such as 127.0.0.2; several are taken in turn, each with its own ports
    #[arg(long, value_name = "ADDR", help_heading = "Target")]
    pub source: Vec<IpAddr>,

    /// Connections; for connect and churn so many at a time
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub conns: Option<usize>,
    /// Channels
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub channels: Option<usize>,
    /// What the channels' names begin with; a number for each run and one for each channel follow
    #[arg(long, value_name = "NAME", default_value = "bench", help_heading = "Load")]
    pub channel: String,
    /// The n-th channel is 1/n^S as popular as the first, for subscribers and publishers
    #[arg(long, value_name = "S", default_value_t = 0.0, help_heading = "Load")]
    pub zipf: f64,
    /// Bytes of a payload; a mark takes the first 39
    #[arg(long, value_name = "BYTES", default_value_t = 128, help_heading = "Load")]
    pub size: usize,
    /// A second, in all; 0: the next when the last is done
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub rate: Option<f64>,
    /// With --rate 0, so many are on their way (for each connection, or publishes in one write)
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Load")]
    pub in_flight: usize,
    /// Connections that publish [default: as many as the server's rate limit asks for]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub publishers: Option<usize>,
    /// recover: messages that each channel gets while nobody is there
    #[arg(long, value_name = "N", default_value_t = 50, help_heading = "Load")]
    pub missed: usize,

    /// Open the connections over so long; for connect and churn, let the rate rise
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration, help_heading = "Time")]
    pub ramp: Duration,
    /// So much of the schedule does not count [default: 2s; 0s for idle, recover, connect, churn]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Time")]
    pub warmup: Option<Duration>,
    /// So much does
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "Time")]
    pub duration: Duration,
    /// Silence after which what has not come is lost
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration, help_heading = "Time")]
    pub drain: Duration,

    /// How the server is spoken to [default: everwire; for echo raw]
    #[arg(long, help_heading = "Other servers")]
    pub protocol: Option<Protocol>,
    /// The subprotocol to offer; empty: none
    #[arg(long, value_name = "NAME", help_heading = "Other servers")]
    pub subprotocol: Option<String>,
    /// What a connection says first. May be repeated
    #[arg(long, value_name = "TEXT", help_heading = "Other servers")]
    pub first: Vec<String>,
    /// What stands in the answer to that; the subscription waits for it
    #[arg(long, value_name = "MATCH", help_heading = "Other servers")]
    pub greeted: Option<String>,
    /// What subscribes; {channel} is filled in
    #[arg(long, value_name = "TEXT", help_heading = "Other servers")]
    pub subscribe: Option<String>,
    /// What stands in the answer to that; without it none is waited for
    #[arg(long, value_name = "MATCH", help_heading = "Other servers")]
    pub subscribed: Option<String>,
    /// What publishes; {channel} and {data} are filled in
    #[arg(long, value_name = "TEXT", help_heading = "Other servers")]
    pub publish: Option<String>,
    /// What stands in a message that is delivered; without it any frame with a mark is one
    #[arg(long, value_name = "MATCH", help_heading = "Other servers")]
    pub delivered: Option<String>,
    /// A message that must be answered and its answer, such as '2=3' for the pings of socket.io. May be repeated
    #[arg(long, value_name = "TEXT=TEXT", value_parser = answer, help_heading = "Other servers")]
    pub answer: Vec<(String, String)>,

    /// Write the outcome as JSON; - for standard output, the table then goes to standard error
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub json: Option<PathBuf>,
    /// Write a page with plots: one file, nothing from elsewhere
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub html: Option<PathBuf>,
    /// What must hold, such as 'p99<20ms' or 'loss==0'; exit code 1 if not. May be repeated
    #[arg(long, value_name = "EXPRESSION", help_heading = "Report")]
    pub assert: Vec<Assertion>,
}

/// A run, checked.
#[derive(Clone, Debug)]
pub struct Job {
    /// What makes it comparable.
    pub plan: Plan,
    /// How the server is spoken to.
    pub dialect: Dialect,
    /// What the channels' names begin with.
    pub channel: String,
    /// Lines for each upgrade.
    pub headers: Vec<(String, String)>,
    /// Whose certificates are trusted, instead of the system's list.
    pub ca: Option<PathBuf>,
    /// Lines for `/metrics`.
    pub metrics_headers: Vec<(String, String)>,
    /// The server's processes, if they were named.
    pub pids: Vec<u32>,
    /// What was seen beforehand.
    pub warnings: Vec<String>,
}

/// What a scenario has where nothing else is asked for.
struct Defaults {
    conns: usize,
    channels: usize,
    rate: f64,
    warmup_ms: u64,
}

fn defaults(kind: Kind) -> Defaults {
    let (conns, channels, rate, warmup_ms) = match kind {
        Kind::Fanout => (1_000, 1, 20.0, 2_000),
        Kind::Echo => (50, 0, 0.0, 2_000),
        Kind::Pingpong => (50, 0, 1_000.0, 2_000),
        Kind::Connect => (100, 0, 200.0, 0),
        Kind::Idle => (1_000, 10, 0.0, 0),
        Kind::Churn => (200, 50, 200.0, 0),
        Kind::Recover => (1_000, 10, 0.0, 0),
        Kind::Mixed => (200, 20, 1_000.0, 2_000),
    };
    Defaults { conns, channels, rate, warmup_ms }
}

impl Options {
    /// The run that they ask for.
    ///
    /// # Errors
    /// What can't be done, and why.
    pub fn job(&self, kind: Kind) -> Result<Job, Usage> {
        let Defaults { conns, channels, rate, warmup_ms } = defaults(kind);
        let (dialect, protocol) = self.dialect(kind);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let path = if kind == Kind::Echo { "echo/raw" } else { "ws" };
        let no_channels = matches!(kind, Kind::Echo | Kind::Pingpong | Kind::Connect);
        let plan = Plan {
            scenario: kind,
            url: self.url.clone().unwrap_or_else(|| format!("ws://localhost:8765/{path}")),
            protocol,
            conns: self.conns.unwrap_or(conns),
            channels: if no_channels { 0 } else { self.channels.unwrap_or(channels) },
            zipf: self.zipf,
            size: self.size.max(MARK_BYTES),
            rate: self.rate.unwrap_or(rate),
            in_flight: self.in_flight.max(1),
            publishers: if matches!(kind, Kind::Fanout | Kind::Recover) {
                self.publishers.unwrap_or(0)
            } else {
                0
            },
            missed: if kind == Kind::Recover { self.missed } else { 0 },
            ramp_ms: millis(self.ramp),
            warmup_ms: self.warmup.map_or(warmup_ms, millis),
            duration_ms: millis(self.duration),
            drain_ms: millis(self.drain),
            sources: self.source.clone(),
        };
        check(&plan)?;
        let warnings = room(&plan, machine::raise_descriptors(), machine::ephemeral_ports())?;
        Ok(Job {
            plan,
            dialect,
            channel: format!("{}-{}", self.channel, std::process::id()),
            headers: self.header.clone(),
            ca: self.ca.clone(),
            metrics_headers: self.metrics_headers(),
            pids: self.pid.clone(),
            warnings,
        })
    }

    /// What says to `/metrics` who asks.
    fn metrics_headers(&self) -> Vec<(String, String)> {
        let says_who =
            |name: &str| ["authorization", "x-api-key"].iter().any(|known| name.eq_ignore_ascii_case(known));
        match &self.metrics_key {
            Some(key) => vec![("Authorization".to_owned(), format!("Bearer {key}"))],
            None => self.header.iter().filter(|(name, _)| says_who(name)).cloned().collect(),
        }
    }

    /// The protocol with what the templates change, and its name for the report.
    fn dialect(&self, kind: Kind) -> (Dialect, String) {
        let usual = if kind == Kind::Echo { Protocol::Raw } else { Protocol::Everwire };
        let mut name = "everwire";
        let mut dialect = Dialect::everwire();
        if self.protocol.unwrap_or(usual) == Protocol::Raw {
            (dialect, name) = (Dialect::raw(), "raw");
        }
        let plain = dialect.clone();
        if let Some(subprotocol) = &self.subprotocol {
            dialect.subprotocol = Some(subprotocol.clone()).filter(|name| !name.is_empty());
        }
        if !self.first.is_empty() {
            dialect.first.clone_from(&self.first);
            // What another server answers to that is not known.
            dialect.greeted.clear();
        }
        if let Some(greeted) = &self.greeted {
            dialect.greeted.clone_from(greeted);
            dialect.waits_for_greeting = !greeted.is_empty();
        }
        if let Some(subscribe) = &self.subscribe {
            dialect.subscribe = Some(subscribe.clone());
        }
        dialect.answers.clone_from(&self.answer);
        let texts = [
            (&mut dialect.subscribed, &self.subscribed),
            (&mut dialect.publish, &self.publish),
            (&mut dialect.delivered, &self.delivered),
        ];
        for (text, given) in texts {
            if let Some(given) = given {
                text.clone_from(given);
            }
        }
        let name = if dialect == plain { name.to_owned() } else { format!("{name} with templates") };
        (dialect, name)
    }
}

fn check(plan: &Plan) -> Result<(), Usage> {
    let name = plan.scenario.name();
    let ours_alone = matches!(plan.scenario, Kind::Recover | Kind::Mixed);
    let faults = [
        (plan.conns == 0, "--conns must be 1 at least"),
        (!plan.rate.is_finite() || plan.rate < 0.0, "--rate must be 0 or more"),
        (!plan.zipf.is_finite() || plan.zipf < 0.0, "--zipf must be 0 or more"),
        (plan.duration_ms == 0, "--duration must be more than 0"),
        (plan.size > LARGEST, "--size goes up to 100 000 bytes"),
        (
            ours_alone && plan.protocol != "everwire",
            "speaks Everwire alone: other servers have no words for it",
        ),
        (plan.scenario == Kind::Mixed && plan.rate == 0.0, "needs a --rate"),
        (
            matches!(plan.scenario, Kind::Fanout | Kind::Churn | Kind::Recover | Kind::Mixed)
                && plan.channels == 0,
            "needs one channel at least",
        ),
        (
            plan.conns > 10_000_000 || plan.channels > 10_000_000,
            "goes up to 10 million connections and channels",
        ),
    ];
    match faults.iter().find(|(wrong, _)| *wrong) {
        Some((_, words)) => Err(Usage(format!("{name}: {words}"))),
        None => Ok(()),
    }
}

/// Whether there are descriptors and ports for it.
fn room(plan: &Plan, descriptors: u64, ports: u64) -> Result<Vec<String>, Usage> {
    let conns = (plan.conns + plan.publishers) as u64;
    if conns + OWN_DESCRIPTORS > descriptors {
        return Err(Usage(format!(
            "{conns} connections need as many descriptors and {OWN_DESCRIPTORS} more, and this process may have \
             {descriptors}: raise the hard limit (`ulimit -Hn`), or run several of these"
        )));
    }
    let sources = plan.sources.len().max(1) as u64;
    let each = conns.div_ceil(sources);
    if each > ports {
        return Err(Usage(format!(
            "{each} connections from one address need as many ports, and there are {ports} \
             (net.ipv4.ip_local_port_range): give {} --source addresses, such as 127.0.0.2",
            conns.div_ceil(ports)
        )));
    }
    let mut warnings = Vec::new();
    if each * 10 > ports * 9 {
        warnings.push(format!(
            "{each} connections from one address take nearly all of its {ports} ports: another --source would give room"
        ));
    }
    let opens = matches!(plan.scenario, Kind::Connect | Kind::Churn | Kind::Recover);
    if opens && each * 5 > ports {
        warnings.push(format!(
            "{each} connections from one address: the kernel's search for a free port among {ports} slows the load tool down; \
             more --source addresses help"
        ));
    }
    // A port rests for a minute after its connection, on whichever side closed first.
    let a_minute = plan.rate * 60.0 / sources as f64;
    if opens && a_minute > ports as f64 {
        warnings.push(format!(
            "{:.0} connections a second use up the {ports} ports of an address within a minute, if the server leaves it to us to rest them",
            plan.rate
        ));
    }
    Ok(warnings)
}

/// What could end the line, and begin another one, is no part of a key.
fn key(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    good.then(|| text.to_owned())
        .ok_or_else(|| "a key has no spaces, control characters or letters outside ASCII".to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write such as 'Origin: https://example.com'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn answer(text: &str) -> Result<(String, String), String> {
    let (said, answer) = text.split_once('=').ok_or("write such as '2=3'")?;
    Ok((said.to_owned(), answer.to_owned()))
}

/// `500ms`, `10s`, `2m`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err("write such as 500ms, 10s or 2m".to_owned()),
    };
    let number = f64::from_str(number).map_err(|_| "write such as 500ms, 10s or 2m".to_owned())?;
    Duration::try_from_secs_f64(number * factor).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn job(kind: Kind, words: &str) -> Result<Job, String> {
        let words = words.split_whitespace();
        let line =
            Line::try_parse_from(["bench"].into_iter().chain(words)).map_err(|error| error.to_string())?;
        line.options.job(kind).map_err(|usage| usage.0)
    }

    #[test]
    fn times_have_units() {
        for (text, ms) in
            [("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("1.5", 1_500), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "1 day", "-1s", "1e400"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_scenario() {
        let echo = job(Kind::Echo, "").unwrap();
        assert_eq!(
            (echo.plan.url.as_str(), echo.plan.protocol.as_str()),
            ("ws://localhost:8765/echo/raw", "raw")
        );
        let fanout = job(Kind::Fanout, "--rate 5 --size 1 --in-flight 0").unwrap().plan;
        assert_eq!((fanout.conns, fanout.channels, fanout.rate, fanout.size), (1_000, 1, 5.0, MARK_BYTES));
        assert_eq!((fanout.warmup_ms, fanout.in_flight, fanout.missed), (2_000, 1, 0));
        assert_eq!(job(Kind::Recover, "").unwrap().plan.missed, 50);
    }

    #[test]
    fn metrics_are_asked_for_with_a_key() {
        let headers = |words: &str| job(Kind::Fanout, words).unwrap().metrics_headers;
        let bearer = |key: &str| vec![("Authorization".to_owned(), format!("Bearer {key}"))];
        assert_eq!(headers("--header Origin:x"), []);
        assert_eq!(
            headers("--header Origin:x --header x-api-key:k"),
            [("x-api-key".to_owned(), "k".to_owned())]
        );
        assert_eq!(headers("--header authorization:t --metrics-key k"), bearer("k"));
    }

    #[test]
    fn templates_change_what_is_said() {
        let words = "--protocol raw --subscribe SUB:{channel} --subscribed OK --publish PUB:{data} --delivered MSG --first HI --greeted YO --subprotocol x --answer 2=3";
        let job = job(Kind::Fanout, words).unwrap();
        let told = Dialect {
            subprotocol: Some("x".to_owned()),
            first: vec!["HI".to_owned()],
            greeted: "YO".to_owned(),
            waits_for_greeting: true,
            subscribe: Some("SUB:{channel}".to_owned()),
            subscribed: "OK".to_owned(),
            publish: "PUB:{data}".to_owned(),
            delivered: "MSG".to_owned(),
            refused: String::new(),
            answers: vec![("2".to_owned(), "3".to_owned())],
        };
        assert_eq!((job.dialect, job.plan.protocol.as_str()), (told, "raw with templates"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (kind, words, part) in [
            (Kind::Fanout, "--conns 0", "--conns"),
            (Kind::Fanout, "--channels 0", "one channel"),
            (Kind::Mixed, "--rate 0", "--rate"),
            (Kind::Recover, "--protocol raw", "Everwire alone"),
            (Kind::Mixed, "--publish x", "Everwire alone"),
            (Kind::Fanout, "--duration 0s", "--duration"),
            (Kind::Fanout, "--zipf=-1", "--zipf"),
            (Kind::Echo, "--size 100001", "--size"),
            (Kind::Fanout, "--duration 1day", "500ms"),
            (Kind::Fanout, "--assert p98<1", "p999"),
            (Kind::Fanout, "--header x", "Origin"),
            (Kind::Fanout, "--answer x", "2=3"),
            (Kind::Fanout, "--metrics-key é", "outside ASCII"),
        ] {
            let error = job(kind, words).unwrap_err();
            assert!(error.contains(part), "{words}: {error}");
        }
    }

    /// Every option that the manual names is one, and every one of the group for other servers is named.
    #[test]
    fn the_manual_knows_the_options() {
        use clap::CommandFactory as _;
        let manual = include_str!("../../../../docs/bench.md");
        let command = Line::command();
        let known = |name: &str| command.get_arguments().any(|arg| arg.get_long() == Some(name));
        let words = manual.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        for name in words
            .filter_map(|word| word.strip_prefix("--"))
            .filter(|name| name.starts_with(|c: char| c.is_alphabetic()))
        {
            assert!(known(name) || name == "help", "--{name} is no option");
        }
        for arg in command.get_arguments().filter(|arg| arg.get_help_heading() == Some("Other servers")) {
            let name = arg.get_long().unwrap();
            assert!(manual.contains(&format!("--{name}")), "--{name} is not in the manual");
        }
    }

    #[test]
    fn descriptors_and_ports_are_counted_before_it_begins() {
        let mut plan = job(Kind::Fanout, "--conns 9000").unwrap().plan;
        assert!(room(&plan, 9_010, 28_000).unwrap_err().0.contains("descriptors"));
        assert!(room(&plan, 20_000, 8_000).unwrap_err().0.contains("give 2 --source"));
        assert!(room(&plan, 20_000, 9_500).unwrap()[0].contains("nearly all"));
        assert_eq!(room(&plan, 20_000, 28_000).unwrap(), Vec::<String>::new());
        plan.sources = vec![IpAddr::from([127, 0, 0, 2]), IpAddr::from([127, 0, 0, 3])];
        assert_eq!(room(&plan, 20_000, 8_000).unwrap(), Vec::<String>::new());
        (plan.scenario, plan.rate) = (Kind::Churn, 2_000.0);
        assert!(room(&plan, 20_000, 28_000).unwrap()[0].contains("within a minute"));
        (plan.scenario, plan.rate) = (Kind::Recover, 0.0);
        assert_eq!(room(&plan, 20_000, 28_000).unwrap(), Vec::<String>::new());
        plan.sources.clear();
        assert!(room(&plan, 20_000, 28_000).unwrap()[0].contains("search for a free port"));
    }
}
