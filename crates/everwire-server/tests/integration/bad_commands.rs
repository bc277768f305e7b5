//! Malformed commands: each gets its documented code, and the connection lives.

use everwire_client::Message;
use everwire_proto::ws::Opcode;

use crate::peer::Peer;
use crate::siege::Siege;

/// The command, the error's code, what its message names, and the id that it carries.
const BAD: [(&str, &str, &str, Option<u64>); 28] = [
    ("{", "bad_request", "", None),
    ("", "bad_request", "", None),
    ("[1]", "bad_request", "", None),
    ("\"text\"", "bad_request", "", None),
    ("{} {}", "bad_request", "", None),
    ("{}", "bad_request", "type", None),
    (r#"{"type":7,"id":7}"#, "bad_request", "type", Some(7)),
    (r#"{"type":"jump","id":7}"#, "unknown_type", "jump", Some(7)),
    (r#"{"type":"subscribe","id":7}"#, "bad_request", "channel", Some(7)),
    (r#"{"type":"subscribe","id":7,"channel":5}"#, "bad_request", "channel", Some(7)),
    (r#"{"type":"subscribe","id":7,"channel":"a","rewind":"3"}"#, "bad_request", "rewind", Some(7)),
    (r#"{"type":"subscribe","id":7,"channel":"a","presence":1}"#, "bad_request", "presence", Some(7)),
    (r#"{"type":"subscribe","id":7,"channel":"a","since":[]}"#, "bad_request", "since", Some(7)),
    (r#"{"type":"subscribe","id":7,"channel":"a","channel":"b"}"#, "bad_request", "channel", Some(7)),
    (r#"{"type":"ping","id":"seven"}"#, "bad_request", "id", None),
    (r#"{"type":"ping","id":0}"#, "bad_request", "id", None),
    (r#"{"type":"ping","id":9007199254740992}"#, "bad_request", "id", None),
    (r#"{"type":"publish","id":7,"channel":"a"}"#, "bad_request", "data", Some(7)),
    (r#"{"type":"publish","id":7,"channel":"a","data":1e}"#, "bad_request", "", None),
    (r#"{"type":"publish","id":7,"channel":"a","data":1,"data":2}"#, "bad_request", "data", Some(7)),
    (r#"{"type":"publish","id":7,"channel":"a","binary":"?"}"#, "bad_request", "base64", Some(7)),
    (r#"{"type":"subscribe","id":7,"channel":""}"#, "bad_channel_name", "", Some(7)),
    (r#"{"type":"subscribe","id":7,"channel":"a b"}"#, "bad_channel_name", "", Some(7)),
    (r#"{"type":"subscribe","id":7,"channel":"a\u0000"}"#, "bad_channel_name", "", Some(7)),
    (r#"{"type":"publish","id":7,"channel":"a\n","data":1}"#, "bad_channel_name", "", Some(7)),
    (r#"{"type":"unsubscribe","id":7,"channel":"never"}"#, "not_subscribed", "never", Some(7)),
    (r#"{"type":"connect","id":7}"#, "bad_request", "", Some(7)),
    (r#"{"type":"refresh","id":7,"token":"x"}"#, "token_invalid", "no keys", Some(7)),
];

#[test]
fn each_bad_command_gets_its_code() {
    Siege::default().withstands(|server| {
        for (command, code, names, id) in BAD {
            let mut client = Peer::session(server.addr);
            let error = client.ask(command);
            let said = (error["type"].as_str(), error["code"].as_str(), error["id"].as_u64());
            assert_eq!(said, (Some("error"), Some(code), id), "{command}: {error}");
            assert!(error["message"].as_str().unwrap().contains(names), "{command}: {error}");
            assert_eq!(error["docs"], format!("/docs/errors#{code}"));
            assert_eq!(client.ask(r#"{"type":"ping","id":9}"#)["type"], "pong", "{command}");
        }
        let mut client = Peer::session(server.addr);
        let long = format!(r#"{{"type":"subscribe","id":2,"channel":"{}"}}"#, "x".repeat(256));
        assert_eq!(client.ask(&long)["code"], "bad_channel_name");
    });
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    Siege::default().withstands(|server| {
        let mut client = Peer::session(server.addr);
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let (open, close) = (open.repeat(9_000), close.repeat(9_000));
            let deep = format!(r#"{{"type":"publish","id":2,"channel":"a","data":{open}1{close}}}"#);
            assert_eq!(client.ask(&deep)["code"], "bad_request");
        }
        let mut packed = Peer::packed(server.addr);
        packed.send(Opcode::Binary, &[b"\x81\xa4data".as_slice(), &[0x91; 60_000]].concat());
        assert!(error_of(&mut packed, b"bad_request"));
    });
}

#[test]
fn too_many_unreadable_commands_close() {
    Siege::default().withstands(|server| {
        let mut client = Peer::session(server.addr);
        for _ in 0..21 {
            client.text("{");
        }
        for _ in 0..21 {
            assert_eq!(client.json()["code"], "bad_request");
        }
        assert_eq!(client.closed_with(), 1008);
    });
}

#[test]
fn the_wrong_kind_closes() {
    Siege::default().withstands(|server| {
        let mut json = Peer::open(server.addr, "/ws");
        json.send(Opcode::Binary, b"{}");
        assert_eq!(json.closed_with(), 1003);
        let mut packed = Peer::packed(server.addr);
        packed.text("{}");
        assert_eq!(packed.closed_with(), 1003);
    });
}

/// Whether the next message holds this word.
fn error_of(packed: &mut Peer, word: &[u8]) -> bool {
    let said = packed.next();
    matches!(&said, Some(Message::Binary(b)) if b.windows(word.len()).any(|w| w == word))
}

#[test]
fn msgpack_that_is_none_is_refused() {
    Siege::default().withstands(|server| {
        for bad in [
            &b"\xc1"[..],
            b"\x81",
            b"\x81\x01\x01",
            b"\xdf\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xffx",
            b"\xc0",
        ] {
            let mut packed = Peer::packed(server.addr);
            packed.send(Opcode::Binary, bad);
            assert!(error_of(&mut packed, b"bad_request"), "{bad:?}");
        }
    });
}

#[test]
fn a_command_before_connect_where_that_is_required() {
    let siege = Siege { root: "connect_required = true", sessions: false, ..Siege::default() };
    siege.withstands(|server| {
        for first in [
            r#"{"type":"subscribe","id":1,"channel":"a"}"#,
            r#"{"type":"publish","id":1,"channel":"a","data":1}"#,
            r#"{"type":"connect","id":1}"#,
        ] {
            let mut client = Peer::open(server.addr, "/ws");
            let error = client.ask(first);
            assert_eq!((&error["code"], &error["id"]), (&"unauthorized".into(), &1.into()), "{error}");
            assert_eq!(client.closed_with(), 4001);
        }
        let mut client = Peer::open(server.addr, "/ws");
        assert_eq!(client.ask(r#"{"type":"connect","id":1,"token":"nonsense"}"#)["code"], "token_invalid");
        assert_eq!(client.closed_with(), 4001);
    });
}
