//! Refusals and goodbyes of the engine that need a special moment: a full table, an empty bucket, a broker that does
//! not answer, a peer that does not read. Time is an argument, so none of them waits.

use std::sync::Arc;

use everwire_engine::channel::{Cell, Options};
use everwire_engine::entry::Form;
use everwire_engine::limits::{ConnectionLimits, NodeLimits, Times};
use everwire_engine::memory::Memory;
use everwire_engine::name::ChannelName;
use everwire_engine::ports::{Ask, Asked, Broker, Caps, Ticket};
use everwire_engine::testing::OneShard;
use everwire_engine::time::Now;
use everwire_engine::turn::{Carrier, Flow, Peer, Sent, Turn};
use everwire_proto::ws::{Decoder, Event, Inflater, Limits};

/// Takes every ask and answers none.
struct Silent(Memory);

impl Broker for Silent {
    fn caps(&self) -> Caps {
        self.0.caps()
    }
    fn cell(&self, name: ChannelName, options: Arc<Options>, now: Now) -> Cell {
        self.0.cell(name, options, now)
    }
    fn ask(&self, _cell: &Arc<Cell>, _ask: Ask, _ticket: Ticket, _now: Now) -> Asked {
        Asked::Later
    }
    fn attach(&self, _cell: &Arc<Cell>, _now: Now) {}
    fn detach(&self, _cell: &Arc<Cell>, _now: Now) {}
}

/// What the sockets were sent. One of them may be full.
#[derive(Default)]
struct Sockets {
    sent: Vec<Vec<u8>>,
    full: Option<u32>,
}

impl Carrier for Sockets {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        if self.full == Some(slot) {
            return Sent::Bytes(0);
        }
        self.sent[slot as usize].extend_from_slice(bytes);
        Sent::Bytes(bytes.len())
    }
}

/// One shard, and a clock that moves when it is told to.
struct World {
    turn: Turn,
    sockets: Sockets,
    now: Now,
}

fn world(
    limits: ConnectionLimits,
    of_node: NodeLimits,
    broker: impl FnOnce(Memory) -> Arc<dyn Broker>,
) -> World {
    let now = Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 };
    let turn =
        OneShard { limits, node: of_node, ..OneShard::default() }.turn_on(now, |memory, _| broker(memory));
    let mut world = World { turn, sockets: Sockets::default(), now };
    for slot in 0..2 {
        world.sockets.sent.push(Vec::new());
        world.turn.open(slot, Peer { form: Form::Json, token: None, address: None }, now);
    }
    world
}

/// The same with the in-process broker.
fn plain(limits: ConnectionLimits) -> World {
    world(limits, NodeLimits::default(), |memory| Arc::new(memory))
}

impl World {
    /// Lets time pass, and the shard do what is due.
    fn pass(&mut self, ms: u64) {
        self.now = Now { mono_ms: self.now.mono_ms + ms, unix_ms: self.now.unix_ms + ms };
        self.turn.run_wheel(self.now);
        self.settle();
    }

    fn settle(&mut self) {
        self.turn.take_inbox(self.now);
        while self.turn.flush(&mut self.sockets, self.now, 16) {}
    }

    fn say(&mut self, slot: u32, command: &str) {
        self.turn.message(slot, command.as_bytes(), self.now);
        self.settle();
    }

    /// Says this, and gives what is sent because of it.
    fn ask(&mut self, slot: u32, command: &str) -> String {
        self.sockets.sent[slot as usize].clear();
        self.say(slot, command);
        String::from_utf8_lossy(&self.sockets.sent[slot as usize]).into_owned()
    }

    /// The close code that a connection was sent.
    fn closed_with(&self, slot: u32) -> Option<u16> {
        let mut bytes = self.sockets.sent[slot as usize].clone();
        let mut decoder = Decoder::client(Limits { message_bytes: 1 << 20 }, false);
        let mut inflater = Inflater::new();
        let mut at = 0;
        loop {
            let mut window = &mut bytes[at..];
            let len = window.len();
            let event = decoder.next(&mut window, &mut inflater).expect("a server keeps the protocol");
            let closed = event.map(|event| match event {
                Event::Close(close) => close.map(|(code, _)| code),
                _ => None,
            });
            at += len - window.len();
            if closed != Some(None) {
                return closed.flatten();
            }
        }
    }
}

/// The first string under this key.
fn word<'a>(said: &'a str, key: &str) -> &'a str {
    let (_, rest) = said.split_once(&format!("\"{key}\":\"")).unwrap_or_else(|| panic!("no {key} in {said}"));
    rest.split('"').next().unwrap_or_default()
}

