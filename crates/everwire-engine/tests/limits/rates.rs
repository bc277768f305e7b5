//! Buckets, and how many connections a user has.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use everwire_engine::node::Payer;
use everwire_engine::time::SharedBucket;
use everwire_engine::turn::Flow;
use everwire_proto::codes::CloseCode;

use crate::world::{PING, Recipe, World};

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
                held[at] = world.say(*slot, PING) == Flow::Hold;
                taken += usize::from(world.heard(*slot).contains("\"pong\""));
            }
        }
        world.pass(10);
        for slot in world.turn.take_released() {
            held[slots.iter().position(|own| *own == slot).unwrap()] = false;
        }
    }
    taken
}

/// `subscribe` and `unsubscribe` have a bucket of their own, as deep as there may be channels.
#[test]
fn a_connection_has_two_buckets() {
    let mut recipe = Recipe::default();
    (recipe.limits.commands_per_second, recipe.limits.commands_burst) = (10, 5);
    recipe.limits.channels = 20;
    let mut world = recipe.world();
    let slot = world.open(None);
    for (burst, payer, other) in
        [(20, Payer::Subscribes, Payer::Connection), (5, Payer::Connection, Payer::Subscribes)]
    {
        let command = |n: usize| match payer {
            Payer::Subscribes => format!(r#"{{"type":"subscribe","channel":"c{n}"}}"#),
            _ => PING.to_owned(),
        };
        let before = world.paused(other);
        for n in 0..burst {
            assert_eq!(world.say(slot, &command(n)), Flow::Continue, "{payer:?} {n}");
        }
        assert_eq!(world.say(slot, &command(burst - 1)), Flow::Hold, "{payer:?}");
        assert_eq!((world.paused(payer), world.paused(other)), (1, before));
        world.pass(100);
        assert_eq!(world.turn.take_released(), [slot]);
    }
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

/// What is not answered costs what a command does: who only says "I live", in whatever way, has the same rate.
#[test]
fn pongs_and_control_frames_have_the_rate_of_commands() {
    for frames in [false, true] {
        let mut recipe = Recipe::default();
        (recipe.limits.commands_per_second, recipe.limits.commands_burst) = (10, 10);
        let mut world = recipe.world();
        let slot = world.open(None);
        let (mut taken, mut held) = (0, false);
        for _ in 0..1_000 {
            while !held {
                let flow = match frames {
                    true => world.turn.control(slot, world.now),
                    false => world.say(slot, r#"{"type":"pong"}"#),
                };
                held = flow == Flow::Hold;
                taken += 1;
            }
            world.pass(10);
            held &= world.turn.take_released().is_empty();
        }
        assert!((100..=115).contains(&taken), "10 at once and 10 a second for 10 s are not {taken}");
        assert!(world.paused(Payer::Connection) > 90);
    }
}

/// Where others have spent more than 2 s of an address, its connections are read once in 2 s, whatever they send.
#[test]
fn what_is_refused_holds_its_connection_too() {
    let mut recipe = Recipe::default();
    (recipe.limits.address_commands_per_second, recipe.limits.address_commands_burst) = (1, 1);
    let mut world = recipe.world();
    let here = Arc::new(SharedBucket::default());
    let slots: Vec<_> = (0..5).map(|_| world.open(Some(&here))).collect();
    for slot in &slots[..3] {
        assert!(world.ask(*slot, PING).contains("pong"));
    }
    assert!(world.turn.take_released().is_empty());
    assert_eq!(world.say(slots[3], PING), Flow::Hold);
    assert!(world.heard(slots[3]).contains("rate_limited"));
    assert_eq!(world.turn.control(slots[4], world.now), Flow::Hold, "a frame can't be refused");
    world.pass(1_999);
    let released = world.turn.take_released();
    assert!(!released.contains(&slots[3]) && !released.contains(&slots[4]), "{released:?}");
    world.pass(1);
    let released = world.turn.take_released();
    assert!(released.contains(&slots[3]) && released.contains(&slots[4]), "{released:?}");
}

#[test]
fn a_frame_behind_the_end_of_the_talk_is_not_answered() {
    let mut world = Recipe::default().world();
    let slot = world.open(None);
    world.turn.close(slot, CloseCode::Kicked, "", world.now);
    assert_eq!(world.turn.control(slot, world.now), Flow::Stop);
    assert_eq!(world.turn.control(slot + 1, world.now), Flow::Stop, "nobody is there");
}
