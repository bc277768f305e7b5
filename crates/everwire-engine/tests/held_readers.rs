//! Who asks for more than an outbox holds, and reads, is held and not ended, however little its socket takes at a time.

use everwire_engine::entry::Form;
use everwire_engine::limits::ConnectionLimits;
use everwire_engine::testing::OneShard;
use everwire_engine::time::Now;
use everwire_engine::turn::{Carrier, Flow, Peer, Sent, Turn};

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
    let many = 1_000_000;
    let limits =
        ConnectionLimits { commands_burst: many, commands_per_second: many, ..ConnectionLimits::default() };
    OneShard { limits, ..OneShard::default() }.turn(NOW)
}

#[test]
fn a_reader_is_held_and_not_ended() {
    for takes in [1_000, 10_000, 50_000, 100_000, 500_000, 1_000_000] {
        let mut turn = turn();
        turn.open(SLOT, Peer { form: Form::Json, token: None, address: None }, NOW);
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