#[test]
fn a_second_subscribe_and_a_full_table() {
    let mut world = plain(ConnectionLimits { channels: 1, ..ConnectionLimits::default() });
    let subscribe = |channel| format!(r#"{{"type":"subscribe","id":1,"channel":"{channel}"}}"#);
    assert!(world.ask(0, &subscribe("a")).contains(r#""type":"subscribed""#));
    // The bucket of subscribes has one token a 50th of a second here.
    world.pass(100);
    assert_eq!(word(&world.ask(0, &subscribe("a")), "code"), "already_subscribed");
    world.pass(100);
    assert_eq!(word(&world.ask(0, &subscribe("b")), "code"), "limit_exceeded");
    world.pass(100);
    assert!(world.ask(0, r#"{"type":"unsubscribe","id":2,"channel":"a"}"#).contains("unsubscribed"));
    world.pass(100);
    assert!(world.ask(0, &subscribe("b")).contains(r#""type":"subscribed""#));
}

#[test]
fn history_of_a_stream_that_is_gone() {
    let mut world = plain(ConnectionLimits::default());
    world.say(0, r#"{"type":"publish","channel":"a","data":1}"#);
    let said = world.ask(0, r#"{"type":"history","id":2,"channel":"a","since":{"epoch":"old","offset":5}}"#);
    assert_eq!(word(&said, "code"), "unrecoverable_position");
    assert!(said.contains(r#""offset":1"#), "the error says where the stream is now: {said}");
}

#[test]
fn a_node_whose_channels_are_all_in_use() {
    let of_node = NodeLimits { channels: 1, ..NodeLimits::default() };
    let mut world = world(ConnectionLimits::default(), of_node, |memory| Arc::new(memory));
    assert!(world.ask(0, r#"{"type":"subscribe","id":1,"channel":"a"}"#).contains(r#""type":"subscribed""#));
    for verb in [r#""subscribe""#, r#""publish","data":1"#, r#""history""#, r#""presence""#] {
        let said = world.ask(1, &format!(r#"{{"type":{verb},"id":2,"channel":"b"}}"#));
        assert_eq!(word(&said, "code"), "overloaded", "{verb}: {said}");
        assert!(said.contains(r#""retry_after_ms":"#), "{said}");
    }
    assert!(world.ask(1, r#"{"type":"publish","id":3,"channel":"a","data":1}"#).contains("published"));
}

#[test]
fn a_broker_that_does_not_answer() {
    let silent = |memory| Arc::new(Silent(memory)) as Arc<dyn Broker>;
    let mut world = world(ConnectionLimits::default(), NodeLimits::default(), silent);
    assert!(!world.ask(0, r#"{"type":"publish","id":2,"channel":"a","data":1}"#).contains("error"));
    world.sockets.sent[0].clear();
    world.pass(Times::default().ask_ms);
    let said = String::from_utf8_lossy(&world.sockets.sent[0]).into_owned();
    assert_eq!(word(&said, "code"), "timeout");
    assert!(said.contains(r#""id":2"#) && said.contains(r#""retryable":true"#), "{said}");
}

#[test]
fn a_peer_that_does_not_read_its_replies() {
    let limits =
        ConnectionLimits { outbox_bytes: 4_096, commands_burst: 10_000, ..ConnectionLimits::default() };
    let mut world = plain(limits);
    assert!(world.ask(0, r#"{"type":"connect","id":1}"#).contains("connected"));
    world.sockets.full = Some(0);
    for _ in 0..500 {
        world.say(0, r#"{"type":"ping","id":2}"#);
    }
    world.sockets.full = None;
    world.turn.writable(0);
    world.settle();
    assert_eq!(world.closed_with(0), Some(4100));
    assert!(world.ask(1, r#"{"type":"ping","id":3}"#).contains("pong"), "others are not held up");
}

#[test]
fn a_session_that_goes_on_elsewhere() {
    let mut world = plain(ConnectionLimits::default());
    let connected = world.ask(0, r#"{"type":"connect","id":1}"#);
    let (client, session) = (word(&connected, "client"), word(&connected, "session"));
    let again = world.ask(1, &format!(r#"{{"type":"connect","id":1,"resume":"{session}"}}"#));
    assert!(again.contains(r#""resumed":true"#), "{again}");
    assert_eq!(word(&again, "client"), client);
    world.settle();
    assert_eq!(world.closed_with(0), Some(4200));
}

#[test]
fn a_connection_gets_its_burst_and_its_rate_and_no_more() {
    let limits =
        ConnectionLimits { commands_per_second: 10, commands_burst: 5, ..ConnectionLimits::default() };
    let mut world = plain(limits);
    let (mut taken, mut held) = (0, false);
    // As the server does: what is held is not read, and a command waits all the time.
    for _ in 0..10_000 {
        while !held {
            held = world.turn.message(0, br#"{"type":"ping"}"#, world.now) == Flow::Hold;
            taken += 1;
        }
        world.pass(1);
        held &= world.turn.take_released().is_empty();
    }
    assert!((104..=107).contains(&taken), "5 at once and 10 a second for 10 s are not {taken}");
}

#[test]
fn commands_that_would_wait_too_long() {
    let limits =
        ConnectionLimits { commands_per_second: 1, commands_burst: 1, ..ConnectionLimits::default() };
    let mut world = plain(limits);
    let ping = r#"{"type":"ping","id":1}"#;
    for _ in 0..3 {
        assert!(world.ask(0, ping).contains("pong"));
    }
    let said = world.ask(0, ping);
    assert_eq!(word(&said, "code"), "rate_limited");
    assert!(said.contains(r#""retry_after_ms":3000"#), "{said}");
}
