//! What an operator sees of tokens: the command line, and a log without secrets.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use everwire_client::Dial;
use serde_json::{Value, json};

use crate::guarded::{JSON, OLD_SECRET, SECRET, config, connect, guarded, token, until};
use crate::peer::{Peer, dial};
use crate::process::{Process, Scratch};
use crate::wire::{Wire, upgrade_lines};
use crate::world::{KEY, World};

const WRONG_KEYS: [&str; 2] = ["a-wrong-key-of-somebody-32-bytes", "another-wrong-key-behind-bearer-"];

fn with_key(key: &str) -> String {
    format!("{JSON}X-API-Key: {key}\r\n")
}

/// Tokens that come as a subprotocol, for a channel, and for a ticket; tickets. What was secret about it.
fn by_other_doors(process: &Process, good: &str, bad: &[String]) -> Vec<String> {
    let mut secrets = Vec::new();
    for token in bad.iter().map(String::as_str).chain([good]) {
        let bearer = URL_SAFE_NO_PAD.encode(token);
        let protocols = vec!["everwire.v1".into(), format!("bearer.{bearer}")];
        let mut peer = Peer::open_as(process.addr, "/ws", &Dial { protocols, ..dial() });
        let answer = peer.ask(r#"{"type":"connect","id":1}"#);
        assert_eq!(answer["type"] == "connected", token == good, "{answer}");
        secrets.extend(answer["session"].as_str().map(str::to_owned));
        secrets.push(bearer);
        let mut peer = Peer::session(process.addr);
        let subscribe = json!({ "type": "subscribe", "id": 2, "channel": "token:1", "token": token });
        assert_eq!(peer.ask(&subscribe.to_string())["type"], "error");
        let lines = format!("Authorization: Bearer {token}\r\n");
        let (_, given) = World::http_at(process.addr, "POST", "/ticket", &lines, "");
        let given: Value = serde_json::from_str(&given).unwrap();
        let Some(ticket) = given["ticket"].as_str() else { continue };
        let path = format!("/ws?ticket={ticket}");
        assert_eq!(Peer::open(process.addr, &path).ask(r#"{"type":"ping","id":1}"#)["type"], "connected");
        // The second time it is none.
        let mut wire = Wire::dial(process.addr);
        wire.raw(format!("{}\r\n", upgrade_lines(&path)).as_bytes());
        wire.read_head();
        assert_eq!(wire.status(), "401");
        secrets.push(ticket.to_owned());
    }
    let own = token(Some("ann"), &json!({ "channel": "token:1" }));
    let mut peer = Peer::open(process.addr, "/ws");
    assert_eq!(peer.ask(&json!({ "type": "connect", "id": 1, "token": good }).to_string())["user"], "ann");
    let subscribe = json!({ "type": "subscribe", "id": 2, "channel": "token:1", "token": own });
    assert_eq!(peer.ask(&subscribe.to_string())["type"], "subscribed");
    secrets.push(own.rsplit('.').next().unwrap().to_owned());
    secrets
}

/// Keys and payloads of the API, good ones and others.
fn by_the_backend(process: &Process, good: &str) {
    let ask = |verb: &str, lines: &str, body: &str| {
        World::http_at(process.addr, "POST", &format!("/api/{verb}"), lines, body).0
    };
    let payload =
        r#"{"channel":"open:1","data":"payload-of-ann","message_id":"m","tags":{"k":"payload-of-ann"}}"#;
    let bearer = format!("{JSON}Authorization: Bearer {}\r\n", WRONG_KEYS[1]);
    for lines in [with_key(WRONG_KEYS[0]), bearer] {
        assert!(ask("publish", &lines, payload).starts_with("http/1.1 401"));
    }
    let lines = with_key(KEY);
    let broadcast = r#"{"channels":["open:1","nowhere:1"],"data":"payload-of-ann"}"#;
    let batch = r#"{"publications":[{"channel":"open:1","data":"payload-of-ann"}]}"#;
    let explain = json!({ "token": good, "channel": "open:1", "action": "publish" }).to_string();
    for (verb, body) in
        [("publish", payload), ("broadcast", broadcast), ("batch", batch), ("explain", &explain)]
    {
        assert!(ask(verb, &lines, body).starts_with("http/1.1 200"), "{verb}");
    }
    for body in [&payload[..60], r#"{"channel":"open:1","data":"payload-of-ann","payload-of-ann":1}x"#] {
        assert!(ask("publish", &lines, body).starts_with("http/1.1 400"), "{body}");
    }
}

#[test]
fn a_log_of_everything_holds_no_secret() {
    let process = Process::serve_and_log_all(&config());
    let mut secrets =
        vec![SECRET.to_owned(), OLD_SECRET.to_owned(), KEY.to_owned(), "payload-of-ann".to_owned()];
    let mut see = |token: String| {
        secrets.extend(token.split('.').filter(|part| part.len() > 8).map(str::to_owned));
        token
    };
    let good = see(token(Some("ann"), &json!({ "info": "payload-of-ann" })));
    let bad = [
        see(format!("{good}bad-signature")),
        see(until(Some("ann"), 1, &json!({}))),
        see(token(Some("ann"), &json!({ "channel": "token:1" }))),
        see("no-token-at-all".to_owned()),
    ];
    for token in &bad {
        let mut peer = Peer::open(process.addr, "/ws");
        let error = peer.ask(&json!({ "type": "connect", "id": 1, "token": token }).to_string());
        assert_eq!(error["type"], "error");
        let headers = vec![("Authorization".into(), format!("Bearer {token}"))];
        let mut peer = Peer::open_as(process.addr, "/ws", &Dial { headers, ..dial() });
        assert_eq!(peer.ask(r#"{"type":"ping","id":1}"#)["type"], "error");
    }
    let mut peer = Peer::open(process.addr, "/ws");
    let connected = peer.ask(&json!({ "type": "connect", "id": 1, "token": good }).to_string());
    secrets.push(connected["session"].as_str().unwrap().to_owned());
    let publish = json!({ "type": "publish", "id": 2, "channel": "open:1", "data": "payload-of-ann" });
    assert_eq!(peer.ask(&publish.to_string())["type"], "published");
    assert_eq!(
        peer.ask(&json!({ "type": "refresh", "id": 3, "token": bad[0] }).to_string())["type"],
        "error"
    );
    let mut wire = Wire::dial(process.addr);
    wire.raw(format!("GET /ws?token={good} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    wire.read_head();
    secrets.extend(by_other_doors(&process, &good, &bad));
    by_the_backend(&process, &good);
    secrets.extend(WRONG_KEYS.map(str::to_owned));
    let revoked = World::http_at(process.addr, "POST", "/api/revoke", &with_key(KEY), r#"{"user":"ann"}"#);
    assert!(revoked.0.starts_with("http/1.1 200"), "{revoked:?}");
    assert_eq!(peer.closed_with(), 4001);
    let log = process.log() + &process.banner;
    assert!(
        log.contains("a token was refused") && log.contains("signature"),
        "the log is one of everything: {log}"
    );
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "{secret} stands in the log: {log}");
    }
}

/// The program with these words; its exit code and all that it said.
fn everwire(args: &[&str], input: &str) -> (Option<i32>, String) {
    everwire_with(args, input, None)
}

/// The same, where the environment names the config.
fn everwire_with(args: &[&str], input: &str, config: Option<&str>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everwire"));
    command.envs(config.map(|config| ("EVERWIRE_CONFIG", config)));
    let command = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap().trim_end().to_owned())
}

#[test]
fn an_operator_makes_a_token_and_learns_what_it_allows() {
    let file = Scratch::new("tokens.toml", &config());
    let path = file.path().to_str().unwrap();
    let new = [
        "token",
        "new",
        "--config",
        path,
        "--user",
        "ann",
        "--lasts",
        "10m",
        "--allow",
        "token:*=subscribe,history",
        "--info",
        "{\"n\":1}",
        "--id",
        "t1",
    ];
    let (code, token) = everwire(&new, "");
    assert_eq!(code, Some(0), "{token}");
    let world = guarded();
    let (mut peer, connected) = connect(&world, &token);
    assert_eq!(connected["user"], "ann");
    assert_eq!(peer.ask(r#"{"type":"subscribe","id":2,"channel":"token:1"}"#)["type"], "subscribed");
    let check = ["token", "check", "--config", path];
    let (code, said) = everwire(&check, &format!("{token}\n"));
    assert_eq!(code, Some(0), "{said}");
    for line in
        ["accepted", "user      ann", "id        t1", r#"allows    "token:*": ["subscribe", "history"]"#]
    {
        assert!(said.contains(line), "{said}");
    }
    for (bad, why) in [
        (format!("{token}x"), "no key of this server signed it"),
        ("x".to_owned(), "it is not three parts of base64url"),
        (until(Some("ann"), 1, &json!({})), "its `exp` is past"),
        ("y".repeat(9_000), "it is longer than 8 KiB"),
    ] {
        let (code, said) = everwire(&check, &bad);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.starts_with("refused: ") && said.contains(why), "{said}");
    }
    let bare = Scratch::new("bare.toml", "");
    let bare = bare.path().to_str().unwrap();
    let (code, said) = everwire(&["token", "new", "--config", bare], "");
    assert_eq!(code, Some(78), "{said}");
    let lines: String =
        said.lines().filter_map(|line| Some(line.strip_prefix("    ")?.to_owned() + "\n")).collect();
    let mended = Scratch::new("mended.toml", &lines);
    let (code, said) = everwire(&["token", "new", "--config", mended.path().to_str().unwrap()], "");
    assert_eq!(code, Some(0), "the lines that are shown do not help: {said}");
    assert_eq!(everwire(&["token", "new", "--config", path, "--allow", "x=all"], "").0, Some(2));
    let (code, said) = everwire(&["token", "new", "--config", path, "--user", ""], "");
    assert_eq!((code, said.starts_with("this would be no good token")), (Some(1), true), "{said}");
}

#[test]
fn a_token_may_say_where_its_connections_begin_and_what_they_may() {
    let file = Scratch::new("tokens.toml", &config());
    let path = file.path().to_str();
    let new = [
        "token",
        "new",
        "--user",
        "ann",
        "--subscribe",
        "auth:1",
        "--limit",
        "channels=2",
        "--limit",
        "commands_per_second=7",
    ];
    let (code, token) = everwire_with(&new, "", path);
    assert_eq!(code, Some(0), "{token}");
    let (code, said) = everwire_with(&["token", "check", &token], "", path);
    assert_eq!(code, Some(0), "{said}");
    for line in ["channels  auth:1", "at most   2 channels", "at most   7 commands per second"] {
        assert!(said.contains(line), "{said}");
    }
    let world = guarded();
    let (_, connected) = connect(&world, &token);
    assert_eq!(connected["subscriptions"][0]["channel"], "auth:1", "{connected}");
    assert_eq!(
        (&connected["limits"]["channels"], &connected["limits"]["commands_per_second"]),
        (&json!(2), &json!(7))
    );
    let explain = ["explain", "--channel", "auth:1", "--action", "publish", "--token", &token];
    let (code, said) = everwire_with(&explain, "", path);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn an_operator_learns_which_rule_decides() {
    let file = Scratch::new("tokens.toml", &config());
    let path = file.path().to_str().unwrap();
    let token = token(Some("ann"), &json!({ "allow": { "token:*": ["subscribe", "history"] } }));
    for (user, channel, code, line) in [
        ("ann", "auth:1", 0, "allowed: user ann"),
        ("ann", "user:ann", 0, "allowed: user ann"),
        ("ann", "user:bob", 1, "\n  helps     a token of the user bob"),
        ("ann", "token:1", 1, "\n  helps     a token whose `allow` has \"token:1\": [\"history\"]"),
    ] {
        let args = ["explain", "--config", path, "--user", user, "--channel", channel, "--action", "history"];
        let (exit, said) = everwire(&args, "");
        assert!(exit == Some(code) && said.contains(line), "{channel}: {said}");
    }
    let check = ["token", "check", "--config", path];
    let entrance =
        everwire(&["token", "new", "--config", path, "--key", "old", "--channel", "token:1"], "").1;
    assert!(everwire(&check, &entrance).1.contains("for       subscribe to token:1"));
    for (channel, action, token, code, why) in [
        ("token:1", "history", Some(&token), 0, r#"rule      "token:*": ["subscribe", "history"]"#),
        ("token:1", "publish", Some(&token), 1, "no rule of a token's `allow` names it"),
        ("token:1", "subscribe", None, 1, "the namespace says \"token\""),
        ("auth:1", "publish", Some(&token), 0, "the namespace says \"authenticated\", and there is a user"),
        ("auth:1", "publish", None, 1, "there is no user"),
        ("open:1", "publish", None, 0, "the namespace says \"anyone\""),
        ("deny:1", "publish", Some(&token), 1, "which no token overrules"),
        ("user:ann", "history", Some(&token), 0, "this user's own"),
        ("user:bob", "history", Some(&token), 1, "another user's"),
        ("other:1", "history", Some(&token), 1, "unknown_channel"),
        ("token:1", "subscribe", Some(&entrance), 0, "the token is for this channel"),
        ("token:1", "history", Some(&entrance), 1, "for `subscribe` alone"),
        ("token:2", "subscribe", Some(&entrance), 1, "the token is for token:1, and for no other channel"),
    ] {
        let mut args = vec!["explain", "--config", path, "--channel", channel, "--action", action];
        args.extend(token.iter().flat_map(|token| ["--token", token.as_str()]));
        let (exit, said) = everwire(&args, "");
        assert_eq!(exit, Some(code), "{channel} {action}: {said}");
        assert!(
            said.contains(why) && said.starts_with(if code == 0 { "allowed" } else { "denied" }),
            "{said}"
        );
    }
}
