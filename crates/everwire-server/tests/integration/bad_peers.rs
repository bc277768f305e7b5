//! Peers that say nothing, never read, or vanish: they cost bounded memory and time, and nothing stays behind.

use std::process::{Child, Command, Stdio};

use everwire_proto::ws::Opcode;
use everwire_server::config::Config;

use crate::client::{Client, Said, frame};
use crate::world::{World, until, world_with};

#[test]
fn silent_connections_and_half_requests_are_cut() {
    let world = world_with(|config| config.handshake_ms = 300);
    for bytes in ["", "GET /ws HT", "GET /ws HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let mut client = world.dial();
        client.raw(bytes.as_bytes());
        let said = client.read_to_end();
        assert!(
            said.is_empty() || said.starts_with(b"HTTP/1.1 408"),
            "{bytes:?}: {:?}",
            String::from_utf8_lossy(&said)
        );
    }
}

#[test]
fn a_connection_that_was_answered_and_falls_silent_is_cut() {
    let world = world_with(|config| config.handshake_ms = 300);
    let mut client = world.dial();
    client.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(client.read_to_end().ends_with(b"ok\n"));
}

#[test]
fn a_session_without_a_command_is_closed() {
    let world = world_with(|config| config.times.connect_ms = 300);
    assert_eq!(world.open("/ws").closed_with(), 4001);
}

#[test]
fn silence_is_asked_and_then_ended() {
    let world = world_with(|config| {
        (config.times.heartbeat_ms, config.times.heartbeat_grace_ms) = (600, 2_000);
    });
    for open in [|w: &World| w.session(), |w: &World| w.open("/echo")] {
        let mut client = open(&world);
        assert_eq!(client.next(), Said::Ping);
        client.send(Opcode::Pong, b"");
        assert_eq!(client.next(), Said::Ping, "an answer is life");
        assert_eq!(client.closed_with(), 4101);
    }
}

/// Looks at its connections every second, and gives up one that takes nothing after a little more.
fn impatient(config: &mut Config) {
    let times = &mut config.times;
    (times.stalled_ms, times.heartbeat_ms, times.heartbeat_grace_ms) = (1_500, 1_000, 60_000);
}

/// Pushes until the system takes no more for a while: the server has stopped reading, or ends the connection.
fn push_until_stuck(client: &mut Client, bytes: &[u8], most: usize) -> usize {
    let (mut sent, mut at) = (0, 0);
    let mut idle = std::time::Instant::now();
    while sent < most && idle.elapsed().as_millis() < 500 {
        match client.push(&bytes[at..]) {
            0 => std::thread::yield_now(),
            n => {
                (sent, at) = (sent + n, (at + n) % bytes.len());
                idle = std::time::Instant::now();
            }
        }
    }
    sent
}

#[test]
fn who_never_reads_is_not_read_from_and_then_cut() {
    let world = world_with(impatient);
    let most = 256 << 20;
    let mut pinging = Vec::new();
    for _ in 0..500 {
        pinging.extend(frame(Opcode::Ping, &[b'p'; 125]));
    }
    let echoing = frame(Opcode::Binary, &vec![b'e'; 60_000]);
    for (path, bytes) in [("/echo/raw", &echoing), ("/echo/raw", &pinging), ("/ws", &pinging)] {
        let mut client = world.open(path);
        if path == "/ws" {
            client.text(r#"{"type":"ping"}"#);
        }
        let sent = push_until_stuck(&mut client, bytes, most);
        assert!(sent < most, "{path}: everything was taken");
        world.until_empty();
    }
}

#[test]
fn a_subscriber_that_never_reads_holds_up_nobody() {
    let world = world_with(|config| {
        impatient(config);
        config.limits.commands_per_second = 1_000_000;
        config.limits.commands_burst = 1_000_000;
    });
    let mut stuck = world.session();
    stuck.text(r#"{"type":"subscribe","id":2,"channel":"room"}"#);
    let mut reader = world.session();
    reader.text(r#"{"type":"subscribe","id":2,"channel":"room"}"#);
    reader.wait("subscribed");
    let mut publisher = world.session();
    let publish = format!(r#"{{"type":"publish","id":3,"channel":"room","data":"{}"}}"#, "x".repeat(60_000));
    for i in 1..=400u64 {
        publisher.text(&publish);
        assert_eq!(publisher.json()["position"]["offset"], i);
        assert_eq!(reader.wait("message")["offset"], i);
    }
    // Two stay: the one that was stuck is closed.
    until("the stuck one is closed", || world.connections() == 2);
}

struct Process {
    child: Child,
    addr: std::net::SocketAddr,
}

impl Process {
    fn start() -> Self {
        use std::io::{BufRead as _, BufReader};
        let mut child = Command::new(env!("CARGO_BIN_EXE_everwire"))
            .args(["dev", "--listen", "127.0.0.1:0"])
            .env("EVERWIRE_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let home = lines.find(|line| line.trim_start().starts_with("home")).unwrap();
        let port = home.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
        Self { child, addr: ([127, 0, 0, 1], port).into() }
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    fn resident_kb(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Three thousand connections, a third of each kind, that vanish at once.
    fn storm(&self) {
        let clients: Vec<_> = (0..3_000)
            .map(|i| match i % 3 {
                0 => Client::dial(self.addr),
                1 => Client::dial(self.addr).upgrade("/echo/raw", ""),
                _ => {
                    let mut client = Client::dial(self.addr).upgrade("/ws", "");
                    client.text(r#"{"type":"subscribe","id":1,"channel":"room"}"#);
                    client.wait("subscribed");
                    client
                }
            })
            .collect();
        clients.into_iter().for_each(Client::reset);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "SIGTERM ends it cleanly");
    }
}

#[test]
fn three_thousand_resets_leave_nothing_behind() {
    everwire_server::descriptors::raise();
    let server = Process::start();
    let before = server.descriptors();
    let storms = |count| {
        for _ in 0..count {
            server.storm();
            until("the descriptors are back", || server.descriptors() <= before + 2);
        }
        server.resident_kb()
    };
    // The first storms size the tables; a session that was cut can be resumed for five minutes, so a few bytes stay.
    let first_kb = storms(3);
    let last_kb = storms(3);
    assert!(
        last_kb <= first_kb + 4_096,
        "memory grew from {first_kb} to {last_kb} KB over three more storms"
    );
}
