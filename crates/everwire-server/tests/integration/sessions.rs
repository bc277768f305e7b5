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
