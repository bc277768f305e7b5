//! HTTP that is malformed, ambiguous or meant for somebody else: one refusal, and the end of the connection, so that
//! nothing can hide behind it.

use crate::siege::Siege;
use crate::wire::{Wire, upgrade_lines};

/// A second request, hidden behind the first one.
const HIDDEN: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

/// The lines of a POST to the API, with a key that is none.
const POST: &str =
    "POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-API-Key: none\r\n";

/// Sends bytes and gives the status of each answer until the server ends the connection.
fn statuses(wire: &mut Wire, bytes: &[u8]) -> Vec<String> {
    wire.raw(bytes);
    let mut statuses = Vec::new();
    while wire.has_head() {
        statuses.push(wire.status().to_owned());
        wire.read_body();
    }
    statuses
}

/// Each request gets this one answer (`""`: none), and nothing of what follows it is answered.
fn check(cases: &[(Vec<u8>, &str)]) {
    Siege::default().withstands(|server| {
        for (bytes, status) in cases {
            let got = statuses(&mut Wire::dial(server.addr), bytes);
            let words = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
            let expected: &[&str] = if status.is_empty() { &[] } else { &[status] };
            assert_eq!(got, expected, "{words}");
        }
    });
}

fn case(head: &str, rest: &str, status: &'static str) -> (Vec<u8>, &'static str) {
    (format!("{head}\r\n{rest}").into_bytes(), status)
}

#[test]
fn a_body_whose_end_is_in_doubt() {
    let mut cases = Vec::new();
    for lines in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length : 5\r\n",
        "X: a\r\n b: folded\r\n",
        "X: a\rY: b\r\n",
        "X: \0\r\n",
        "X\r\n",
        "\u{e4}: b\r\n",
    ] {
        for body in ["0\r\n\r\n", "12345"] {
            cases.push(case(&format!("{POST}{lines}"), &format!("{body}{HIDDEN}"), "400"));
        }
    }
    // The HTTP library takes the length away, as RFC 9112 section 6.3 allows: one answer, and the end.
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        cases.push(case(&format!("{POST}{lines}"), &format!("0\r\n\r\n{HIDDEN}"), "401"));
    }
    check(&cases);
}

#[test]
fn an_upgrade_with_a_body() {
    let good = upgrade_lines("/ws");
    check(&[
        case(&format!("{good}Content-Length: 3\r\n"), HIDDEN, "400"),
        case(&format!("{good}Transfer-Encoding: chunked\r\n"), &format!("0\r\n\r\n{HIDDEN}"), "400"),
        case(
            &format!("{good}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
            &format!("0\r\n\r\n{HIDDEN}"),
            "400",
        ),
    ]);
}

#[test]
fn a_host_that_is_none_or_two() {
    let good = upgrade_lines("/ws");
    let mut cases = Vec::new();
    for hosts in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhost: b\r\n",
        "Host:\r\n",
        "Host: ann@x\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: a, b\r\n",
    ] {
        cases.push(case(&format!("GET /health HTTP/1.1\r\n{hosts}"), HIDDEN, "400"));
        cases.push(case(&good.replace("Host: localhost\r\n", hosts), HIDDEN, "400"));
    }
    check(&cases);
}

#[test]
fn requests_that_are_meant_for_a_proxy() {
    let absolute = upgrade_lines("http://evil.example/ws");
    check(&[
        case("GET http://evil.example/health HTTP/1.1\r\nHost: x\r\n", HIDDEN, "400"),
        case("GET https://evil.example/stats HTTP/1.1\r\nHost: localhost\r\n", HIDDEN, "400"),
        case(&absolute, HIDDEN, "400"),
        case("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n", HIDDEN, "405"),
        case("CONNECT x:80 HTTP/1.1\r\nHost: y:80\r\n", HIDDEN, "400"),
        case("GET ws://x/ws HTTP/1.1\r\n", "", "400"),
    ]);
    // To us, in that form: RFC 9112 section 3.2.2 wants it answered.
    Siege::default().withstands(|server| {
        let mut wire = Wire::dial(server.addr);
        wire.raw(b"GET http://localhost/health HTTP/1.1\r\nHost: LOCALHOST\r\n\r\n");
        wire.read_head();
        assert_eq!(wire.status(), "200");
        let mut wire = Wire::dial(server.addr);
        wire.raw(format!("{}\r\n", upgrade_lines("http://localhost/ws")).as_bytes());
        wire.read_head();
        assert_eq!(wire.status(), "101");
    });
}

