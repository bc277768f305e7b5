//! What a hostile read of the engine found, each with the case that shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use everwire_engine::channel::{Arrival, Cell, HistoryLimits, Namespaces, Options, Prev, Shared};
use everwire_engine::entry::{Form, Publication};
use everwire_engine::inbox::Answer;
use everwire_engine::limits::{ConnectionLimits, NodeLimits};
use everwire_engine::name::ChannelName;
use everwire_engine::ports::{Ask, Asked, Broker, Caps, Ticket};
use everwire_engine::testing::OneShard;
use everwire_engine::time::Now;
use everwire_engine::turn::{Carrier, Peer, Sent, Turn};
use everwire_engine::verbs;
use everwire_proto::codes::ErrorCode;
use everwire_proto::command::Publish;
use everwire_proto::ids::Epoch;
use everwire_proto::payload::{Data, Payload};
use everwire_proto::position::Position;

/// Sockets that take whole sends, or nothing where they are full.
#[derive(Default)]
struct Sockets {
    taken: Vec<Vec<u8>>,
    full: Vec<bool>,
}

impl Carrier for Sockets {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        if self.full[slot as usize] {
            return Sent::Bytes(0);
        }
        self.taken[slot as usize].extend_from_slice(bytes);
        Sent::Bytes(bytes.len())
    }
}

/// One shard, and the sockets of its connections.
struct World {
    turn: Turn,
    sockets: Sockets,
    now: Now,
}

fn world(connections: u32, limits: ConnectionLimits, node: NodeLimits) -> World {
    world_on(connections, limits, node, None)
}

type Outside = dyn Fn(Arc<Shared>) -> Arc<dyn Broker>;

fn world_on(
    connections: u32,
    limits: ConnectionLimits,
    node: NodeLimits,
    outside: Option<&Outside>,
) -> World {
    let mut namespaces = Namespaces::open();
    let short = HistoryLimits { messages: 4, ..HistoryLimits::default() };
    namespaces.named.insert("short".into(), Arc::new(Options { history: Some(short), ..Options::open() }));
    let limits = ConnectionLimits { commands_burst: 1_000_000, ..limits };
    let now = Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 };
    let turn = OneShard { namespaces, limits, node }.turn_on(now, |memory, shared| match outside {
        Some(make) => make(shared),
        None => Arc::new(memory),
    });
    let mut world = World { turn, sockets: Sockets::default(), now };
    for slot in 0..connections {
        world.sockets.taken.push(Vec::new());
        world.sockets.full.push(false);
        world.turn.open(slot, Peer { form: Form::Json, token: None, address: None }, now);
        world.say(slot, r#"{"type":"connect"}"#);
    }
    world.settle();
    world
}

fn plain(connections: u32) -> World {
    world(connections, ConnectionLimits::default(), NodeLimits::default())
}

impl World {
    fn say(&mut self, slot: u32, text: &str) {
        self.turn.message(slot, text.as_bytes(), self.now);
    }

