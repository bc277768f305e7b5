//! Peers that say nothing, say it slowly, or never read: they cost bounded memory and time.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use everwire_client::{Dial, Message};
use everwire_proto::ws::Opcode;
use everwire_server::config::Config;

use crate::peer::{Peer, dial};
use crate::process::Process;
use crate::siege::Siege;
use crate::wire::{Heard, PATIENCE, Wire, frame, push_until_stuck};
use crate::world::{World, until, world_with};

const SHORT: Siege = Siege {
    root: "",
    limits: "",
    times: "handshake = \"300ms\"\nbody = \"300ms\"\nconnect = \"300ms\"",
    grown_kb: 24 * 1024,
    sessions: true,
};

/// Until the server has had enough; how long that took it.
fn drip(wire: &mut Wire, bytes: &[u8]) -> Duration {
    let begun = Instant::now();
    for byte in bytes.iter().cycle() {
        if !wire.raw(&[*byte]) || wire.listen(Duration::from_millis(20)) != Heard::Nothing {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it is still listened to");
    }
    begun.elapsed()
}

#[test]
fn silence_and_half_requests_are_cut() {
    SHORT.withstands(|server| {
        let begun = Instant::now();
        let mut wires: Vec<_> = (0..40).map(|_| Wire::dial(server.addr)).collect();
        for (wire, bytes) in wires
            .iter_mut()
            .zip(["", "G", "GET /ws HT", "GET /ws HTTP/1.1\r\nHost: x\r\nX-Slow: "].iter().cycle())
        {
            wire.raw(bytes.as_bytes());
        }
        for mut wire in wires {
            let said = wire.read_to_end();
            let words = String::from_utf8_lossy(&said).into_owned();
            assert!(words.is_empty() || words.starts_with("HTTP/1.1 408"), "{words:?}");
        }
        assert!(begun.elapsed() >= Duration::from_millis(300), "before their time");
    });
}

#[test]
fn a_head_byte_by_byte_is_cut_all_the_same() {
    SHORT.withstands(|server| {
        std::thread::scope(|scope| {
            for path in ["/ws", "/health", "/echo/raw"] {
                scope.spawn(move || {
                    let mut wire = Wire::dial(server.addr);
                    wire.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Slow: ").as_bytes());
                    let took = drip(&mut wire, b"x");
                    assert!(took >= Duration::from_millis(200), "{path}: cut after {took:?}");
                    assert!(!wire.has_head() || wire.status() == "408", "{path}: {}", wire.head);
                });
            }
        });
    });
}

#[test]
fn a_body_byte_by_byte_is_cut_with_408() {
    SHORT.withstands(|server| {
        let mut wire = Wire::dial(server.addr);
        wire.raw(b"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-API-Key: no\r\nContent-Length: 1000\r\n\r\n");
        wire.read_head();
        assert_eq!(wire.status(), "401", "a key is asked for before a body");
    });
    // Dev mode asks for none from this machine.
    let world = world_with(|config| config.body_ms = 300);
    let mut wire = world.dial();
    wire.raw(b"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{");
    let took = drip(&mut wire, b" ");
    assert!(took >= Duration::from_millis(200), "cut after {took:?}");
    wire.read_head();
    assert_eq!(wire.status(), "408");
    assert!(wire.read_body().contains("\"bad_request\""));
}

#[test]
fn a_connection_that_was_answered_and_falls_silent_is_cut() {
    SHORT.withstands(|server| {
        let mut wire = Wire::dial(server.addr);
        wire.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(wire.read_to_end().ends_with(b"\"ok\"}\n"));
    });
}

#[test]
fn a_session_without_a_command_is_closed() {
    SHORT.withstands(|server| {
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(Peer::open(server.addr, "/ws").closed_with(), 4001));
            // A ping is no command, and neither is half of one.
            scope.spawn(|| {
                let mut peer = Peer::open(server.addr, "/ws");
                peer.send(Opcode::Ping, b"");
                peer.raw(&frame(Opcode::Text, br#"{"type":"ping"}"#)[..12]);
                assert_eq!(peer.closed_with(), 4001);
            });
        });
    });
}

