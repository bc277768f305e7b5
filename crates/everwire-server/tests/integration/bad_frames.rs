//! Malformed frames: each gets its close code, and the server goes on.

use std::io::Write as _;

use everwire_proto::ws::Opcode;

use crate::client::{Said, frame};
use crate::world::{world, world_with};

/// What one connection sends on these paths, and the code that comes.
fn check(paths: &[&str], bytes: &[u8], code: u16) {
    let world = world();
    for path in paths {
        let mut client = world.open(path);
        client.raw(bytes);
        assert_eq!(client.closed_with(), code, "{path} {bytes:?}");
    }
    world.until_empty();
    let mut healthy = world.session();
    assert_eq!(healthy.ask(r#"{"type":"ping","id":2}"#)["type"], "pong");
}

const BOTH: [&str; 2] = ["/ws", "/echo"];

#[test]
fn an_unmasked_frame() {
    check(&BOTH, &[0x81, 0x02, b'h', b'i'], 1002);
}

#[test]
fn reserved_bits_and_opcodes() {
    check(&BOTH, &[0xc1, 0x80, 0, 0, 0, 0], 1002);
    check(&BOTH, &[0x83, 0x80, 0, 0, 0, 0], 1002);
}

#[test]
fn a_length_that_is_not_the_shortest() {
    check(&BOTH, &[0x81, 0xfe, 0, 5, 0, 0, 0, 0], 1002);
}

#[test]
fn a_declared_length_over_the_limit_fails_before_its_bytes() {
    check(&BOTH, &[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], 1009);
    check(&["/echo/raw"], &[0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0], 1009);
}

#[test]
fn text_that_is_not_utf8() {
    check(&BOTH, &frame(Opcode::Text, b"\"\xff\""), 1007);
    // The bad byte fails at once, inside an unfinished frame.
    check(&BOTH, &frame(Opcode::Text, &[b"\xff".as_slice(), &[b'a'; 100]].concat())[..20], 1007);
}

#[test]
fn a_close_code_that_may_not_stand_in_a_frame() {
    check(&BOTH, &frame(Opcode::Close, &1005u16.to_be_bytes()), 1002);
}

#[test]
fn two_million_empty_fragments() {
    let mut bytes = vec![0x01, 0x80, 0, 0, 0, 0];
    for _ in 0..100_000 {
        bytes.extend_from_slice(&[0x00, 0x80, 0, 0, 0, 0]);
    }
    let world = world();
    for path in ["/ws", "/echo/raw"] {
        let mut client = world.open(path);
        let mut sent = 0;
        while sent < 2_000_000 && client.raw(&bytes[if sent == 0 { 0 } else { 6 }..]) {
            sent += 100_000;
        }
        // A reset may overtake the close frame of a client that goes on sending.
        let said = client.next();
        assert!(matches!(said, Said::End | Said::Close(Some((1009, _)))), "{path}: {said:?}");
    }
    world.until_empty();
}

#[test]
fn a_compression_bomb() {
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..64 {
        deflated.write_all(&zeros).unwrap();
    }
    let bomb = deflated.finish().unwrap();
    let world = world_with(|config| config.compression = true);
    for (path, copies) in [("/ws", 1), ("/echo/raw", 1)] {
        let mut client = world.dial().upgrade(path, "Sec-WebSocket-Extensions: permessage-deflate\r\n");
        for _ in 0..copies {
            let mut bytes = frame(Opcode::Binary, &bomb[..60_000]);
            bytes[0] |= 0x40;
            client.raw(&bytes);
        }
        assert_eq!(client.closed_with(), 1009, "{path}");
    }
    world.until_empty();
}

#[test]
fn deflate_data_that_is_none() {
    let world = world();
    let mut client = world.dial().upgrade("/echo", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    let mut bytes = frame(Opcode::Binary, &[0xff; 40]);
    bytes[0] |= 0x40;
    client.raw(&bytes);
    assert_eq!(client.closed_with(), 1007);
}

#[test]
fn every_ping_is_answered_in_order() {
    let world = world();
    for path in ["/ws", "/echo/raw"] {
        let mut client = world.open(path);
        let mut bytes = Vec::new();
        for i in 0..1_000u32 {
            bytes.extend(frame(Opcode::Ping, &i.to_be_bytes()));
        }
        client.raw(&bytes);
        for i in 0..1_000u32 {
            assert_eq!(client.next(), Said::Pong(i.to_be_bytes().to_vec()), "{path}");
        }
    }
}
