//! What a run brought: the one thing that table, JSON, page, assertions and comparison read.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::plan::Plan;

/// The version of this object's form. What reads it refuses others.
pub const SCHEMA: u32 = 1;

/// The places of the percentile curve.
const CURVE: [f64; 16] =
    [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99995, 0.99999, 1.0];

/// A run's outcome. Times in ms unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Of the load tool.
    pub version: String,
    /// As it was typed.
    pub command: String,
    /// When it began, ms since 1970 UTC.
    pub started_ms: u64,
    /// Processor and kernel.
    pub machine: String,
    /// What was to be done.
    pub plan: Plan,
    /// What is counted, such as `deliveries`.
    pub counted: String,
    /// It was stopped before its time.
    pub stopped: bool,
    /// Why it could not go on to its end.
    pub broken: Option<String>,
    /// So long it counted.
    pub measured_ms: f64,
    /// Connections that were open when it counted.
    pub open: usize,
    /// Sends in that time.
    pub sent: u64,
    /// What came in that time.
    pub received: u64,
    /// That per second.
    pub rate: f64,
    /// What never came, over the whole run.
    pub loss: u64,
    /// What came twice.
    pub duplicates: u64,
    /// What came behind a later one.
    pub reordered: u64,
    /// What went wrong.
    pub errors: u64,
    /// The first of it, in words.
    pub first_error: Option<String>,
    /// Absent where nothing came.
    pub latency: Option<Latency>,
    /// Quantile, 0 to 1, and latency.
    pub curve: Vec<(f64, f64)>,
    /// Kinds of deeds with latencies of their own.
    pub parts: Vec<Part>,
    /// What the server took.
    pub server: Server,
    /// What the load tool took.
    pub loader: Loader,
    /// The run in slices of time.
    pub series: Vec<Slot>,
    /// What the reader should know.
    pub warnings: Vec<String>,
    /// What was asserted.
    pub asserts: Vec<Verdict>,
}

/// A distribution in its usual figures, ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many there are.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// Nine of ten are below.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1 000.
    pub p999: f64,
    /// The largest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

/// One kind of deed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its latencies.
    pub latency: Latency,
}

/// What the server took while it counted; absent is what nobody tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Where the figures are from, or why there are none.
    pub source: String,
    /// CPU time, s.
    pub cpu_s: Option<f64>,
    /// CPU time for each that was counted, µs.
    pub cpu_per_message_us: Option<f64>,
    /// How many in a second of CPU time.
    pub messages_per_cpu_s: Option<f64>,
    /// Resident memory at the end, bytes.
    pub memory_bytes: Option<u64>,
    /// What it grew by, for each connection, bytes.
    pub memory_per_connection: Option<f64>,
    /// CPU time of a connection in a second, µs.
    pub cpu_per_connection_us: Option<f64>,
    /// `read` and `write` calls for each that was counted.
    pub calls_per_message: Option<f64>,
    /// How often it slept, for each that was counted.
    pub waits_per_message: Option<f64>,
}

/// What the load tool took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loader {
    /// CPU time, s.
    pub cpu_s: f64,
    /// Part of its one core, 0 to 1.
    pub busy: f64,
    /// Reads and writes for each that was counted.
    pub calls_per_message: f64,
    /// How late 99 of 100 sends were at most, ms.
    pub late_p99: f64,
}

/// A slice of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// Its end, ms since the connections were open.
    pub at_ms: f64,
    /// Its length, ms.
    pub length_ms: f64,
    /// It counts; otherwise it is warm-up or the wait for stragglers.
    pub counts: bool,
    /// Sends.
    pub sent: u64,
    /// What came.
    pub received: u64,
    /// What went wrong.
    pub errors: u64,
    /// Latencies of what came.
    pub p50: Option<f64>,
    /// 99 of 100.
    pub p99: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
    /// Cores that the server used.
    pub server_cores: Option<f64>,
    /// Its resident memory, bytes.
    pub server_memory: Option<u64>,
    /// Cores that the load tool used.
    pub loader_cores: f64,
}

/// What came of an assertion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// As it was written.
    pub expression: String,
    /// The figure, in words.
    pub figure: String,
    /// Whether it holds.
    pub held: bool,
}

/// A latency in ms.
pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

impl Latency {
    /// Of a histogram in ns; `None`: it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| ms(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: ms(histogram.max()),
            mean: histogram.mean() / 1e6,
        })
    }
}

/// The percentile curve, as far as there are enough values for each place.
pub fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let count = histogram.len() as f64;
    let told = CURVE.into_iter().filter(|q| count > 0.0 && (*q >= 1.0 || (1.0 - q) * count >= 1.0));
    told.map(|q| (q, ms(histogram.value_at_quantile(q)))).collect()
}

impl Outcome {
    /// Reads one from a file's text.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        match value.get("schema").and_then(serde_json::Value::as_u64) {
            Some(schema) if schema == u64::from(SCHEMA) => {}
            Some(other) => {
                return Err(format!("its schema is {other}, and this version reads {SCHEMA}"));
            }
            None => return Err("it is not what `everwire bench … --json` writes".to_owned()),
        }
        serde_json::from_value(value).map_err(|error| format!("it is not whole: {error}"))
    }
}