#[test]
fn what_is_no_http_1() {
    check(&[
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), ""),
        (b"\x16\x03\x01\0\xc8\x01\0\0\xc4\x03\x03".to_vec(), "400"),
        (b"SSH-2.0-OpenSSH_9.0\r\n\r\n".to_vec(), "400"),
        (b"GET /health\r\n\r\n".to_vec(), "400"),
        (b"GET /health HTTP/1.2\r\nHost: x\r\n\r\n".to_vec(), "400"),
        (b"G@T /health HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "400"),
        (b"GET  HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "400"),
        (b"\0\0\0\0\0\0\0\0\r\n\r\n".to_vec(), "400"),
    ]);
}

#[test]
fn heads_that_are_too_much() {
    let many: String = (0..2_000).map(|i| format!("X-{i}: y\r\n")).collect();
    let good = upgrade_lines("/ws");
    check(&[
        case(&format!("GET /health HTTP/1.1\r\nHost: x\r\n{many}"), HIDDEN, "431"),
        case(&format!("{good}{many}"), HIDDEN, "431"),
        // 64 headers are the limit, and 16 KiB.
        case(
            &format!("GET /health HTTP/1.1\r\nHost: x\r\n{}", &many[..many.find("X-64").unwrap()]),
            HIDDEN,
            "431",
        ),
        case(&format!("GET /{} HTTP/1.1\r\nHost: x\r\n", "a".repeat(20_000)), HIDDEN, "431"),
    ]);
    Siege::default().withstands(|server| {
        for begin in ["GET /ws HTTP/1.1\r\nHost: x\r\nX: ", "GET /", "", "X"] {
            let mut wire = Wire::dial(server.addr);
            wire.raw(begin.as_bytes());
            let filler = vec![b'x'; 1 << 20];
            // The server answers long before the 8 MiB are through, and cuts; its reset may overtake the answer.
            let through = (0..8).take_while(|_| wire.raw(&filler)).count();
            let answered = wire.has_head();
            assert!(
                if answered { matches!(wire.status(), "431" | "400") } else { through < 8 },
                "{through} {}",
                wire.head
            );
        }
    });
}

#[test]
fn odd_spelling_is_no_fault() {
    Siege::default().withstands(|server| {
        for head in [
            "GET /ws HTTP/1.1\r\nhOsT: localhost\r\nUPGRADE:   WebSocket  \r\nconnection:keep-alive , UPGRADE\r\n\
             SEC-websocket-KEY:dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version:\t13\r\n",
            "GET /ws?x=1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nUpgrade: websocket\r\nConnection: keep-alive\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Content-Length: 0\r\n",
        ] {
            let mut wire = Wire::dial(server.addr);
            wire.raw(format!("{head}\r\n").as_bytes());
            wire.read_head();
            assert_eq!(wire.status(), "101", "{head}");
            assert_eq!(wire.header("sec-websocket-accept"), Some("s3pplmbitxaq9kygzzhzrbk+xoo="));
        }
    });
}

#[test]
fn methods_that_an_address_does_not_have() {
    let world = crate::world::world();
    for (method, path, allowed) in [
        ("DELETE", "/", "GET, HEAD"),
        ("POST", "/demos/chat", "GET, HEAD"),
        ("GET", "/api/publish", "POST"),
        ("PUT", "/api/publish", "POST"),
        ("POST", "/ws", "GET"),
    ] {
        let (head, body) = world.http(method, path, "", "");
        assert!(head.starts_with("http/1.1 405"), "{method} {path}: {head}");
        assert!(head.contains(&format!("allow: {}\r\n", allowed.to_lowercase())), "{method} {path}: {head}");
        assert!(body.contains("\"bad_request\""), "{body}");
    }
}
