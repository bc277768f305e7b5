//! The law "no allocation per subscriber": a publication costs as many of them for a thousand subscribers as for ten.
//! A test binary of its own, because it replaces the allocator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use everwire_engine::channel::{Namespaces, Shared};
use everwire_engine::entry::Form;
use everwire_engine::inbox::Inbox;
use everwire_engine::limits::{ConnectionLimits, NodeLimits, Times};
use everwire_engine::memory::Memory;
use everwire_engine::node::{Node, Settings};
use everwire_engine::ports::NoTokens;
use everwire_engine::time::{Entropy, Now};
use everwire_engine::turn::{Carrier, Peer, Sent, Turn};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

struct Counted(AtomicU64);

impl Entropy for Counted {
    fn bits(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed)) * 0x9e37_79b9_7f4a_7c15
    }
}

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
    let shared = Arc::new(Shared {
        inboxes: vec![Arc::new(Inbox::new(16 << 20))],
        limits: NodeLimits::default(),
        history_bytes: 0.into(),
    });
    let entropy: Arc<dyn Entropy> = Arc::new(Counted(1.into()));
    let settings = Settings {
        name: "test".into(),
        namespaces: Namespaces::open(),
        limits: ConnectionLimits { commands_burst: 1_000_000, ..ConnectionLimits::default() },
        times: Times::default(),
        connect_required: false,
    };
    let broker = Arc::new(Memory::new(shared.clone(), entropy.clone()));
    Turn::new(Arc::new(Node::new(settings, shared, broker, Arc::new(NoTokens), entropy)), 0, NOW)
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
        turn.open(slot, Peer { form: Form::Json, token: None }, NOW);
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
