//! One list of origins: who may open a WebSocket may fetch a ticket, and nobody else.

use everwire_proto::ws::Opcode;
use serde_json::json;

use crate::guarded::{config, token};
use crate::wire::upgrade_lines;
use crate::world::{World, served, world_with};

fn world() -> World {
    let listed = "origins = [\"https://app.example.com\", \"https://*.shop.example\"]\nshards = 2\n";
    let text = config().replace("shards = 2\n", listed);
    world_with(|to| *to = served(&text))
}

const ADMITTED: [&str; 5] = [
    "https://app.example.com",
    "HTTPS://APP.example.com:443",
    "https://a.shop.example",
    "https://a.b.shop.example",
    // The page's own server: the `Host` of these requests.
    "http://localhost",
];

const FOREIGN: [&str; 18] = [
    "null",
    "",
    "file://",
    "https://evil.example",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://sub.app.example.com",
    "https://app.example.com.evil.example",
    "https://evilapp.example.com",
    "https://app.example.com@evil.example",
    "https://evil.example/app.example.com",
    "https://evil.example#.shop.example",
    "https://shop.example",
    "https://.shop.example",
    "https://badshop.example",
    "https://*.shop.example",
    "http://a.shop.example",
    "app.example.com",
];

fn upgrade(world: &World, origin: &str) -> String {
    let mut wire = world.dial();
    wire.raw(format!("{}Origin: {origin}\r\n\r\n", upgrade_lines("/ws")).as_bytes());
    wire.read_head();
    wire.status().to_owned()
}

fn preflight(world: &World, path: &str, origin: &str) -> String {
    let lines = format!(
        "Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n"
    );
    world.http("OPTIONS", path, &lines, "").0
}

fn ticket(world: &World, origin: &str) -> (String, String) {
    let ann = token(Some("ann"), &json!({}));
    world.http("POST", "/ticket", &format!("Authorization: Bearer {ann}\r\nOrigin: {origin}\r\n"), "")
}

#[test]
fn who_is_listed_may_connect_ask_and_read() {
    let world = world();
    for origin in ADMITTED {
        assert_eq!(upgrade(&world, origin), "101", "{origin}");
        let head = preflight(&world, "/ticket", origin);
        assert!(head.starts_with("http/1.1 204"), "{origin}: {head}");
        for line in [
            format!("access-control-allow-origin: {}\r\n", origin.to_ascii_lowercase()),
            "access-control-allow-methods: post\r\n".to_owned(),
            "access-control-allow-headers: authorization, content-type\r\n".to_owned(),
            "vary: origin\r\n".to_owned(),
        ] {
            assert!(head.contains(&line), "{origin}: {line} in {head}");
        }
        assert!(!head.contains("credentials"), "{head}");
        let (head, body) = ticket(&world, origin);
        assert!(head.starts_with("http/1.1 200") && body.contains("\"ticket\""), "{origin}: {head}");
        assert!(head.contains("access-control-allow-origin: ") && !head.contains("credentials"), "{head}");
    }
    // A page that may ask may read why it was refused, and a ticket of its opens what it is for.
    let (head, _) = world.http("POST", "/ticket", "Origin: https://app.example.com\r\n", "");
    assert!(head.starts_with("http/1.1 401") && head.contains("access-control-allow-origin: "), "{head}");
    let (_, body) = ticket(&world, "https://app.example.com");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let mut peer = world.open(&format!("/ws?ticket={}", body["ticket"].as_str().unwrap()));
    peer.send(Opcode::Text, br#"{"type":"connect","id":1}"#);
    assert_eq!(peer.json()["user"], "ann");
}

#[test]
fn who_is_not_listed_may_nothing_of_it() {
    let world = world();
    for origin in FOREIGN {
        assert_eq!(upgrade(&world, origin), "403", "{origin}");
        for head in [preflight(&world, "/ticket", origin), ticket(&world, origin).0] {
            assert!(head.starts_with("http/1.1 403"), "{origin}: {head}");
            assert!(!head.contains("access-control"), "{origin}: {head}");
        }
    }
    let lines = "Origin: https://app.example.com\r\nOrigin: https://app.example.com\r\n";
    assert!(world.http("POST", "/ticket", lines, "").0.starts_with("http/1.1 403"), "two are none");
}

#[test]
fn no_page_of_another_origin_may_use_anything_else() {
    let world = world();
    for path in ["/api/publish", "/api/openapi.json", "/metrics", "/stats", "/health", "/nothing"] {
        let head = preflight(&world, path, "https://app.example.com");
        assert!(!head.contains("access-control"), "{path}: {head}");
        assert!(head.starts_with("http/1.1 4"), "{path}: {head}");
    }
    // Without the question of a browser it is a method that the address does not have.
    let (head, _) = world.http("OPTIONS", "/ticket", "", "");
    assert!(head.starts_with("http/1.1 405") && head.contains("allow: post"), "{head}");
}