#[test]
fn silence_is_asked_and_then_ended() {
    let world = world_with(|config| {
        (config.times.heartbeat_ms, config.times.heartbeat_grace_ms) = (400, 1_000);
    });
    let quiet = Dial { answers_pings: false, ..dial() };
    let check = |path: &str, first: &str| {
        let mut peer = Peer::open_as(world.addr(), path, &quiet);
        peer.text(first);
        let ping = || Some(Message::Ping(Vec::new()));
        let first =
            std::iter::repeat_with(|| peer.next()).find(|said| !matches!(said, Some(Message::Text(_))));
        assert_eq!(first, Some(ping()), "{path}");
        peer.send(Opcode::Pong, b"");
        assert_eq!(peer.next(), ping(), "an answer is life");
        assert_eq!(peer.closed_with(), 4101, "{path}");
    };
    std::thread::scope(|scope| {
        for path in ["/ws", "/echo"] {
            scope.spawn(move || check(path, r#"{"type":"ping","id":1}"#));
        }
    });
}

/// Looks at its connections every second, and gives up one that takes nothing after a little more.
const IMPATIENT: Siege = Siege {
    root: "",
    limits: "",
    times: "stalled = \"1500ms\"\nheartbeat = \"1s\"\nheartbeat_grace = \"1m\"",
    grown_kb: 24 * 1024,
    sessions: true,
};

/// What four peers that never read may cost while they are there, KB: what waits for each (1 MiB), and the buffers of a
/// shard that has much to say. They would send 256 MiB each.
const STUCK_KB: usize = 32 * 1024;

/// Pushes until it is not read from any more, and looks at what that cost.
fn never_reads(server: &Process, path: &str, first: &str, bytes: &[u8]) {
    let most = 256 << 20;
    let before = server.resident_kb();
    let mut peer = Peer::open(server.addr, path);
    peer.text(first);
    let sent = push_until_stuck(peer.socket.stream(), bytes, most);
    assert!(sent < most, "{path}: everything was taken");
    let now = server.resident_kb();
    assert!(now < before + STUCK_KB, "{path}: {before} KB became {now} KB");
    until("it is cut", || is_cut(peer.socket.stream()));
}

/// Whether the server has ended it, seen without reading.
fn is_cut(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let taken = stream.write(&frame(Opcode::Pong, b""));
    stream.set_nonblocking(false).unwrap();
    taken.is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
}

#[test]
fn who_never_reads_is_not_read_from_and_then_cut() {
    let mut pinging = Vec::new();
    for _ in 0..500 {
        pinging.extend(frame(Opcode::Ping, &[b'p'; 125]));
    }
    let echoing = frame(Opcode::Binary, &vec![b'e'; 60_000]);
    let asking = frame(Opcode::Text, br#"{"type":"history","id":5,"channel":"full"}"#);
    IMPATIENT.withstands(|server| {
        let mut publisher = Peer::session(server.addr);
        for _ in 0..20 {
            let publish =
                format!(r#"{{"type":"publish","id":3,"channel":"full","data":"{}"}}"#, "x".repeat(10_000));
            assert_eq!(publisher.ask(&publish)["type"], "published");
        }
        std::thread::scope(|scope| {
            for (path, bytes) in
                [("/echo/raw", &echoing), ("/echo/raw", &pinging), ("/ws", &pinging), ("/ws", &asking)]
            {
                scope.spawn(move || never_reads(server, path, r#"{"type":"ping","id":1}"#, bytes));
            }
        });
    });
}

/// The same for a server in this process.
fn impatient(config: &mut Config) {
    let times = &mut config.times;
    (times.stalled_ms, times.heartbeat_ms, times.heartbeat_grace_ms) = (1_500, 1_000, 60_000);
    config.limits.commands_per_second = 1_000_000;
    config.limits.commands_burst = 1_000_000;
}

#[test]
fn a_subscriber_that_never_reads_holds_up_nobody() {
    let world: World = world_with(impatient);
    let subscribe = r#"{"type":"subscribe","id":2,"channel":"room"}"#;
    let mut stuck = world.session();
    stuck.text(subscribe);
    let mut reader = world.session();
    reader.text(subscribe);
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
