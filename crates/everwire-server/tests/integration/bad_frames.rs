//! Malformed frames: each gets its close code, and the server goes on.

use std::io::Write as _;

use everwire_client::{Dial, Message};
use everwire_proto::ws::Opcode;

use crate::peer::{Peer, dial};
use crate::siege::Siege;
use crate::wire::frame;

/// Paths, the bytes sent raw on each of them, and the code that comes.
type Case<'a> = (&'a [&'a str], &'a [u8], u16);

fn check(cases: &[Case<'_>]) {
    Siege::default().withstands(|server| {
        for (paths, bytes, code) in cases {
            for path in *paths {
                let mut client = Peer::open(server.addr, path);
                client.raw(bytes);
                assert_eq!(client.closed_with(), *code, "{path} {bytes:?}");
            }
        }
    });
}

const ALL: &[&str] = &["/ws", "/echo", "/echo/raw"];
const SMALL: &[&str] = &["/ws", "/echo"];

#[test]
fn frames_that_break_the_protocol() {
    let closes =
        [0u16, 999, 1004, 1005, 1006, 1015, 2999, 5000].map(|code| frame(Opcode::Close, &code.to_be_bytes()));
    let mut cases: Vec<Case<'_>> = closes.iter().map(|bytes| (ALL, &bytes[..], 1002)).collect();
    cases.extend::<[Case<'_>; 14]>([
        // Unmasked.
        (ALL, &[0x81, 0x02, b'h', b'i'], 1002),
        // Reserved bits, reserved opcodes.
        (ALL, &[0xc1, 0x80, 0, 0, 0, 0], 1002),
        (ALL, &[0xa1, 0x80, 0, 0, 0, 0], 1002),
        (ALL, &[0x83, 0x80, 0, 0, 0, 0], 1002),
        (ALL, &[0x8b, 0x80, 0, 0, 0, 0], 1002),
        // Lengths that are not the shortest, or negative.
        (ALL, &[0x81, 0xfe, 0, 5, 0, 0, 0, 0], 1002),
        (ALL, &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0], 1002),
        (ALL, &[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1002),
        // Control frames that are fragmented, or too long.
        (ALL, &[0x09, 0x80, 0, 0, 0, 0], 1002),
        (ALL, &[0x89, 0xfe, 0, 126, 0, 0, 0, 0], 1002),
        // Nothing to continue; a message inside a message.
        (ALL, &[0x80, 0x80, 0, 0, 0, 0], 1002),
        (ALL, &[0x01, 0x80, 0, 0, 0, 0, 0x81, 0x80, 0, 0, 0, 0], 1002),
        // A close frame of one byte.
        (ALL, &[0x88, 0x81, 0, 0, 0, 0, 3], 1002),
        // HTTP once more, behind the upgrade.
        (ALL, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 1002),
    ]);
    check(&cases);
}

#[test]
fn a_length_over_the_limit_fails_before_its_bytes() {
    check(&[
        (SMALL, &[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], 1009),
        (SMALL, &[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], 1009),
        (&["/echo/raw"], &[0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0], 1009),
        // The sum of fragments counts, too.
        (
            SMALL,
            &[&[0x01, 0xfe, 0xff, 0xff, 0, 0, 0, 0][..], &[b'a'; 65_535], &[0x80, 0x82, 0, 0, 0, 0]].concat(),
            1009,
        ),
    ]);
}

#[test]
fn text_that_is_not_utf8() {
    let begun = frame(Opcode::Text, &[b"\xff".as_slice(), &[b'a'; 100]].concat());
    check(&[
        (ALL, &frame(Opcode::Text, b"\"\xff\""), 1007),
        (ALL, &frame(Opcode::Text, b"\xed\xa0\x80"), 1007),
        (ALL, &frame(Opcode::Close, b"\x03\xe8\xff"), 1007),
        // The bad byte fails at once, inside an unfinished frame.
        (ALL, &begun[..20], 1007),
    ]);
}

#[test]
fn two_million_empty_fragments() {
    let mut bytes = vec![0x01, 0x80, 0, 0, 0, 0];
    for _ in 0..100_000 {
        bytes.extend_from_slice(&[0x00, 0x80, 0, 0, 0, 0]);
    }
    Siege::default().withstands(|server| {
        for path in ALL {
            let mut client = Peer::open(server.addr, path);
            let mut sent = 0;
            while sent < 2_000_000 && client.raw(&bytes[if sent == 0 { 0 } else { 6 }..]) {
                sent += 100_000;
            }
            // A reset may overtake the close frame of a client that goes on sending.
            let said = client.next();
            assert!(matches!(said, None | Some(Message::Close(Some((1009, _))))), "{path}: {said:?}");
        }
        // As many as are allowed, and one more, so that nothing can be overtaken.
        let mut client = Peer::open(server.addr, "/ws");
        client.raw(&bytes[..6 * 1_025]);
        assert_eq!(client.closed_with(), 1009);
    });
}

fn deflated(bytes: &[u8], times: usize) -> Vec<u8> {
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..times {
        deflated.write_all(bytes).unwrap();
    }
    deflated.finish().unwrap()
}

fn compressed(server: std::net::SocketAddr, path: &str, payload: &[u8]) -> Peer {
    let mut client = Peer::open_as(server, path, &Dial { compression: true, ..dial() });
    let mut bytes = frame(Opcode::Binary, payload);
    bytes[0] |= 0x40;
    client.raw(&bytes);
    client
}

#[test]
fn compression_bombs() {
    let bomb = deflated(&vec![b' '; 1 << 20], 64);
    // The bare echo inflates up to 16 MiB on each of two shards before it knows.
    Siege { grown_kb: 64 * 1024, ..Siege::default() }.withstands(|server| {
        for path in ["/ws", "/echo", "/ws", "/echo/raw"] {
            let mut clients: Vec<_> =
                (0..20).map(|_| compressed(server.addr, path, &bomb[..60_000])).collect();
            for client in &mut clients {
                assert_eq!(client.closed_with(), 1009, "{path}");
            }
        }
    });
}

#[test]
fn deflate_data_that_is_none() {
    Siege::default().withstands(|server| {
        for path in ["/ws", "/echo", "/echo/raw"] {
            assert_eq!(compressed(server.addr, path, &[0xff; 40]).closed_with(), 1007, "{path}");
        }
    });
}

#[test]
fn every_ping_is_answered_in_order() {
    Siege::default().withstands(|server| {
        for path in ["/ws", "/echo/raw"] {
            let mut client = Peer::open(server.addr, path);
            let mut bytes = Vec::new();
            for i in 0..1_000u32 {
                bytes.extend(frame(Opcode::Ping, &i.to_be_bytes()));
            }
            client.raw(&bytes);
            for i in 0..1_000u32 {
                assert_eq!(client.next(), Some(Message::Pong(i.to_be_bytes().to_vec())), "{path}");
            }
        }
    });
}
