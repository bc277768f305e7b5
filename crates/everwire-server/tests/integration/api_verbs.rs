//! What the verbs of channels do.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::durable::Data;
use crate::guarded::{guarded, token};
use crate::world::{World, world, world_with};
use everwire_brokers::disk::Sync;
use everwire_server::config::History;

/// A server in dev mode whose history is on disk: its broker answers later.
fn world_on_disk(data: &Data) -> World {
    let history = History::Disk { data: data.path().to_owned(), sync: Sync::Always };
    world_with(|config| config.history = history)
}

fn results(answer: &Value) -> &[Value] {
    answer["results"].as_array().unwrap()
}

fn payloads(page: &Value) -> Vec<Value> {
    page["messages"].as_array().unwrap().iter().map(|message| message["data"].clone()).collect()
}

#[test]
fn a_broadcast_reaches_each_channel_and_tells_of_each() {
    let world = world();
    let backend = Backend::of(&world);
    let mut client = world.session();
    for channel in ["a", "b"] {
        let subscribe = json!({ "type": "subscribe", "id": 2, "channel": channel });
        assert_eq!(client.ask(&subscribe.to_string())["type"], "subscribed");
    }
    let body = json!({ "channels": ["a", "no good", "b"], "data": { "hi": 1 }, "message_id": "m", "tags": { "k": "v" } });
    let answer = backend.ask("broadcast", &body);
    let [a, bad, b] = results(&answer) else { panic!("{answer}") };
    assert_eq!((&a["position"]["offset"], &b["position"]["offset"]), (&json!(1), &json!(1)));
    assert_eq!((&bad["code"], &bad["retryable"]), (&json!("bad_channel_name"), &json!(false)));
    for channel in ["a", "b"] {
        let message = client.wait("message");
        assert_eq!((&message["channel"], &message["data"]["hi"]), (&json!(channel), &json!(1)));
        assert_eq!(message["tags"]["k"], "v");
    }
    let again = backend.ask("broadcast", &body);
    assert_eq!(
        (&results(&again)[0]["duplicate"], &results(&again)[0]["position"]),
        (&json!(true), &a["position"])
    );
    // Bytes too; and what has no number.
    let volatile =
        backend.ask("broadcast", &json!({ "channels": ["a"], "binary": "AAE=", "volatile": true }));
    assert!(results(&volatile)[0]["position"].is_null());
    assert_eq!(client.wait("message")["binary"], "AAE=");
}

#[test]
fn a_batch_is_stored_in_its_order_and_once() {
    let data = Data::new();
    for world in [world(), world_on_disk(&data)] {
        let backend = Backend::of(&world);
        let publications: Vec<_> = (0..100)
            .map(|n| json!({ "channel": format!("c{}", n % 3), "data": n, "message_id": format!("m{n}") }))
            .collect();
        let body = json!({ "publications": publications });
        let answer = backend.ask("batch", &body);
        assert!(results(&answer).iter().all(|one| one["type"] == "published"), "{answer}");
        let page = backend.ask("history", &json!({ "channel": "c1", "limit": 1_000 }));
        assert_eq!(payloads(&page), (0..100).filter(|n| n % 3 == 1).map(Value::from).collect::<Vec<_>>());
        let again = backend.ask("batch", &body);
        for (first, second) in results(&answer).iter().zip(results(&again)) {
            assert_eq!((&second["duplicate"], &second["position"]), (&json!(true), &first["position"]));
        }
        let mixed = json!([
            { "channel": "c1", "data": "last" },
            { "channel": "c1", "data": 1, "message_id": "m", "volatile": true },
            { "channel": "a b", "data": 1 },
            { "channel": "c1", "data": "x".repeat(66_000) },
        ]);
        let answer = backend.ask("batch", &json!({ "publications": mixed }));
        let codes: Vec<_> = results(&answer).iter().map(|one| one["code"].as_str().unwrap_or("")).collect();
        assert_eq!(codes, ["", "bad_request", "bad_channel_name", "too_large"]);
        // One that can't be read leaves all of them out.
        let unreadable = json!([{ "channel": "c1", "data": "never" }, { "channel": 7, "data": 1 }]);
        assert_eq!(backend.refused("batch", &json!({ "publications": unreadable })).0, 400);
        let newest = backend.ask("history", &json!({ "channel": "c1", "limit": 1, "reverse": true }));
        assert_eq!(payloads(&newest), ["last"]);
    }
}

