//! Who asks for more than an outbox holds, and reads, is held and not ended, however little its socket takes at a time.

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
use everwire_engine::turn::{Carrier, Flow, Peer, Sent, Turn};

struct Counted(AtomicU64);

impl Entropy for Counted {
    fn bits(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed)) * 0x9e37_79b9_7f4a_7c15
    }
}

/// A socket that takes so many bytes of each offer, and whether it was left full.
struct Narrow {
    takes: usize,
    full: bool,
}

impl Carrier for Narrow {
    fn send(&mut self, _slot: u32, bytes: &[u8]) -> Sent {
        let taken = bytes.len().min(self.takes);
        self.full = taken < bytes.len();
        Sent::Bytes(taken)
    }
}

const NOW: Now = Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 };
const SLOT: u32 = 0;

fn turn() -> Turn {
    let shared = Arc::new(Shared {
        inboxes: vec![Arc::new(Inbox::new(16 << 20))],
        limits: NodeLimits::default(),
        history_bytes: 0.into(),
    });
    let entropy: Arc<dyn Entropy> = Arc::new(Counted(1.into()));
    let many = 1_000_000;
    let limits =
        ConnectionLimits { commands_burst: many, commands_per_second: many, ..ConnectionLimits::default() };
    let settings = Settings {
        name: "test".into(),
        namespaces: Namespaces::open(),
        limits,
        times: Times::default(),
        connect_required: false,
    };
    let broker = Arc::new(Memory::new(shared.clone(), entropy.clone()));
    Turn::new(Arc::new(Node::new(settings, shared, broker, Arc::new(NoTokens), entropy)), 0, NOW)
}

#[test]
fn a_reader_is_held_and_not_ended() {
    for takes in [1_000, 10_000, 50_000, 100_000, 500_000, 1_000_000] {
        let mut turn = turn();
        turn.open(SLOT, Peer { form: Form::Json, token: None }, NOW);
        let publish = format!(r#"{{"type":"publish","channel":"full","data":"{}"}}"#, "x".repeat(25_000));
        for _ in 0..10 {
            turn.message(SLOT, publish.as_bytes(), NOW);
        }
        let mut socket = Narrow { takes, full: false };
        let (mut asked, mut free) = (0, true);
        for _ in 0..100_000 {
            while free && asked < 200 {
                asked += 1;
                let flow = turn.message(SLOT, br#"{"type":"history","id":5,"channel":"full"}"#, NOW);
                assert_ne!(flow, Flow::Stop, "the socket takes {takes}: ended at ask {asked}");
                free = flow == Flow::Continue;
            }
            turn.take_inbox(NOW);
            turn.flush(&mut socket, NOW, 512);
            assert!(turn.take_finished().is_empty(), "the socket takes {takes}: ended after ask {asked}");
            free |= turn.take_released().contains(&SLOT);
            if std::mem::take(&mut socket.full) {
                turn.writable(SLOT);
            } else if asked == 200 && turn.connection_count() == 1 && free {
                break;
            }
        }
        assert_eq!(asked, 200, "the socket takes {takes}");
    }
}