#[cfg(test)]
pub(super) fn sample(scenario: super::plan::Kind) -> Outcome {
    let latency = Latency { count: 200_000, p50: 1.0, p90: 2.0, p99: 4.0, p999: 8.0, max: 9.0, mean: 1.5 };
    let slot = |n: u64| Slot {
        at_ms: n as f64 * 1_000.0,
        length_ms: 1_000.0,
        counts: n > 1,
        sent: 20,
        received: 20_000 + 100 * (n % 3),
        errors: 0,
        p50: Some(1.0),
        p99: Some(4.0 + (n % 3) as f64 / 10.0),
        max: Some(9.0),
        server_cores: Some(0.1),
        server_memory: Some(64 << 20),
        loader_cores: 0.2,
    };
    Outcome {
        schema: SCHEMA,
        version: "0.1.0".to_owned(),
        command: "everwire bench fanout".to_owned(),
        started_ms: 1_700_000_000_000,
        machine: "a processor, 2 cores".to_owned(),
        plan: super::plan::sample(scenario),
        counted: scenario.words().0.to_owned(),
        stopped: false,
        broken: None,
        measured_ms: 10_000.0,
        open: 1_000,
        sent: 200,
        received: 200_000,
        rate: 20_000.0,
        loss: 3,
        duplicates: 2,
        reordered: 0,
        errors: 1,
        first_error: Some("the server refused: x".to_owned()),
        latency: Some(latency),
        curve: vec![(0.0, 0.5), (0.5, 1.0), (0.99, 4.0), (1.0, 9.0)],
        parts: Vec::new(),
        server: Server {
            source: "process 7".to_owned(),
            cpu_s: Some(1.0),
            cpu_per_message_us: Some(5.0),
            messages_per_cpu_s: Some(200_000.0),
            memory_bytes: Some(64 << 20),
            memory_per_connection: Some(2_048.0),
            ..Server::default()
        },
        loader: Loader { cpu_s: 2.0, busy: 0.2, calls_per_message: 1.0, late_p99: 0.1 },
        series: (1..=12).map(slot).collect(),
        warnings: Vec::new(),
        asserts: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::Kind;
    use crate::load::tally::histogram;

    /// Every key of a JSON value, with its place.
    fn keys(value: &serde_json::Value, place: &str, list: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    list.push(format!("{place}{name}"));
                    keys(value, &format!("{place}{name}."), list);
                }
            }
            serde_json::Value::Array(items) => {
                if let Some(first) = items.first() {
                    keys(first, &format!("{place}[]."), list);
                }
            }
            _ => {}
        }
    }

    /// The form of schema 1: whoever reads these files relies on it. What changes here changes [`SCHEMA`] too, unless it
    /// is only added.
    #[test]
    fn the_schema_stays() {
        let mut outcome = sample(Kind::Fanout);
        outcome.parts.push(Part { name: "opening".to_owned(), latency: outcome.latency.unwrap() });
        let verdict = Verdict { expression: String::new(), figure: String::new(), held: true };
        outcome.asserts.push(verdict);
        let mut list = Vec::new();
        keys(&serde_json::to_value(&outcome).unwrap(), "", &mut list);
        list.sort();
        let latency = |place: &str| {
            ["count", "max", "mean", "p50", "p90", "p99", "p999"].map(|name| format!("{place}latency.{name}"))
        };
        let mut known: Vec<String> = "asserts asserts.[].expression asserts.[].figure asserts.[].held broken command counted curve \
            duplicates errors first_error latency loader loader.busy loader.calls_per_message loader.cpu_s \
            loader.late_p99 loss machine measured_ms open parts parts.[].latency parts.[].name plan plan.channels plan.conns \
            plan.drain_ms plan.duration_ms plan.in_flight plan.missed plan.protocol plan.publishers plan.ramp_ms \
            plan.rate plan.scenario plan.size plan.sources plan.url plan.warmup_ms plan.zipf rate received \
            reordered schema sent series series.[].at_ms series.[].counts series.[].errors series.[].length_ms \
            series.[].loader_cores series.[].max series.[].p50 series.[].p99 series.[].received series.[].sent \
            series.[].server_cores series.[].server_memory server server.calls_per_message server.cpu_per_connection_us \
            server.cpu_per_message_us server.cpu_s server.memory_bytes server.memory_per_connection \
            server.messages_per_cpu_s server.source server.waits_per_message started_ms stopped version warnings"
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        known.extend(latency(""));
        known.extend(latency("parts.[]."));
        known.sort();
        assert_eq!(list, known);
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let outcome = sample(Kind::Recover);
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(Outcome::parse(&text), Ok(outcome));
        assert!(
            Outcome::parse(&text.replace("\"schema\":1", "\"schema\":9"))
                .unwrap_err()
                .contains("schema is 9")
        );
        assert!(Outcome::parse("{}").unwrap_err().contains("--json"));
        assert!(Outcome::parse("x").unwrap_err().contains("no JSON"));
        assert!(Outcome::parse("{\"schema\":1}").unwrap_err().contains("not whole"));
    }

    #[test]
    fn a_curve_ends_where_there_is_nothing_to_tell_apart() {
        let mut latencies = histogram();
        assert_eq!((curve(&latencies), Latency::of(&latencies)), (Vec::new(), None));
        (1..=100).for_each(|n| latencies.record(n * 1_000_000).unwrap());
        let curve = curve(&latencies);
        assert_eq!(curve.iter().map(|(q, _)| *q).fold(0.0, |most, q| if q < 1.0 { q } else { most }), 0.99);
        assert!((curve.last().unwrap().1 - 100.0).abs() < 0.2);
        let latency = Latency::of(&latencies).unwrap();
        assert!((latency.p50 - 50.0).abs() < 0.1 && latency.count == 100, "{latency:?}");
    }
}
