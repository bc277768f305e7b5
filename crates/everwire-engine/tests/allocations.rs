//! The law "no allocation per subscriber": a publication costs as many of them for a thousand subscribers as for ten.
//! A test binary of its own, because it replaces the allocator.

use everwire_engine::entry::Form;
use everwire_engine::limits::ConnectionLimits;
use everwire_engine::testing::OneShard;
use everwire_engine::time::Now;
use everwire_engine::turn::{Carrier, Peer, Sent, Turn};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Takes everything, and counts.
#[derive(Default)]
struct Sink {
    sends: usize,
}

impl Carrier for Sink {
    fn send(&mut self, _slot: u32, bytes: &[u8]) -> Sent {
        self.sends += 1;
        Sent::Bytes(bytes.len())
    }
}

const NOW: Now = Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 };

fn turn() -> Turn {
    let limits = ConnectionLimits { commands_burst: 1_000_000, ..ConnectionLimits::default() };
    OneShard { limits, ..OneShard::default() }.turn(NOW)
}

fn settle(turn: &mut Turn) -> usize {
    let mut sink = Sink::default();
    turn.take_inbox(NOW);
    // One round for all: a round of its own may allocate, a delivery may not.
    while turn.flush(&mut sink, NOW, 4_096) {}
    sink.sends
}

/// Blocks allocated by one publication to so many subscribers, the least of several rounds.
fn blocks(subscribers: u32) -> u64 {
    let mut turn = turn();
    for slot in 0..=subscribers {
        turn.open(slot, Peer { form: Form::Json, token: None, address: None }, NOW);
        let first =
            if slot == 0 { r#"{"type":"connect"}"# } else { r#"{"type":"subscribe","channel":"room"}"# };
        turn.message(slot, first.as_bytes(), NOW);
    }
    settle(&mut turn);
    let publish = format!(r#"{{"type":"publish","channel":"room","data":"{}"}}"#, "x".repeat(128));
    let rounds = (0..32).map(|_| {
        let before = dhat::HeapStats::get().total_blocks;
        turn.message(0, publish.as_bytes(), NOW);
        let sends = settle(&mut turn);
        assert_eq!(sends, subscribers as usize, "one send each");
        dhat::HeapStats::get().total_blocks - before
    });
    rounds.min().expect("there are rounds")
}

#[test]
fn a_delivery_allocates_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let (few, many) = (blocks(10), blocks(1_000));
    assert!(few > 0, "the publication itself allocates: nothing was counted");
    assert_eq!(few, many, "blocks for 10 subscribers and for 1 000");
}
