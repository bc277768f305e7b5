//! What is said to whom came to the wrong door: the client gets words, and the log too, since a browser shows its page
//! nothing of a refused upgrade.

use crate::process::Process;
use crate::wire::{Wire, upgrade_lines};
use crate::world::until;

/// Status and body of the answer to an upgrade request with these lines besides.
fn ask(server: &Process, path: &str, host: &str, lines: &str) -> (String, String) {
    let mut wire = Wire::dial(server.addr);
    let request = upgrade_lines(path).replace("Host: localhost", &format!("Host: {host}"));
    wire.raw(format!("{request}{lines}\r\n").as_bytes());
    wire.read_head();
    (wire.status().to_owned(), wire.read_body())
}

/// The one line of the log that has all these words.
fn line(server: &Process, words: &[&str]) -> String {
    let log = server.log();
    let mut found = log.lines().filter(|line| words.iter().all(|word| line.contains(word)));
    let line = found.next().unwrap_or_else(|| panic!("no line with {words:?} in {log}")).to_owned();
    assert_eq!(found.next(), None, "{words:?} twice");
    line
}

#[test]
fn a_client_of_the_protocol_at_the_echo_is_sent_to_the_right_door() {
    let server = Process::run(&["dev", "--listen", "127.0.0.1:0"]);
    for (path, offer) in
        [("/", "everwire.v1"), ("/echo", "mqtt, everwire.v1.msgpack"), ("/echo/raw", "everwire.v2")]
    {
        let lines = format!("Sec-WebSocket-Protocol: {offer}\r\n");
        let (status, body) = ask(&server, path, "localhost:8765", &lines);
        assert_eq!(status, "400", "{path}: {body}");
        let error: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&error["type"], &error["code"]), (&"error".into(), &"bad_request".into()));
        assert!(
            error["message"].as_str().unwrap().ends_with("Everwire is at ws://localhost:8765/ws"),
            "{error}"
        );
        let path = format!("path=\"{path}\"");
        let line = line(&server, &["came to the echo", &path]);
        assert!(line.contains(" WARN ") && line.contains("everwire=\"ws://localhost:8765/ws\""), "{line}");
        // Other protocols are the page's own affair: the echo speaks none of them and says so by its silence.
        assert_eq!(ask(&server, "/echo", "localhost", "Sec-WebSocket-Protocol: mqtt\r\n").0, "101");
    }
}

#[test]
fn a_websocket_where_there_is_none_is_told_where_there_is_one() {
    let server = Process::run(&["dev", "--listen", "127.0.0.1:0"]);
    for path in ["/wss", "/socket", "/socket.io/", "/ws/"] {
        let (status, body) = ask(&server, &format!("{path}?token=secret"), "localhost:8765", "");
        assert_eq!(status, "404", "{path}");
        let error: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(error["code"], "unknown_type", "{error}");
        assert!(
            error["message"].as_str().unwrap().ends_with("Everwire is at ws://localhost:8765/ws"),
            "{error}"
        );
        let line = line(&server, &["asked for where there is none", &format!("path=\"{path}\"")]);
        for words in [" WARN ", "everwire=\"ws://localhost:8765/ws\"", "echo=\"ws://localhost:8765/echo\""] {
            assert!(line.contains(words), "{line}");
        }
    }
    // A client of Socket.IO asks without a WebSocket first.
    let mut wire = Wire::dial(server.addr);
    wire.raw(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n");
    wire.read_head();
    assert_eq!(wire.status(), "404");
    assert!(wire.read_body().contains("Everwire is at ws://x/ws"));
    for _ in 0..50 {
        ask(&server, "/scan", "localhost", "");
    }
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("asked for where there is none")).count();
    // Five in ten seconds; a slow machine may get into a second ten.
    assert!((5..=10).contains(&lines), "a scanner fills the log: {log}");
    assert!(!log.contains("secret"), "what stands in a URL behind the path may be a secret");
}

