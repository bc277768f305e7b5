//! The client against servers that follow a script, right or wrong. The real server's own tests use it too.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use everwire_client::{Client, ConnectError, Dial, Format, Message, Options, Socket, TalkError};
use everwire_proto::ws::handshake::accept_for;
use everwire_proto::ws::{
    Decoder, Event, Inflater, Limits, Opcode, close_frame, write_frame, write_masked_frame,
};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

/// The server's end of one connection.
struct Peer {
    stream: TcpStream,
    decoder: Decoder,
    inflater: Inflater,
}

impl Peer {
    fn say(&mut self, text: &str) {
        let mut frame = Vec::new();
        write_frame(&mut frame, Opcode::Text, text.as_bytes());
        self.stream.write_all(&frame).unwrap();
    }

    /// What the client says next: its kind and its bytes, byte by byte so that nothing is read too early.
    fn hear(&mut self) -> (&'static str, Vec<u8>) {
        loop {
            let mut byte = [0; 1];
            if self.stream.read(&mut byte).unwrap() == 0 {
                return ("end", Vec::new());
            }
            let mut window = &mut byte[..];
            match self.decoder.next(&mut window, &mut self.inflater).unwrap() {
                None => {}
                Some(Event::Text(text)) => return ("text", text.to_vec()),
                Some(Event::Binary(bytes)) => return ("binary", bytes.to_vec()),
                Some(Event::Ping(bytes)) => return ("ping", bytes.to_vec()),
                Some(Event::Pong(bytes)) => return ("pong", bytes.to_vec()),
                Some(Event::Close(close)) => {
                    return ("close", close.map_or(vec![], |(code, _)| code.to_be_bytes().to_vec()));
                }
            }
        }
    }

    fn command(&mut self) -> Value {
        let (kind, bytes) = self.hear();
        assert_eq!(kind, "text");
        serde_json::from_slice(&bytes).unwrap()
    }

    /// The `connect` of a session, answered.
    fn connected(mut self) -> Self {
        assert_eq!(self.command()["type"], "connect");
        self.say(r#"{"type":"connected","id":1,"client":"c"}"#);
        self
    }
}

/// Takes one connection, reads its request and runs the script.
fn server(script: impl FnOnce(TcpStream, String) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let (mut request, mut byte) = (Vec::new(), [0; 1]);
        while !request.ends_with(b"\r\n\r\n") {
            assert_eq!(stream.read(&mut byte).unwrap(), 1);
            request.push(byte[0]);
        }
        script(stream, String::from_utf8(request).unwrap());
    });
    (url, thread)
}

/// The good answer to a request.
fn answer(request: &str) -> String {
    let line = |name: &str| request.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    let accept = accept_for(line("Sec-WebSocket-Key:").unwrap().as_bytes());
    let protocol =
        line("Sec-WebSocket-Protocol:").map_or(String::new(), |p| format!("Sec-WebSocket-Protocol: {p}\r\n"));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
    )
}

/// A server that upgrades and then does what it is told.
fn upgraded(talk: impl FnOnce(Peer) + Send + 'static) -> (String, JoinHandle<()>) {
    server(|mut stream, request| {
        stream.write_all(answer(&request).as_bytes()).unwrap();
        let decoder = Decoder::server(Limits { message_bytes: 1 << 20 }, false);
        talk(Peer { stream, decoder, inflater: Inflater::new() });
    })
}

fn patient() -> Options {
    Options { patience: LONG, ..Options::default() }
}

fn impatient() -> Options {
    Options { patience: SHORT, ..Options::default() }
}

