//! Malformed commands: each gets its documented code, and the connection lives.

use everwire_proto::ws::Opcode;

use crate::client::Said;
use crate::world::{world, world_with};

#[test]
fn each_bad_command_gets_its_code() {
    let world = world();
    for (command, code, names) in [
        ("{", "bad_request", ""),
        ("[1]", "bad_request", ""),
        ("\"text\"", "bad_request", ""),
        ("{}", "bad_request", "type"),
        (r#"{"type":"jump","id":7}"#, "unknown_type", "jump"),
        (r#"{"type":"subscribe","id":7}"#, "bad_request", "channel"),
        (r#"{"type":"subscribe","id":7,"channel":5}"#, "bad_request", "channel"),
        (r#"{"type":"subscribe","id":7,"channel":"a","channel":"b"}"#, "bad_request", "channel"),
        (r#"{"type":"ping","id":"seven"}"#, "bad_request", "id"),
        (r#"{"type":"ping","id":0}"#, "bad_request", "id"),
        (r#"{"type":"publish","id":7,"channel":"a"}"#, "bad_request", "data"),
        (r#"{"type":"publish","id":7,"channel":"a","data":1e}"#, "bad_request", ""),
        (r#"{"type":"subscribe","id":7,"channel":""}"#, "bad_channel_name", ""),
        (r#"{"type":"subscribe","id":7,"channel":"a b"}"#, "bad_channel_name", ""),
        (r#"{"type":"subscribe","id":7,"channel":"a\u0000"}"#, "bad_channel_name", ""),
        (r#"{"type":"unsubscribe","id":7,"channel":"never"}"#, "not_subscribed", "never"),
        (r#"{"type":"connect","id":7}"#, "bad_request", ""),
        (r#"{"type":"refresh","id":7,"token":"x"}"#, "not_available", ""),
    ] {
        let mut client = world.session();
        let error = client.ask(command);
        assert_eq!(
            (error["type"].as_str(), error["code"].as_str()),
            (Some("error"), Some(code)),
            "{command}: {error}"
        );
        assert!(error["message"].as_str().unwrap().contains(names), "{command}: {error}");
        assert_eq!(error["docs"], format!("/docs/errors#{code}"));
        let expected = command.contains("\"id\":7").then_some(7);
        if command.ends_with("}") && !command.contains("1e}") && command != "{}" {
            assert_eq!(error["id"].as_u64(), expected, "{command}: {error}");
        }
        assert_eq!(client.ask(r#"{"type":"ping","id":9}"#)["type"], "pong", "{command}");
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let world = world();
    let mut client = world.session();
    let deep = format!(
        r#"{{"type":"publish","id":2,"channel":"a","data":{}{}}}"#,
        "[".repeat(20_000),
        "]".repeat(20_000)
    );
    assert_eq!(client.ask(&deep)["code"], "bad_request");
}

#[test]
fn too_many_unreadable_commands_close() {
    let world = world();
    let mut client = world.session();
    for _ in 0..21 {
        client.text("{");
    }
    for _ in 0..21 {
        assert_eq!(client.json()["code"], "bad_request");
    }
    assert_eq!(client.closed_with(), 1008);
}

#[test]
fn the_wrong_kind_closes() {
    let world = world();
    let mut json = world.open("/ws");
    json.send(Opcode::Binary, b"{}");
    assert_eq!(json.closed_with(), 1003);
    let mut packed = world.dial().upgrade("/ws", "Sec-WebSocket-Protocol: everwire.v1.msgpack\r\n");
    packed.text("{}");
    assert_eq!(packed.closed_with(), 1003);
}

#[test]
fn msgpack_that_is_none_is_refused() {
    let world = world();
    let mut client = world.dial().upgrade("/ws", "Sec-WebSocket-Protocol: everwire.v1.msgpack\r\n");
    client.send(Opcode::Binary, &[0xc1]);
    let Said::Binary(error) = client.next() else { panic!("no answer") };
    assert!(error.windows(11).any(|w| w == b"bad_request"), "{error:?}");
}

#[test]
fn a_command_before_connect_where_that_is_required() {
    let world = world_with(|config| config.connect_required = true);
    for first in [r#"{"type":"subscribe","id":1,"channel":"a"}"#, r#"{"type":"connect","id":1}"#] {
        let mut client = world.open("/ws");
        let error = client.ask(first);
        assert_eq!(error["code"], "unauthorized", "{error}");
        assert_eq!(client.closed_with(), 4001);
    }
    let mut client = world.open("/ws");
    assert_eq!(client.ask(r#"{"type":"connect","id":1,"token":"nonsense"}"#)["code"], "token_invalid");
    assert_eq!(client.closed_with(), 4001);
}