    fn subscribe(&mut self, slot: u32, channel: &str, more: &str) {
        self.say(slot, &format!(r#"{{"type":"subscribe","id":1,"channel":"{channel}"{more}}}"#));
    }

    fn publish(&mut self, slot: u32, channel: &str, text: &str, more: &str) {
        self.say(slot, &format!(r#"{{"type":"publish","channel":"{channel}","data":"{text}"{more}}}"#));
    }

    fn turn(&mut self, budget: usize) -> bool {
        self.turn.take_inbox(self.now);
        self.turn.flush(&mut self.sockets, self.now, budget)
    }

    fn settle(&mut self) {
        let mut rounds = 0;
        while self.turn(512) {
            rounds += 1;
            assert!(rounds < 10_000, "it comes to rest");
        }
    }

    fn free(&mut self, slot: u32) {
        self.sockets.full[slot as usize] = false;
        self.turn.writable(slot);
    }

    /// What a socket was sent since the last look, as text.
    fn heard(&mut self, slot: u32) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.sockets.taken[slot as usize])).into_owned()
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.unix_ms += ms;
    }
}

/// A broker outside, whose link comes when the test says so, and which has no time to read anything.
struct Busy {
    shared: Arc<Shared>,
    asked: Arc<AtomicU64>,
}

impl Broker for Busy {
    fn caps(&self) -> Caps {
        Caps { in_process: false, durable: true }
    }
    fn cell(&self, name: ChannelName, options: Arc<Options>, now: Now) -> Cell {
        Cell::foreign(name, options, self.shared.clone(), now)
    }
    fn ask(&self, _cell: &Arc<Cell>, _ask: Ask, _ticket: Ticket, _now: Now) -> Asked {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Asked::Now(Answer::Failed(ErrorCode::Overloaded))
    }
    fn attach(&self, _cell: &Arc<Cell>, _now: Now) {}
    fn detach(&self, _cell: &Arc<Cell>, _now: Now) {}
}

fn busy(connections: u32) -> (World, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    let make = move |shared| -> Arc<dyn Broker> { Arc::new(Busy { shared, asked: count.clone() }) };
    let world = world_on(connections, ConnectionLimits::default(), NodeLimits::default(), Some(&make));
    (world, asked)
}

const VOLATILE: &str = r#","volatile":true"#;

#[test]
fn a_crowded_room_loses_nothing_behind_a_volatile_entry() {
    let node = NodeLimits { pending_bytes: 4_096, ..NodeLimits::default() };
    let mut world = world(2, ConnectionLimits::default(), node);
    world.subscribe(1, "room", "");
    world.settle();
    world.heard(1);
    for number in 0..3 {
        world.publish(0, "room", &format!("stored{number}"), "");
    }
    // This one makes it too much, and has no number.
    world.publish(0, "room", &"v".repeat(4_096), VOLATILE);
    world.settle();
    let heard = world.heard(1);
    assert!((0..3).all(|n| heard.contains(&format!("stored{n}"))), "{heard}");
    assert!(heard.contains("slow_consumer"), "the volatile one is told as lost: {heard}");
}

#[test]
fn an_outbox_of_volatile_messages_alone_is_told_as_lost() {
    let limits = ConnectionLimits { outbox_bytes: 4_096, ..ConnectionLimits::default() };
    let mut world = world(2, limits, NodeLimits::default());
    world.subscribe(1, "room", "");
    world.settle();
    world.sockets.full[1] = true;
    for _ in 0..8 {
        world.publish(0, "room", &"v".repeat(1_000), VOLATILE);
        world.turn(512);
    }
    world.heard(1);
    world.free(1);
    world.settle();
    let heard = world.heard(1);
    assert!(heard.contains("slow_consumer"), "{heard}");
    world.publish(0, "room", "after", "");
    world.settle();
    assert!(world.heard(1).contains("after"), "nothing waits behind an outbox that is gone");
}

#[test]
fn an_outbox_that_is_forgotten_holds_nothing_up() {
    let mut world = plain(2);
    for channel in ["a", "b"] {
        world.subscribe(1, channel, "");
    }
    world.settle();
    world.sockets.full[1] = true;
    // The whole frame waits: nothing of it was taken.
    world.publish(0, "a", "volatile", VOLATILE);
    world.turn(512);
    world.say(1, r#"{"type":"unsubscribe","channel":"a"}"#);
    world.free(1);
    world.settle();
    world.heard(1);
    world.publish(0, "b", "stored", "");
    world.settle();
    assert!(world.heard(1).contains("stored"));
}

#[test]
fn a_batch_that_is_closed_early_keeps_its_volatile_messages() {
    let node = NodeLimits { pending_bytes: 2_048, ..NodeLimits::default() };
    let mut world = world(4, ConnectionLimits::default(), node);
    for slot in 1..4 {
        world.subscribe(slot, "room", "");
    }
    world.settle();
    world.publish(0, "room", "volatile", VOLATILE);
    world.turn(1);
    // The walk is not over, and the room is crowded now.
    for _ in 0..8 {
        world.publish(0, "room", &"s".repeat(500), "");
    }
    world.settle();
    for slot in 1..4 {
        assert!(world.heard(slot).contains("volatile\""), "connection {slot}");
    }
}

#[test]
fn an_old_stall_is_not_held_against_a_peer() {
    let mut world = plain(2);
    world.subscribe(1, "room", "");
    world.settle();
    for _ in 0..2 {
        world.sockets.full[1] = true;
        world.publish(0, "room", "x", "");
        world.turn(512);
        world.pass(20_000);
        for slot in 0..2 {
            world.turn.heard(slot, world.now);
        }
        world.turn.run_wheel(world.now);
        world.free(1);
        world.settle();
    }
    world.sockets.full[1] = true;
    world.publish(0, "room", "x", "");
    world.turn(512);
    world.pass(1_000);
    world.turn.run_wheel(world.now);
    world.turn(512);
    assert_eq!(world.turn.take_finished(), [] as [u32; 0]);
    world.free(1);
    world.settle();
    assert!(!world.heard(1).contains("nothing was taken"), "it took everything 1 s ago");
}

#[test]
fn a_flood_of_presence_is_given_in_turns() {
    let members = 400;
    let mut world = plain(members);
    for slot in 0..members {
        world.subscribe(slot, "room", r#","presence":true"#);
        if slot % 32 == 0 {
            world.settle();
        }
    }
    world.settle();
    // Each of these is told to all: 400 x 400 events of more than 1 KB.
    let state = "y".repeat(1_000);
    for slot in 0..members {
        world.say(slot, &format!(r#"{{"type":"presence_update","channel":"room","state":"{state}"}}"#));
    }
    world.turn.take_inbox(world.now);
    assert!(world.turn.is_full(), "more was said than one turn bears");
    let told = 400 * 1_000;
    let before: usize = world.sockets.taken.iter().map(Vec::len).sum();
    world.turn.flush(&mut world.sockets, world.now, 512);
    let sent: usize = world.sockets.taken.iter().map(Vec::len).sum::<usize>() - before;
    assert!(sent < (4 << 20) + 2 * told, "{sent} bytes in one turn");
    world.settle();
    let all: usize = world.sockets.taken.iter().map(Vec::len).sum::<usize>() - before;
    assert!(all > 400 * told, "and all of it in the end: {all}");
}

#[test]
fn a_full_inbox_tells_that_presence_is_to_be_asked_for_again() {
    let node = NodeLimits { inbox_bytes: 1_024, ..NodeLimits::default() };
    let mut world = world(3, ConnectionLimits::default(), node);
    world.subscribe(1, "room", r#","presence":true"#);
    world.settle();
    world.subscribe(2, "room", "");
    world.settle();
    world.heard(1);
    for _ in 0..50 {
        world.say(2, r#"{"type":"presence_update","channel":"room","state":1}"#);
    }
    world.settle();
    let heard = world.heard(1);
    assert_eq!(heard.matches("presence_reset").count(), 1, "{heard}");
    assert!(heard.matches("presence_state").count() < 10, "{heard}");
    world.say(2, r#"{"type":"presence_update","channel":"room","state":2}"#);
    world.settle();
    assert!(world.heard(1).contains("presence_state"), "and on it goes");
}

#[test]
fn no_cursor_of_a_connection_waits_for_the_others() {
    let mut world = plain(2);
    for channel in ["busy", "calm"] {
        world.subscribe(1, channel, r#","echo":false"#);
    }
    world.settle();
    world.sockets.full[1] = true;
    let fill = |world: &mut World| {
        for _ in 0..8 {
            world.publish(0, "busy", &"b".repeat(20_000), "");
        }
        world.turn(512);
    };
    fill(&mut world);
    world.publish(0, "calm", "calm", "");
    world.turn(512);
    world.heard(1);
    // Each time it takes one page, as much has come again.
    let mut pages = 0;
    world.free(1);
    while !world.heard(1).contains("calm\"") {
        fill(&mut world);
        pages += 1;
        assert!(pages < 4, "the busy channel alone is sent");
    }
}

#[test]
fn a_command_without_an_id_is_not_replied_to() {
    let mut world = plain(1);
    world.heard(0);
    for command in [
        r#"{"type":"ping"}"#,
        r#"{"type":"subscribe","channel":"a"}"#,
        r#"{"type":"history","channel":"a"}"#,
        r#"{"type":"presence","channel":"a"}"#,
        r#"{"type":"presence_update","channel":"a","state":1}"#,
        r#"{"type":"unsubscribe","channel":"a"}"#,
        r#"{"type":"publish","channel":"a","data":1}"#,
    ] {
        world.say(0, command);
    }
    world.settle();
    assert_eq!(world.heard(0), "");
    world.say(0, r#"{"type":"unsubscribe","channel":"a"}"#);
    world.settle();
    assert!(world.heard(0).contains("not_subscribed"), "failures are told");
}

#[test]
fn a_slot_does_not_pay_for_the_connection_before() {
    let limits = ConnectionLimits { outbox_bytes: 2_048, ..ConnectionLimits::default() };
    let mut world = world(2, limits, NodeLimits::default());
    world.sockets.full[1] = true;
    world.say(1, r#"{"type":"ping","id":1}"#);
    world.turn(512);
    // More than its outbox holds; the socket breaks in the same turn, and the slot is given away.
    world.turn.raw(1, &[0; 4_096]);
    world.turn.closed(1, world.now);
    world.sockets.full[1] = false;
    world.turn.open(1, Peer { form: Form::Json, token: None, address: None }, world.now);
    world.say(1, r#"{"type":"ping","id":2}"#);
    world.settle();
    assert_eq!(world.turn.take_finished(), [] as [u32; 0]);
    assert!(world.heard(1).contains("pong"));
}

#[test]
fn an_evicted_channel_gives_its_bytes_back_once() {
    let mut world = plain(1);
    world.publish(0, "room", "x", "");
    let node = world.turn.node().clone();
    let cell = node.find("room").expect("it was published to");
    assert!(cell.evict_if_idle());
    world.pass(24 * 3_600_000);
    // A sweep that took the cell before it was evicted.
    cell.sweep(world.now);
    assert_eq!(node.shared.history_bytes.load(Ordering::Relaxed), 0);
    assert!(cell.history(&Default::default(), world.now).is_none(), "a dead cell has no history");
}

#[test]
fn the_wall_clock_ages_nothing() {
    let mut world = plain(1);
    let keyed = r#","message_id":"1""#;
    world.publish(0, "room", "x", keyed);
    for jump in [8 * 3_600_000, -16 * 3_600_000_i64] {
        world.now.unix_ms = world.now.unix_ms.saturating_add_signed(jump);
        let node = world.turn.node().clone();
        (0..64).for_each(|round| node.sweep(round, world.now));
        world.say(0, r#"{"type":"history","id":7,"channel":"room"}"#);
        world.publish(0, "room", "x", &format!(r#","id":8{keyed}"#));
        world.settle();
        let heard = world.heard(0);
        assert_eq!(heard.matches(r#""data":"x""#).count(), 1, "kept: {heard}");
        assert!(heard.contains(r#""duplicate":true"#), "stored once: {heard}");
    }
}

#[test]
fn the_api_is_told_that_a_node_is_full() {
    let node = NodeLimits { history_bytes: 2_000, ..NodeLimits::default() };
    let mut world = world(1, ConnectionLimits::default(), node);
    let node = world.turn.node().clone();
    let ask = |channel: &str| Publish {
        channel: channel.to_owned().into(),
        data: Data::Json(format!("\"{}\"", "x".repeat(1_000)).into_bytes().into()),
        message_id: None,
        tags: Vec::new(),
        volatile: false,
    };
    let mut refused = None;
    for channel in 0..8 {
        // In use, so that none of them is evicted.
        world.subscribe(0, &channel.to_string(), "");
        refused = refused.or(verbs::publish(&node, &ask(&channel.to_string()), world.now).err());
    }
    assert_eq!(refused.map(|deny| deny.code), Some(ErrorCode::Overloaded));
}

fn arrival(offset: u64, now: Now) -> Arrival {
    let publication = Publication {
        payload: Payload::Json("1".into()),
        message_id: None,
        from: None,
        time: now.unix_ms,
        tags: Box::default(),
    };
    let epoch = Epoch::from_random(1);
    Arrival { position: Position { epoch, offset }, prev: Prev::After(offset - 1), publication }
}

#[test]
fn a_link_that_never_comes_is_answered_for() {
    let (mut world, _) = busy(1);
    world.heard(0);
    world.subscribe(0, "room", "");
    for _ in 0..8 {
        world.pass(1_000);
        world.turn.heard(0, world.now);
        world.turn.run_wheel(world.now);
        world.settle();
    }
    assert_eq!(world.heard(0), "");
    world.pass(3_000);
    world.turn.run_wheel(world.now);
    world.settle();
    assert!(world.heard(0).contains(r#""code":"timeout""#));
    world.turn.closed(0, world.now);
    assert!(world.turn.node().find("room").expect("it is known").evict_if_idle(), "nobody listens any more");
}

#[test]
fn a_channel_that_waits_counts() {
    let limits = ConnectionLimits { channels: 2, ..ConnectionLimits::default() };
    let make = |shared| -> Arc<dyn Broker> { Arc::new(Busy { shared, asked: Arc::default() }) };
    let mut world = world_on(1, limits, NodeLimits::default(), Some(&make));
    for channel in ["a", "b", "c"] {
        world.subscribe(0, channel, "");
    }
    world.settle();
    assert_eq!(world.heard(0).matches(r#""code":"limit_exceeded""#).count(), 1);
}

#[test]
fn a_page_that_can_not_be_read_is_no_reason_to_stay_awake() {
    let (mut world, asked) = busy(1);
    world.subscribe(0, "short:room", "");
    let cell = world.turn.node().find("short:room").expect("it is asked for");
    cell.attached(arrival(100, world.now).position, world.now);
    world.settle();
    world.sockets.full[0] = true;
    for offset in 101..120 {
        cell.arrive(arrival(offset, world.now), world.now);
        world.turn(512);
    }
    world.free(0);
    // What it needs is no longer in the window.
    world.settle();
    let at_once = asked.load(Ordering::Relaxed);
    assert_eq!(at_once, 1);
    for _ in 0..3 {
        world.pass(1_000);
        world.turn.run_wheel(world.now);
        world.settle();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 4, "once a second");
}
