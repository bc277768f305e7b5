//! SIGTERM and SIGINT: everybody is told, and nothing is left.

use std::time::{Duration, Instant};

use everwire_client::Client;
use rustix::process::Signal;
use serde_json::json;

use crate::durable::{Data, options, serve};
use crate::peer::Peer;
use crate::process::Process;
use crate::wire::{Heard, Wire, upgrade_lines};
use crate::world::{KEY, until, world};

const DEV: [&str; 3] = ["dev", "--listen", "127.0.0.1:0"];

#[test]
fn everybody_is_told() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Process::run(&DEV);
        let (mut session, mut fresh) = (Peer::session(server.addr), Peer::open(server.addr, "/ws"));
        let mut echo = Peer::open(server.addr, "/echo");
        server.signal(signal);
        let bye = session.wait("bye");
        assert_eq!((bye["code"].as_str(), bye["reconnect"].as_bool()), (Some("draining"), Some(true)));
        assert_eq!(bye["after_ms"].as_array().map(Vec::len), Some(2));
        assert_eq!(session.closed_with(), 1012);
        assert_eq!(fresh.closed_with(), 1012);
        assert_eq!(echo.closed_with(), 1001);
        drop((session, fresh, echo));
        assert_eq!(server.wait(), Some(0), "{signal:?}");
    }
}

