//! Subscriptions that get less than all: the newest of what there was.

use everwire_engine::channel::Options;

use crate::world::Recipe;

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