/// A browser that is given wss:// for ws:// shows nothing that helps.
#[test]
fn tls_at_a_port_that_speaks_plainly_is_in_the_log() {
    let server = Process::run(&["dev", "--listen", "127.0.0.1:0"]);
    let mut wire = Wire::dial(server.addr);
    // The head of a ClientHello.
    wire.raw(&[0x16, 3, 1, 0, 4, 1, 0, 0, 0]);
    wire.read_head();
    assert_eq!(wire.status(), "400");
    until("it is told", || server.log().contains("what a client said is no HTTP"));
    let line = line(&server, &["what a client said is no HTTP", "write ws://"]);
    assert!(line.contains(" WARN "), "{line}");
}

#[test]
fn a_page_from_disk_is_told_what_helps() {
    let server = Process::run(&["dev", "--listen", "127.0.0.1:0"]);
    for origin in ["null", "file://"] {
        let (status, body) = ask(&server, "/ws", "localhost:8765", &format!("Origin: {origin}\r\n"));
        assert_eq!(status, "403");
        assert!(body.contains("serve the page over http"), "{body}");
        let line = line(&server, &["without an origin", &format!("origin=\"{origin}\"")]);
        assert!(line.contains(" WARN ") && line.contains("or try the echo"), "{line}");
        assert_eq!(ask(&server, "/", "localhost:8765", &format!("Origin: {origin}\r\n")).0, "101");
    }
}

/// A foreign name may be made to point at this machine, and then its pages come from what looks like our own origin.
#[test]
fn in_dev_mode_a_name_is_ours_only_when_it_was_given() {
    let server = Process::run(&["dev", "--listen", "127.0.0.1:0"]);
    let from = |server: &Process, host: &str, origin: &str| {
        ask(server, "/ws", host, &format!("Origin: {origin}\r\n")).0
    };
    for host in ["localhost:8765", "chat.localhost:8765", "192.168.1.7:8765", "[fe80::1]:8765"] {
        assert_eq!(from(&server, host, &format!("http://{host}")), "101", "{host}");
    }
    for host in ["mybox.local:8765", "rebound.evil.example:8765"] {
        assert_eq!(from(&server, host, &format!("http://{host}")), "403", "{host}");
        let flag = format!("admitted_by=\"everwire dev --origin http://{host}\"");
        let line = line(&server, &[&flag]);
        assert!(line.contains(" WARN ") && line.contains("reached by a name"), "{line}");
    }
    assert_eq!(from(&server, "192.168.1.7:8765", "http://192.168.1.7:5173"), "403");
    line(&server, &["foreign origin", "admitted_by=\"everwire dev --origin http://192.168.1.7:5173\""]);
    let named = ["dev", "--listen", "127.0.0.1:0", "--origin", "http://mybox.local:8765"];
    let server = Process::run(&[&named[..], &["--origin", "https://tunnel.example"]].concat());
    assert_eq!(from(&server, "mybox.local:8765", "http://mybox.local:8765"), "101");
    assert_eq!(from(&server, "127.0.0.1:8765", "https://tunnel.example"), "101");
    assert_eq!(from(&server, "mybox.local:8765", "http://mybox.local:1"), "403");
}

/// Who runs `serve` chose its names: whatever `Host` a page reached it by is its own origin there.
#[test]
fn serve_takes_its_own_pages_whatever_its_name() {
    let server = Process::serve("listen = [\"127.0.0.1:0\"]\n");
    let own = ask(&server, "/ws", "chat.example.com", "Origin: http://chat.example.com\r\n");
    assert_eq!(own.0, "101");
    // Behind a proxy that ends TLS the page's origin is another one, and must be listed.
    assert_eq!(ask(&server, "/ws", "chat.example.com", "Origin: https://chat.example.com\r\n").0, "403");
    line(&server, &["foreign origin", "admitted_by=\"origins = [\\\"https://chat.example.com\\\"]\""]);
    assert_eq!(ask(&server, "/echo", "x", "").0, "404");
    line(&server, &["asked for where there is none", "path=\"/echo\"", "echo=\"off\""]);
}
