//! SIGTERM and SIGINT: everybody is told, and nothing is left.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::peer::Peer;
use crate::process::Process;
use crate::wire::{Heard, Wire};
use crate::world::world;

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
