//! The server over TLS, as good clients use it.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use everwire_engine::channel::{HistoryLimits, OnSlow, Options};
use everwire_proto::ws::{Opcode, write_frame};
use everwire_server::config::Config;
use everwire_server::tls::{ClientAuth, Files};
use rustls::HandshakeKind;

use crate::pki::{BOTH, Pair};
use crate::sealed::{Ended, Sealed};
use crate::wire::{frame, upgrade_lines};
use crate::world::{World, until, world_with};

fn sealed_world(change: impl FnOnce(&mut Config)) -> (World, Pair) {
    let pair = Pair::new();
    let world = world_with(|config| {
        config.tls = Some(pair.files());
        change(config);
    });
    (world, pair)
}

#[test]
fn pages_and_sessions_of_both_versions() {
    let (world, pair) = sealed_world(|_| {});
    for versions in BOTH {
        let client = pair.client_of(versions, None);
        let mut page = Sealed::dial(world.addr(), &client);
        page.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        page.read_head();
        assert_eq!(page.status(), "200");
        assert_eq!(page.tls.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        let (body, ended) = page.read_to_end();
        assert!(body.ends_with(b"\"ok\"}\n") && ended == Ended::Clean, "{ended:?}");
        let mut listener = Sealed::session(world.addr(), &client);
        let said = listener.ask(r#"{"type":"subscribe","id":2,"channel":"news"}"#);
        assert_eq!(said["type"], "subscribed", "{said}");
        let mut speaker = Sealed::session(world.addr(), &client);
        for length in [1, 100, 16_000, 60_000] {
            let data = "x".repeat(length);
            let publish = format!(r#"{{"type":"publish","id":3,"channel":"news","data":"{data}"}}"#);
            assert_eq!(speaker.ask(&publish)["type"], "published");
            assert_eq!(listener.json()["data"], data);
        }
    }
    world.until_empty();
}

/// The addresses of a server with TLS say so, and its own pages may connect.
#[test]
fn pages_of_https_are_our_own() {
    let (world, pair) = sealed_world(|config| config.mode = everwire_server::config::Mode::Serve);
    for (origin, status) in [("https://localhost", "101"), ("http://localhost", "403")] {
        let mut client = Sealed::dial(world.addr(), &pair.client());
        client.raw(format!("{}Origin: {origin}\r\n\r\n", upgrade_lines("/ws")).as_bytes());
        client.read_head();
        assert_eq!(client.status(), status, "{origin}");
    }
    let mut client = Sealed::dial(world.addr(), &pair.client());
    client.raw(b"GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client.read_head();
    let stats = String::from_utf8(client.read_to_end().0).unwrap();
    assert!(stats.contains("wss://localhost/ws") && stats.contains("https://localhost/api"), "{stats}");
}

/// Frames that come with the request, within its record and in many behind it: no report of the kernel tells of what the
/// HTTP library and TLS have read already.
#[test]
fn frames_behind_the_request() {
    let (world, pair) = sealed_world(|_| {});
    for versions in BOTH {
        let client = pair.client_of(versions, None);
        for total in [1, 500, 7_000, 16_000, 20_000, 40_000, 150_000] {
            let (mut request, mut answer) =
                (format!("{}\r\n", upgrade_lines("/echo/raw")).into_bytes(), Vec::new());
            for at in 0.. {
                if answer.len() >= total {
                    break;
                }
                let payload = vec![b'a' + u8::try_from(at % 26).unwrap(); [3_000, 0, 126, 1, 125][at % 5]];
                request.extend(frame(Opcode::Text, &payload));
                write_frame(&mut answer, Opcode::Text, &payload);
            }
            for cut in [request.len(), 200, request.len() - 1] {
                let mut early = Sealed::dial(world.addr(), &client);
                early.raw(&request[..cut]);
                early.raw(&request[cut..]);
                early.read_head();
                assert_eq!(early.status(), "101");
                assert!(
                    early.read_bytes(answer.len()) == answer,
                    "{total} bytes cut at {cut}: another answer"
                );
            }
        }
    }
    world.until_empty();
}

/// A client whose every byte comes alone, and who hears every byte alone.
#[test]
fn byte_by_byte() {
    let (world, pair) = sealed_world(|_| {});
    for versions in BOTH {
        let mut slow = Sealed::dial(world.addr(), &pair.client_of(versions, None));
        let (tls, socket) = (&mut slow.tls.conn, &mut slow.tls.sock);
        let mut request = format!("{}\r\n", upgrade_lines("/echo/raw")).into_bytes();
        request.extend(frame(Opcode::Text, &[b'x'; 3_000]));
        tls.writer().write_all(&request).unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"xxxxx") {
            let mut bytes = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut bytes).unwrap();
            }
            bytes.iter().for_each(|byte| socket.write_all(&[*byte]).unwrap());
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            tls.read_tls(&mut &byte[..]).unwrap();
            tls.process_new_packets().unwrap();
            // An error says that there is no more.
            let _ = tls.reader().read_to_end(&mut heard);
        }
        assert!(heard.starts_with(b"HTTP/1.1 101") && heard.ends_with(&[b'x'; 3_000]));
    }
    world.until_empty();
}

#[test]
fn a_large_message_comes_back() {
    let (world, pair) = sealed_world(|_| {});
    for versions in BOTH {
        let mut echo = Sealed::open(world.addr(), &pair.client_of(versions, None), "/echo/raw");
        for length in [16_383, 16_384, 16_385, 1 << 20, 5_000_000] {
            let payload: Vec<u8> = (0..length).map(|at: usize| (at % 251) as u8).collect();
            echo.raw(&frame(Opcode::Binary, &payload));
            let (first, back) = echo.frame();
            assert!(first == 0x82 && back == payload, "{length}: {} bytes came back", back.len());
        }
    }
}

/// Nobody reads while five megabytes are published; then everything is read, in order and unbroken, and the server has
/// held no more than a window of it for this reader.
#[test]
fn a_reader_that_comes_late_gets_everything() {
    let (world, pair) = sealed_world(|config| {
        config.shards = 1;
        config.limits.commands_per_second = 1_000_000;
        config.limits.commands_burst = 1_000_000;
        let open = config.namespaces.default.clone().unwrap();
        let history = HistoryLimits { messages: 1_000, bytes: 64 << 20, ..HistoryLimits::default() };
        let deep = Options { history: Some(history), on_slow: OnSlow::Resync, ..(*open).clone() };
        config.namespaces.named.insert("deep".into(), deep.into());
    });
    let mut late = Sealed::session(world.addr(), &pair.client());
    assert_eq!(late.ask(r#"{"type":"subscribe","id":2,"channel":"deep:1"}"#)["type"], "subscribed");
    let mut speaker = Sealed::session(world.addr(), &pair.client());
    let data = "y".repeat(25_000);
    for id in 1..=200 {
        let publish = format!(r#"{{"type":"publish","id":{id},"channel":"deep:1","data":"{data}"}}"#);
        assert_eq!(speaker.ask(&publish)["type"], "published");
    }
    for offset in 1..=200 {
        let message = late.json();
        assert_eq!((&message["type"], &message["offset"]), (&"message".into(), &offset.into()));
        assert_eq!(message["data"], data);
    }
}

/// Where there is nothing to read again, who falls behind is ended with 4100, and what it was sent before is whole.
#[test]
fn who_does_not_read_is_ended() {
    let (world, pair) = sealed_world(|config| {
        config.limits.commands_per_second = 1_000_000;
        config.limits.commands_burst = 1_000_000;
        config.limits.outbox_bytes = 128 * 1024;
        let open = config.namespaces.default.clone().unwrap();
        let live = Options { history: None, on_slow: OnSlow::Close, ..(*open).clone() };
        config.namespaces.named.insert("live".into(), live.into());
    });
    let mut reader = Sealed::session(world.addr(), &pair.client());
    assert_eq!(reader.ask(r#"{"type":"subscribe","id":2,"channel":"live:1"}"#)["type"], "subscribed");
    let mut speaker = Sealed::session(world.addr(), &pair.client());
    let publish =
        format!(r#"{{"type":"publish","id":3,"channel":"live:1","data":"{}"}}"#, "x".repeat(60_000));
    for count in 0.. {
        if world.ended_as_slow() > 0 {
            break;
        }
        assert!(count < 2_000, "120 MB wait for it");
        assert_eq!(speaker.ask(&publish)["type"], "published");
    }
    loop {
        match reader.frame() {
            (0x81, text) => assert!(text.len() > 60_000),
            (0x89, _) => {}
            (0x88, close) => {
                assert_eq!(u16::from_be_bytes([close[0], close[1]]), 4100);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reader.read_to_end(), (Vec::new(), Ended::Clean));
    drop(reader);
    until("the speaker alone is there", || world.connections() == 1);
}

/// Whatever end a peer makes, the server's side ends with a word of its own wherever it can be heard.
#[test]
fn ends() {
    let (world, pair) = sealed_world(|_| {});
    for path in ["/ws", "/echo/raw"] {
        // A close frame and the end of TLS in one breath.
        let mut polite = Sealed::open(world.addr(), &pair.client(), path);
        polite.tls.write_all(&frame(Opcode::Close, &1000u16.to_be_bytes())).unwrap();
        polite.tls.conn.send_close_notify();
        polite.tls.flush().unwrap();
        let (said, ended) = polite.read_to_end();
        assert!(said.ends_with(&[0x88, 2, 3, 232]) && ended == Ended::Clean, "{path}: {said:?} {ended:?}");
        // A close frame alone.
        let mut quiet = Sealed::open(world.addr(), &pair.client(), path);
        quiet.raw(&frame(Opcode::Close, &1000u16.to_be_bytes()));
        let (said, ended) = quiet.read_to_end();
        assert!(said.ends_with(&[0x88, 2, 3, 232]) && ended == Ended::Clean, "{path}: {said:?} {ended:?}");
        // The end of TLS without a close frame.
        let mut short = Sealed::open(world.addr(), &pair.client(), path);
        short.tls.conn.send_close_notify();
        short.tls.flush().unwrap();
        assert_eq!(short.read_to_end().1, Ended::Clean, "{path}");
        // The end of TCP without that of TLS, with a command before it.
        let mut cut = Sealed::open(world.addr(), &pair.client(), path);
        cut.raw(&frame(Opcode::Text, br#"{"type":"ping","id":1}"#));
        cut.tls.sock.shutdown(Shutdown::Write).unwrap();
        let (said, _) = cut.read_to_end();
        assert!(String::from_utf8_lossy(&said).contains(r#""id":1}"#), "{path}: {said:?}");
        // None at all.
        drop(Sealed::open(world.addr(), &pair.client(), path));
    }
    world.until_empty();
}

/// A peer that says all it has to say, ends TLS and shuts its side, before it was answered at all.
#[test]
fn a_hasty_end_behind_the_request() {
    let (world, pair) = sealed_world(|_| {});
    for (path, close) in [("/ws", true), ("/ws", false), ("/echo/raw", true), ("/echo/raw", false)] {
        let mut bytes = format!("{}\r\n", upgrade_lines(path)).into_bytes();
        bytes.extend(frame(Opcode::Text, br#"{"type":"ping","id":1}"#));
        if close {
            bytes.extend(frame(Opcode::Close, &1000u16.to_be_bytes()));
        }
        let mut hasty = Sealed::dial(world.addr(), &pair.client());
        hasty.shake_hands().unwrap();
        hasty.tls.conn.writer().write_all(&bytes).unwrap();
        hasty.tls.conn.send_close_notify();
        hasty.tls.flush().unwrap();
        hasty.tls.sock.shutdown(Shutdown::Write).unwrap();
        hasty.read_head();
        let (said, ended) = hasty.read_to_end();
        let text = String::from_utf8_lossy(&said);
        assert!(text.contains(r#""id":1}"#) && ended == Ended::Clean, "{path} {close}: {text:?} {ended:?}");
        assert_eq!(said.ends_with(&[0x88, 2, 3, 232]), close, "{path} {close}: {text:?}");
    }
    world.until_empty();
}

#[test]
fn the_server_says_goodbye() {
    let (world, pair) = sealed_world(|_| {});
    let mut session = Sealed::session(world.addr(), &pair.client());
    let mut echo = Sealed::open(world.addr(), &pair.client(), "/echo");
    // An answer shows that it is with its shard, which says the goodbye.
    echo.raw(&frame(Opcode::Text, b"here"));
    assert_eq!(echo.frame().1, b"Server received: here");
    let stopping = std::thread::spawn(move || world.stop());
    for sealed in [&mut session, &mut echo] {
        let (said, ended) = sealed.read_to_end();
        assert!(said.windows(2).any(|w| w[0] == 0x88) && ended == Ended::Clean, "{said:?} {ended:?}");
        let _ = sealed.tls.sock.shutdown(Shutdown::Both);
    }
    stopping.join().unwrap();
}

#[test]
fn sessions_of_tls_are_resumed() {
    let (world, pair) = sealed_world(|_| {});
    for versions in BOTH {
        let client = pair.client_of(versions, None);
        let kinds = [(); 3].map(|()| {
            let mut session = Sealed::session(world.addr(), &client);
            assert_eq!(session.ask(r#"{"type":"ping","id":1}"#)["type"], "pong");
            session.tls.conn.handshake_kind()
        });
        let resumed = Some(HandshakeKind::Resumed);
        assert_eq!(kinds, [Some(HandshakeKind::Full), resumed, resumed]);
        let suite = Sealed::session(world.addr(), &client).tls.conn.negotiated_cipher_suite().unwrap();
        assert!(format!("{:?}", suite.suite()).ends_with("AES_128_GCM_SHA256"), "{suite:?}");
    }
}

#[test]
fn certificates_are_exchanged_while_connections_live() {
    let (world, pair) = sealed_world(|_| {});
    let (before, other) = (pair.client(), Pair::new());
    let mut lives = Sealed::session(world.addr(), &before);
    pair.replace_by(&other);
    world.tls().reload().unwrap();
    let shown = |pair: &Pair| {
        let mut sealed = Sealed::session(world.addr(), &pair.client());
        assert_eq!(sealed.ask(r#"{"type":"ping","id":1}"#)["type"], "pong");
        sealed.tls.conn.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(&shown(&other), other.der());
    let refused = Sealed::dial(world.addr(), &pair.client()).shake_hands();
    assert!(refused.is_err(), "the old certificate is gone");
    assert_eq!(lives.ask(r#"{"type":"ping","id":9}"#)["type"], "pong");
    pair.spoil();
    let error = world.tls().reload().unwrap_err().to_string();
    assert!(error.contains(&pair.files().cert.display().to_string()), "{error}");
    assert_eq!(&shown(&other), other.der());
    assert_eq!(lives.ask(r#"{"type":"ping","id":10}"#)["type"], "pong");
}

#[test]
fn certificates_of_clients() {
    let (signer, foreign) = (Pair::new(), Pair::new());
    for (auth, own, gets_in) in [
        (ClientAuth::Required, Some(&signer), true),
        (ClientAuth::Required, None, false),
        (ClientAuth::Required, Some(&foreign), false),
        (ClientAuth::Optional, Some(&signer), true),
        (ClientAuth::Optional, None, true),
        (ClientAuth::Optional, Some(&foreign), false),
        (ClientAuth::Off, Some(&foreign), true),
    ] {
        let client_ca = (auth != ClientAuth::Off).then(|| signer.files().cert);
        let (world, pair) = sealed_world(|config| {
            let files = config.tls.take().unwrap();
            config.tls = Some(Files { client_ca, client_auth: auth, ..files });
        });
        for versions in BOTH {
            let mut client = Sealed::dial(world.addr(), &pair.client_of(versions, own));
            client.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let (said, _) = client.read_to_end();
            assert_eq!(said.starts_with(b"HTTP/1.1 200"), gets_in, "{auth:?}: {said:?}");
        }
    }
}
