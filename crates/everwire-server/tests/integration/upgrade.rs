//! Who is upgraded, and to what.

use everwire_client::{Dial, Message};

use crate::peer::{Peer, dial};
use crate::wire::{Wire, upgrade_lines};
use crate::world::{world, world_with};

fn status(wire: &mut Wire, request: &str) -> String {
    wire.raw(request.as_bytes());
    wire.read_head();
    wire.status().to_owned()
}

#[test]
fn a_good_request_is_upgraded_and_a_bad_one_told_why() {
    let world = world();
    let good = upgrade_lines("/ws");
    for (request, expected) in [
        (format!("{good}\r\n"), "101"),
        (format!("{}\r\n", good.replace("GET", "POST")), "405"),
        (format!("{}\r\n", good.replace("HTTP/1.1", "HTTP/1.0")), "400"),
        (format!("{}\r\n", good.replace("Version: 13", "Version: 8")), "426"),
        (format!("{}\r\n", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=")), "400"),
        (format!("{}\r\n", good.replace("Upgrade: websocket\r\n", "")), "400"),
        (format!("{}\r\n", good.replace("Connection: Upgrade", "Connection: close")), "400"),
        (format!("{good}Host: other\r\n\r\n"), "400"),
        (format!("{good}Content-Length: 3\r\n\r\nabc"), "400"),
        (format!("{good}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "400"),
        (format!("{good}Sec-WebSocket-Protocol: mqtt\r\n\r\n"), "400"),
        (format!("{good}Sec-WebSocket-Protocol: bearer.dG9rZW4\r\n\r\n"), "400"),
        (format!("{good}Sec-WebSocket-Protocol: bearer.dG9rZW4, everwire.v1\r\n\r\n"), "101"),
        (format!("{}\r\n", good.replace("/ws", "/ws?token=secret")), "400"),
        (format!("{}\r\n", good.replace("/ws", "/elsewhere")), "404"),
    ] {
        assert_eq!(status(&mut world.dial(), &request), expected, "{request}");
    }
    let mut plain = world.dial();
    assert_eq!(status(&mut plain, "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n"), "400");
    let mut old = world.dial();
    assert_eq!(status(&mut old, &format!("{}\r\n", good.replace("Version: 13", "Version: 8"))), "426");
    assert_eq!((old.header("sec-websocket-version"), old.header("upgrade")), (Some("13"), Some("websocket")));
}

/// The object of every HTTP error, from the upgrade as from the API.
#[test]
fn a_refused_upgrade_is_an_error_of_the_protocol() {
    let world = world();
    let good = upgrade_lines("/ws");
    for (request, status, code) in [
        (format!("{}\r\n", good.replace("Version: 13", "Version: 8")), "426", "bad_request"),
        (format!("{good}Origin: https://evil.example\r\n\r\n"), "403", "permission_denied"),
        (format!("{}\r\n", good.replace("GET", "POST")), "405", "bad_request"),
        (format!("{good}Sec-WebSocket-Protocol: mqtt\r\n\r\n"), "400", "bad_request"),
    ] {
        let mut wire = world.dial();
        wire.raw(request.as_bytes());
        wire.read_head();
        let error: serde_json::Value = serde_json::from_str(&wire.read_body()).unwrap();
        assert_eq!(
            (wire.status(), error["type"].as_str(), error["code"].as_str()),
            (status, Some("error"), Some(code)),
            "{error}"
        );
        assert_eq!(wire.read_to_end(), b"", "the connection ends with it");
    }
}

#[test]
fn a_foreign_page_is_refused_by_all_but_the_echo() {
    let world = world_with(|config| config.origins = vec!["https://app.example.com".to_owned()]);
    let ask = |path: &str, origin: &str| {
        let request = format!("{}Origin: {origin}\r\n\r\n", upgrade_lines(path));
        status(&mut world.dial(), &request)
    };
    for foreign in ["null", "file://", "https://evil.example", "http://localhost.evil.example"] {
        assert_eq!(ask("/ws", foreign), "403", "{foreign}");
        for echo in ["/", "/echo", "/echo/raw"] {
            assert_eq!(ask(echo, foreign), "101", "{foreign} {echo}");
        }
    }
    assert_eq!(ask("/ws", "https://app.example.com"), "101");
    assert_eq!(ask("/ws", "http://127.0.0.1"), "101", "in dev mode loopback is one host");
    assert_eq!(ask("/ws", "http://localhost:5173"), "101", "... whatever the port");
}

#[test]
fn subprotocols_and_compression_are_answered() {
    let world = world_with(|config| config.compression = true);
    let open = |lines: &str| {
        let mut wire = world.dial();
        wire.raw(format!("{}{lines}\r\n", upgrade_lines("/ws")).as_bytes());
        wire.read_head();
        assert_eq!(wire.status(), "101");
        wire.head
    };
    assert!(
        open("Sec-WebSocket-Protocol: mqtt, everwire.v1.msgpack\r\n")
            .contains("sec-websocket-protocol: everwire.v1.msgpack\r\n")
    );
    assert!(!open("").contains("sec-websocket-protocol"));
    let answer = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert!(open("Sec-WebSocket-Extensions: permessage-deflate\r\n").contains(answer));
    let nine = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n";
    assert!(open(nine).contains(&format!("{answer}; server_max_window_bits=9\r\n")));
    let eight = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8\r\n";
    assert!(!open(eight).contains("sec-websocket-extensions"));
}

#[test]
fn the_echo_of_the_tutorial() {
    let world = world();
    for path in ["/", "/echo"] {
        let mut client = world.open(path);
        client.text("hello");
        assert_eq!(client.next(), Some(Message::Text("Server received: hello".to_owned())));
        client.send(everwire_proto::ws::Opcode::Binary, &[0, 255]);
        assert_eq!(client.next(), Some(Message::Binary(vec![0, 255])));
    }
}

#[test]
fn without_echo_there_is_none() {
    let world = world_with(|config| config.echo = false);
    for path in ["/echo", "/echo/raw"] {
        assert_eq!(status(&mut world.dial(), &format!("{}\r\n", upgrade_lines(path))), "404", "{path}");
    }
}

#[test]
fn compression_is_used_both_ways_of_the_echo() {
    let world = world();
    let compression = Dial { compression: true, ..dial() };
    let mut client = Peer::open_as(world.addr(), "/echo/raw", &compression);
    assert!(client.socket.header("sec-websocket-extensions").is_some());
    for text in ["short", &"long and ".repeat(1_000)] {
        client.text(text);
        assert_eq!(client.next(), Some(Message::Text(text.to_owned())));
    }
}
