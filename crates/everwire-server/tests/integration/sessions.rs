//! The protocol from end to end, over two shards.

use everwire_proto::ws::Opcode;

use crate::client::Said;
use crate::world::{world, world_with};

#[test]
fn a_message_reaches_every_shard_in_every_form() {
    let world = world_with(|config| config.compression = true);
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let mut clients: Vec<_> =
        ["", deflate, "", deflate].map(|lines| world.dial().upgrade("/ws", lines)).into();
    for client in &mut clients {
        client.text(r#"{"type":"subscribe","id":1,"channel":"room"}"#);
        client.wait("subscribed");
    }
    let mut packed = world.dial().upgrade("/ws", "Sec-WebSocket-Protocol: everwire.v1.msgpack\r\n");
    let mut subscribe = vec![0x83];
    for (key, value) in [("type", "subscribe"), ("channel", "room")] {
        for text in [key, value] {
            subscribe.push(0xa0 | u8::try_from(text.len()).unwrap());
            subscribe.extend_from_slice(text.as_bytes());
        }
    }
    subscribe.extend_from_slice(b"\xa2id\x01");
    packed.send(Opcode::Binary, &subscribe);
    let has = |said: &Said, word: &[u8]| matches!(said, Said::Binary(b) if b.windows(word.len()).any(|w| w == word));
    while !has(&packed.next(), b"subscribed") {}
    // Long enough to be worth compressing.
    let word = "again and ".repeat(100);
    clients[0].text(&format!(r#"{{"type":"publish","id":2,"channel":"room","data":"{word}"}}"#));
    for client in &mut clients {
        let message = client.wait("message");
        assert_eq!((message["data"].as_str(), message["offset"].as_u64()), (Some(word.as_str()), Some(1)));
    }
    assert!(has(&packed.next(), word.as_bytes()));
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
        assert_eq!(client.next(), Said::Close(Some((1000, String::new()))), "{path}");
        assert_eq!(client.next(), Said::End, "{path}");
        // One that shuts its side at once still gets the answer.
        let mut hasty = world.open(path);
        hasty.send(Opcode::Close, &1000u16.to_be_bytes());
        hasty.shut();
        assert_eq!(hasty.next(), Said::Close(Some((1000, String::new()))), "{path}");
        assert_eq!(hasty.next(), Said::End, "{path}");
    }
    world.until_empty();
}

#[test]
fn a_stop_says_goodbye() {
    let world = world();
    let (mut session, mut fresh, mut echo) = (world.session(), world.open("/ws"), world.open("/echo"));
    let stopping = std::thread::spawn(move || world.stop());
    let bye = session.wait("bye");
    assert_eq!((bye["code"].as_str(), bye["reconnect"].as_bool()), (Some("draining"), Some(true)));
    assert_eq!(session.closed_with(), 1012);
    assert_eq!(fresh.closed_with(), 1012);
    assert_eq!(echo.closed_with(), 1001);
    stopping.join().unwrap();
}
