//! What the backend does with connections: lists them, subscribes them, sets when they end.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::guarded::{config, connect, guarded, now_s, session, token};
use crate::peer::Peer;
use crate::world::{World, served, world_with};

fn user(world: &World, name: &str) -> Peer {
    session(world, &token(Some(name), &json!({})))
}

/// All clients of a list, page by page.
fn clients(backend: &Backend<'_>, filter: &Value, limit: u64) -> BTreeSet<String> {
    let (mut all, mut after) = (BTreeSet::new(), Value::Null);
    loop {
        let mut body = filter.clone();
        (body["limit"], body["after"]) = (limit.into(), after);
        let page = backend.ask("connections", &body);
        for one in page["connections"].as_array().unwrap() {
            assert!(all.insert(one["client"].as_str().unwrap().to_owned()), "{one} came twice");
        }
        after = page["next"].clone();
        if after.is_null() {
            return all;
        }
    }
}

#[test]
fn connections_are_listed_by_whose_they_are_and_where() {
    let world = guarded();
    let backend = Backend::of(&world);
    assert_eq!(clients(&backend, &json!({}), 10).len(), 0);
    let mut peers: Vec<_> = (0..12).map(|n| user(&world, if n < 5 { "ann" } else { "bob" })).collect();
    let mut anonymous = world.session();
    for peer in peers.iter_mut().take(7).chain([&mut anonymous]) {
        assert_eq!(peer.ask(r#"{"type":"subscribe","id":2,"channel":"open:1"}"#)["type"], "subscribed");
    }
    // One that has said nothing yet is nobody's.
    let _silent = world.open("/ws");
    for limit in [1, 3, 13, 1_000] {
        for (filter, count) in [
            (json!({}), 13),
            (json!({ "user": "ann" }), 5),
            (json!({ "user": "nobody" }), 0),
            (json!({ "channel": "open:1" }), 8),
            (json!({ "channel": "open:2" }), 0),
            (json!({ "channel": "open:1", "user": "bob" }), 2),
        ] {
            assert_eq!(clients(&backend, &filter, limit).len(), count, "{filter} {limit}");
        }
    }
    let one = clients(&backend, &json!({ "user": "ann" }), 10).pop_first().unwrap();
    let page = backend.ask("connections", &json!({ "client": one }));
    let found = &page["connections"][0];
    assert_eq!(
        (&found["client"], &found["user"], &found["channels"]),
        (&json!(one), &json!("ann"), &json!(1))
    );
    let ends = found["expires_at"].as_u64().unwrap() / 1_000;
    assert!((now_s() + 500..now_s() + 700).contains(&ends), "{found}");
    drop(peers.pop());
    crate::world::until("one is gone", || clients(&backend, &json!({}), 100).len() == 12);
}

#[test]
fn a_user_is_subscribed_and_taken_out_on_all_connections() {
    let world = guarded();
    let backend = Backend::of(&world);
    backend.ask("publish", &json!({ "channel": "token:news", "data": "before" }));
    let mut anns = [user(&world, "ann"), user(&world, "ann"), user(&world, "ann")];
    let mut bob = user(&world, "bob");
    // Her token does not allow it: the backend does.
    let refused = anns[0].ask(r#"{"type":"subscribe","id":2,"channel":"token:news"}"#);
    assert_eq!(refused["code"], "permission_denied");
    let body = json!({ "user": "ann", "channel": "token:news", "rewind": 1 });
    let done = backend.ask("subscribe", &body);
    assert_eq!((&done["connections"], &done["refused"]), (&json!(3), &json!(0)));
    for ann in &mut anns {
        let subscribed = ann.json();
        assert_eq!(
            (&subscribed["type"], &subscribed["channel"]),
            (&json!("subscribed"), &json!("token:news"))
        );
        assert!(subscribed.get("id").is_none() && subscribed["replaying"] == 1, "{subscribed}");
        assert_eq!(ann.json()["data"], "before");
    }
    // Again it is so already, and nobody is told twice. A fresh token takes nobody out.
    assert_eq!(backend.ask("subscribe", &body)["connections"], 3);
    let fresh = token(Some("ann"), &json!({}));
    let refreshed = anns[1].ask(&json!({ "type": "refresh", "id": 3, "token": fresh }).to_string());
    assert_eq!(refreshed["type"], "refreshed");
    backend.ask("publish", &json!({ "channel": "token:news", "data": 1 }));
    for ann in &mut anns {
        assert_eq!(ann.json()["data"], 1);
    }
    let body = json!({ "user": "ann", "channel": "token:news" });
    assert_eq!(backend.ask("unsubscribe", &body)["connections"], 3);
    for ann in &mut anns {
        let gone = ann.json();
        assert_eq!((&gone["type"], &gone["resubscribe"]), (&json!("unsubscribed"), &json!(false)));
        assert_eq!((&gone["code"], &gone["channel"]), (&json!("permission_denied"), &json!("token:news")));
    }
    assert_eq!(backend.ask("unsubscribe", &body)["connections"], 0);
    backend.ask("publish", &json!({ "channel": "token:news", "data": 2 }));
    for peer in anns.iter_mut().chain([&mut bob]) {
        assert_eq!(peer.ask(r#"{"type":"ping","id":9}"#)["type"], "pong", "nothing of it came");
    }
}

#[test]
fn one_client_is_meant_by_its_id_and_its_limit_holds() {
    let text = config().replace("shards = 2\n", "shards = 2\nlimits = { channels = 2 }\n");
    let world = world_with(|to| *to = served(&text));
    let backend = Backend::of(&world);
    let (mut ann, connected) = connect(&world, &token(Some("ann"), &json!({})));
    let mut other = user(&world, "ann");
    let subscribe = |channel: &str| {
        let body = json!({ "client": connected["client"], "channel": channel });
        let done = backend.ask("subscribe", &body);
        (done["connections"].as_u64().unwrap(), done["refused"].as_u64().unwrap())
    };
    assert_eq!([subscribe("open:1"), subscribe("deny:1"), subscribe("open:3")], [(1, 0), (1, 0), (1, 1)]);
    assert_eq!([ann.json()["channel"].clone(), ann.json()["channel"].clone()], ["open:1", "deny:1"]);
    assert_eq!(other.ask(r#"{"type":"ping","id":9}"#)["type"], "pong");
    assert_eq!(
        backend.refused("subscribe", &json!({ "user": "ann", "channel": "nowhere:1" })).1,
        "unknown_channel"
    );
    assert_eq!(backend.ask("subscribe", &json!({ "user": "nobody", "channel": "open:1" }))["connections"], 0);
    // Its own will holds too.
    assert_eq!(ann.ask(r#"{"type":"unsubscribe","id":4,"channel":"deny:1"}"#)["type"], "unsubscribed");
    assert_eq!(subscribe("open:3"), (1, 0));
}

#[test]
fn a_connection_ends_when_the_backend_says() {
    let world = guarded();
    let backend = Backend::of(&world);
    let mut ann = user(&world, "ann");
    let mut anonymous = world.session();
    let later = (now_s() + 3_600) * 1_000;
    assert_eq!(backend.ask("refresh", &json!({ "user": "ann", "expires_at": later }))["connections"], 1);
    let told = ann.json();
    assert_eq!((&told["type"], &told["expires_at"]), (&json!("refreshed"), &json!(later)));
    let listed = backend.ask("connections", &json!({ "user": "ann" }));
    assert_eq!(listed["connections"][0]["expires_at"], later);
    // What is over ends it, as if its token had said so.
    assert_eq!(backend.ask("refresh", &json!({ "user": "ann", "expires_at": 1 }))["connections"], 1);
    assert_eq!(ann.closed_with(), 4102);
    assert_eq!(backend.ask("refresh", &json!({ "user": "ann", "expires_at": 1 }))["connections"], 0);
    assert_eq!(anonymous.ask(r#"{"type":"ping","id":9}"#)["type"], "pong");
}

#[test]
fn a_part_of_the_server_that_is_gone_is_told_as_a_timeout() {
    let text = config();
    let world = world_with(|to| {
        *to = served(&text);
        to.times.ask_ms = 200;
    });
    let backend = Backend::of(&world);
    world.end_shard(1);
    let body = json!({ "user": "ann", "expires_at": 1 });
    crate::world::until("the shard has ended", || backend.send("refresh", &body.to_string()).0 == 504);
    assert_eq!(backend.refused("refresh", &body), (504, "timeout".to_owned()));
}
