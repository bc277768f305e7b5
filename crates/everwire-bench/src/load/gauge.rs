//! What the server takes: read from `/proc` where it runs on this machine, from its `/metrics` otherwise.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::listener::{self, Found};
use crate::watched::Watched;

/// Metrics are given up after so long, and are no longer than so much.
const PATIENCE: Duration = Duration::from_secs(2);
const METRICS_BYTES: u64 = 4 << 20;

/// Where the figures of a server come from.
#[derive(Clone, Debug)]
pub struct Gauge {
    processes: Vec<Watched>,
    metrics: Option<(SocketAddr, String)>,
    /// In words, for the report.
    pub source: String,
}

/// The server's figures at one moment, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// CPU time, ns.
    pub cpu_ns: Option<u64>,
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// `read` and `write` calls.
    pub calls: Option<u64>,
    /// How often it went to sleep.
    pub waits: Option<u64>,
}

impl Gauge {
    /// Those of the named processes, or of whoever listens there, or what the server tells itself.
    pub fn find(address: SocketAddr, host: &str, named: &[u32]) -> Self {
        let found = if named.is_empty() { listener::find(address) } else { Found::Processes(named.to_vec()) };
        let why = match found {
            Found::Processes(pids) => match pids.iter().map(|pid| Watched::new(*pid)).collect() {
                Ok(processes) => {
                    let list: Vec<_> = pids.iter().map(u32::to_string).collect();
                    let source = format!("process {}", list.join(", "));
                    return Self { processes, metrics: None, source };
                }
                Err(error) => format!("unknown: the process can't be watched: {error}"),
            },
            Found::Elsewhere => {
                "unknown: the server is on another machine and has no /metrics with process_cpu_seconds_total".to_owned()
            }
            Found::Hidden => {
                "unknown: the server is another user's process; run this as that user, or as root".to_owned()
            }
            Found::Nobody => {
                "unknown: no process of this machine is seen to listen there (a container?); name it with --pid"
                    .to_owned()
            }
        };
        let metrics = Self {
            processes: Vec::new(),
            metrics: Some((address, host.to_owned())),
            source: "its /metrics".to_owned(),
        };
        if metrics.read(true).cpu_ns.is_some() {
            return metrics;
        }
        Self { processes: Vec::new(), metrics: None, source: why }
    }

    /// Reads what there is. A question over HTTP takes its time: it is only asked when `asks`.
    pub fn read(&self, asks: bool) -> Reading {
        if let Some((address, host)) = self.metrics.as_ref().filter(|_| asks) {
            return metrics(*address, host).map(|text| Reading::parse(&text)).unwrap_or_default();
        }
        let sum = |read: fn(&Watched) -> std::io::Result<u64>| {
            let all = self.processes.iter().map(|process| read(process).ok());
            if self.processes.is_empty() { None } else { all.sum() }
        };
        Reading {
            cpu_ns: sum(Watched::cpu_ns),
            resident_bytes: sum(Watched::resident_bytes),
            calls: sum(Watched::calls),
            waits: sum(Watched::waits),
        }
    }
}

impl Reading {
    /// From the text form of Prometheus; the names are those that its client libraries agree on.
    fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name))?;
            line.rsplit(' ').next()?.parse::<f64>().ok()
        };
        Self {
            cpu_ns: value("process_cpu_seconds_total").map(|seconds| (seconds * 1e9) as u64),
            resident_bytes: value("process_resident_memory_bytes").map(|bytes| bytes as u64),
            calls: None,
            waits: None,
        }
    }
}

/// One request; `None`: no such page, or not in time.
fn metrics(address: SocketAddr, host: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(METRICS_BYTES).read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    (head.split(' ').nth(1) == Some("200")).then(|| body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const METRICS: &str = "# HELP process_cpu_seconds_total x\nprocess_cpu_seconds_total_other 9\n\
                           process_cpu_seconds_total 1.5\nprocess_resident_memory_bytes{a=\"b\"} 2.048e+03\n";

    #[test]
    fn a_process_of_this_machine_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gauge = Gauge::find(listener.local_addr().unwrap(), "localhost", &[]);
        assert_eq!(gauge.source, format!("process {}", std::process::id()));
        let reading = gauge.read(false);
        assert!(reading.resident_bytes.unwrap() > 1 << 20 && reading.cpu_ns.is_some());
        assert!(reading.waits.is_some());
    }

    #[test]
    fn metrics_are_read_where_no_process_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let mut socket = listener.accept().unwrap().0;
            let mut request = [0; 1024];
            let n = socket.read(&mut request).unwrap();
            write!(socket, "HTTP/1.1 200 OK\r\n\r\n{METRICS}").unwrap();
            String::from_utf8(request[..n].to_vec()).unwrap()
        });
        let text = metrics(address, "localhost:9").unwrap();
        assert!(server.join().unwrap().contains("\r\nHost: localhost:9\r\n"));
        let reading = Reading::parse(&text);
        assert_eq!((reading.cpu_ns, reading.resident_bytes), (Some(1_500_000_000), Some(2_048)));
        assert_eq!(Reading::parse("nothing"), Reading::default());
    }

    #[test]
    fn what_is_not_known_says_why() {
        let gauge = Gauge::find(SocketAddr::from(([127, 0, 0, 1], 1)), "localhost", &[u32::MAX]);
        assert!(gauge.source.starts_with("unknown: the process can't be watched"), "{}", gauge.source);
        assert_eq!(gauge.read(true), Reading::default());
    }
}
