//! What a connection holds while something is incomplete, counted with the room that its buffers have: never more than
//! the message limit and a constant, never more than twice what came in, and nothing at all when nothing is incomplete.
//! A test binary of its own, because it replaces the allocator; and without the test harness, whose threads allocate too.

use everwire_proto::ws::{Decoder, Deflater, Inflater, Limits, Opcode, frame_payload, write_frame};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// The box around what is incomplete, and a control frame that is.
const CONSTANT: usize = 512;

/// The state of an inflater: a window of 32 KiB twice, and tables.
const INFLATER: usize = 96 * 1024;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;

fn held() -> usize {
    dhat::HeapStats::get().curr_bytes
}

/// A frame as a server sends it, with this first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, Opcode::Binary, payload);
    out[0] = first;
    out
}

/// Fragments of a message that never ends.
fn unfinished(first: u8, fragments: usize, payload: &[u8]) -> Vec<u8> {
    let mut out = frame(first, payload);
    (1..fragments).for_each(|_| out.extend(frame(0, payload)));
    out
}

struct Connection {
    decoder: Decoder,
    inflater: Inflater,
    limit: usize,
    /// What may be held besides.
    slack: usize,
    before: usize,
}

impl Connection {
    fn new(limit: u32) -> Self {
        Self {
            decoder: Decoder::client(Limits { message_bytes: limit }, true),
            inflater: Inflater::new(),
            limit: limit as usize,
            slack: CONSTANT,
            before: held(),
        }
    }

    /// Gives a stream in pieces, looking at the heap behind each. How many events there were.
    fn take(&mut self, stream: &mut [u8], piece: usize) -> usize {
        let (mut events, mut came) = (0, 0);
        for read in stream.chunks_mut(piece) {
            came += read.len();
            let mut at = 0;
            loop {
                let mut window = &mut read[at..];
                let left = window.len();
                let event = self.decoder.next(&mut window, &mut self.inflater);
                at += left - window.len();
                match event {
                    Ok(Some(_)) => events += 1,
                    Ok(None) => break,
                    Err(violation) => panic!("{violation:?}"),
                }
            }
            let now = held() - self.before;
            assert!(now <= self.limit + self.slack, "{now} bytes are held, in pieces of {piece}");
            assert!(now <= 2 * came + self.slack, "{now} bytes are held for {came}, in pieces of {piece}");
        }
        events
    }

    /// Nothing is left of it but what the shard's inflater holds.
    fn assert_idle(self) {
        assert!(self.decoder.is_idle());
        drop(self.inflater);
        assert_eq!(held(), self.before, "an idle connection holds memory");
        drop(self.decoder);
    }
}

/// A message of the full size in four fragments, the second with most of it, and pings between them.
fn fragmented(size: usize) -> Vec<u8> {
    let mut parts = [size / 3, 0, size / 5, 1];
    parts[1] = size - parts.iter().sum::<usize>();
    let mut out = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let first = if i == 0 { TEXT } else { 0 } | if i == 3 { FIN } else { 0 };
        out.extend(frame(first, &vec![b'x'; *part]));
        write_frame(&mut out, Opcode::Ping, &[7; 125]);
    }
    out
}

fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::new().write_frame(&mut out, Opcode::Binary, payload);
    frame_payload(&out).to_vec()
}

const PIECES: [usize; 4] = [1, 7, 1_000, 40_000];

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    // 100 000 is far from a power of two: room that doubles would pass it.
    for limit in [1_000, 65_536, 100_000] {
        let size = limit as usize;
        for piece in PIECES {
            for (mut stream, events) in [(frame(FIN | BINARY, &vec![b'x'; size]), 1), (fragmented(size), 5)] {
                let mut connection = Connection::new(limit);
                assert_eq!(connection.take(&mut stream, piece), events);
                connection.assert_idle();
            }
        }
        // Small fragments up to the last one allowed, then nothing for ever.
        for piece in PIECES {
            let fragments = (size / 64).max(16);
            let mut stream = unfinished(TEXT, fragments, &vec![b'x'; size / fragments]);
            assert_eq!(Connection::new(limit).take(&mut stream, piece), 0);
            // Deflated bytes wait as they are, and count as they are.
            let mut stream = unfinished(RSV1 | TEXT, fragments, &vec![0xff; size / fragments]);
            assert_eq!(Connection::new(limit).take(&mut stream, piece), 0);
        }
    }
    a_large_announcement_takes_no_room();
    deflated_messages_leave_nothing();
    the_end_leaves_nothing();
}

fn a_large_announcement_takes_no_room() {
    let mut stream = frame(FIN | BINARY, &vec![0; 60_000]);
    stream.truncate(4 + 10);
    // `take` holds it to twice what came.
    assert_eq!(Connection::new(65_536).take(&mut stream, 14), 0);
}

fn deflated_messages_leave_nothing() {
    let noise: Vec<u8> = (0..60_000u32).map(|n| (n.wrapping_mul(n) >> 7).to_le_bytes()[0]).collect();
    for payload in [vec![0; 65_536], noise] {
        for piece in PIECES {
            let mut stream = frame(FIN | RSV1 | BINARY, &deflated(&payload));
            let mut connection = Connection::new(66_000);
            // The shard's: what is inflated, and the inflater's own window.
            connection.slack = 66_000 + INFLATER;
            assert_eq!(connection.take(&mut stream, piece), 1);
            connection.assert_idle();
        }
    }
}

fn the_end_leaves_nothing() {
    let begun = frame(TEXT, &[b'x'; 5_000]);
    let cut = frame(0, &[b'y'; 5_000])[..2_000].to_vec();
    for (end, is_violation) in [(frame(FIN | 8, b""), false), (frame(FIN | 3, b""), true)] {
        let mut stream = [begun.clone(), end].concat();
        let mut connection = Connection::new(65_536);
        let mut window = &mut stream[..];
        let event = connection.decoder.next(&mut window, &mut connection.inflater);
        assert_eq!(event.is_err(), is_violation, "{event:?}");
        connection.assert_idle();
    }
    // A frame that fails in its middle.
    let mut stream = [begun, cut, b"\xff".to_vec()].concat();
    let mut connection = Connection::new(65_536);
    let mut window = &mut stream[..];
    assert!(connection.decoder.next(&mut window, &mut connection.inflater).is_err());
    connection.assert_idle();
}
