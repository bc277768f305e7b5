//! What the server takes: read from `/proc` where it runs on this machine, from its `/metrics` otherwise.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::listener::{self, Found};
use crate::swarm::Seal;
use crate::watched::Watched;

/// Metrics are given up after so long, and are no longer than so much.
const PATIENCE: Duration = Duration::from_secs(2);
const METRICS_BYTES: u64 = 4 << 20;

/// Where the figures of a server come from.
#[derive(Clone, Debug)]
pub struct Gauge {
    processes: Vec<Watched>,
    metrics: Option<Door>,
    /// In words, for the report.
    pub source: String,
}

/// Where the server is asked for its metrics, and as whom.
#[derive(Clone, Debug)]
pub struct Door {
    /// The address.
    pub address: SocketAddr,
    /// The `Host` of the request.
    pub host: String,
    /// Its other lines.
    pub headers: Vec<(String, String)>,
    /// With TLS.
    pub seal: Option<Seal>,
}

impl Door {
    /// Without TLS, and as nobody.
    pub fn plain(address: SocketAddr, host: &str) -> Self {
        Self { address, host: host.to_owned(), headers: Vec::new(), seal: None }
    }
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
    pub fn find(door: Door, named: &[u32]) -> Self {
        let found = match named {
            [] => listener::find(door.address),
            named => Found::Processes(named.to_vec()),
        };
        let why = match found {
            Found::Processes(pids) => match pids.iter().map(|pid| Watched::new(*pid)).collect() {
                Ok(processes) => {
                    let list: Vec<_> = pids.iter().map(u32::to_string).collect();
                    let source = format!("process {}", list.join(", "));
                    return Self { processes, metrics: None, source };
                }
                Err(error) => format!("the process can't be watched: {error}"),
            },
            Found::Elsewhere => "the server is on another machine".to_owned(),
            Found::Hidden => {
                "the server is another user's process; run this as that user, or as root".to_owned()
            }
            Found::Nobody => {
                "no process of this machine is seen to listen there (a container?); name it with --pid"
                    .to_owned()
            }
        };
        let source = match metrics(&door) {
            Ok(text) if Reading::parse(&text).cpu_ns.is_some() => {
                return Self {
                    processes: Vec::new(),
                    metrics: Some(door),
                    source: "its /metrics".to_owned(),
                };
            }
            Ok(_) => format!("unknown: {why}, and its /metrics has no process_cpu_seconds_total"),
            Err(words) => format!("unknown: {why}, and {words}"),
        };
        Self { processes: Vec::new(), metrics: None, source }
    }

    /// Reads what there is. A question over HTTP takes its time: it is only asked when `asks`.
    pub fn read(&self, asks: bool) -> Reading {
        if let Some(door) = self.metrics.as_ref().filter(|_| asks) {
            return metrics(door).map(|text| Reading::parse(&text)).unwrap_or_default();
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

/// One request; otherwise what came of it, for whoever reads the report.
fn metrics(door: &Door) -> Result<String, String> {
    let failed = |error: io::Error| format!("its /metrics can't be read: {error}");
    let mut request = format!("GET /metrics HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n", door.host);
    for (name, value) in &door.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let stream = TcpStream::connect_timeout(&door.address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let answer = match &door.seal {
        Some(seal) => seal.over(stream).and_then(|sealed| ask(sealed, &request)),
        None => ask(stream, &request),
    };
    let answer = answer.map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("its /metrics gave no answer of HTTP")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        Some("404") => Err("it has no /metrics there".to_owned()),
        Some(status @ ("401" | "403")) => Err(format!(
            "its /metrics answered {status}: give an API key with the right `metrics` by --metrics-key"
        )),
        status => Err(format!("its /metrics answered {}", status.unwrap_or("nothing"))),
    }
}

fn ask(mut stream: impl Read + Write, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.take(METRICS_BYTES).read_to_end(&mut answer) {
        // The end of TLS without a word; what was cut off shows in the head.
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    String::from_utf8(answer).map_err(|_| io::Error::other("it is no text"))
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
        let gauge = Gauge::find(Door::plain(listener.local_addr().unwrap(), "localhost"), &[]);
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
        let headers = vec![("X-API-Key".to_owned(), "k".to_owned())];
        let text = metrics(&Door { headers, ..Door::plain(address, "localhost:9") }).unwrap();
        assert!(
            server.join().unwrap().contains("\r\nHost: localhost:9\r\nConnection: close\r\nX-API-Key: k\r\n")
        );
        let reading = Reading::parse(&text);
        assert_eq!((reading.cpu_ns, reading.resident_bytes), (Some(1_500_000_000), Some(2_048)));
        assert_eq!(Reading::parse("nothing"), Reading::default());
    }

    #[test]
    fn metrics_that_are_refused_say_what_to_do() {
        for (answer, words) in [
            ("HTTP/1.1 401 Unauthorized\r\n\r\n", "answered 401: give an API key"),
            ("HTTP/1.1 404 Not Found\r\n\r\n", "it has no /metrics there"),
            ("HTTP/1.1 200 OK\r\n\r\nother 1\n", "no process_cpu_seconds_total"),
            ("nothing", "no answer of HTTP"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let mut socket = listener.accept().unwrap().0;
                let _ = socket.read(&mut [0; 1024]).unwrap();
                socket.write_all(answer.as_bytes()).unwrap();
            });
            let gauge = Gauge::find(Door::plain(address, "localhost"), &[u32::MAX]);
            server.join().unwrap();
            assert!(
                gauge.source.starts_with("unknown: ") && gauge.source.contains(words),
                "{}",
                gauge.source
            );
        }
    }

    #[test]
    fn what_is_not_known_says_why() {
        let gauge = Gauge::find(Door::plain(SocketAddr::from(([127, 0, 0, 1], 1)), "localhost"), &[u32::MAX]);
        assert!(gauge.source.starts_with("unknown: the process can't be watched"), "{}", gauge.source);
        assert_eq!(gauge.read(true), Reading::default());
    }
}
