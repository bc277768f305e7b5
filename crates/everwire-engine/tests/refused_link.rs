//! A broker that refuses a channel is believed at once: nobody who waits for it, on whichever shard and behind whichever
//! command, waits for the timeout instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use everwire_engine::channel::{Cell, Namespaces, Options, Shared};
use everwire_engine::entry::Form;
use everwire_engine::inbox::{Answer, Inbox};
use everwire_engine::limits::{ConnectionLimits, NodeLimits, Times};
use everwire_engine::name::ChannelName;
use everwire_engine::node::{Node, Settings};
use everwire_engine::ports::{Ask, Asked, Broker, Caps, NoTokens, Ticket};
use everwire_engine::testing::Seeded;
use everwire_engine::time::Now;
use everwire_engine::turn::{Carrier, Peer, Sent, Turn};
use everwire_proto::codes::ErrorCode;

const NOW: Now = Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 };

/// A broker outside that refuses every channel as soon as it is asked for it.
struct Refusing {
    shared: Arc<Shared>,
    asked: Arc<AtomicU64>,
}

impl Broker for Refusing {
    fn caps(&self) -> Caps {
        Caps { in_process: false, durable: true }
    }
    fn cell(&self, name: ChannelName, options: Arc<Options>, now: Now) -> Cell {
        Cell::foreign(name, options, self.shared.clone(), now)
    }
    fn ask(&self, _cell: &Arc<Cell>, _ask: Ask, _ticket: Ticket, _now: Now) -> Asked {
        Asked::Now(Answer::Failed(ErrorCode::Overloaded))
    }
    fn attach(&self, cell: &Arc<Cell>, _now: Now) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        cell.attach_failed(ErrorCode::Overloaded);
    }
    fn detach(&self, _cell: &Arc<Cell>, _now: Now) {}
}

/// A socket that takes everything.
#[derive(Default)]
struct Heard(Vec<u8>);

impl Carrier for Heard {
    fn send(&mut self, _slot: u32, bytes: &[u8]) -> Sent {
        self.0.extend_from_slice(bytes);
        Sent::Bytes(bytes.len())
    }
}

/// Two shards of one node with one connection each, and how often the broker was asked for a channel.
fn two_shards() -> ([Turn; 2], Arc<AtomicU64>) {
    let limits = NodeLimits::default();
    let inboxes = (0..2).map(|_| Arc::new(Inbox::new(limits.inbox_bytes))).collect();
    let shared = Arc::new(Shared { inboxes, limits, history_bytes: 0.into(), message_ids: 0.into() });
    let asked = Arc::new(AtomicU64::new(0));
    let broker = Arc::new(Refusing { shared: shared.clone(), asked: asked.clone() });
    let settings = Settings {
        name: "test".into(),
        namespaces: Namespaces::open(),
        limits: ConnectionLimits::default(),
        times: Times::default(),
        connect_required: false,
        base_path: Box::default(),
    };
    let node = Arc::new(Node::new(settings, shared, broker, Arc::new(NoTokens), Arc::new(Seeded::new(1))));
    let turns = [0, 1].map(|shard| {
        let mut turn = Turn::new(node.clone(), shard, NOW);
        turn.open(0, Peer { form: Form::Json, token: None, address: None }, NOW);
        turn
    });
    (turns, asked)
}

fn subscribe(turn: &mut Turn, id: u32) {
    turn.message(0, format!(r#"{{"type":"subscribe","id":{id},"channel":"room"}}"#).as_bytes(), NOW);
}

/// What the connection of a shard is told, without any time passing.
fn told(turn: &mut Turn) -> String {
    let mut heard = Heard::default();
    for _ in 0..3 {
        turn.take_inbox(NOW);
        turn.flush(&mut heard, NOW, 512);
    }
    String::from_utf8_lossy(&heard.0).into_owned()
}

#[test]
fn who_waits_behind_a_refused_subscribe_is_refused_too() {
    let ([mut turn, _], asked) = two_shards();
    for id in 1..=3 {
        subscribe(&mut turn, id);
    }
    let told = told(&mut turn);
    for id in 1..=3 {
        assert!(told.contains(&format!(r#""id":{id},"code":"timeout""#)), "{told}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3, "each asked anew");
}

#[test]
fn who_comes_on_another_shard_while_a_refusal_is_on_its_way_asks_again() {
    let ([mut one, mut other], asked) = two_shards();
    subscribe(&mut one, 1);
    // The first shard has not heard of the refusal yet, and is still interested.
    subscribe(&mut other, 2);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert!(told(&mut other).contains(r#""id":2,"code":"timeout""#));
    assert!(told(&mut one).contains(r#""id":1,"code":"timeout""#));
}