#[test]
fn at_once_when_nobody_is_there() {
    let mut server = Process::run(&DEV);
    let begun = Instant::now();
    // As soon as it says that it is ready.
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn who_does_not_answer_the_close_holds_nothing_up() {
    let mut server = Process::run(&DEV);
    let stuck: Vec<_> = ["/ws", "/echo", "/echo/raw"].map(|path| Peer::open(server.addr, path)).into();
    let mut half = Wire::dial(server.addr);
    half.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n");
    let begun = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(stuck);
}

#[test]
fn a_request_under_way_has_its_answer() {
    let mut server = Process::run(&DEV);
    let mut idle = Wire::dial(server.addr);
    idle.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    idle.read_head();
    idle.read_body();
    let mut publish = Wire::dial(server.addr);
    publish.raw(b"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 27\r\nExpect: 100-continue\r\n\r\n");
    publish.read_head();
    assert_eq!(publish.status(), "100", "it waits for the body now");
    // The idle one is ended: the server has begun to stop.
    server.signal(Signal::TERM);
    assert_eq!(idle.listen(Duration::from_secs(20)), Heard::End);
    publish.raw(br#"{"channel":"news","data":1}"#);
    publish.read_head();
    assert_eq!(publish.status(), "200");
    assert!(publish.read_body().contains("\"published\""));
    assert_eq!(server.wait(), Some(0));
}

/// A server that is left slowly enough to be looked at.
fn slow(drain: &str) -> Process {
    Process::serve(&format!(
        "listen = [\"127.0.0.1:0\"]\nshards = 2\necho = true\napi_keys = [\"{KEY}\"]\n[history]\nstore = \"memory\"\n\
         [drain]\n{drain}\n[namespaces.default]\naccess = {{ publish = \"anyone\" }}\n"
    ))
}

/// Each client is told its own range and closed at the end of it; as many go in each second.
#[test]
fn clients_go_in_turn() {
    let mut server = slow("window = \"20s\"\nnotice = \"0s\"\nclients_per_second = 20");
    let clients: Vec<_> = (0..60).map(|_| Peer::session(server.addr)).collect();
    server.signal(Signal::TERM);
    let leave = |mut client: Peer| {
        let bye = client.wait("bye");
        let told = Instant::now();
        let after = [0, 1].map(|at| bye["after_ms"][at].as_u64().unwrap());
        assert_eq!(client.ask(r#"{"type":"ping","id":9}"#)["type"], "pong", "it is served meanwhile");
        assert_eq!(client.closed_with(), 1012);
        (after, told.elapsed())
    };
    let left: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = clients.into_iter().map(|client| scope.spawn(move || leave(client))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(server.wait(), Some(0), "within the window");
    for (first, nominal) in [(0, 1_000), (1, 2_000), (2, 3_000)] {
        let group: Vec<_> = left.iter().filter(|([from, _], _)| from.div_ceil(1_000) == first).collect();
        assert_eq!(group.len(), 20, "{left:?}");
        for ([from, to], took) in group {
            assert!(from <= to && nominal - to < 500, "{from} to {to}, a little less than {nominal}");
            // The bye was under way when its clock began.
            assert!(
                took.as_millis() + 300 > u128::from(*to),
                "closed after {took:?}, its range ends at {to}"
            );
        }
    }
}

#[test]
fn while_it_is_left_it_is_not_ready_and_takes_nobody() {
    let mut server = slow("notice = \"4s\"");
    let mut client = Peer::session(server.addr);
    let addr = server.addr;
    let ask = |head: &str, rest: &str| {
        let mut wire = Wire::dial(addr);
        wire.raw(format!("{head}\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n{rest}").as_bytes());
        wire.read_head();
        (wire.status().to_owned(), wire.read_body())
    };
    assert_eq!(ask("GET /ready HTTP/1.1", "\r\n").0, "200");
    server.signal(Signal::TERM);
    client.wait("bye");
    // Who is here goes on, and so does the backend.
    let said = client.ask(r#"{"type":"publish","id":7,"channel":"news","data":1}"#);
    assert_eq!(said["type"], "published", "{said}");
    let body = r#"{"channel":"news","data":2}"#;
    let lines = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(ask("POST /api/publish HTTP/1.1", &lines).0, "200");
    let (status, body) = ask("GET /ready HTTP/1.1", "\r\n");
    assert!(status == "503" && body.contains(r#""status":"draining""#), "{status} {body}");
    assert_eq!(ask("GET /health HTTP/1.1", "\r\n").0, "200", "it lives");
    for path in ["/ws", "/echo"] {
        let mut wire = Wire::dial(server.addr);
        wire.raw(format!("{}\r\n", upgrade_lines(path)).as_bytes());
        wire.read_head();
        assert_eq!(wire.status(), "503", "{path}");
        assert!(wire.head.contains("retry-after: 1"), "{}", wire.head);
        assert!(wire.read_body().contains("\"overloaded\""), "{path}");
    }
    assert_eq!(client.closed_with(), 1012);
    until("nobody listens any more", || std::net::TcpStream::connect(server.addr).is_err());
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut server = slow("window = \"60s\"\nnotice = \"30s\"\nclients_per_second = 1");
        let mut clients: Vec<_> = (0..30).map(|_| Peer::session(server.addr)).collect();
        server.signal(Signal::TERM);
        for client in &mut clients {
            client.wait("bye");
        }
        let begun = Instant::now();
        server.signal(second);
        for client in &mut clients {
            assert_eq!(client.closed_with(), 1012);
        }
        server.ends_with(code);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

/// A window that is too short for everybody is kept all the same.
#[test]
fn the_window_is_kept() {
    let mut server = slow("window = \"1s\"\nnotice = \"0s\"\nclients_per_second = 1");
    let clients: Vec<_> = (0..30).map(|_| Peer::session(server.addr)).collect();
    let begun = Instant::now();
    server.signal(Signal::TERM);
    // Nobody reads, so nobody answers the close.
    assert_eq!(server.wait(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    drop(clients);
}

/// Who connects while the node is left is told when it is connected.
#[test]
fn who_connects_late_is_told_too() {
    let mut server = slow("notice = \"0s\"");
    let mut fresh = Peer::open(server.addr, "/ws");
    let mut told = Peer::session(server.addr);
    server.signal(Signal::TERM);
    told.wait("bye");
    fresh.text(r#"{"type":"connect","id":1}"#);
    assert_eq!(fresh.json()["type"], "connected");
    assert_eq!(fresh.json()["type"], "bye");
    assert_eq!((fresh.closed_with(), told.closed_with()), (1012, 1012));
    drop((fresh, told));
    assert_eq!(server.wait(), Some(0));
}

/// What was stored was acknowledged: a client that never stops publishing has an answer to everything that a restart
/// knows of.
#[test]
fn what_is_taken_before_the_close_is_answered() {
    let data = Data::new();
    let mut server = serve(data.path(), "");
    let mut ann = Client::connect(&format!("ws://{}/ws", server.addr), &options()).unwrap();
    ann.ask("publish", &json!({ "channel": "news", "data": 0 })).unwrap();
    server.signal(Signal::TERM);
    let (mut acknowledged, mut number) = (1, 0);
    loop {
        number += 1;
        let round: Result<Vec<_>, _> =
            (0..32).map(|_| ann.send("publish", &json!({ "channel": "news", "data": number }))).collect();
        let Ok(tickets) = round else { break };
        let answered = tickets.into_iter().map(|ticket| ann.reply(ticket)).take_while(Result::is_ok).count();
        acknowledged += answered as u64;
        if answered < 32 {
            break;
        }
    }
    assert_eq!(server.wait(), Some(0));
    let server = serve(data.path(), "");
    let mut ann = Client::connect(&format!("ws://{}/ws", server.addr), &options()).unwrap();
    let page = ann.ask("history", &json!({ "channel": "news", "limit": 1 })).unwrap();
    assert_eq!(page["position"]["offset"].as_u64(), Some(acknowledged), "stored, and acknowledged");
    assert!(acknowledged > 100, "{acknowledged}");
}

/// Upgrades that come in all the while: each is served, told goodbye or refused; none hangs.
#[test]
fn a_stop_in_the_middle_of_a_rush() {
    let world = world();
    let addr = world.addr();
    std::thread::scope(|scope| {
        let rush = || {
            let (mut told, mut cut) = (0, 0);
            // Until nobody listens any more.
            while let Ok(stream) = std::net::TcpStream::connect(addr) {
                drop(stream);
                let Ok(socket) =
                    everwire_client::Socket::connect(&format!("ws://{addr}/ws"), &crate::peer::dial())
                else {
                    continue;
                };
                let mut peer = Peer { socket };
                peer.text(r#"{"type":"ping","id":1}"#);
                loop {
                    match peer.next() {
                        Some(everwire_client::Message::Text(text)) if text.contains("\"pong\"") => break,
                        Some(everwire_client::Message::Close(close)) => {
                            assert_eq!(close.unwrap().0, 1012);
                            told += 1;
                            break;
                        }
                        Some(_) => {}
                        None => {
                            cut += 1;
                            break;
                        }
                    }
                }
            }
            (told, cut)
        };
        let rushes: Vec<_> = (0..4).map(|_| scope.spawn(rush)).collect();
        let mut first = Peer::session(addr);
        drop(scope.spawn(move || world.stop()));
        assert_eq!(first.closed_with(), 1012);
        drop(first);
        for rush in rushes {
            // Between a shard's last turn and the end of its listener a connection can only be cut.
            let (_, cut) = rush.join().unwrap();
            assert!(cut <= 2, "{cut} connections of one thread were cut without a word");
        }
    });
}
