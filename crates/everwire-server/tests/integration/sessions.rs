//! The protocol from end to end, over two shards.

use everwire_client::{Client, Dial, Format, Message, Options};
use everwire_proto::ws::Opcode;
use serde_json::json;

use crate::peer::{Peer, dial};
use crate::wire::PATIENCE;
use crate::world::{World, world, world_with};

fn client(world: &World, format: Format, compression: bool) -> Client {
    let options =
        Options { dial: Dial { compression, ..dial() }, format, patience: PATIENCE, ..Options::default() };
    Client::connect(&format!("ws://{}/ws", world.addr()), &options).unwrap()
}

#[test]
fn a_message_reaches_every_shard_in_every_form() {
    let world = world_with(|config| config.compression = true);
    let mut clients = Vec::new();
    // Two of each, so that both shards have every form.
    for format in [Format::Json, Format::MsgPack] {
        for compression in [false, false, true, true] {
            let mut client = client(&world, format, compression);
            assert_eq!(client.socket().header("sec-websocket-extensions").is_some(), compression);
            client.ask("subscribe", &json!({ "channel": "room" })).unwrap();
            clients.push(client);
        }
    }
    // Long enough to be worth compressing.
    let data = json!({ "words": "again and ".repeat(100), "numbers": [1, -1, 1.5, null, true] });
    for (offset, sender) in [0, 4].into_iter().enumerate() {
        clients[sender].ask("publish", &json!({ "channel": "room", "data": data })).unwrap();
        for client in &mut clients {
            let message = client.wait_for("message").unwrap();
            assert_eq!((&message["data"], &message["offset"]), (&data, &(offset + 1).into()));
        }
    }
    clients[7].ask("publish", &json!({ "channel": "room", "binary": "AAH/" })).unwrap();
    for client in &mut clients {
        assert_eq!(client.wait_for("message").unwrap()["binary"], "AAH/");
    }
}

