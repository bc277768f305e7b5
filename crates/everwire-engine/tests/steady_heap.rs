//! The law "no allocation per subscriber" wherever a subscriber is not the plain one of `allocations.rs`: several
//! messages at once, MessagePack, cursors that stay, full sockets, volatile messages, presence. What is counted are the
//! blocks of one round for ten subscribers and for a thousand: they must be the same.
//!
//! A test binary of its own with one test, because it replaces the allocator and counts what the whole process does.

use std::sync::Arc;

use everwire_engine::channel::{Namespaces, Options};
use everwire_engine::entry::Form;
use everwire_engine::limits::ConnectionLimits;
use everwire_engine::testing::OneShard;
use everwire_engine::time::Now;
use everwire_engine::turn::{Carrier, Peer, Sent, Turn};
use everwire_proto::payload::Format;
use everwire_proto::transcode;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const NOW: Now = Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 };

/// Who listens, and what happens in a round.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    form: Form,
    /// What each subscriber says once.
    enter: &'static str,
    /// What the other client says in a round.
    round: &'static [&'static str],
    /// Sends to each subscriber in a round.
    sends: usize,
    /// The subscribers' sockets take nothing.
    full: bool,
}

const ENTER: &str = r#"{"type":"subscribe","channel":"room"}"#;
const PUBLISH: &str = r#"{"type":"publish","channel":"room","data":"a message of some length"}"#;
const VOLATILE: &str = r#"{"type":"publish","channel":"room","data":"a message","volatile":true}"#;

const PLAIN: Case =
    Case { name: "one message", form: Form::Json, enter: ENTER, round: &[PUBLISH], sends: 1, full: false };

const CASES: [Case; 9] = [
    PLAIN,
    Case { name: "sixteen at once", round: &[PUBLISH; 16], ..PLAIN },
    Case { name: "MessagePack", form: Form::MsgPack, ..PLAIN },
    Case { name: "sixteen at once in MessagePack", form: Form::MsgPack, round: &[PUBLISH; 16], ..PLAIN },
    // Spared their own messages: cursors for good, each joined by itself.
    Case {
        name: "cursors",
        enter: r#"{"type":"subscribe","channel":"room","echo":false}"#,
        round: &[PUBLISH; 4],
        ..PLAIN
    },
    Case {
        name: "volatile messages to cursors",
        enter: r#"{"type":"subscribe","channel":"room","echo":false}"#,
        round: &[VOLATILE],
        ..PLAIN
    },
    Case { name: "volatile messages", round: &[VOLATILE; 4], ..PLAIN },
    Case { name: "full sockets", sends: 0, full: true, ..PLAIN },
    // The other client comes and goes: a join and a leave in one send.
    Case {
        name: "presence",
        enter: r#"{"type":"subscribe","channel":"room","presence":true}"#,
        round: &[ENTER, r#"{"type":"unsubscribe","channel":"room"}"#],
        ..PLAIN
    },
];

#[derive(Default)]
struct Sink {
    sends: usize,
    full: bool,
}

impl Carrier for Sink {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        if self.full && slot > 0 {
            return Sent::Bytes(0);
        }
        self.sends += usize::from(slot > 0);
        Sent::Bytes(bytes.len())
    }
}

fn frame(form: Form, json: &str) -> Vec<u8> {
    match form.format() {
        Format::Json => json.into(),
        Format::MsgPack => {
            let mut bytes = Vec::new();
            transcode::command_to_msgpack(json.as_bytes(), &mut bytes).expect("it is a command");
            bytes
        }
    }
}

fn settle(turn: &mut Turn, sink: &mut Sink) {
    turn.take_inbox(NOW);
    // One round for all: a round of its own may allocate, a delivery may not.
    while turn.flush(sink, NOW, 4_096) {}
}

/// Blocks allocated in one round with so many subscribers, the least of several rounds.
fn blocks(case: Case, subscribers: u32) -> u64 {
    let limits =
        ConnectionLimits { commands_burst: 1_000_000, channels: 1_000_000, ..ConnectionLimits::default() };
    // As many as there are: that each is told of the other is what is counted.
    let open = Options { presence_members: subscribers + 1, ..Options::open() };
    let namespaces = Namespaces { default: Some(Arc::new(open)), ..Namespaces::open() };
    let mut turn = OneShard { limits, namespaces, ..OneShard::default() }.turn(NOW);
    let mut sink = Sink::default();
    for slot in 0..=subscribers {
        turn.open(slot, Peer { form: case.form, token: None, address: None }, NOW);
        let first = if slot == 0 { r#"{"type":"connect"}"# } else { case.enter };
        turn.message(slot, &frame(case.form, first), NOW);
        settle(&mut turn, &mut sink);
    }
    sink.full = case.full;
    let round: Vec<_> = case.round.iter().map(|json| frame(case.form, json)).collect();
    let rounds = (0..32).map(|n| {
        let (before, sends) = (dhat::HeapStats::get().total_blocks, sink.sends);
        for bytes in &round {
            turn.message(0, bytes, NOW);
        }
        settle(&mut turn, &mut sink);
        let sends = sink.sends - sends;
        assert_eq!(sends, subscribers as usize * case.sends, "{}, round {n}: sends", case.name);
        dhat::HeapStats::get().total_blocks - before
    });
    rounds.min().expect("there are rounds")
}

#[test]
fn no_kind_of_subscriber_allocates_in_a_delivery() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let mut faults = Vec::new();
    for case in CASES {
        let (few, many) = (blocks(case, 10), blocks(case, 1_000));
        assert!(few > 0, "{}: the round itself allocates, and nothing was counted", case.name);
        if few != many {
            faults.push(format!("{}: {few} blocks for 10 subscribers, {many} for 1 000", case.name));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
