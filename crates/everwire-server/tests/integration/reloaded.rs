//! SIGHUP: another config for a server that runs.

use std::cell::Cell;
use std::time::{Duration, Instant};

use everwire_server::auth::{Wanted, sign};
use serde_json::{Value, json};

use crate::durable::Data;
use crate::guarded::{JSON, OLD_SECRET, config as guarded_config, key, now_s, token};
use crate::peer::Peer;
use crate::pki::Pair;
use crate::process::Process;
use crate::sealed::Sealed;
use crate::wire::{Wire, upgrade_lines};
use crate::world::{KEY, World, until};

const ROOT: &str = "listen = [\"127.0.0.1:0\"]\n[history]\nstore = \"memory\"\n";

fn config(more: &str, access: &str) -> String {
    format!("{ROOT}{more}\n[namespaces.chat]\naccess = {{ {access} }}\n")
}

/// Has it read this config, and waits until it holds.
fn reload(server: &Process, config: &str) {
    let count = || server.log().matches("the config was read again").count();
    let before = count();
    server.rewrite(config);
    until("it is read again", || count() > before);
}

/// The status of a request.
fn status(server: &Process, path: &str, lines: &str, body: &str) -> u16 {
    let (head, _) = World::http_at(server.addr, "POST", path, lines, body);
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn connect(server: &Process, token: &str) -> (Peer, Value) {
    let mut peer = Peer::open(server.addr, "/ws");
    let answer = peer.ask(&json!({ "type": "connect", "id": 1, "token": token }).to_string());
    (peer, answer)
}

/// Whether somebody may listen in `chat`.
fn may(server: &Process) -> bool {
    let answer = Peer::session(server.addr).ask(r#"{"type":"subscribe","id":2,"channel":"chat:a"}"#);
    answer["type"] == "subscribed"
}

#[test]
fn what_can_change_changes_and_the_rest_is_named() {
    let server = Process::serve(&config("", ""));
    assert!(!may(&server));
    let mut before = Peer::session(server.addr);
    server.rewrite(&config("[limits]\nchannels = 3\n[node]\nchannels = 7\n", "subscribe = \"anyone\""));
    until("everybody may listen", || may(&server));
    // Who was there goes by it too, and a new connection is told its new limits.
    assert_eq!(before.ask(r#"{"type":"subscribe","id":2,"channel":"chat:a"}"#)["type"], "subscribed");
    let mut after = Peer::open(server.addr, "/ws");
    after.text(r#"{"type":"connect","id":1}"#);
    assert_eq!(after.json()["limits"]["channels"], 3);
    until("it is told", || server.log().contains("these settings hold after the next start"));
    // The node has no default namespace, and hears itself all the same.
    let (head, body) = World::http_at(server.addr, "GET", "/ready", "", "");
    assert!(head.starts_with("http/1.1 200"), "{head} {body}");
    let log = server.log();
    let waiting = log.lines().find(|line| line.contains("after the next start")).unwrap();
    assert!(waiting.contains("node.channels") && !waiting.contains("limits.channels"), "{waiting}");
}

#[test]
fn a_config_with_a_fault_changes_nothing() {
    let server = Process::serve(&config("", "subscribe = \"anyone\""));
    server.rewrite(&config("[limits]\nchannels = 0\nchannls = 1\n", ""));
    // The drop of the server wants no error in its log, so it is asked here, and mended.
    until("it is told", || server.log().contains("nothing has changed"));
    for fault in ["limits.channels: must be from 1", "limits.channls: unknown key"] {
        let log = server.log();
        assert!(log.lines().any(|line| line.contains(fault) && !line.contains("\\n")), "{fault}: {log}");
    }
    assert!(may(&server));
    server.rewrite(&config("", ""));
    until("nobody may listen", || !may(&server));
}

#[test]
fn a_changed_secret_is_named_and_not_shown() {
    let config = |key: &str| format!("api_keys = [\"{key}{key}\"]\n{ROOT}");
    let server = Process::serve(&config("0123456789abcdef"));
    reload(&server, &config("0123456789abcdeF"));
    let log = server.log();
    let line = log.lines().find(|line| line.contains("the config was read again")).unwrap();
    assert!(line.contains("api_keys") && !log.contains("0123456789"), "{log}");
}

/// On disk, where a channel's stream is the store's.
#[test]
fn a_channel_in_use_goes_by_the_new_settings_of_its_namespace() {
    let config = |more: &str| {
        let access = "access = { subscribe = \"anyone\", publish = \"anyone\", history = \"anyone\" }";
        format!(
            "listen = [\"127.0.0.1:0\"]\n[namespaces.other]\nhistory = {{}}\n[namespaces.chat]\n{access}\n{more}\n"
        )
    };
    let server = Process::serve(&config("history = { messages = 10 }"));
    let mut peer = Peer::session(server.addr);
    assert_eq!(peer.ask(r#"{"type":"subscribe","id":2,"channel":"chat:a"}"#)["type"], "subscribed");
    let mut speaker = Peer::session(server.addr);
    let mut publish = || speaker.ask(r#"{"type":"publish","id":3,"channel":"chat:a","data":1}"#);
    for offset in 1..=10 {
        assert_eq!(publish()["position"]["offset"], offset);
        assert_eq!(peer.wait("message")["offset"], offset);
    }
    reload(&server, &config("history = { messages = 3 }\nmessages_per_second = 1_000"));
    let page = peer.ask(r#"{"type":"history","id":4,"channel":"chat:a"}"#);
    assert_eq!(page["messages"].as_array().unwrap().len(), 3, "{page}");
    assert_eq!(publish()["position"]["offset"], 11);
    assert_eq!(peer.wait("message")["offset"], 11, "who listens has not noticed");
    // Without a stream it begins anew, and with one again where the store was.
    for (history, kept) in [("", false), ("history = {}", true)] {
        reload(&server, &config(history));
        let out = peer.wait("unsubscribed");
        assert_eq!(
            (&out["code"], &out["resubscribe"]),
            (&"unrecoverable_position".into(), &true.into()),
            "{out}"
        );
        let back = peer.ask(r#"{"type":"subscribe","id":5,"channel":"chat:a"}"#);
        assert_eq!(back["position"]["offset"].as_u64(), kept.then_some(11), "{back}");
        assert_eq!(publish()["position"].is_null(), !kept);
        assert_eq!(peer.wait("message")["offset"].is_null(), !kept);
    }
}

/// Whatever was read anew, what is acknowledged with a position is there after a restart.
#[test]
fn history_that_nobody_would_keep_waits_for_a_restart() {
    let data = Data::new();
    let text = |history: &str| {
        let access = "subscribe = \"anyone\", publish = \"anyone\", history = \"anyone\"";
        format!(
            "listen = [\"127.0.0.1:0\"]\n[history]\ndata = {:?}\n[namespaces.chat]\n{history}access = {{ {access} }}\n",
            data.path()
        )
    };
    let publish = |server: &Process, channel: &str| -> Value {
        let command = format!(r#"{{"type":"publish","id":2,"channel":"{channel}","data":7}}"#);
        Peer::session(server.addr).ask(&command)
    };
    let server = Process::serve(&text(""));
    server.rewrite(&text("history = {}\n"));
    until("it is told", || server.log().contains("restart the server for it"));
    let told = publish(&server, "chat:a");
    assert_eq!((&told["type"], &told["position"]), (&"published".into(), &Value::Null));
    drop(server);
    assert!(!data.path().exists(), "a server without history writes nothing");
    // A store that was opened is there for whatever comes later. A channel that is new goes by what holds now.
    let names = Cell::new(0);
    let keeps = |server: &Process| {
        names.set(names.get() + 1);
        publish(server, &format!("chat:{}", names.get()))["position"].is_object()
    };
    let server = Process::serve(&text("history = {}\n"));
    assert!(keeps(&server));
    server.rewrite(&text(""));
    until("nothing is kept", || !keeps(&server));
    server.rewrite(&text("history = {}\n"));
    until("it is kept again", || keeps(&server));
    let told = publish(&server, "chat:last");
    drop(server);
    let server = Process::serve(&text("history = {}\n"));
    let page = Peer::session(server.addr).ask(r#"{"type":"history","id":2,"channel":"chat:last"}"#);
    assert_eq!((&page["position"], &page["messages"][0]["data"]), (&told["position"], &7.into()), "{page}");
}

/// The part of the guarded config that has the key before this one.
fn old_key() -> String {
    format!("[[tokens.keys]]\nid = \"old\"\nalgorithm = \"HS256\"\nsecret = \"{OLD_SECRET}\"\n")
}

fn signed_by_old(others: &Value) -> String {
    let others = others.as_object().unwrap().clone();
    let wanted =
        Wanted { user: Some("ann".into()), issued_s: now_s() - 60, expires_s: Some(now_s() + 600), others };
    sign(&key("old", OLD_SECRET), &wanted).unwrap()
}

#[test]
fn a_key_that_is_taken_out_takes_its_clients_along() {
    let both = format!("{}[history]\nstore = \"memory\"\n", guarded_config());
    let fresh_only = both.replace(&old_key(), "");
    assert_ne!(both, fresh_only);
    let server = Process::serve(&both);
    let old: Vec<_> = (0..20).map(|_| connect(&server, &signed_by_old(&json!({}))).0).collect();
    let (mut fresh, _) = connect(&server, &token(Some("ann"), &json!({})));
    let own = signed_by_old(&json!({ "channel": "token:1" }));
    let subscribe = json!({ "type": "subscribe", "id": 2, "channel": "token:1", "token": own }).to_string();
    assert_eq!(fresh.ask(&subscribe)["type"], "subscribed");
    let mut anonymous = Peer::session(server.addr);
    reload(&server, &fresh_only);
    let begun = Instant::now();
    for mut peer in old {
        assert_eq!(peer.closed_with(), 4102);
    }
    let out = fresh.json();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!((&out["type"], &out["code"]), (&"unsubscribed".into(), &"token_expired".into()), "{out}");
    assert_eq!(out["resubscribe"], true);
    assert_eq!(connect(&server, &signed_by_old(&json!({}))).1["code"], "token_invalid");
    assert_eq!(connect(&server, &token(Some("ann"), &json!({}))).1["type"], "connected");
    // One that comes in lets nobody go.
    reload(&server, &both);
    assert_eq!(connect(&server, &signed_by_old(&json!({}))).1["type"], "connected");
    assert_eq!(fresh.ask(r#"{"type":"ping","id":3}"#)["type"], "pong");
    // Without any key there is nobody but who has no token.
    let start = both.find("[tokens]").unwrap();
    let end = both.find("[namespaces").unwrap();
    reload(&server, &format!("{}{}", &both[..start], &both[end..]));
    assert_eq!(fresh.closed_with(), 4102);
    assert_eq!(anonymous.ask(r#"{"type":"ping","id":2}"#)["type"], "pong");
}

#[test]
fn what_was_revoked_stays_so_over_reloads_and_restarts() {
    let data = Data::new();
    // Without any history: revocations have the folder for themselves.
    let text =
        format!("{}[history]\ndata = {:?}\n", guarded_config(), data.path()).replace("history = {}\n", "");
    let start = text.find("[tokens]").unwrap();
    let keyless = format!("{}{}", &text[..start], &text[text.find("[namespaces").unwrap()..]);
    let tokens = [("ann", "t1"), ("bob", "t2"), ("carl", "t3")]
        .map(|(user, id)| token(Some(user), &json!({ "jti": id })));
    let statuses = |server: &Process| {
        let by = |token: &String| format!("Authorization: Bearer {token}\r\n");
        tokens.each_ref().map(|token| status(server, "/ticket", &by(token), ""))
    };
    let server = Process::serve(&text);
    assert_eq!(statuses(&server), [200, 200, 200]);
    let lines = format!("{JSON}X-API-Key: {KEY}\r\n");
    let end = (now_s() + 600) * 1_000;
    for body in [json!({ "token_id": "t1" }), json!({ "user": "bob", "expires_at": end })] {
        assert_eq!(status(&server, "/api/revoke", &lines, &body.to_string()), 200, "{body}");
    }
    assert_eq!(statuses(&server), [401, 401, 200]);
    reload(&server, &keyless);
    reload(&server, &text);
    assert_eq!(statuses(&server), [401, 401, 200]);
    drop(server);
    let mut server = Process::serve(&text);
    assert_eq!(statuses(&server), [401, 401, 200]);
    // What was answered is on the medium, however it ends.
    assert_eq!(status(&server, "/api/revoke", &lines, r#"{"user":"carl"}"#), 200);
    server.kill();
    let server = Process::serve(&text);
    assert_eq!(statuses(&server), [401; 3]);
    let lines = format!("X-API-Key: {KEY}\r\n");
    let (_, metrics) = World::http_at(server.addr, "GET", "/metrics", &lines, "");
    assert!(metrics.contains("\neverwire_revocations 3.0\n"), "{metrics}");
    // No more than the limit, and what is known already is no more.
    let full = text.replace("[tokens]\n", "[tokens]\nrevocations = 3\n");
    reload(&server, &full);
    let lines = format!("{JSON}{lines}");
    assert_eq!(status(&server, "/api/revoke", &lines, r#"{"user":"dave"}"#), 409);
    assert_eq!(status(&server, "/api/revoke", &lines, r#"{"user":"carl"}"#), 200);
}

#[test]
fn keys_of_the_api_and_origins_hold_at_once() {
    let (other, page) = ("another-key-of-the-backend-", "https://app.example.com");
    let text = config("", "publish = \"anyone\"");
    let before = format!("api_keys = [\"{KEY}\"]\n{text}");
    let after = format!("api_keys = [\"{other}\"]\norigins = [\"{page}\"]\n{text}");
    let server = Process::serve(&before);
    let may = || {
        let publish = |key: &str| {
            let lines = format!("{JSON}X-API-Key: {key}\r\n");
            status(&server, "/api/publish", &lines, r#"{"channel":"chat:a","data":1}"#)
        };
        let mut wire = Wire::dial(server.addr);
        wire.raw(format!("{}Origin: {page}\r\n\r\n", upgrade_lines("/ws")).as_bytes());
        wire.read_head();
        (publish(KEY), publish(other), wire.status().parse::<u16>().unwrap())
    };
    assert_eq!(may(), (200, 401, 403));
    reload(&server, &after);
    assert_eq!(may(), (401, 200, 101));
    reload(&server, &before);
    assert_eq!(may(), (200, 401, 403));
}

#[test]
fn a_certificate_is_exchanged_and_a_bad_one_changes_nothing() {
    let (pair, other) = (Pair::new(), Pair::new());
    let files = pair.files();
    let text = |channels: u32| {
        let limits = format!("[limits]\nchannels = {channels}\n");
        let tls = format!("[tls]\ncert_file = {:?}\nkey_file = {:?}\n", files.cert, files.key);
        config(&format!("{limits}{tls}"), "subscribe = \"anyone\"")
    };
    let server = Process::serve(&text(3));
    let channels = |pair: &Pair| {
        let mut sealed = Sealed::open(server.addr, &pair.client(), "/ws");
        let told = sealed.ask(r#"{"type":"connect","id":1}"#);
        assert_eq!(&sealed.tls.conn.peer_certificates().unwrap()[0], pair.der());
        told["limits"]["channels"].as_u64()
    };
    assert_eq!(channels(&pair), Some(3));
    let mut lives = Sealed::session(server.addr, &pair.client());
    let first = pair.client();
    pair.replace_by(&other);
    reload(&server, &text(4));
    until("each shard has the new limits", || channels(&other) == Some(4));
    assert!(Sealed::dial(server.addr, &first).shake_hands().is_err(), "the old certificate is gone");
    // A config that is good, and a certificate that is not: neither holds.
    pair.spoil();
    server.rewrite(&text(5));
    until("it is told", || server.log().contains("not taken over, and nothing has changed"));
    assert!(server.log().contains(&files.cert.display().to_string()), "{}", server.log());
    assert_eq!(channels(&other), Some(4));
    assert_eq!(lives.ask(r#"{"type":"ping","id":9}"#)["type"], "pong");
}
