//! Limits that hold for many connections together, and what a namespace or a subscription limits for itself. Time is an
//! argument, so nothing waits.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use everwire_engine::channel::{DataCheck, Namespaces, Options, Schema, Shared};
use everwire_engine::entry::Form;
use everwire_engine::inbox::{Expelled, Expulsion, Inbox};
use everwire_engine::limits::{ConnectionLimits, NodeLimits, Times};
use everwire_engine::memory::Memory;
use everwire_engine::node::{Node, Payer, Settings};
use everwire_engine::ports::{Authority, Entrance, Identity};
use everwire_engine::testing::Seeded;
use everwire_engine::time::{Entropy, Now, SharedBucket};
use everwire_engine::turn::{Carrier, Flow, Peer, Sent, Turn};
use everwire_engine::verbs;
use everwire_proto::codes::ErrorCode;
use everwire_proto::command::Publish;
use everwire_proto::payload::Data;

/// A token is the name of a user; for a channel its id and the channel's name.
struct Named;

impl Authority for Named {
    fn check(&self, token: &str, _now: Now) -> Result<Identity, (ErrorCode, String)> {
        Ok(Identity { user: Some(token.into()), ..Identity::default() })
    }
    fn check_entrance(&self, token: &str, _now: Now) -> Result<Entrance, (ErrorCode, String)> {
        let (id, channel) = token.split_once(' ').ok_or((ErrorCode::TokenInvalid, String::new()))?;
        Ok(Entrance { user: None, channel: channel.into(), expires_at: None, token_id: Some(id.into()) })
    }
}

/// Sockets that take whole sends, or nothing where they are full.
#[derive(Default)]
struct Sockets {
    taken: Vec<String>,
    full: Vec<bool>,
}

impl Carrier for Sockets {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        if self.full[slot as usize] {
            return Sent::Bytes(0);
        }
        self.taken[slot as usize].push_str(&String::from_utf8_lossy(bytes));
        Sent::Bytes(bytes.len())
    }
}

struct World {
    turn: Turn,
    sockets: Sockets,
    now: Now,
}

/// What a world is made of.
struct Recipe {
    limits: ConnectionLimits,
    node: NodeLimits,
    /// The settings of the namespace `x`.
    options: Options,
}

impl Default for Recipe {
    fn default() -> Self {
        let limits = ConnectionLimits {
            commands_per_second: 1_000_000,
            commands_burst: 1_000_000,
            channels: 1_000,
            ..ConnectionLimits::default()
        };
        Self { limits, node: NodeLimits::default(), options: Options::open() }
    }
}

impl Recipe {
    fn world(self) -> World {
        let [world] = self.shards();
        world
    }

    /// The shards of one node, each with its own connections.
    fn shards<const N: usize>(self) -> [World; N] {
        let shared = Arc::new(Shared {
            inboxes: (0..N).map(|_| Arc::new(Inbox::new(self.node.inbox_bytes))).collect(),
            limits: self.node,
            history_bytes: 0.into(),
            message_ids: 0.into(),
        });
        let entropy: Arc<dyn Entropy> = Arc::new(Seeded::new(1));
        let mut namespaces = Namespaces::open();
        namespaces.named.insert("x".into(), Arc::new(self.options));
        let settings = Settings {
            name: "test".into(),
            namespaces,
            limits: self.limits,
            times: Times::default(),
            connect_required: false,
        };
        let now = Now { mono_ms: 10_000, unix_ms: 1_700_000_000_000 };
        let broker = Arc::new(Memory::new(shared.clone(), entropy.clone()));
        let node = Arc::new(Node::new(settings, shared, broker, Arc::new(Named), entropy));
        std::array::from_fn(|shard| {
            let turn = Turn::new(node.clone(), u16::try_from(shard).unwrap(), now);
            World { turn, sockets: Sockets::default(), now }
        })
    }
}

