//! Settings of a namespace that change while its channels live.

use everwire_engine::channel::{Access, HistoryLimits, Namespaces, OnSlow, Options, Who};
use everwire_engine::node::Settings;
use everwire_engine::turn::Loopback;

use crate::world::{Recipe, World};

fn of(messages: usize) -> Options {
    Options { history: Some(HistoryLimits { messages, ..HistoryLimits::default() }), ..Options::open() }
}

fn fill(world: &mut World, count: usize) -> u32 {
    let publisher = world.open(None);
    (0..count).for_each(|n| world.publish(publisher, "x:a", &n.to_string(), ""));
    publisher
}

fn history(world: &mut World, slot: u32) -> Vec<String> {
    world.heard(slot);
    world.say(slot, r#"{"type":"history","id":7,"channel":"x:a"}"#);
    world.messages(slot)
}

#[test]
fn a_channel_in_use_keeps_what_its_namespace_says_now() {
    let mut world = Recipe { options: of(10), ..Recipe::default() }.world();
    let reader = world.listeners(1, "x:a", "")[0];
    let publisher = fill(&mut world, 10);
    world.change(Some(of(3)));
    assert_eq!(history(&mut world, reader), ["7", "8", "9"], "what is too much goes at once");
    world.change(Some(of(5)));
    for n in 10..14 {
        world.publish(publisher, "x:a", &n.to_string(), "");
    }
    assert_eq!(world.messages(reader), ["10", "11", "12", "13"], "nobody has noticed");
    assert_eq!(history(&mut world, reader), ["9", "10", "11", "12", "13"]);
}

#[test]
fn rates_and_rules_for_slow_readers_hold_at_once() {
    let mut world = Recipe { options: of(10), ..Recipe::default() }.world();
    let reader = world.listeners(1, "x:a", "")[0];
    let publisher = world.open(None);
    let publish = r#"{"type":"publish","id":3,"channel":"x:a","data":"1"}"#;
    (0..5).for_each(|_| assert!(world.ask(publisher, publish).contains("published")));
    world.change(Some(Options { messages_per_second: Some(1), on_slow: OnSlow::Drop, ..of(10) }));
    assert!(world.ask(publisher, publish).contains("published"));
    assert!(world.ask(publisher, publish).contains("rate_limited"));
    world.heard(reader);
    world.sockets.full[reader as usize] = true;
    for _ in 0..3 {
        world.pass(1_000);
        assert!(world.ask(publisher, publish).contains("published"));
    }
    world.free(reader);
    let heard = world.heard(reader);
    assert!(heard.contains(r#""reason":"slow_consumer""#), "what waited is dropped, and told: {heard}");
}

#[test]
fn presence_may_come_and_go() {
    let quiet = || Options { presence: false, ..Options::open() };
    let mut world = Recipe { options: quiet(), ..Recipe::default() }.world();
    let early = world.listeners(3, "x:a", "");
    world.change(Some(Options::open()));
    let watcher = world.open(None);
    let said = world.ask(watcher, r#"{"type":"subscribe","id":2,"channel":"x:a","presence":true}"#);
    assert!(said.contains(r#""clients":4"#), "who was there is a member: {said}");
    world.turn.peer_closed(early[0], Some(1000), world.now);
    world.settle();
    assert!(world.heard(watcher).contains(r#""type":"leave""#));
    world.change(Some(quiet()));
    assert!(world.heard(watcher).contains("presence_reset"), "it is to ask, and is told that there is none");
    let said = world.ask(watcher, r#"{"type":"presence","id":3,"channel":"x:a"}"#);
    assert!(said.contains("not_available"), "{said}");
    world.change(Some(Options::open()));
    let said = world.ask(watcher, r#"{"type":"presence","id":3,"channel":"x:a"}"#);
    assert!(said.contains(r#""clients":3"#), "{said}");
}

/// With a stream or without one: nobody can go from one to the other without a word.
#[test]
fn a_channel_whose_messages_are_kept_from_now_on_begins_anew() {
    let none = || Options { history: None, ..Options::open() };
    let mut worlds = Recipe { options: none(), ..Recipe::default() }.shards::<2>();
    for (options, kept) in [(of(10), true), (none(), false)] {
        let slots = worlds.each_mut().map(|world| world.listeners(1, "x:a", "")[0]);
        worlds[0].change(Some(options));
        // The first shard's come back before the other one has looked.
        for (world, slot) in worlds.iter_mut().zip(slots) {
            world.settle();
            let heard = world.heard(slot);
            let told = r#"{"type":"unsubscribed","channel":"x:a","code":"unrecoverable_position""#;
            assert!(heard.contains(told) && heard.contains(r#""resubscribe":true"#), "{heard}");
            let said = world.ask(slot, r#"{"type":"subscribe","id":2,"channel":"x:a"}"#);
            assert_eq!(said.contains(r#""offset":0"#), kept, "{said}");
        }
        let publisher = worlds[0].open(None);
        worlds[0].publish(publisher, "x:a", "news", "");
        for (world, slot) in worlds.iter_mut().zip(slots) {
            world.settle();
            let heard = world.heard(slot);
            assert_eq!(heard.contains(r#""offset":1"#), kept, "{heard}");
            assert_eq!(heard.matches("news").count(), 1, "{heard}");
            world.say(slot, r#"{"type":"unsubscribe","channel":"x:a"}"#);
        }
        assert_eq!(worlds[0].turn.node().channel_count(), 1, "the old one is forgotten");
    }
}

#[test]
fn who_may_not_listen_any_more_is_put_out() {
    let mut world = Recipe::default().world();
    let anonymous = world.listeners(1, "x:a", "")[0];
    let invited = world.listeners(1, "x:a", r#","token":"t x:a""#)[0];
    let (ann, _) = world.user("ann");
    world.say(ann, r#"{"type":"subscribe","channel":"x:a"}"#);
    let access = Access { subscribe: Who::Authenticated, ..Access::all(Who::Anyone) };
    world.change(Some(Options { access, ..Options::open() }));
    let heard = world.heard(anonymous);
    let told = r#"{"type":"unsubscribed","channel":"x:a","code":"permission_denied""#;
    assert!(heard.contains(told) && heard.contains(r#""resubscribe":false"#), "{heard}");
    let publisher = world.open(None);
    world.publish(publisher, "x:a", "news", "");
    for (slot, got) in [(anonymous, 0), (invited, 1), (ann, 1)] {
        assert_eq!(world.messages(slot).len(), got, "{slot}");
    }
    world.change(None);
    for slot in [invited, ann] {
        let heard = world.heard(slot);
        assert!(heard.contains(r#""code":"unknown_channel""#), "{heard}");
    }
}

/// A million channels are not looked at in one turn, and sockets have theirs between.
#[test]
fn many_channels_follow_some_in_each_turn() {
    const ROOMS: usize = 3_000;
    let mut world = Recipe::default().world();
    let slots: Vec<_> = (0..ROOMS).map(|room| world.listeners(1, &format!("x:{room}"), "")[0]).collect();
    let node = world.turn.node().clone();
    let mut settings = Settings::clone(&node.settings());
    let shut = Options { access: Access::all(Who::Deny), ..Options::open() };
    settings.namespaces.named.insert("x".into(), shut.into());
    slots.iter().for_each(|slot| drop(world.heard(*slot)));
    node.change(settings, world.now);
    let mut told = Vec::new();
    loop {
        world.turn.take_inbox(world.now);
        let more = world.turn.flush(&mut world.sockets, world.now, ROOMS);
        told.push(slots.iter().filter(|slot| world.heard(**slot).contains("permission_denied")).count());
        if !more {
            break;
        }
    }
    assert_eq!(told.iter().sum::<usize>(), ROOMS, "{told:?}");
    assert!(told.iter().all(|count| *count <= 512), "one room and one subscriber each: {told:?}");
}

/// Two changes before a shard has looked at the first are both followed, also where the second one takes the first back.
#[test]
fn a_change_that_is_taken_back_has_still_begun_the_channel_anew() {
    let none = || Options { history: None, ..Options::open() };
    let mut worlds = Recipe { options: of(10), ..Recipe::default() }.shards::<2>();
    let slots = worlds.each_mut().map(|world| world.listeners(1, "x:a", "")[0]);
    // The other shard looks at both at once.
    worlds[0].change(Some(none()));
    worlds[0].change(Some(of(10)));
    for (world, slot) in worlds.iter_mut().zip(slots) {
        world.settle();
        let heard = world.heard(slot);
        assert!(heard.contains(r#""code":"unrecoverable_position""#), "{heard}");
    }
}

/// The newest settings are those of both changes when a shard hears of the first, which was for no channel.
#[test]
fn two_changes_at_once_are_both_followed() {
    let mut worlds = Recipe::default().shards::<2>();
    let slots = worlds.each_mut().map(|world| world.listeners(1, "x:a", "")[0]);
    worlds.iter_mut().zip(slots).for_each(|(world, slot)| drop(world.heard(slot)));
    let node = worlds[0].turn.node().clone();
    let mut settings = Settings::clone(&node.settings());
    settings.limits.channels = 7;
    node.change(settings.clone(), worlds[0].now);
    let shut = Options { access: Access::all(Who::Deny), ..Options::open() };
    settings.namespaces.named.insert("x".into(), shut.into());
    node.change(settings, worlds[0].now);
    for (world, slot) in worlds.iter_mut().zip(slots) {
        world.settle();
        let heard = world.heard(slot);
        assert!(heard.contains(r#""code":"permission_denied""#), "{heard}");
    }
}

#[test]
fn who_was_there_is_a_member_again_when_presence_was_off_for_a_moment() {
    let mut worlds = Recipe::default().shards::<2>();
    let slots = worlds.each_mut().map(|world| world.listeners(1, "x:a", "")[0]);
    worlds[0].change(Some(Options { presence: false, ..Options::open() }));
    worlds[0].change(Some(Options::open()));
    worlds[1].settle();
    let said = worlds[0].ask(slots[0], r#"{"type":"presence","id":3,"channel":"x:a"}"#);
    assert!(said.contains(r#""clients":2"#), "{said}");
}

/// A shard is told of a change in its turn; who subscribes before does not come to what is over.
#[test]
fn who_subscribes_meanwhile_comes_to_the_new_channel() {
    let none = || Options { history: None, ..Options::open() };
    let mut worlds = Recipe { options: of(10), ..Recipe::default() }.shards::<2>();
    let early = worlds[1].listeners(1, "x:a", "")[0];
    worlds[1].heard(early);
    worlds[0].change(Some(none()));
    // Its shard has not had a turn since.
    let late = worlds[1].open(None);
    worlds[1].turn.message(late, br#"{"type":"subscribe","id":2,"channel":"x:a"}"#, worlds[1].now);
    worlds[1].settle();
    let heard = worlds[1].heard(early);
    assert!(heard.contains(r#""code":"unrecoverable_position""#), "{heard}");
    let publisher = worlds[0].open(None);
    worlds[0].publish(publisher, "x:a", "news", "");
    worlds[1].settle();
    let heard = worlds[1].heard(late);
    assert!(
        heard.contains("subscribed") && heard.contains("news") && !heard.contains("unsubscribed"),
        "{heard}"
    );
}

/// `/ready` asks by a channel that is in no namespace.
#[test]
fn a_node_without_a_default_namespace_still_hears_itself() {
    let mut world = Recipe::default().world();
    let node = world.turn.node().clone();
    let loopback = Loopback::new(&node, world.now);
    let slot = world.socket();
    world.turn.listen_to_self(slot, &loopback, world.now);
    for number in [7, 8] {
        loopback.publish(&node, number, world.now).unwrap();
        world.settle();
        let heard = world.heard(slot);
        assert!(heard.contains(&format!(r#""data":{number}"#)), "{heard}");
        let settings = Settings { namespaces: Namespaces::default(), ..Settings::clone(&node.settings()) };
        node.change(settings, world.now);
        world.settle();
    }
}
