//! The upgrade request and its first frames in one write: nothing is lost between the HTTP library and the shard.

use everwire_proto::ws::{Opcode, write_frame};

use crate::client::{Client, frame, upgrade_lines};
use crate::world::world;

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

fn check(mut client: Client, request: &[u8], answer: &[u8], cut: usize) {
    client.raw(&request[..cut]);
    client.raw(&request[cut..]);
    client.read_head();
    assert!(client.head.starts_with("http/1.1 101"), "cut at {cut}: {}", client.head);
    assert!(client.read_bytes(answer.len()) == answer, "cut at {cut}: another answer");
    client.reset();
}

#[test]
fn cut_at_every_point() {
    let world = world();
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