#[test]
fn replies_find_their_command_and_pushes_keep_their_order() {
    let (url, server) = upgraded(|peer| {
        let mut peer = peer.connected();
        let (first, second) = (peer.command(), peer.command());
        peer.say(r#"{"type":"message","channel":"a","data":1}"#);
        peer.say(&json!({ "type": "pong", "id": second["id"] }).to_string());
        peer.say(r#"{"type":"message","channel":"a","data":2}"#);
        peer.say(&json!({ "type": "published", "id": first["id"] }).to_string());
    });
    let mut client = Client::connect(&url, &patient()).unwrap();
    assert_eq!(client.connected()["client"], "c");
    let publish = client.send("publish", &json!({ "channel": "a", "data": 0 })).unwrap();
    let ping = client.send("ping", &Value::Null).unwrap();
    assert_eq!(client.reply(publish).unwrap()["type"], "published");
    assert_eq!(client.reply(ping).unwrap()["type"], "pong");
    assert_eq!(client.push().unwrap()["data"], 1);
    assert_eq!(client.wait_for("message").unwrap()["data"], 2);
    server.join().unwrap();
}

#[test]
fn a_refusal_is_typed_and_no_end() {
    let (url, server) = upgraded(|peer| {
        let mut peer = peer.connected();
        let command = peer.command();
        let error = json!({ "type": "error", "id": command["id"], "code": "rate_limited", "message": "slow down",
            "retryable": true, "retry_after_ms": 70 });
        peer.say(&error.to_string());
        let command = peer.command();
        peer.say(&json!({ "type": "pong", "id": command["id"] }).to_string());
    });
    let mut client = Client::connect(&url, &patient()).unwrap();
    let Err(TalkError::Denied(denied)) = client.ask("ping", &Value::Null) else { panic!("not denied") };
    assert_eq!((denied.code.as_str(), denied.retryable), ("rate_limited", true));
    assert_eq!(denied.retry_after, Some(Duration::from_millis(70)));
    assert_eq!(denied.to_string(), "rate_limited: slow down");
    client.ask("ping", &Value::Null).unwrap();
    server.join().unwrap();
}

#[test]
fn message_pack_is_json_to_the_caller() {
    let (url, server) = upgraded(|mut peer| {
        let pack = |object: &Value| {
            let (mut packed, mut frame) = (Vec::new(), Vec::new());
            everwire_proto::transcode::command_to_msgpack(object.to_string().as_bytes(), &mut packed)
                .unwrap();
            write_frame(&mut frame, Opcode::Binary, &packed);
            frame
        };
        assert_eq!(peer.hear().0, "binary");
        peer.stream.write_all(&pack(&json!({ "type": "connected", "id": 1 }))).unwrap();
        let (kind, bytes) = peer.hear();
        assert_eq!(kind, "binary");
        assert!(bytes.windows(5).any(|w| w == b"\xc4\x03\0\x01\xff"), "bytes, not base64: {bytes:?}");
        peer.stream.write_all(&pack(&json!({ "type": "published", "id": 2, "binary": "AAH/" }))).unwrap();
    });
    let options = Options { format: Format::MsgPack, ..patient() };
    let mut client = Client::connect(&url, &options).unwrap();
    let reply = client.ask("publish", &json!({ "channel": "a", "binary": "AAH/" })).unwrap();
    assert_eq!(reply["binary"], "AAH/");
    let refused = client.ask("publish", &json!({ "binary": "?" }));
    assert!(matches!(refused, Err(TalkError::Base64)));
    server.join().unwrap();
}

#[test]
fn pings_are_answered_unless_that_is_off() {
    for answers_pings in [true, false] {
        let (url, server) = upgraded(move |mut peer| {
            let mut ping = Vec::new();
            write_frame(&mut ping, Opcode::Ping, b"are you there");
            peer.stream.write_all(&ping).unwrap();
            peer.say("after");
            if answers_pings {
                assert_eq!(peer.hear(), ("pong", b"are you there".to_vec()));
            }
            assert_eq!(peer.hear(), ("text", b"done".to_vec()));
        });
        let mut socket = Socket::connect(&url, &Dial { answers_pings, ..Dial::default() }).unwrap();
        assert_eq!(socket.receive(LONG).unwrap(), Message::Ping(b"are you there".to_vec()));
        assert_eq!(socket.receive(LONG).unwrap(), Message::Text("after".to_owned()));
        socket.send_text("done").unwrap();
        server.join().unwrap();
    }
}

#[test]
fn a_close_of_the_server_is_told_and_answered() {
    let (url, server) = upgraded(|peer| {
        let mut peer = peer.connected();
        peer.say(r#"{"type":"bye","code":"draining"}"#);
        peer.stream.write_all(&close_frame(1012, "the server stops")).unwrap();
        assert_eq!(peer.hear(), ("close", 1012u16.to_be_bytes().to_vec()));
    });
    let mut client = Client::connect(&url, &patient()).unwrap();
    assert_eq!(client.push().unwrap()["type"], "bye");
    let Err(TalkError::Closed { code, reason }) = client.push() else { panic!("not closed") };
    assert_eq!((code, reason.as_str()), (Some(1012), "the server stops"));
    server.join().unwrap();
    assert!(matches!(client.push(), Err(TalkError::Ended)));
}

#[test]
fn our_own_close_waits_for_the_servers() {
    let (url, server) = upgraded(|mut peer| {
        assert_eq!(peer.hear(), ("close", 1000u16.to_be_bytes().to_vec()));
        peer.say("one last thing");
        peer.stream.write_all(&close_frame(1000, "")).unwrap();
    });
    let socket = Socket::connect(&url, &Dial::default()).unwrap();
    assert_eq!(socket.close(1000, "", LONG).unwrap(), Some((1000, String::new())));
    server.join().unwrap();
    let (url, server) = upgraded(|mut peer| assert_eq!(peer.hear().0, "close"));
    let socket = Socket::connect(&url, &Dial::default()).unwrap();
    assert!(matches!(socket.close(1000, "", LONG), Err(TalkError::Ended)), "an end without a close frame");
    server.join().unwrap();
}

#[test]
fn who_breaks_the_protocol_is_told_why() {
    let (url, server) = upgraded(|mut peer| {
        let mut masked = Vec::new();
        write_masked_frame(&mut masked, Opcode::Text, [1, 2, 3, 4], b"a client's");
        peer.stream.write_all(&masked).unwrap();
        assert_eq!(peer.hear(), ("close", 1002u16.to_be_bytes().to_vec()));
        assert_eq!(peer.hear().0, "end");
    });
    let mut socket = Socket::connect(&url, &Dial::default()).unwrap();
    let Err(TalkError::Violation(violation)) = socket.receive(LONG) else { panic!("no violation") };
    assert_eq!(violation.code, 1002);
    server.join().unwrap();
}

#[test]
fn what_is_no_object_can_not_be_read() {
    for said in ["{", "[]", "7", "{}", r#"{"type":7}"#] {
        let (url, server) = upgraded(move |peer| peer.connected().say(said));
        let mut client = Client::connect(&url, &patient()).unwrap();
        assert!(matches!(client.push(), Err(TalkError::Unreadable(_))), "{said}");
        server.join().unwrap();
    }
}

#[test]
fn a_timeout_is_no_end_and_a_late_reply_is_nobodys() {
    let (url, server) = upgraded(|peer| {
        let mut peer = peer.connected();
        let (late, next) = (peer.command(), peer.command());
        peer.say(&json!({ "type": "pong", "id": late["id"] }).to_string());
        peer.say(&json!({ "type": "published", "id": next["id"] }).to_string());
    });
    let mut client = Client::connect(&url, &impatient()).unwrap();
    assert!(matches!(client.push(), Err(TalkError::Timeout(SHORT))));
    assert!(matches!(client.ask("ping", &Value::Null), Err(TalkError::Timeout(SHORT))));
    let ticket = client.send("publish", &Value::Null).unwrap();
    server.join().unwrap();
    assert_eq!(client.reply(ticket).unwrap()["type"], "published");
}

#[test]
fn pushes_that_nobody_takes_have_a_limit() {
    let (url, server) = upgraded(|peer| {
        let mut peer = peer.connected();
        peer.command();
        for _ in 0..12 {
            peer.say(r#"{"type":"message"}"#);
        }
    });
    let mut client = Client::connect(&url, &Options { kept_pushes: 10, ..patient() }).unwrap();
    assert!(matches!(client.ask("ping", &Value::Null), Err(TalkError::Flooded(10))));
    server.join().unwrap();
}

#[test]
fn bytes_behind_the_head_are_not_lost() {
    let (url, server) = server(|mut stream, request| {
        let mut bytes = answer(&request).into_bytes();
        for text in ["first", "second"] {
            write_frame(&mut bytes, Opcode::Text, text.as_bytes());
        }
        stream.write_all(&bytes).unwrap();
    });
    let mut socket = Socket::connect(&url, &Dial::default()).unwrap();
    for text in ["first", "second"] {
        assert_eq!(socket.receive(LONG).unwrap(), Message::Text(text.to_owned()));
    }
    assert!(matches!(socket.receive(LONG), Err(TalkError::Ended)));
    server.join().unwrap();
}

#[test]
fn a_refused_upgrade_says_what_the_server_said() {
    let (url, server) = server(|mut stream, _| {
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno.\nmore").unwrap();
    });
    let Err(ConnectError::Refused { status, body }) = Socket::connect(&url, &Dial::default()) else {
        panic!("not refused")
    };
    assert_eq!((status, body.as_str()), (403, "no."));
    server.join().unwrap();
}

#[test]
fn answers_that_are_none() {
    for said in ["HTTP/1.1 101 Fine\r\n\r\n", "SSH-2.0-x\r\n\r\n"] {
        let (url, server) = server(move |mut stream, _| stream.write_all(said.as_bytes()).unwrap());
        let got = Socket::connect(&url, &Dial::default());
        assert!(matches!(got, Err(ConnectError::Handshake(_))), "{said}: {got:?}");
        server.join().unwrap();
    }
    let (url, endless) = server(|mut stream, _| while stream.write_all(&[b'x'; 4096]).is_ok() {});
    assert!(matches!(Socket::connect(&url, &Dial::default()), Err(ConnectError::Io(_))));
    endless.join().unwrap();
    // A path that upgrades but is no session.
    let (url, no_session) = server(|mut stream, request| {
        let answer = answer(&request);
        let without = answer.lines().filter(|l| !l.starts_with("Sec-WebSocket-Protocol"));
        let without: String = without.map(|l| format!("{l}\r\n")).collect();
        stream.write_all(without.as_bytes()).unwrap();
    });
    assert!(matches!(Client::connect(&url, &patient()), Err(ConnectError::Handshake(_))));
    no_session.join().unwrap();
}

#[test]
fn nobody_there_and_nobody_answering() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let dial = Dial { timeout: SHORT, ..Dial::default() };
    // It listens, and never accepts.
    let silent = Socket::connect(&format!("ws://{addr}"), &dial);
    assert!(matches!(silent, Err(ConnectError::Timeout(SHORT))), "{silent:?}");
    drop(listener);
    let gone = Socket::connect(&format!("ws://{addr}"), &dial);
    assert!(matches!(&gone, Err(ConnectError::Unreachable { addr: at, .. }) if *at == addr), "{gone:?}");
    let nowhere = Socket::connect("http://localhost/", &dial);
    assert!(matches!(nowhere, Err(ConnectError::Address { .. })), "{nowhere:?}");
}
