//! Tokens from end to end: how they come in, what they allow, how they end.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use everwire_client::{Dial, Message};
use everwire_server::auth::{Wanted, sign};
use serde_json::{Value, json};

use crate::guarded::{OLD_SECRET, api, config, connect, guarded, key, now_s, session, token, until};
use crate::peer::{Peer, dial};
use crate::wire::upgrade_lines;
use crate::world::{served, world, world_with};

#[test]
fn a_token_comes_in_by_three_doors() {
    let world = guarded();
    let (ann, bob) = (token(Some("ann"), &json!({})), token(Some("bob"), &json!({})));
    let by_header =
        |token: &str| Dial { headers: vec![("Authorization".into(), format!("Bearer {token}"))], ..dial() };
    let by_protocol = |token: &str| {
        let bearer = format!("bearer.{}", URL_SAFE_NO_PAD.encode(token));
        Dial { protocols: vec!["everwire.v1".into(), bearer], ..dial() }
    };
    for (dial, command, user) in [
        (dial(), json!({ "token": ann }), "ann"),
        (by_header(&ann), json!({}), "ann"),
        (by_protocol(&ann), json!({}), "ann"),
        // The command wins.
        (by_header(&ann), json!({ "token": bob }), "bob"),
        (by_protocol("no.token.atall"), json!({ "token": bob }), "bob"),
    ] {
        let mut peer = Peer::open_as(world.addr(), "/ws", &dial);
        let mut connect = json!({ "type": "connect", "id": 1 });
        for (key, value) in command.as_object().unwrap() {
            connect[key] = value.clone();
        }
        let connected = peer.ask(&connect.to_string());
        assert_eq!(connected["user"], user, "{connected}");
        let end = connected["expires_at"].as_u64().unwrap();
        assert!((595_000..=600_000).contains(&(end - now_s() * 1_000)), "{connected}");
    }
    // Another first command connects with it too.
    let mut typed = Peer::open_as(world.addr(), "/ws", &by_header(&ann));
    assert_eq!(typed.ask(r#"{"type":"subscribe","id":1,"channel":"user:ann"}"#)["user"], "ann");
    // The secret before this one.
    let wanted =
        Wanted { user: Some("old".into()), issued_s: 1, expires_s: Some(now_s() + 60), ..Wanted::default() };
    let old = sign(&key("old", OLD_SECRET), &wanted).unwrap();
    assert_eq!(connect(&world, &old).1["user"], "old");
}

#[test]
fn a_token_that_is_refused_ends_the_connection() {
    let world = world_with(|to| {
        *to = served(&config());
        to.connect_required = true;
    });
    let good = token(Some("ann"), &json!({}));
    let strange = sign(&key("new", OLD_SECRET), &Wanted::default()).unwrap();
    for (token, code) in [
        (Some(format!("{good}x")), "token_invalid"),
        (Some(strange), "token_invalid"),
        (Some(token(Some("ann"), &json!({ "channel": "token:1" }))), "token_invalid"),
        (Some(String::new()), "token_invalid"),
        (Some(until(Some("ann"), now_s() - 3, &json!({}))), "token_expired"),
        (None, "unauthorized"),
    ] {
        let mut peer = world.open("/ws");
        let error = peer.ask(&json!({ "type": "connect", "id": 1, "token": token }).to_string());
        assert_eq!((&error["code"], &error["id"]), (&code.into(), &1.into()), "{error}");
        assert_eq!(peer.closed_with(), 4001);
    }
    let mut hasty = world.open("/ws");
    assert_eq!(hasty.ask(r#"{"type":"ping","id":1}"#)["code"], "unauthorized");
    assert_eq!(hasty.closed_with(), 4001);
}

#[test]
fn without_keys_no_token_is_accepted() {
    let world = world();
    let (mut peer, error) = connect(&world, &token(Some("ann"), &json!({})));
    assert_eq!(error["code"], "token_invalid");
    assert_eq!(peer.closed_with(), 4001);
    assert_eq!(api(&world, "revoke", &json!({ "user": "ann" }))["code"], "not_available");
}

/// Who, and what each may do in `deny token auth open mixed user:ann user:bob shut:ann`: subscribe, publish, presence,
/// history.
#[test]
fn every_role_may_do_what_it_may_and_nothing_else() {
    let world = guarded();
    let all = json!(["subscribe", "publish", "presence", "history"]);
    let some = json!({ "token:*": ["subscribe"], "auth:1": ["publish"], "user:*": ["publish"] });
    let channels = ["deny:1", "token:1", "auth:1", "open:1", "mixed:1", "user:ann", "user:bob", "shut:ann"];
    let ann = Some("ann");
    let mut answers = 0;
    for (role, token, table) in [
        ("anonymous", None, "---- ---- ---- ++++ +--- ---- ---- ----"),
        (
            "nobody with all",
            Some(token(None, &json!({ "allow": { "*": all } }))),
            "---- ++++ ++++ ++++ +++- -+-- -+-- ----",
        ),
        ("ann", Some(token(ann, &json!({}))), "---- ---- ++++ ++++ ++-- +-++ ---- ----"),
        (
            "ann with some",
            Some(token(ann, &json!({ "allow": some }))),
            "---- +--- ++++ ++++ ++-- ++++ -+-- ----",
        ),
        (
            "ann with all",
            Some(token(ann, &json!({ "allow": { "*": all } }))),
            "---- ++++ ++++ ++++ +++- ++++ -+-- ----",
        ),
        (
            "ann elsewhere",
            Some(token(ann, &json!({ "allow": { "tok": all, "token:12": all, "x*": all } }))),
            "---- ---- ++++ ++++ ++-- +-++ ---- ----",
        ),
    ] {
        let mut peer = world.open("/ws");
        let connected = peer.ask(&json!({ "type": "connect", "id": 1, "token": token }).to_string());
        assert_eq!(connected["type"], "connected", "{role}: {connected}");
        for (channel, wanted) in channels.iter().zip(table.split(' ')) {
            let mut given = String::new();
            for verb in ["subscribe", "publish", "presence", "history"] {
                let ask = json!({ "type": verb, "id": answers + 2, "channel": channel, "data": 1 });
                peer.text(&ask.to_string());
                let answer = loop {
                    let object = peer.json();
                    if object["id"] == answers + 2 {
                        break object;
                    }
                };
                answers += 1;
                given.push(if answer["type"] == "error" { '-' } else { '+' });
                if answer["type"] == "error" {
                    assert_eq!(answer["code"], "permission_denied", "{role} {verb} {channel}: {answer}");
                }
            }
            assert_eq!(given, wanted, "{role} {channel}");
        }
        assert_eq!(peer.ask(r#"{"type":"history","id":999,"channel":"other:1"}"#)["code"], "unknown_channel");
    }
    assert_eq!(answers, 6 * 8 * 4);
    // The backend may always.
    for channel in channels {
        assert_eq!(api(&world, "publish", &json!({ "channel": channel, "data": 1 }))["type"], "published");
    }
}

#[test]
fn a_token_may_hold_its_user_to_less() {
    let world = guarded();
    let limits = json!({ "limits": { "channels": 1, "commands_per_second": 10 }, "info": { "name": "Ann" } });
    let (mut peer, connected) = connect(&world, &token(Some("ann"), &limits));
    assert_eq!(
        (&connected["limits"]["channels"], &connected["limits"]["commands_per_second"]),
        (&1.into(), &10.into())
    );
    assert_eq!(peer.ask(r#"{"type":"subscribe","id":2,"channel":"open:1"}"#)["type"], "subscribed");
    assert_eq!(peer.ask(r#"{"type":"subscribe","id":3,"channel":"open:2"}"#)["code"], "limit_exceeded");
    peer.text(r#"{"type":"publish","channel":"open:1","data":1}"#);
    let from = &peer.wait("message")["from"];
    assert_eq!((&from["user"], &from["info"]["name"]), (&"ann".into(), &"Ann".into()));
    // More than the config allows is not to be had by a token.
    let more = json!({ "limits": { "channels": 100_000, "commands_per_second": 1_000_000 } });
    assert_eq!(connect(&world, &token(Some("ann"), &more)).1["limits"]["channels"], 256);
}

#[test]
fn a_connection_ends_with_its_token() {
    let world = guarded();
    let end = now_s() + 1;
    let mut peer = session(&world, &until(Some("ann"), end, &json!({})));
    assert_eq!(peer.closed_with(), 4102);
    assert!((end..=end + 5).contains(&now_s()), "{} is not within 5 s of {end}", now_s());
}

#[test]
fn a_refresh_takes_the_place_of_the_token() {
    let world = guarded();
    let rights = json!({ "allow": { "token:*": ["subscribe"] } });
    let mut peer = session(&world, &until(Some("ann"), now_s() + 1, &rights));
    assert_eq!(peer.ask(r#"{"type":"subscribe","id":2,"channel":"token:1"}"#)["type"], "subscribed");
    assert_eq!(peer.ask(r#"{"type":"subscribe","id":3,"channel":"open:1"}"#)["type"], "subscribed");
    let refresh = |token: &str| json!({ "type": "refresh", "id": 4, "token": token }).to_string();
    // Refused ones change nothing.
    assert_eq!(peer.ask(&refresh("x.y.z"))["code"], "token_invalid");
    assert_eq!(peer.ask(&refresh(&until(Some("ann"), now_s() - 9, &json!({}))))["code"], "token_invalid");
    assert_eq!(peer.ask(&refresh(&token(Some("bob"), &json!({}))))["code"], "permission_denied");
    assert_eq!(peer.ask(&refresh(&token(None, &json!({}))))["code"], "permission_denied");
    let end = now_s() + 900;
    let refreshed = peer.ask(&refresh(&until(Some("ann"), end, &rights)));
    assert_eq!((&refreshed["type"], &refreshed["expires_at"]), (&"refreshed".into(), &(end * 1_000).into()));
    assert_eq!(peer.ask(r#"{"type":"ping","id":5}"#)["id"], 5, "both subscriptions stay");
    // A token of fewer rights: what they do not cover ends.
    assert_eq!(peer.ask(&refresh(&token(Some("ann"), &json!({}))))["type"], "refreshed");
    let out = peer.json();
    assert_eq!((&out["type"], &out["channel"]), (&"unsubscribed".into(), &"token:1".into()));
    assert_eq!((&out["code"], &out["resubscribe"]), (&"permission_denied".into(), &false.into()));
    api(&world, "publish", &json!({ "channel": "token:1", "data": 1 }));
    api(&world, "publish", &json!({ "channel": "open:1", "data": 2 }));
    assert_eq!(peer.json()["channel"], "open:1");
    // It outlives the first token: a second peer whose token ends no sooner is closed, this one is not.
    let mut other = session(&world, &until(Some("ann"), now_s() + 1, &json!({})));
    assert_eq!(other.closed_with(), 4102);
    assert_eq!(peer.ask(r#"{"type":"ping","id":6}"#)["id"], 6);
}

#[test]
fn a_revoked_token_is_out_within_a_second() {
    let world = guarded();
    let with_id = |user: &str, id: &str| token(Some(user), &json!({ "jti": id }));
    let mut gone: Vec<_> = (0..4).map(|_| session(&world, &with_id("ann", "t1"))).collect();
    let mut kept = session(&world, &with_id("ann", "t2"));
    let begun = Instant::now();
    let end = (now_s() + 600) * 1_000;
    assert_eq!(api(&world, "revoke", &json!({ "token_id": "t1", "expires_at": end }))["type"], "revoked");
    for peer in &mut gone {
        assert_eq!(peer.closed_with(), 4001);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let (mut again, error) = connect(&world, &with_id("ann", "t1"));
    assert_eq!(error["code"], "token_invalid");
    assert_eq!(again.closed_with(), 4001);
    let renewed = json!({ "type": "refresh", "id": 2, "token": with_id("ann", "t1") }).to_string();
    assert_eq!(kept.ask(&renewed)["code"], "token_invalid");
    // All of a user, whatever their ids.
    let mut bob = session(&world, &with_id("bob", "t3"));
    assert_eq!(api(&world, "revoke", &json!({ "user": "ann" }))["type"], "revoked");
    assert_eq!(kept.closed_with(), 4001);
    assert_eq!(connect(&world, &with_id("ann", "t4")).1["code"], "token_invalid", "it was made before");
    assert_eq!(bob.ask(r#"{"type":"ping","id":2}"#)["type"], "pong");
    for body in [json!({}), json!({ "user": "ann", "token_id": "t" }), json!({ "token_id": 7 })] {
        assert_eq!(api(&world, "revoke", &body)["code"], "bad_request", "{body}");
    }
}

#[test]
fn a_backend_ends_connections() {
    let world = guarded();
    let mut anns: Vec<_> = (0..4).map(|_| session(&world, &token(Some("ann"), &json!({})))).collect();
    let (mut bob, connected) = connect(&world, &token(Some("bob"), &json!({})));
    let mut carl = session(&world, &token(Some("carl"), &json!({})));
    assert_eq!(api(&world, "disconnect", &json!({ "user": "ann" }))["type"], "disconnected");
    for ann in &mut anns {
        assert_eq!(ann.closed_with(), 4009);
    }
    let body = json!({ "client": connected["client"], "code": 4003, "reason": "not today" });
    api(&world, "disconnect", &body);
    assert_eq!(bob.next(), Some(Message::Close(Some((4003, "not today".into())))));
    assert_eq!(carl.ask(r#"{"type":"ping","id":2}"#)["type"], "pong");
    for body in [json!({}), json!({ "client": "short" }), json!({ "user": "ann", "code": 1000 })] {
        assert_eq!(api(&world, "disconnect", &body)["code"], "bad_request", "{body}");
    }
    // Nobody to disconnect is no fault: it is so already.
    assert_eq!(api(&world, "disconnect", &json!({ "user": "nobody" }))["type"], "disconnected");
}

#[test]
fn a_token_for_one_channel_lets_in_to_it_until_its_end() {
    let world = guarded();
    let mut peer = session(&world, &token(Some("ann"), &json!({})));
    let subscribe = |channel: &str, token: &str| {
        json!({ "type": "subscribe", "id": 2, "channel": channel, "token": token }).to_string()
    };
    let entrance = |user: Option<&str>, channel: &str, end| until(user, end, &json!({ "channel": channel }));
    let later = now_s() + 600;
    for (channel, token, code) in [
        ("token:1", entrance(Some("ann"), "token:2", later), "permission_denied"),
        ("token:1", entrance(Some("bob"), "token:1", later), "permission_denied"),
        ("token:1", entrance(None, "token:1", later), "permission_denied"),
        ("token:1", entrance(Some("ann"), "token:1", now_s() - 3), "token_expired"),
        ("token:1", token(Some("ann"), &json!({})), "token_invalid"),
        ("token:1", "x.y.z".to_owned(), "token_invalid"),
        ("deny:1", entrance(Some("ann"), "deny:1", later), "permission_denied"),
        ("user:bob", entrance(Some("ann"), "user:bob", later), "permission_denied"),
        ("other:1", entrance(Some("ann"), "other:1", later), "unknown_channel"),
    ] {
        assert_eq!(peer.ask(&subscribe(channel, &token))["code"], code, "{channel}");
    }
    let answer = peer.ask(&subscribe("token:1", &entrance(Some("ann"), "token:1", later)));
    assert_eq!((&answer["type"], &answer["expires_at"]), (&"subscribed".into(), &(later * 1_000).into()));
    // It allows no more than that, and a new token of the connection does not end it.
    assert_eq!(peer.ask(r#"{"type":"history","id":3,"channel":"token:1"}"#)["code"], "permission_denied");
    let fresh = token(Some("ann"), &json!({}));
    assert_eq!(
        peer.ask(&json!({ "type": "refresh", "id": 4, "token": fresh }).to_string())["type"],
        "refreshed"
    );
    assert_eq!(
        peer.ask(&subscribe("token:3", &entrance(Some("ann"), "token:3", now_s() + 1)))["type"],
        "subscribed"
    );
    let out = peer.json();
    assert_eq!((&out["type"], &out["channel"]), (&"unsubscribed".into(), &"token:3".into()), "{out}");
    assert_eq!((&out["code"], &out["resubscribe"]), (&"token_expired".into(), &true.into()));
    api(&world, "publish", &json!({ "channel": "token:3", "data": 1 }));
    api(&world, "publish", &json!({ "channel": "token:1", "data": 2 }));
    assert_eq!(peer.json()["channel"], "token:1");
}

#[test]
fn a_token_names_channels_that_the_server_subscribes_to() {
    let world = guarded();
    let publish = |channel: &str, n: u64| api(&world, "publish", &json!({ "channel": channel, "data": n }));
    let epoch = publish("token:1", 1)["position"]["epoch"].clone();
    (2..4).for_each(|n| drop(publish("token:1", n)));
    let names = ["user:ann", "token:1", "deny:1", "other:1", "open:1", "open:1", "user:bob"];
    let mut peer = world.open("/ws");
    let all = token(Some("ann"), &json!({ "channels": names }));
    let since =
        json!({ "token:1": { "epoch": epoch, "offset": 1 }, "auth:1": { "epoch": epoch, "offset": 9 } });
    let connect = json!({ "type": "connect", "id": 1, "token": all, "since": since });
    let connected = peer.ask(&connect.to_string());
    let told = |name: &str| {
        let all = connected["subscriptions"].as_array().unwrap();
        all.iter().find(|one| one["channel"] == name).cloned()
    };
    assert_eq!(connected["subscriptions"].as_array().unwrap().len(), 3, "{connected}");
    assert_eq!(told("open:1").unwrap()["position"]["offset"], 0);
    assert!(told("user:ann").is_some());
    let recovered = told("token:1").unwrap();
    assert_eq!((&recovered["recovered"], &recovered["replaying"]), (&true.into(), &2.into()), "{recovered}");
    // What can't be is told, each once; and the replay comes.
    let mut heard: Vec<_> = (0..5).map(|_| peer.json()).collect();
    heard.sort_by_key(|one| (one["channel"].to_string(), one["offset"].as_u64()));
    let brief: Vec<_> =
        heard.iter().map(|one| (one["channel"].as_str().unwrap(), &one["code"], &one["data"])).collect();
    let null = json!(null);
    assert_eq!(
        brief,
        [
            ("deny:1", &json!("permission_denied"), &null),
            ("other:1", &json!("unknown_channel"), &null),
            ("token:1", &null, &json!(2)),
            ("token:1", &null, &json!(3)),
            ("user:bob", &json!("permission_denied"), &null),
        ]
    );
    publish("user:ann", 7);
    assert_eq!(peer.json()["data"], 7);
    assert_eq!(peer.ask(r#"{"type":"subscribe","id":2,"channel":"token:1"}"#)["code"], "already_subscribed");
    assert_eq!(peer.ask(r#"{"type":"history","id":3,"channel":"token:1"}"#)["code"], "permission_denied");
    assert_eq!(peer.ask(r#"{"type":"unsubscribe","id":4,"channel":"open:1"}"#)["type"], "unsubscribed");
    // A new token names others: what it does not name and nothing else allows ends, what is new begins.
    let fresh = token(Some("ann"), &json!({ "channels": ["token:2"] }));
    assert_eq!(
        peer.ask(&json!({ "type": "refresh", "id": 5, "token": fresh }).to_string())["type"],
        "refreshed"
    );
    let out = peer.json();
    assert_eq!((&out["type"], &out["channel"]), (&"unsubscribed".into(), &"token:1".into()), "{out}");
    let begun = peer.json();
    assert_eq!((&begun["type"], &begun["channel"]), (&"subscribed".into(), &"token:2".into()), "{begun}");
    publish("token:1", 8);
    publish("token:2", 9);
    assert_eq!(peer.json()["data"], 9);
    // The limit of the connection holds for these too.
    let names: Vec<_> = (0..3).map(|n| format!("token:{n}")).collect();
    let few = token(Some("ann"), &json!({ "channels": names, "limits": { "channels": 2 } }));
    let (mut peer, connected) = self::connect(&world, &few);
    assert_eq!(connected["subscriptions"].as_array().unwrap().len(), 2);
    let out = peer.json();
    assert_eq!((&out["channel"], &out["code"]), (&"token:2".into(), &"limit_exceeded".into()), "{out}");
}

#[test]
fn a_ticket_stands_in_a_url_once() {
    let world = guarded();
    let ask = |lines: &str| {
        let (head, body) = world.http("POST", "/ticket", lines, "");
        let body: Value = serde_json::from_str(&body).unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body)
    };
    let ann = token(Some("ann"), &json!({}));
    let by = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let (status, given) = ask(&by(&ann));
    assert_eq!((status.as_str(), &given["expires_in_ms"]), ("200", &30_000.into()), "{given}");
    let path = format!("/ws?x=1&ticket={}", given["ticket"].as_str().unwrap());
    let mut peer = world.open(&path);
    assert_eq!(peer.ask(r#"{"type":"connect","id":1}"#)["user"], "ann");
    for used in [path.as_str(), "/ws?ticket=", "/ws?ticket=AAAAAAAAAAAAAAAAAAAAAA", "/ws?ticket=a.b.c"] {
        let mut wire = world.dial();
        wire.raw(format!("{}\r\n", upgrade_lines(used)).as_bytes());
        wire.read_head();
        assert_eq!(wire.status(), "401", "{used}");
        assert!(wire.read_body().contains("\"token_invalid\""), "{used}");
    }
    let (status, error) = ask(&by(&format!("{ann}x")));
    assert_eq!((status.as_str(), &error["code"]), ("401", &"token_invalid".into()));
    let (status, error) = ask(&by(&until(Some("ann"), 1, &json!({}))));
    assert_eq!((status.as_str(), &error["code"]), ("401", &"token_expired".into()));
    let (status, error) = ask("");
    assert_eq!((status.as_str(), &error["code"]), ("401", &"unauthorized".into()));
    let (status, error) = ask(&format!("{}Origin: https://evil.example\r\n", by(&ann)));
    assert_eq!((status.as_str(), &error["code"]), ("403", &"permission_denied".into()));
    assert!(world.http("GET", "/ticket", "", "").0.starts_with("http/1.1 405"));
}
