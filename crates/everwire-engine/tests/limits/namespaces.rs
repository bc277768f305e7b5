//! What a namespace limits in its channels.

use std::sync::Arc;

use everwire_engine::channel::{DataCheck, Options, Schema};
use everwire_engine::verbs;
use everwire_proto::codes::ErrorCode;
use everwire_proto::command::Publish;
use everwire_proto::payload::Data;

use crate::world::Recipe;

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
