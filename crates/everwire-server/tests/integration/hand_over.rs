//! The upgrade request and its first frames in one write: nothing is lost between the HTTP library and the shard.

use everwire_proto::ws::{Opcode, write_frame};

use crate::wire::{Wire, frame, upgrade_lines};
use crate::world::{world, world_with};

const FRAMES_BYTES: usize = 40 * 1024;

/// The request with its frames, and what the bare echo answers after its head.
fn early() -> (Vec<u8>, Vec<u8>) {
    let (mut request, mut answer) = (format!("{}\r\n", upgrade_lines("/echo/raw")).into_bytes(), Vec::new());
    let mut i = 0usize;
    while answer.len() < FRAMES_BYTES {
        // Lengths around the borders of the three forms of a header, and empty ones.
        let len = [0, 1, 125, 126, 127, 700, 3_000][i % 7];
        let byte = u8::try_from(i % 26).unwrap() + b'a';
        request.extend(frame(Opcode::Text, &vec![byte; len]));
        write_frame(&mut answer, Opcode::Text, &vec![byte; len]);
        i += 1;
    }
    (request, answer)
}

fn check(mut wire: Wire, request: &[u8], answer: &[u8], cut: usize) {
    wire.raw(&request[..cut]);
    wire.raw(&request[cut..]);
    wire.read_head();
    assert_eq!(wire.status(), "101", "cut at {cut}: {}", wire.head);
    assert!(wire.read_bytes(answer.len()) == answer, "cut at {cut}: another answer");
    wire.reset();
}

#[test]
fn cut_at_every_point() {
    // Each cut is a handshake.
    let world = world_with(|config| config.limits.address_handshakes_burst = 1_000_000);
    let (request, answer) = early();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (world, request, answer) = (&world, &request, &answer);
            scope.spawn(move || {
                for cut in (part..=request.len()).step_by(4) {
                    check(world.dial(), request, answer, cut);
                }
            });
        }
    });
    world.until_empty();
}

/// Sessions too: commands that came with the request are answered, more of them than one turn takes.
#[test]
fn commands_behind_the_request() {
    let world = world();
    for count in [1, 63, 64, 65, 300] {
        let mut bytes = format!("{}\r\n", upgrade_lines("/ws")).into_bytes();
        for id in 1..=count {
            bytes.extend(frame(Opcode::Text, format!(r#"{{"type":"ping","id":{id}}}"#).as_bytes()));
        }
        let mut wire = world.dial();
        wire.raw(&bytes);
        wire.read_head();
        let mut said = String::new();
        while !said.contains(&format!(r#""id":{count}}}"#)) {
            said.push_str(&String::from_utf8_lossy(&wire.read_bytes(1)));
        }
        assert_eq!(said.matches("\"pong\"").count(), count, "{said}");
    }
}

/// A peer that says all it has to say and shuts its side, before it was answered at all.
#[test]
fn a_hasty_end_behind_the_request() {
    let world = world();
    for (path, close) in [("/ws", true), ("/ws", false), ("/echo/raw", true), ("/echo/raw", false)] {
        let mut bytes = format!("{}\r\n", upgrade_lines(path)).into_bytes();
        bytes.extend(frame(Opcode::Text, br#"{"type":"ping","id":1}"#));
        if close {
            bytes.extend(frame(Opcode::Close, &1000u16.to_be_bytes()));
        }
        let mut wire = world.dial();
        wire.raw(&bytes);
        wire.shut();
        wire.read_head();
        let said = wire.read_to_end();
        let text = String::from_utf8_lossy(&said);
        assert!(text.contains(r#""id":1}"#), "{path} {close}: {text:?}");
        assert_eq!(said.ends_with(&[0x88, 2, 3, 232]), close, "{path} {close}: {text:?}");
    }
    world.until_empty();
}
