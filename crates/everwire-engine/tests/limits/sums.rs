//! What all connections, or all channels, may hold together.

use std::sync::atomic::Ordering;

use crate::world::{PING, Recipe, World};

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
