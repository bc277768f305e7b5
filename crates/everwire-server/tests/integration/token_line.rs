//! What an operator sees of tokens: the command line, and a log without secrets.

use std::io::Write as _;
use std::process::{Command, Stdio};

use everwire_client::Dial;
use serde_json::json;

use crate::guarded::{JSON, OLD_SECRET, SECRET, config, connect, guarded, token, until};
use crate::peer::{Peer, dial};
use crate::process::{Process, Scratch};
use crate::wire::Wire;
use crate::world::KEY;

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
    let body = json!({ "user": "ann" }).to_string();
    let mut wire = Wire::dial(process.addr);
    let head = format!(
        "POST /api/revoke HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n{JSON}Content-Length: {}\r\n\r\n",
        body.len()
    );
    wire.raw(format!("{head}{body}").as_bytes());
    wire.read_head();
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
    let mut command = Command::new(env!("CARGO_BIN_EXE_everwire"));
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
        ("token:1", "history", Some(&entrance), 1, "it is for `subscribe`, not for `connect`"),
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