impl World {
    /// One more connection, on the slot that is its number.
    fn open(&mut self, address: Option<&Arc<SharedBucket>>) -> u32 {
        let slot = u32::try_from(self.sockets.taken.len()).unwrap();
        self.sockets.taken.push(String::new());
        self.sockets.full.push(false);
        let peer = Peer { form: Form::Json, token: None, address: address.cloned() };
        self.turn.open(slot, peer, self.now);
        slot
    }

    /// The same, connected as this user.
    fn user(&mut self, name: &str) -> (u32, String) {
        let slot = self.open(None);
        let said = self.ask(slot, &format!(r#"{{"type":"connect","id":1,"token":"{name}"}}"#));
        (slot, said)
    }

    /// Connections that are not anybody's, in this channel.
    fn listeners(&mut self, count: u32, channel: &str, more: &str) -> Vec<u32> {
        let subscribe = format!(r#"{{"type":"subscribe","id":2,"channel":"{channel}"{more}}}"#);
        let one = |world: &mut Self| {
            let slot = world.open(None);
            let said = world.ask(slot, &subscribe);
            assert!(said.contains(r#""type":"subscribed""#), "{said}");
            slot
        };
        (0..count).map(|_| one(self)).collect()
    }

    fn settle(&mut self) {
        self.turn.take_inbox(self.now);
        while self.turn.flush(&mut self.sockets, self.now, 512) {}
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { mono_ms: self.now.mono_ms + ms, unix_ms: self.now.unix_ms + ms };
        // Nobody is silent.
        (0u32..).zip(&self.sockets.full).for_each(|(slot, _)| self.turn.heard(slot, self.now));
        self.turn.run_wheel(self.now);
        self.settle();
    }

    fn say(&mut self, slot: u32, command: &str) -> Flow {
        let flow = self.turn.message(slot, command.as_bytes(), self.now);
        self.settle();
        flow
    }

    /// Says this, and gives what is sent because of it.
    fn ask(&mut self, slot: u32, command: &str) -> String {
        self.sockets.taken[slot as usize].clear();
        self.say(slot, command);
        self.heard(slot)
    }

    fn publish(&mut self, slot: u32, channel: &str, data: &str, more: &str) {
        self.say(slot, &format!(r#"{{"type":"publish","channel":"{channel}","data":"{data}"{more}}}"#));
    }

    /// What a socket was sent since the last look.
    fn heard(&mut self, slot: u32) -> String {
        std::mem::take(&mut self.sockets.taken[slot as usize])
    }

    /// The `data` of the messages in it.
    fn messages(&mut self, slot: u32) -> Vec<String> {
        let heard = self.heard(slot);
        let data = heard.split(r#""data":""#).skip(1).filter_map(|rest| rest.split('"').next());
        data.map(str::to_owned).collect()
    }

    fn free(&mut self, slot: u32) {
        self.sockets.full[slot as usize] = false;
        self.turn.writable(slot);
        self.settle();
    }

    fn paused(&self, payer: Payer) -> u64 {
        self.turn.node().counters.paused[payer as usize].load(Ordering::Relaxed)
    }
}

const PING: &str = r#"{"type":"ping","id":9}"#;

#[test]
fn a_user_has_so_many_connections_and_no_more() {
    let mut recipe = Recipe::default();
    recipe.limits.user_connections = 2;
    let mut world = recipe.world();
    let (first, said) = world.user("ann");
    let session = said.split(r#""session":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let session = session.to_owned();
    assert!(world.user("ann").1.contains("connected"));
    let (third, said) = world.user("ann");
    for words in
        [r#""code":"rate_limited""#, r#""type":"bye""#, r#""reconnect":true"#, r#""after_ms":[10000,45000]"#]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    // 1013, in the close frame's two bytes.
    assert!(said.contains("\u{3}") && world.turn.take_finished() == [third], "{said}");
    assert!(world.user("bob").1.contains("connected"), "others have their own");
    // Who goes on with a session takes the place of its old connection.
    let again = world.open(None);
    let resume = format!(r#"{{"type":"connect","id":1,"token":"ann","resume":"{session}"}}"#);
    let said = world.ask(again, &resume);
    assert!(said.contains(r#""resumed":true"#), "{said}");
    assert_eq!(world.turn.take_finished(), [first]);
    assert!(world.user("ann").1.contains("rate_limited"), "there are two again");
    world.turn.closed(again, world.now);
    assert!(world.user("ann").1.contains("connected"));
    assert_eq!(world.turn.node().counters.crowded_users.load(Ordering::Relaxed), 2);
    for slot in 0..u32::try_from(world.sockets.taken.len()).unwrap() {
        world.turn.closed(slot, world.now);
    }
    assert_eq!(world.turn.node().users.count(), 0, "nobody is remembered");
}

/// Of 10 at once and 10 a second, as the server plays it: what is held is not read. How many come through in 10 s.
fn taken_by(world: &mut World, slots: &[u32]) -> usize {
    let (mut taken, mut held) = (0, vec![false; slots.len()]);
    for _ in 0..1_000 {
        for (at, slot) in slots.iter().enumerate() {
            while !held[at] {
                let said = world.ask(*slot, PING);
                held[at] = world.turn.message(*slot, br#"{"type":"pong"}"#, world.now) == Flow::Hold;
                taken += usize::from(said.contains("\"pong\""));
                if said.contains("rate_limited") {
                    break;
                }
            }
        }
        world.pass(10);
        for slot in world.turn.take_released() {
            held[slots.iter().position(|own| *own == slot).unwrap()] = false;
        }
    }
    taken
}

#[test]
fn all_connections_of_a_user_share_one_rate() {
    let mut recipe = Recipe::default();
    (recipe.limits.user_commands_per_second, recipe.limits.user_commands_burst) = (10, 10);
    let mut world = recipe.world();
    let slots: Vec<_> = (0..3).map(|_| world.user("ann").0).collect();
    let taken = taken_by(&mut world, &slots);
    assert!((100..=135).contains(&taken), "10 at once and 10 a second for 10 s are not {taken}");
    assert!(world.paused(Payer::User) > 0 && world.paused(Payer::Connection) == 0);
    let (bob, _) = world.user("bob");
    assert!(world.ask(bob, PING).contains("pong"), "others have their own");
}

#[test]
fn all_connections_from_an_address_share_one_rate() {
    let mut recipe = Recipe::default();
    (recipe.limits.address_commands_per_second, recipe.limits.address_commands_burst) = (10, 10);
    let mut world = recipe.world();
    let here = Arc::new(SharedBucket::default());
    let slots: Vec<_> = (0..3).map(|_| world.open(Some(&here))).collect();
    let taken = taken_by(&mut world, &slots);
    assert!((100..=135).contains(&taken), "10 at once and 10 a second for 10 s are not {taken}");
    assert!(world.paused(Payer::Address) > 0);
    let there = world.open(Some(&Arc::default()));
    assert!(world.ask(there, PING).contains("pong"), "others have their own");
}

#[test]
fn a_debt_of_others_that_takes_too_long_is_told() {
    let mut recipe = Recipe::default();
    (recipe.limits.user_commands_per_second, recipe.limits.user_commands_burst) = (1, 1);
    let mut world = recipe.world();
    let slots: Vec<_> = (0..4).map(|_| world.user("ann").0).collect();
    let said: Vec<_> = slots.iter().map(|slot| world.ask(*slot, PING)).collect();
    assert!(said[..3].iter().all(|said| said.contains("pong")), "{said:?}");
    let last = &said[3];
    assert!(last.contains("rate_limited") && last.contains("of this user"), "{last}");
    assert!(last.contains(r#""retry_after_ms":3000"#), "{last}");
}

#[test]
fn publishes_may_be_fewer_than_commands() {
    let mut recipe = Recipe::default();
    (recipe.limits.publishes_per_second, recipe.limits.publishes_burst) = (10, 5);
    let mut world = recipe.world();
    let slot = world.open(None);
    let publish = r#"{"type":"publish","id":3,"channel":"a","data":1}"#;
    for _ in 0..5 {
        assert_eq!(world.say(slot, publish), Flow::Continue);
    }
    assert_eq!(world.say(slot, publish), Flow::Hold);
    assert_eq!(world.paused(Payer::Publishes), 1);
    world.pass(100);
    assert_eq!(world.turn.take_released(), [slot]);
    for _ in 0..100 {
        assert_eq!(world.say(slot, PING), Flow::Continue, "other commands have their own bucket");
    }
}

/// Three that read nothing, with outboxes of different size: the largest gives first, the smallest not at all.
#[test]
fn the_sum_of_all_outboxes_is_limited_and_the_largest_goes_first() {
    let mut recipe = Recipe::default();
    recipe.node.outbox_bytes = 64 * 1024;
    let mut world = recipe.world();
    let publisher = world.open(None);
    let slots = world.listeners(3, "a", "");
    for (at, slot) in slots.iter().enumerate() {
        for other in 0..=at {
            world.ask(*slot, &format!(r#"{{"type":"subscribe","id":2,"channel":"c{other}"}}"#));
        }
        world.sockets.full[*slot as usize] = true;
    }
    let pad = "x".repeat(1_000);
    let mut most = 0;
    for round in 0..20 {
        // The first is in one channel, the second in two, the third in three.
        for channel in ["c0", "c1", "c2"] {
            world.publish(publisher, channel, &format!("{round}{pad}"), r#","volatile":true"#);
            most = most.max(world.turn.node().outboxes.bytes());
        }
    }
    assert!(most <= 64 * 1024, "{most}");
    assert!(world.turn.node().counters.relieved.load(Ordering::Relaxed) >= 1);
    for slot in &slots {
        world.free(*slot);
    }
    let gaps: Vec<_> =
        slots.iter().map(|slot| world.heard(*slot).matches(r#""type":"gap""#).count()).collect();
    assert!(gaps[2] > 0 && gaps[0] == 0, "{gaps:?}");
    assert_eq!(world.turn.node().outboxes.bytes(), 0);
}

/// The shard that meets the limit has the others look first: the largest outbox is theirs.
#[test]
fn the_largest_outbox_may_be_another_shard_s() {
    let mut recipe = Recipe::default();
    recipe.node.outbox_bytes = 16 * 1024;
    let mut worlds = recipe.shards::<2>();
    let slots = worlds.each_mut().map(|world| world.open(None));
    let fill =
        |world: &mut World, slot: u32, pings: usize| (0..pings).for_each(|_| _ = world.say(slot, PING));
    for (world, slot) in worlds.iter_mut().zip(slots) {
        assert!(world.ask(slot, PING).contains("pong"));
        world.sockets.full[slot as usize] = true;
    }
    let [small, large] = &mut worlds;
    fill(large, slots[1], 600);
    // 24 bytes each: these are too many.
    fill(small, slots[0], 90);
    assert!(large.turn.node().outboxes.bytes() > 16 * 1024, "nobody has given anything yet");
    large.settle();
    assert!(large.turn.node().outboxes.bytes() < 4 * 1024);
    for (world, slot, ended) in [(small, slots[0], false), (large, slots[1], true)] {
        world.free(slot);
        assert_eq!(world.turn.take_finished() == [slot], ended);
    }
}

/// Replies can't be left out: whoever has most of them is ended.
#[test]
fn an_outbox_that_can_give_nothing_ends_its_connection() {
    let mut recipe = Recipe::default();
    recipe.node.outbox_bytes = 16 * 1024;
    let mut world = recipe.world();
    let (busy, idle) = (world.open(None), world.open(None));
    for slot in [busy, idle] {
        assert!(world.ask(slot, PING).contains("pong"));
        world.sockets.full[slot as usize] = true;
    }
    world.say(idle, PING);
    for _ in 0..800 {
        world.say(busy, PING);
        assert!(world.turn.node().outboxes.bytes() <= 17 * 1024);
    }
    world.free(busy);
    assert_eq!(world.turn.take_finished(), [busy]);
    world.free(idle);
    assert!(world.heard(idle).contains("pong"), "the small one keeps what it has");
    assert_eq!(world.turn.node().counters.slow.load(Ordering::Relaxed), 1);
}

#[test]
fn message_ids_are_limited_over_all_channels() {
    let mut recipe = Recipe::default();
    recipe.node.message_ids_in_all = 10;
    let mut world = recipe.world();
    let slot = world.open(None);
    let publish = |world: &mut World, channel: &str, id: usize| {
        let command =
            format!(r#"{{"type":"publish","id":3,"channel":"{channel}","data":1,"message_id":"{id}"}}"#);
        world.ask(slot, &command).contains(r#""duplicate":true"#)
    };
    for id in 0..10 {
        assert!(!publish(&mut world, "a", id));
    }
    let all = |world: &World| world.turn.node().shared.message_ids.load(Ordering::Relaxed);
    assert_eq!(all(&world), 10);
    // Each newcomer has one, and who is there takes the oldest of its own away.
    for id in 0..5 {
        assert!(!publish(&mut world, "b", id) && publish(&mut world, "b", id));
    }
    assert_eq!(all(&world), 11);
    assert!(!publish(&mut world, "a", 10) && publish(&mut world, "a", 10) && publish(&mut world, "a", 9));
    assert!(!publish(&mut world, "a", 0), "the oldest was forgotten");
    assert_eq!(all(&world), 11);
    // Two rounds over all stripes, the second after their time.
    for _ in 0..140 {
        world.pass(6_000);
    }
    assert_eq!(all(&world), 0);
}

#[test]
fn above_a_number_of_members_only_their_count_is_told() {
    let options = Options { presence_members: 8, ..Options::open() };
    let mut world = Recipe { options, ..Recipe::default() }.world();
    let watcher = world.listeners(1, "x:a", r#","presence":true"#)[0];
    let others = world.listeners(7, "x:a", "");
    let heard = world.heard(watcher);
    assert_eq!(heard.matches(r#""type":"join""#).count(), 7, "{heard}");
    world.listeners(20, "x:a", "");
    assert_eq!(world.heard(watcher), "", "nobody is named any more");
    world.pass(1_000);
    let count = |users: u64, version: u64| {
        format!(
            r#"{{"type":"presence_count","channel":"x:a","version":{version},"users":{users},"clients":{users}}}"#
        )
    };
    let heard = world.heard(watcher);
    assert!(heard.contains(&count(28, 28)) && heard.matches("presence_").count() == 1, "{heard}");
    world.pass(5_000);
    assert_eq!(world.heard(watcher), "", "nothing has changed");
    world.say(others[0], r#"{"type":"presence_update","channel":"x:a","state":1}"#);
    world.pass(1_000);
    let heard = world.heard(watcher);
    assert!(heard.contains(&count(28, 29)), "{heard}");
    // They go, until there are a quarter fewer than the number: then names are told again, after a reset.
    let leave = r#"{"type":"unsubscribe","channel":"x:a"}"#;
    let all: Vec<_> = (others[0]..others[0] + 27).collect();
    for slot in &all[..21] {
        world.say(*slot, leave);
    }
    world.pass(1_000);
    let heard = world.heard(watcher);
    assert!(heard.contains(&count(7, 50)) && !heard.contains("reset"), "{heard}");
    world.say(all[21], leave);
    let heard = world.heard(watcher);
    assert!(heard.contains(r#"{"type":"presence_reset","channel":"x:a","version":51}"#), "{heard}");
    world.say(all[22], leave);
    assert!(world.heard(watcher).contains(r#""type":"leave""#));
    world.pass(5_000);
    assert!(!world.heard(watcher).contains("presence_count"));
}

#[test]
fn a_namespace_may_spare_publishers_their_own() {
    let options = Options { echo: false, ..Options::open() };
    let mut world = Recipe { options, ..Recipe::default() }.world();
    let slots = world.listeners(2, "x:a", r#","echo":true"#);
    world.publish(slots[0], "x:a", "own", "");
    world.publish(slots[0], "x:a", "own too", r#","volatile":true"#);
    assert_eq!(world.messages(slots[0]), [""; 0]);
    assert_eq!(world.messages(slots[1]), ["own", "own too"]);
}

#[test]
fn a_channel_takes_so_many_messages_a_second() {
    let options = Options { messages_per_second: Some(3), ..Options::open() };
    let mut world = Recipe { options, ..Recipe::default() }.world();
    let slot = world.open(None);
    let publish = |channel: &str| format!(r#"{{"type":"publish","id":3,"channel":"{channel}","data":1}}"#);
    for _ in 0..3 {
        assert!(world.ask(slot, &publish("x:a")).contains("published"));
    }
    let said = world.ask(slot, &publish("x:a"));
    assert!(said.contains("rate_limited") && said.contains(r#""retry_after_ms":334"#), "{said}");
    assert!(world.ask(slot, &publish("x:b")).contains("published"), "another channel has its own");
    // The backend too.
    let ask = Publish {
        channel: "x:a".into(),
        data: Data::Json(b"1".into()),
        message_id: None,
        tags: Vec::new(),
        volatile: false,
    };
    let node = world.turn.node().clone();
    assert_eq!(verbs::publish(&node, &ask, world.now).unwrap_err().code, ErrorCode::RateLimited);
    world.pass(334);
    assert!(verbs::publish(&node, &ask, world.now).is_ok());
}

/// Takes what has more than three bytes.
struct Long;

impl DataCheck for Long {
    fn check(&self, data: &Data<'_>) -> Result<(), String> {
        if data.len() > 3 { Ok(()) } else { Err("at its root: it is short".to_owned()) }
    }
}

#[test]
fn what_does_not_fit_the_schema_is_not_published() {
    let options = Options { schema: Some(Schema(Arc::new(Long))), ..Options::open() };
    let mut world = Recipe { options, ..Recipe::default() }.world();
    let slot = world.listeners(1, "x:a", "")[0];
    let said = world.ask(slot, r#"{"type":"publish","id":3,"channel":"x:a","data":1}"#);
    assert!(said.contains("bad_request") && said.contains("at its root: it is short"), "{said}");
    let said = world.ask(slot, r#"{"type":"publish","id":3,"channel":"x:a","data":12345}"#);
    assert!(said.contains("published") && said.contains(r#""offset":1"#), "{said}");
}

#[test]
fn a_subscription_with_a_rate_gets_the_newest() {
    let mut world = Recipe::default().world();
    let publisher = world.open(None);
    let slow = world.listeners(1, "a", r#","max_rate":2"#)[0];
    let plain = world.listeners(1, "a", "")[0];
    for (volatile, more) in [("s", ""), ("v", r#","volatile":true"#)] {
        // Long enough for the rate to have forgotten.
        world.pass(5_000);
        let mut got = Vec::new();
        for n in 0..100 {
            world.publish(publisher, "a", &format!("{volatile}{n}"), more);
            world.pass(50);
            got.extend(world.messages(slow));
        }
        // 5 s of them.
        assert!((10..=11).contains(&got.len()), "{got:?}");
        assert_eq!(got[0], format!("{volatile}0"));
        world.pass(500);
        got.extend(world.messages(slow));
        assert_eq!(got.last().unwrap(), &format!("{volatile}99"), "the newest always arrives");
        let order: Vec<u32> = got.iter().map(|data| data[1..].parse().unwrap()).collect();
        assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{order:?}");
        assert_eq!(world.messages(plain).len(), 100, "others get all");
    }
    world.pass(10_000);
    assert_eq!(world.heard(slow), "", "no gap is told, and nothing comes twice");
    let said = world.ask(slow, r#"{"type":"subscribe","id":2,"channel":"b","max_rate":0}"#);
    assert!(said.contains("bad_request"), "{said}");
}

/// The past that was asked for comes whole; what is live is paced.
#[test]
fn a_replay_has_no_rate() {
    let mut world = Recipe::default().world();
    let publisher = world.open(None);
    for n in 0..20 {
        world.publish(publisher, "a", &n.to_string(), "");
    }
    let reader = world.open(None);
    let said = world.ask(reader, r#"{"type":"subscribe","id":2,"channel":"a","rewind":15,"max_rate":1}"#);
    assert!(said.contains(r#""replaying":15"#), "{said}");
    assert_eq!(said.matches(r#""type":"message""#).count(), 15, "{said}");
    for n in 20..40 {
        world.publish(publisher, "a", &n.to_string(), "");
    }
    assert_eq!(world.messages(reader), ["20"]);
    world.pass(999);
    assert_eq!(world.messages(reader), [""; 0]);
    world.pass(1);
    assert_eq!(world.messages(reader), ["39"]);
}

fn keyed() -> Options {
    Options { conflate: Some("k".into()), ..Options::open() }
}

#[test]
fn a_rate_gets_the_newest_of_each_key() {
    let mut world = Recipe { options: keyed(), ..Recipe::default() }.world();
    let publisher = world.open(None);
    let slow = world.listeners(1, "x:a", r#","max_rate":3"#)[0];
    for more in ["", r#","volatile":true"#] {
        world.pass(5_000);
        for n in 0..4 {
            for key in ["a", "b", "c"] {
                let tags = format!(r#","tags":{{"k":"{key}"}}{more}"#);
                world.publish(publisher, "x:a", &format!("{key}{n}"), &tags);
            }
        }
        // The first came at once; of what came after it, each key's newest, oldest first.
        assert_eq!(world.messages(slow), ["a0"]);
        world.pass(334);
        assert_eq!(world.messages(slow), ["a3", "b3", "c3"]);
        world.pass(5_000);
        assert_eq!(world.messages(slow), [""; 0]);
    }
}

#[test]
fn who_is_behind_gets_the_newest_of_each_key() {
    let mut world = Recipe { options: keyed(), ..Recipe::default() }.world();
    let publisher = world.open(None);
    let slots = world.listeners(2, "x:a", "");
    world.sockets.full[slots[0] as usize] = true;
    for n in 0..50 {
        world.publish(publisher, "x:a", &format!("a{n}"), r#","tags":{"k":"a"}"#);
        world.publish(publisher, "x:a", &format!("b{n}"), r#","tags":{"k":"b"}"#);
        if n % 25 == 0 {
            world.publish(publisher, "x:a", &format!("none{n}"), "");
        }
    }
    world.free(slots[0]);
    assert_eq!(world.messages(slots[0]), ["none0", "none25", "a49", "b49"]);
    assert_eq!(world.messages(slots[1]).len(), 102, "who keeps up gets all");
    world.publish(publisher, "x:a", "a50", r#","tags":{"k":"a"}"#);
    assert_eq!(world.messages(slots[0]), ["a50"]);
}

#[test]
fn a_revoked_token_of_a_channel_ends_what_hangs_on_it() {
    let mut world = Recipe::default().world();
    let [one, other] = [0; 2].map(|_| world.open(None));
    let subscribe = |channel: &str, id: &str| {
        format!(r#"{{"type":"subscribe","id":2,"channel":"{channel}","token":"{id} {channel}"}}"#)
    };
    for (slot, channel, id) in [(one, "a", "t1"), (one, "b", "t2"), (other, "a", "t2"), (other, "c", "t1")] {
        assert!(world.ask(slot, &subscribe(channel, id)).contains("subscribed"));
    }
    let expulsion =
        Expulsion { whom: Expelled::Token("t1".into()), code: 4001, reason: "the token was revoked".into() };
    world.turn.node().expel(expulsion);
    world.settle();
    for (slot, ended, stays) in [(one, "a", "b"), (other, "c", "a")] {
        let heard = world.heard(slot);
        let told = format!(r#"{{"type":"unsubscribed","channel":"{ended}","code":"token_invalid""#);
        assert!(heard.contains(&told) && heard.contains(r#""resubscribe":false"#), "{heard}");
        assert_eq!(heard.matches("unsubscribed").count(), 1, "{heard}");
        world.publish(one, stays, "still", "");
        assert_eq!(world.messages(slot), ["still"]);
    }
    assert!(world.turn.take_finished().is_empty(), "the connections live");
}
