//! Peers that speak no TLS, or break it: they are told or cut in time, and nothing of them stays.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use everwire_proto::ws::Opcode;
use rustls::ClientConnection;

use crate::pki::{BOTH, Pair};
use crate::sealed::{Ended, Sealed};
use crate::wire::{Heard, Wire, frame};
use crate::world::{KEY, World, until, world_with};

fn hasty_world() -> (World, Pair) {
    let pair = Pair::new();
    let world = world_with(|config| {
        config.tls = Some(pair.files());
        config.handshake_ms = 300;
    });
    (world, pair)
}

/// The first bytes of a client.
fn hello(pair: &Pair) -> Vec<u8> {
    let mut client = ClientConnection::new(pair.client(), "localhost".try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_plain_request_is_told_to_use_https() {
    let (world, _pair) = hasty_world();
    for path in ["/ws", "/", "/health", "/api/publish"] {
        let mut wire = world.dial();
        wire.raw(format!("GET {path} HTTP/1.1\r\nHost: box.example:8765\r\n\r\n").as_bytes());
        wire.read_head();
        assert_eq!((wire.status(), wire.header("connection")), ("400", Some("close")), "{path}");
        let body = wire.read_body();
        assert!(
            body.contains(&format!("https://box.example:8765{path}")) && body.contains("wss://"),
            "{body}"
        );
    }
}

#[test]
fn what_is_no_handshake_ends() {
    let (world, pair) = hasty_world();
    let hello = hello(&pair);
    let mut wrong = hello.clone();
    wrong[5..].iter_mut().for_each(|byte| *byte ^= 0x55);
    let long = [&[0x16, 3, 1, 0xff, 0xff][..], &[1; 70_000]].concat();
    for bytes in [
        &b"\x00\x01\x02\x03\x04\x05\x06\x07"[..],
        b"\x16\x03\x01",
        &[0xff; 40_000],
        &wrong,
        &long,
        b"\x16\x03\x01\x00\x00",
    ] {
        let mut wire = world.dial();
        wire.raw(bytes);
        let said = wire.read_to_end();
        // An alert, or nothing.
        assert!(said.is_empty() || said[0] == 0x15, "{:?}: {said:?}", &bytes[..3]);
    }
    world.until_empty();
}

#[test]
fn a_handshake_that_stands_still_is_cut_in_time() {
    let (world, pair) = hasty_world();
    let hello = hello(&pair);
    let begun = Instant::now();
    let parts = [&b""[..], &hello[..1], &hello[..hello.len() - 1], &hello];
    let mut wires: Vec<Wire> = parts.iter().map(|_| world.dial()).collect();
    for (wire, bytes) in wires.iter_mut().zip(parts) {
        wire.raw(bytes);
    }
    for mut wire in wires {
        wire.read_to_end();
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(250), "before its time: {took:?}");
    // Byte by byte gives no more time.
    let mut wire = world.dial();
    for byte in hello.iter().cycle() {
        if !wire.raw(&[*byte]) || wire.listen(Duration::from_millis(20)) != Heard::Nothing {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it is still listened to");
    }
    // After the handshake the head has its own time.
    let mut silent = Sealed::dial(world.addr(), &pair.client());
    silent.shake_hands().unwrap();
    assert!(silent.read_to_end().0.is_empty());
    world.until_empty();
}

/// Each way in which a handshake can end is counted once.
#[test]
fn handshakes_are_counted() {
    let (world, pair) = hasty_world();
    let figures = || -> Vec<(&'static str, u64)> {
        let handshakes = &world.tls().handshakes;
        handshakes.outcomes().chain(handshakes.versions()).collect()
    };
    for versions in BOTH {
        let client = pair.client_of(versions, None);
        for _ in 0..3 {
            let mut page = Sealed::dial(world.addr(), &client);
            page.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            assert!(page.read_to_end().0.starts_with(b"HTTP/1.1 200"));
        }
    }
    world.dial().raw(&hello(&pair)[..50]);
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"nonsense", b""] {
        let mut wire = world.dial();
        wire.raw(bytes);
        wire.read_to_end();
    }
    let all = [
        ("full", 2),
        ("resumed", 4),
        ("refused", 1),
        ("cut", 1),
        ("late", 1),
        ("plain", 1),
        ("1.2", 3),
        ("1.3", 3),
    ];
    until("all are counted", || figures() == all);
    let mut page = Sealed::dial(world.addr(), &pair.client());
    let request =
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\nConnection: close\r\n\r\n");
    page.raw(request.as_bytes());
    let text = String::from_utf8(page.read_to_end().0).unwrap();
    for line in [
        r#"everwire_tls_handshakes_total{result="resumed"} 4"#,
        r#"everwire_tls_versions_total{version="1.2"} 3"#,
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

/// A client that goes away at any byte of its first words, or of its last ones, leaves nothing behind.
#[test]
fn a_handshake_cut_anywhere() {
    let (world, pair) = hasty_world();
    for versions in BOTH {
        let config = pair.client_of(versions, None);
        let mut client = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        for cut in (0..hello.len()).step_by(5) {
            world.dial().raw(&hello[..cut]);
        }
        for cut in 0..80 {
            let mut stream = TcpStream::connect(world.addr()).unwrap();
            let mut client = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
            client.write_tls(&mut stream).unwrap();
            let mut last = Vec::new();
            while last.is_empty() {
                assert!(client.read_tls(&mut stream).unwrap() > 0);
                client.process_new_packets().unwrap();
                while client.wants_write() {
                    client.write_tls(&mut last).unwrap();
                }
            }
            stream.write_all(&last[..cut.min(last.len() - 1)]).unwrap();
        }
    }
    world.until_empty();
}

/// A record that nobody sealed, in the middle of a talk.
#[test]
fn a_broken_record_ends_the_connection() {
    let (world, pair) = hasty_world();
    for versions in BOTH {
        for path in ["/ws", "/echo/raw"] {
            for bytes in [
                &[0x17, 3, 3, 0, 40].iter().copied().chain([7; 40]).collect::<Vec<u8>>()[..],
                &[0x17, 3, 3, 0xff, 0xff, 1, 2, 3],
                b"GET / HTTP/1.1\r\n\r\n",
                &[0x16, 3, 3, 0, 1, 0],
                &[0; 50_000],
            ] {
                let mut sealed = Sealed::open(world.addr(), &pair.client_of(versions, None), path);
                sealed.raw(&frame(Opcode::Text, br#"{"type":"ping","id":1}"#));
                let answer = if path == "/ws" { b"pong" } else { b"ping" };
                let mut said = sealed.frame().1;
                if path == "/ws" {
                    said = sealed.frame().1;
                }
                assert!(said.windows(4).any(|w| w == answer), "{said:?}");
                let _ = sealed.tls.sock.write_all(bytes);
                assert_eq!(sealed.read_to_end().0, b"", "{path} {:?}", &bytes[..3]);
            }
        }
    }
    world.until_empty();
}

/// A good command and a broken record in one write: what was good is done, though its answer is not told any more.
#[test]
fn what_came_before_a_broken_record_is_heard() {
    let (world, pair) = hasty_world();
    let mut listener = Sealed::session(world.addr(), &pair.client());
    assert_eq!(listener.ask(r#"{"type":"subscribe","id":2,"channel":"news"}"#)["type"], "subscribed");
    let mut sealed = Sealed::session(world.addr(), &pair.client());
    let publish = frame(Opcode::Text, br#"{"type":"publish","id":3,"channel":"news","data":"heard"}"#);
    sealed.tls.conn.writer().write_all(&publish).unwrap();
    let mut bytes = Vec::new();
    sealed.tls.conn.write_tls(&mut bytes).unwrap();
    bytes.extend([0x17, 3, 3, 0, 30]);
    bytes.extend([9; 30]);
    sealed.tls.sock.write_all(&bytes).unwrap();
    assert_eq!(listener.json()["data"], "heard");
    assert_eq!(sealed.read_to_end(), (Vec::new(), Ended::Cut), "an alert");
    drop(listener);
    world.until_empty();
}

/// New keys with every few messages are fair; new keys again and again for nothing are not, and end it.
#[test]
fn keys_that_change() {
    let (world, pair) = hasty_world();
    let client = pair.client_of(&[&rustls::version::TLS13], None);
    let mut sealed = Sealed::open(world.addr(), &client, "/echo/raw");
    for _ in 0..10 {
        for _ in 0..20 {
            sealed.tls.conn.refresh_traffic_keys().unwrap();
            assert!(sealed.raw(b""));
        }
        sealed.raw(&frame(Opcode::Text, b"still here"));
        assert_eq!(sealed.frame(), (0x81, b"still here".to_vec()));
    }
    for _ in 0..200 {
        if sealed.tls.conn.refresh_traffic_keys().is_err() || !sealed.raw(b"") {
            break;
        }
    }
    assert_eq!(sealed.read_to_end().0, b"");
    world.until_empty();
}

#[test]
fn a_talk_cut_within_a_record_ends() {
    let (world, pair) = hasty_world();
    let mut sealed = Sealed::open(world.addr(), &pair.client(), "/ws");
    sealed.tls.conn.writer().write_all(&frame(Opcode::Text, &[b'x'; 3_000])).unwrap();
    let mut bytes = Vec::new();
    sealed.tls.conn.write_tls(&mut bytes).unwrap();
    sealed.tls.sock.write_all(&bytes[..bytes.len() / 2]).unwrap();
    sealed.tls.sock.shutdown(std::net::Shutdown::Write).unwrap();
    let (said, ended) = sealed.read_to_end();
    assert!(said.is_empty() && ended == Ended::Clean, "{said:?} {ended:?}");
    world.until_empty();
}
