//! A node that is left: each connection is told between which times it is to come back, once, and who is owed an answer is
//! known.

use std::sync::Arc;

use everwire_engine::channel::{Cell, Options, Shared};
use everwire_engine::entry::Form;
use everwire_engine::inbox::{Answer, Item};
use everwire_engine::name::ChannelName;
use everwire_engine::ports::{Ask, Asked, Broker, Caps, Ticket};
use everwire_engine::testing::OneShard;
use everwire_engine::time::Now;
use everwire_engine::turn::{Carrier, Peer, Sent, Turn};
use everwire_proto::codes::CloseCode;

const fn at(mono_ms: u64) -> Now {
    Now { mono_ms, unix_ms: 1_700_000_000_000 + mono_ms }
}

/// A broker outside, whose answers the test gives.
struct Slow(Arc<Shared>);

impl Broker for Slow {
    fn caps(&self) -> Caps {
        Caps { in_process: false, durable: true }
    }
    fn cell(&self, name: ChannelName, options: Arc<Options>, now: Now) -> Cell {
        Cell::foreign(name, options, self.0.clone(), now)
    }
    fn ask(&self, _cell: &Arc<Cell>, _ask: Ask, _ticket: Ticket, _now: Now) -> Asked {
        Asked::Later
    }
    fn attach(&self, _cell: &Arc<Cell>, _now: Now) {}
    fn detach(&self, _cell: &Arc<Cell>, _now: Now) {}
}

/// What each socket was sent.
#[derive(Default)]
struct Heard([Vec<u8>; 4]);

impl Carrier for Heard {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        self.0[slot as usize].extend_from_slice(bytes);
        Sent::Bytes(bytes.len())
    }
}

fn turn() -> Turn {
    let mut turn = OneShard::default().turn_on(at(1_000), |_, shared| Arc::new(Slow(shared)));
    for slot in 0..4 {
        turn.open(slot, Peer { form: Form::Json, token: None, address: None }, at(1_000));
    }
    turn
}

fn told(turn: &mut Turn, now: Now) -> [String; 4] {
    let mut heard = Heard::default();
    turn.take_inbox(now);
    turn.flush(&mut heard, now, 512);
    heard.0.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn each_is_told_once_and_who_comes_late_behind_connected() {
    let mut turn = turn();
    turn.message(0, br#"{"type":"connect","id":1}"#, at(1_000));
    turn.message(2, br#"{"type":"connect","id":1}"#, at(1_000));
    turn.close(2, CloseCode::Kicked, "out", at(1_000));
    told(&mut turn, at(1_000));
    for slot in 0..3 {
        turn.announce(slot, [3_000, 4_000], at(2_000));
    }
    let [connected, fresh, closing, _] = told(&mut turn, at(2_000));
    assert!(connected.contains(r#""code":"draining""#), "{connected}");
    assert!(connected.contains(r#""reconnect":true,"after_ms":[1000,2000]"#), "{connected}");
    assert_eq!((fresh, closing), (String::new(), String::new()));
    // It says something later, and its range has begun.
    turn.message(1, br#"{"type":"ping","id":7}"#, at(3_500));
    let [connected, fresh, ..] = told(&mut turn, at(3_500));
    assert_eq!(connected, "");
    let order = ["\"connected\"", "\"bye\"", "\"pong\""].map(|word| fresh.find(word).unwrap());
    assert!(order.is_sorted() && fresh.contains("[0,500]"), "{fresh}");
    turn.message(1, br#"{"type":"connect","id":8}"#, at(3_500));
    assert!(!told(&mut turn, at(3_500))[1].contains("bye"), "once");
}

/// Whoever has a slot next was never told, and is not told what its predecessor was to be.
#[test]
fn what_was_not_told_goes_with_its_connection() {
    let mut turn = turn();
    turn.announce(1, [3_000, 4_000], at(2_000));
    turn.closed(1, at(2_000));
    turn.open(1, Peer { form: Form::Json, token: None, address: None }, at(2_000));
    turn.message(1, br#"{"type":"connect","id":1}"#, at(2_000));
    let fresh = told(&mut turn, at(2_000))[1].clone();
    assert!(fresh.contains("\"connected\"") && !fresh.contains("bye"), "{fresh}");
}

#[test]
fn who_waits_for_the_broker_is_owed_until_it_has_answered() {
    let mut turn = turn();
    turn.message(0, br#"{"type":"publish","id":1,"channel":"a","data":1}"#, at(1_000));
    turn.message(1, br#"{"type":"subscribe","id":1,"channel":"a"}"#, at(1_000));
    turn.message(2, br#"{"type":"ping","id":1}"#, at(1_000));
    turn.message(3, br#"{"type":"history","id":1,"channel":"a"}"#, at(1_000));
    let owed = |turn: &Turn| {
        let owed = turn.owed(&[0, 1, 2, 3]);
        [0, 1, 2, 3].map(|slot| owed.contains(&slot))
    };
    assert_eq!(owed(&turn), [true, true, false, true]);
    let inbox = turn.node().inbox(0).clone();
    inbox.push(Item::Answer(0, Answer::Published { position: None, duplicate: false }));
    let [first, ..] = told(&mut turn, at(1_000));
    assert!(first.contains("\"published\""), "{first}");
    assert_eq!(owed(&turn), [false, true, false, true]);
    turn.closed(3, at(1_000));
    assert_eq!(owed(&turn), [false, true, false, false]);
}

/// How long a publish waited is counted in the milliseconds of the engine's clock.
#[test]
fn a_publish_that_waits_is_counted_as_long_as_it_did() {
    let mut turn = turn();
    turn.message(0, br#"{"type":"publish","id":1,"channel":"a","data":1}"#, at(1_000));
    assert_eq!(turn.publish_lags().late_ms, 0);
    turn.node().inbox(0).push(Item::Answer(0, Answer::Published { position: None, duplicate: false }));
    told(&mut turn, at(1_007));
    let lags = turn.publish_lags();
    assert_eq!((lags.at_once, lags.late_ms, lags.late[3]), (0, 7, 1));
}