#[test]
fn a_client_that_comes_back_recovers() {
    let world = world();
    let mut publisher = world.session();
    let mut client = world.session();
    let subscribed = client.ask(r#"{"type":"subscribe","id":2,"channel":"room"}"#);
    let epoch = subscribed["position"]["epoch"].as_str().unwrap().to_owned();
    client.reset();
    for i in 0..20 {
        let published = publisher.ask(&format!(r#"{{"type":"publish","id":3,"channel":"room","data":{i}}}"#));
        assert_eq!(published["position"]["offset"], i + 1);
    }
    let mut again = world.session();
    let subscribed = again.ask(&format!(
        r#"{{"type":"subscribe","id":2,"channel":"room","since":{{"epoch":"{epoch}","offset":0}}}}"#
    ));
    assert_eq!((&subscribed["recovered"], &subscribed["replaying"]), (&true.into(), &20.into()));
    for i in 0..20 {
        assert_eq!(again.json()["data"], i);
    }
}

#[test]
fn commands_over_the_rate_wait_instead_of_failing() {
    let world =
        world_with(|config| (config.limits.commands_per_second, config.limits.commands_burst) = (200, 10));
    let mut client = world.session();
    for id in 2..60 {
        client.text(&format!(r#"{{"type":"ping","id":{id}}}"#));
    }
    for id in 2..60 {
        assert_eq!(client.json()["id"], id, "all are answered, in order");
    }
}

#[test]
fn a_close_is_answered_and_the_socket_ends() {
    let world = world();
    for path in ["/ws", "/echo"] {
        let mut client = world.open(path);
        client.send(Opcode::Close, &1000u16.to_be_bytes());
        assert_eq!(client.closed_with(), 1000, "{path}");
        // One that shuts its side at once still gets the answer.
        let mut hasty = world.open(path);
        hasty.send(Opcode::Close, &1000u16.to_be_bytes());
        hasty.shut();
        assert_eq!(hasty.closed_with(), 1000, "{path}");
    }
    world.until_empty();
}

#[test]
fn the_limits_of_a_connection() {
    let world = world_with(|config| config.limits.channels = 2);
    let mut client = world.session();
    let subscribe = |channel: &str| format!(r#"{{"type":"subscribe","id":2,"channel":"{channel}"}}"#);
    assert_eq!(client.ask(&subscribe("a"))["type"], "subscribed");
    assert_eq!(client.ask(&subscribe("a"))["code"], "already_subscribed");
    assert_eq!(client.ask(&subscribe("b"))["type"], "subscribed");
    assert_eq!(client.ask(&subscribe("c"))["code"], "limit_exceeded");
    let since = r#"{"type":"history","id":3,"channel":"a","since":{"epoch":"gone","offset":1}}"#;
    let error = client.ask(since);
    assert_eq!(error["code"], "unrecoverable_position");
    assert_eq!(error["position"]["offset"], 0, "{error}");
}

#[test]
fn a_session_that_goes_on_elsewhere() {
    let world = world();
    let mut first = client(&world, Format::Json, false);
    let (id, session) = (first.connected()["client"].clone(), first.connected()["session"].clone());
    let mut second = Peer::open(world.addr(), "/ws");
    let connected = second.ask(&json!({ "type": "connect", "id": 1, "resume": session }).to_string());
    assert_eq!((&connected["resumed"], &connected["client"]), (&true.into(), &id));
    let Err(everwire_client::TalkError::Closed { code, .. }) = first.wait_for("nothing") else {
        panic!("not closed")
    };
    assert_eq!(code, Some(4200));
    let mut third = Peer::open(world.addr(), "/ws");
    let connected = third.ask(r#"{"type":"connect","id":1,"resume":"AAAAAAAAAAAAAAAAAAAAAA"}"#);
    assert_eq!(connected["resumed"], false, "{connected}");
    third.send(Opcode::Close, &[]);
    assert_eq!(third.next(), Some(Message::Close(Some((1000, String::new())))));
}

/// What the contract says of pages at their edges.
#[test]
fn pages_of_history_and_members_at_their_edges() {
    let without_default = world_with(|config| config.namespaces.default = None);
    let mut client = without_default.session();
    // An unknown namespace hides nothing that one could be subscribed to.
    assert_eq!(client.ask(r#"{"type":"unsubscribe","id":2,"channel":"foo"}"#)["code"], "not_subscribed");
    assert_eq!(client.ask(r#"{"type":"subscribe","id":2,"channel":"foo"}"#)["code"], "unknown_channel");
    let world = world();
    let mut client = world.session();
    let ask = |client: &mut Peer, verb: &str, fields: &str| {
        client.ask(&format!(r#"{{"type":"{verb}","id":2,"channel":"room"{fields}}}"#))
    };
    let published = ask(&mut client, "publish", r#","data":1"#);
    let epoch = published["position"]["epoch"].as_str().unwrap();
    for (fields, messages) in [
        (format!(r#","since":{{"epoch":"{epoch}","offset":0}}"#), 1),
        (format!(r#","since":{{"epoch":"{epoch}","offset":1}}"#), 0),
        (format!(r#","since":{{"epoch":"{epoch}","offset":99}}"#), 0),
        (format!(r#","before":{{"epoch":"{epoch}","offset":99}},"reverse":true"#), 1),
    ] {
        let page = ask(&mut client, "history", &fields);
        assert_eq!(page["messages"].as_array().unwrap().len(), messages, "{fields}: {page}");
        assert_eq!((&page["position"]["offset"], &page["next"]), (&1.into(), &json!(null)), "{page}");
    }
    assert_eq!(ask(&mut client, "subscribe", "")["type"], "subscribed");
    for (fields, good) in [
        (r#","limit":1"#, true),
        (r#","limit":1000"#, true),
        (r#","limit":0"#, false),
        (r#","limit":1001"#, false),
        (r#","after":"no page's""#, false),
    ] {
        let page = ask(&mut client, "presence", fields);
        assert_eq!(page["type"] == "presence", good, "{fields}: {page}");
        assert!(good || page["code"] == "bad_request", "{fields}: {page}");
        let body = format!(r#"{{"channel":"room"{fields}}}"#);
        let (head, page) = world.http("POST", "/api/presence", "Content-Type: application/json\r\n", &body);
        assert_eq!(head.starts_with("http/1.1 200"), good, "the same over HTTP, {fields}: {page}");
    }
}

#[test]
fn ones_own_state_is_told_and_ones_own_join_is_not() {
    let world = world();
    let mut client = world.session();
    let subscribed = client.ask(r#"{"type":"subscribe","id":2,"channel":"room","presence":true}"#);
    assert_eq!(subscribed["type"], "subscribed");
    client.text(r#"{"type":"presence_update","id":3,"channel":"room","state":{"typing":true}}"#);
    // The reply and the push come in either order, and a join would have come before them.
    let mut told = [client.json(), client.json()];
    told.sort_by_key(|object| object["type"].to_string());
    assert_eq!(
        (&told[0]["type"], &told[0]["member"]["state"]["typing"]),
        (&"presence_state".into(), &true.into())
    );
    assert_eq!(told[1]["type"], "presence_updated");
}