#[test]
fn a_history_that_is_cleared_is_empty_and_goes_on() {
    let data = Data::new();
    for world in [world(), world_on_disk(&data)] {
        let backend = Backend::of(&world);
        let mut client = world.session();
        assert_eq!(client.ask(r#"{"type":"subscribe","id":2,"channel":"news"}"#)["type"], "subscribed");
        for n in 1..=3 {
            backend.ask("publish", &json!({ "channel": "news", "data": n, "message_id": format!("m{n}") }));
            assert_eq!(client.wait("message")["data"], n);
        }
        let before = backend.ask("history", &json!({ "channel": "news" }))["position"].clone();
        let cleared = backend.ask("history_clear", &json!({ "channel": "news" }))["position"].clone();
        assert_eq!(cleared["epoch"], before["epoch"]);
        assert!(cleared["offset"].as_u64() > before["offset"].as_u64(), "{before} {cleared}");
        let page = backend.ask("history", &json!({ "channel": "news" }));
        assert_eq!((payloads(&page), &page["position"]), (vec![], &cleared));
        // A message id outlives its message, and who listens goes on without a gap.
        let again = backend.ask("publish", &json!({ "channel": "news", "data": 3, "message_id": "m3" }));
        assert_eq!((&again["duplicate"], &again["position"]), (&json!(true), &before));
        backend.ask("publish", &json!({ "channel": "news", "data": 4 }));
        let message = client.json();
        assert_eq!((&message["type"], &message["data"]), (&json!("message"), &json!(4)), "{message}");
        // Who comes back for what was before is told.
        let mut late = world.session();
        let since = json!({ "type": "subscribe", "id": 2, "channel": "news", "since": before });
        let subscribed = late.ask(&since.to_string());
        assert_eq!(subscribed["recovered"], false, "{subscribed}");
        assert_eq!(late.json()["reason"], "history_expired");
        let mut current = world.session();
        let since = json!({ "type": "subscribe", "id": 2, "channel": "news", "since": cleared });
        let subscribed = current.ask(&since.to_string());
        assert_eq!((&subscribed["recovered"], &subscribed["replaying"]), (&json!(true), &json!(1)));
        assert_eq!(current.wait("message")["data"], 4);
    }
}

#[test]
fn who_is_there_is_counted() {
    let world = guarded();
    let backend = Backend::of(&world);
    let count = |channel: &str| {
        let stats = backend.ask("presence_stats", &json!({ "channel": channel }));
        (stats["users"].as_u64().unwrap(), stats["clients"].as_u64().unwrap())
    };
    assert_eq!(count("open:1"), (0, 0));
    let ann = token(Some("ann"), &json!({}));
    let mut peers =
        vec![crate::guarded::session(&world, &ann), crate::guarded::session(&world, &ann), world.session()];
    for peer in &mut peers {
        assert_eq!(peer.ask(r#"{"type":"subscribe","id":2,"channel":"open:1"}"#)["type"], "subscribed");
    }
    assert_eq!(count("open:1"), (2, 3));
    assert_eq!(backend.refused("presence_stats", &json!({ "channel": "nowhere:1" })).1, "unknown_channel");
    let mut first = backend.ask("presence", &json!({ "channel": "open:1", "limit": 2 }));
    assert_eq!(first["members"].as_array().unwrap().len(), 2);
    let after = first["next"].take();
    let second = backend.ask("presence", &json!({ "channel": "open:1", "limit": 2, "after": after }));
    assert_eq!((second["members"].as_array().unwrap().len(), second["next"].is_null()), (1, true));
}

/// All names of a list, page by page.
fn names(backend: &Backend<'_>, prefix: &str, limit: u64) -> (Vec<String>, usize) {
    let (mut all, mut pages, mut after) = (Vec::new(), 0, Value::Null);
    loop {
        let page = backend.ask("channels", &json!({ "prefix": prefix, "limit": limit, "after": after }));
        let channels = page["channels"].as_array().unwrap();
        assert!(channels.len() as u64 <= limit);
        all.extend(channels.iter().map(|channel| channel["channel"].as_str().unwrap().to_owned()));
        pages += 1;
        after = page["next"].clone();
        if after.is_null() {
            return (all, pages);
        }
    }
}

#[test]
fn channels_are_listed_page_by_page_each_once() {
    let world = world();
    let backend = Backend::of(&world);
    let wanted: Vec<_> = (0..250).map(|n| format!("room:{n:03}")).collect();
    let others: Vec<_> = (0..50).map(|n| format!("other:{n}")).collect();
    let channels: Vec<_> = wanted.iter().chain(&others).collect();
    backend.ask("broadcast", &json!({ "channels": channels, "data": 1 }));
    for limit in [1, 7, 100, 1_000] {
        let (mut found, pages) = names(&backend, "room:", limit);
        assert!(pages >= 250usize.div_ceil(usize::try_from(limit).unwrap()));
        found.sort_unstable();
        assert_eq!(found, wanted, "limit {limit}");
    }
    assert_eq!(names(&backend, "", 1_000).0.len(), 300);
    assert_eq!(names(&backend, "room:0", 20).0.len(), 100);
    let mut client = world.session();
    client.ask(r#"{"type":"subscribe","id":2,"channel":"room:007"}"#);
    let one = backend.ask("channels", &json!({ "prefix": "room:007" }))["channels"][0].clone();
    assert_eq!((&one["subscribed"], &one["clients"], &one["users"]), (&json!(true), &json!(1), &json!(1)));
    assert_eq!(one["position"]["offset"], 1);
    let quiet = backend.ask("channels", &json!({ "prefix": "room:008" }))["channels"][0].clone();
    assert_eq!((&quiet["subscribed"], &quiet["clients"]), (&json!(false), &json!(0)));
}

#[test]
fn the_server_says_what_it_is() {
    let world = world();
    let backend = Backend::of(&world);
    let _client = world.session();
    backend.ask("publish", &json!({ "channel": "news", "data": 1 }));
    let info = backend.ask("info", &json!({}));
    assert_eq!((&info["version"], &info["mode"]), (&json!(env!("CARGO_PKG_VERSION")), &json!("dev")));
    let counts = [&info["connections"], &info["channels"], &info["messages"]].map(|n| n.as_u64().unwrap());
    assert_eq!(counts, [1, 1, 1]);
    assert_eq!(info["limits"]["message_bytes"], 65_536);
}

#[test]
fn an_explanation_names_the_rule() {
    let world = guarded();
    let backend = Backend::of(&world);
    let allow = json!({ "allow": { "token:*": ["publish"] } });
    let ann = token(Some("ann"), &allow);
    let (_, spoilt) = ann.split_at(5);
    let guest = token(None, &json!({ "channel": "token:1" }));
    for (who, channel, action, allowed, told) in [
        (json!({}), "open:1", "publish", true, "anyone"),
        (json!({}), "deny:1", "publish", false, "deny"),
        (json!({}), "auth:1", "publish", false, "there is no user"),
        (json!({ "user": "ann" }), "auth:1", "publish", true, "there is a user"),
        (json!({ "user": "ann" }), "token:1", "publish", false, "no rule"),
        (json!({ "token": ann }), "token:1", "publish", true, "\"token:*\": [\"publish\"]"),
        (json!({ "token": ann }), "token:1", "history", false, "no rule"),
        (json!({ "token": ann }), "user:ann", "subscribe", true, "this user's own"),
        (json!({ "token": ann }), "user:bob", "subscribe", false, "another user's"),
        (json!({ "token": spoilt }), "open:1", "publish", false, "the token is refused: "),
        (json!({ "token": guest }), "token:1", "subscribe", true, "the token is for this channel"),
        (json!({ "token": guest }), "open:1", "subscribe", false, "for no other channel"),
        (json!({}), "nowhere:1", "publish", false, "no namespace"),
        (json!({}), "a b", "publish", false, "white space"),
    ] {
        let mut body = who.clone();
        body["channel"] = channel.into();
        body["action"] = action.into();
        let answer = backend.ask("explain", &body);
        let shown = ["because", "rule"].map(|field| answer[field].as_str().unwrap_or("")).join(" ");
        assert_eq!(answer["allowed"], allowed, "{who} {channel} {action}: {answer}");
        assert!(shown.contains(told), "{who} {channel} {action}: {shown}");
        assert_eq!(answer.get("code").is_none(), allowed, "{answer}");
        // A rule can be another one; a token that is refused, or a name that no channel has, can't.
        let by_rule = answer["code"] == "permission_denied" && !told.contains("no other channel");
        assert_eq!(answer["helps"].as_array().is_some_and(|all| !all.is_empty()), by_rule, "{answer}");
    }
    // Whoever asks is told no token back.
    assert!(
        !backend
            .ask("explain", &json!({ "token": ann, "channel": "open:1", "action": "publish" }))
            .to_string()
            .contains(&ann)
    );
}

/// Every channel of the list, page by page.
fn all_channels(backend: &Backend<'_>, limit: usize) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), Value::Null);
    for _ in 0..100 {
        let page = backend.ask("channels", &json!({ "prefix": "c:", "limit": limit, "after": after }));
        all.extend(page["channels"].as_array().unwrap().iter().cloned());
        after = page["next"].clone();
        if after.is_null() {
            return all;
        }
    }
    panic!("the list has no end: {all:?}");
}

#[test]
fn channels_on_disk_are_listed_before_a_restart_and_after_it() {
    let data = Data::new();
    let world = world_on_disk(&data);
    let backend = Backend::of(&world);
    let mut told: Vec<(String, Value)> = Vec::new();
    for n in 0..7 {
        let name = format!("c:{n}");
        let published = backend.ask("publish", &json!({ "channel": name, "data": 1 }));
        told.push((name, published["position"].clone()));
    }
    let sorted = |mut channels: Vec<Value>| {
        channels.sort_by_key(|channel| channel["channel"].as_str().unwrap().to_owned());
        let pair =
            |channel: &Value| (channel["channel"].as_str().unwrap().to_owned(), channel["position"].clone());
        channels.iter().map(pair).collect::<Vec<_>>()
    };
    assert_eq!(sorted(all_channels(&backend, 3)), told);
    drop(world);
    let world = world_on_disk(&data);
    let backend = Backend::of(&world);
    // One is in use again, the others are known to the store alone.
    let mut client = world.session();
    assert_eq!(client.ask(r#"{"type":"subscribe","id":2,"channel":"c:3"}"#)["type"], "subscribed");
    for limit in [1, 3, 7, 100] {
        let listed = all_channels(&backend, limit);
        let subscribed = listed.iter().filter(|channel| channel["subscribed"] == true);
        assert_eq!(subscribed.count(), 1, "{listed:?}");
        assert_eq!(sorted(listed), told, "{limit}");
    }
    assert_eq!(backend.refused("channels", &json!({ "after": "store-x" })).0, 400);
}
