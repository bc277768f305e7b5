//! Who is let in, from the accept on: an address that does too much is stopped, and others are not for its sake.

use std::time::{Duration, Instant};

use everwire_client::Message;
use everwire_server::config::Config;
use serde_json::{Value, json};

use crate::guarded::{self, token};
use crate::pki::Pair;
use crate::sealed::Sealed;
use crate::wire::{Heard, Wire, upgrade_lines};
use crate::world::{World, served, until, world_with};

const HERE: [u8; 2] = [0, 1];

fn upgrade(wire: &mut Wire, path: &str, lines: &str) -> String {
    wire.raw(format!("{}{lines}\r\n", upgrade_lines(path)).as_bytes());
    wire.read_head();
    wire.status().to_owned()
}

/// Asks for an upgrade from this address; the status, and the connection.
fn knock(world: &World, from: [u8; 2], path: &str) -> (String, Wire) {
    let mut wire = Wire::dial_from(from, world.addr());
    (upgrade(&mut wire, path, ""), wire)
}

/// A number, as it is told to somebody at another address.
fn metric(world: &World, sample: &str) -> f64 {
    let mut wire = Wire::dial_from([9, 9], world.addr());
    wire.raw(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let text = String::from_utf8(wire.read_to_end()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().unwrap()
}

fn refused(world: &World, reason: &str) -> f64 {
    metric(world, &format!("everwire_refused_connections_total{{reason=\"{reason}\"}}"))
}

#[test]
fn an_address_at_its_limit_takes_nothing_of_what_all_share() {
    let world = world_with(|config| {
        (config.shards, config.handshakes_per_second) = (1, 50);
        config.limits.address_connections = 1;
    });
    let (_, _first) = knock(&world, HERE, "/ws");
    for _ in 0..200 {
        let mut wire = Wire::dial_from(HERE, world.addr());
        wire.raw(format!("{}\r\n", upgrade_lines("/ws")).as_bytes());
        // One of those beyond what is answered at a time is closed without a word.
        assert!(!wire.has_head() || wire.status() == "429", "{}", wire.head);
    }
    let others: Vec<_> = (1..=40).map(|host| knock(&world, [1, host], "/ws")).collect();
    assert!(others.iter().all(|(status, _)| status == "101"), "nobody else is locked out");
    assert!(refused(&world, "address") >= 200.0);
    assert_eq!(refused(&world, "handshakes"), 0.0);
}

/// Also what is refused for its own sake costs the address alone.
#[test]
fn an_address_has_so_many_handshakes() {
    let world = world_with(|config| {
        (config.shards, config.handshakes_per_second) = (1, 4);
        let limits = &mut config.limits;
        (limits.address_handshakes_per_second, limits.address_handshakes_burst) = (1, 3);
    });
    let begun = Instant::now();
    let all: Vec<_> = (0..20).map(|_| knock(&world, HERE, "/ws?token=x")).collect();
    let most = 4 + begun.elapsed().as_secs();
    let read = all.iter().filter(|(status, _)| status == "400").count() as u64;
    assert!((3..=most).contains(&read), "{read} of 20 were read");
    let (_, mut late) = all.into_iter().find(|(status, _)| status == "429").unwrap();
    let error: Value = serde_json::from_str(&late.read_body()).unwrap();
    assert_eq!(error["code"], "rate_limited", "{error}");
    let ms = error["retry_after_ms"].as_u64().unwrap();
    assert!((1_000..5_000).contains(&ms), "{ms}");
    for host in 1..=4 {
        assert_eq!(knock(&world, [1, host], "/ws").0, "101", "what was refused is none of the server's");
    }
    assert!(refused(&world, "address_handshakes") >= 1.0);
}

fn is_open(wire: &mut Wire) -> bool {
    wire.listen(Duration::from_millis(1)) == Heard::Nothing
}

#[test]
fn who_says_nothing_is_counted_too() {
    let world = world_with(|config| {
        (config.limits.address_connections, config.handshake_ms) = (5, 60_000);
    });
    let mut silent: Vec<_> = (0..5).map(|_| Wire::dial_from(HERE, world.addr())).collect();
    until("all are counted", || world.waiting() == 5 && world.addresses() == 1);
    let more: Vec<_> = (0..150).map(|_| Wire::dial_from(HERE, world.addr())).collect();
    for mut wire in more {
        let said = String::from_utf8(wire.read_to_end()).unwrap();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    }
    assert!(silent.iter_mut().all(is_open), "those within the limit have their time");
    assert_eq!(metric(&world, "everwire_http_connections"), 6.0, "and who asks");
    assert_eq!(knock(&world, [0, 2], "/ws").0, "101");
    // An answered connection that is kept is one of them.
    for wire in &mut silent {
        wire.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        wire.read_head();
        wire.read_body();
    }
    assert_eq!(knock(&world, HERE, "/ws").0, "429");
    let mut first = silent.remove(0);
    assert_eq!(upgrade(&mut first, "/echo", ""), "101", "and becomes a WebSocket in its place");
    assert_eq!(knock(&world, HERE, "/ws").0, "429");
    drop((silent, first));
    until("their places are free", || knock(&world, HERE, "/ws").0 == "101");
}

#[test]
fn what_is_no_websocket_is_bounded_and_websockets_are_not_for_its_sake() {
    let world = world_with(|config| (config.http_connections, config.handshake_ms) = (6, 60_000));
    let mut echo = world.open("/echo");
    until("it is a WebSocket", || world.waiting() == 0);
    let three = |host| (0..3).map(|_| Wire::dial_from([0, host], world.addr())).collect::<Vec<_>>();
    let mut silent = three(2);
    until("they are counted", || world.waiting() == 3);
    assert_eq!(knock(&world, [0, 2], "/ws").0, "429", "an address has half of them");
    until("it is gone", || world.waiting() == 3);
    silent.extend(three(3));
    until("they are counted", || world.waiting() == 6);
    let mut late = Wire::dial_from([0, 4], world.addr());
    late.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    late.read_head();
    assert_eq!((late.status(), late.header("retry-after")), ("503", Some("2")));
    echo.text("still here");
    assert_eq!(echo.next(), Some(Message::Text("Server received: still here".to_owned())));
    assert!(silent.iter_mut().all(is_open));
    drop(silent);
    until("there is room again", || {
        let mut wire = Wire::dial_from([0, 4], world.addr());
        wire.raw(format!("{}\r\n", upgrade_lines("/ws")).as_bytes());
        wire.has_head() && wire.status() == "101"
    });
    assert!(refused(&world, "http") >= 1.0);
}

/// A server with TLS, and who shakes hands with it.
fn sealed(change: impl FnOnce(&mut Config)) -> (World, impl Fn(&World, [u8; 2]) -> bool) {
    let pair = Pair::new();
    let world = world_with(|config| {
        config.tls = Some(pair.files());
        change(config);
    });
    let shake = move |world: &World, from| {
        let wire = Wire::dial_from(from, world.addr());
        Sealed::over(wire.stream, &pair.client()).shake_hands().is_ok()
    };
    (world, shake)
}

#[test]
fn handshakes_of_tls_are_counted_before_they_begin() {
    for (node, address) in [(2, 1_000), (1_000, 2)] {
        let (world, shake) = sealed(|config| {
            (config.shards, config.handshakes_per_second) = (1, node);
            let limits = &mut config.limits;
            (limits.address_handshakes_per_second, limits.address_handshakes_burst) = (address, address);
        });
        let begun = Instant::now();
        let shaken = (0..30).filter(|_| shake(&world, HERE)).count() as u64;
        let most = 2 * (2 + begun.elapsed().as_secs());
        assert!((2..=most).contains(&shaken), "{shaken} of 30, {most} at most");
        if node > address {
            assert!(shake(&world, [0, 2]), "others have their own");
        }
    }
}

#[test]
fn over_tls_an_upgrade_costs_no_second_handshake_and_a_crowd_is_closed() {
    let pair = Pair::new();
    let world = world_with(|config| {
        config.tls = Some(pair.files());
        config.limits.address_connections = 2;
        (config.limits.address_handshakes_per_second, config.limits.address_handshakes_burst) = (1, 2);
    });
    let first = Sealed::session(world.addr(), &pair.client());
    let _second = Sealed::session(world.addr(), &pair.client());
    assert!(Sealed::dial(world.addr(), &pair.client()).shake_hands().is_err());
    drop(first);
}

fn behind(change: impl FnOnce(&mut Config)) -> World {
    world_with(|config| {
        config.proxies.trusted = vec!["127.0.0.1".parse().unwrap()];
        config.limits.address_connections = 1;
        change(config);
    })
}

/// Whom a proxy brings is told by each request; its own address is nobody's.
#[test]
fn the_connections_of_a_proxy_are_counted_for_its_clients() {
    let world = behind(|config| config.handshake_ms = 60_000);
    let mut silent: Vec<_> = (0..50).map(|_| world.dial()).collect();
    let mut first = world.dial();
    assert_eq!(upgrade(&mut first, "/ws", "X-Forwarded-For: 203.0.113.9\r\n"), "101");
    let mut second = world.dial();
    assert_eq!(upgrade(&mut second, "/ws", "X-Forwarded-For: 203.0.113.9\r\n"), "429");
    let mut other = world.dial();
    assert_eq!(upgrade(&mut other, "/ws", "X-Forwarded-For: 203.0.113.10\r\n"), "101");
    assert!(silent.iter_mut().all(is_open));
}

#[test]
fn with_a_header_of_the_proxy_protocol_a_client_is_counted_from_it_on() {
    let world = behind(|config| config.proxies.protocol = true);
    let from = |host: u8| {
        let mut wire = world.dial();
        let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71";
        wire.raw(&[&head[..], &[host, 127, 0, 0, 1, 0x30, 0x39, 0, 80]].concat());
        wire
    };
    let mut silent = from(9);
    until("it is counted", || world.addresses() == 1);
    assert_eq!(upgrade(&mut from(9), "/ws", ""), "429");
    assert_eq!(upgrade(&mut from(10), "/ws", ""), "101");
    assert_eq!(upgrade(&mut silent, "/ws", ""), "101");
}

/// A refused token is counted wherever it is refused, or nobody would see who tries them out.
#[test]
fn refused_tokens_are_counted_at_every_door() {
    let world = world_with(|to| {
        *to = served(&guarded::config());
        to.metrics_open = true;
    });
    let refusals = |expected: f64| {
        let sample = "everwire_command_errors_total{code=\"token_invalid\"}";
        assert_eq!(metric(&world, sample), expected);
    };
    let ask = |token: &str| {
        let (head, _) = world.http("POST", "/ticket", &format!("Authorization: Bearer {token}\r\n"), "");
        head.split(' ').nth(1).unwrap().to_owned()
    };
    refusals(0.0);
    for bad in ["x", "a.b.c", "e30.e30.e30"] {
        assert_eq!(ask(bad), "401");
    }
    refusals(3.0);
    assert_eq!(knock(&world, HERE, "/ws?ticket=AAAAAAAAAAAAAAAAAAAAAA").0, "401");
    refusals(4.0);
    assert_eq!(guarded::connect(&world, "a.b.c").1["code"], "token_invalid");
    refusals(5.0);
    assert_eq!(ask(&token(Some("ann"), &json!({}))), "200");
    refusals(5.0);
}

#[test]
fn tickets_have_the_rate_of_handshakes() {
    let world = world_with(|to| {
        *to = served(&guarded::config());
        (to.limits.address_handshakes_per_second, to.limits.address_handshakes_burst) = (1, 2);
    });
    let ask = || world.http("POST", "/ticket", "Authorization: Bearer x\r\n", "").0;
    assert!(ask().starts_with("http/1.1 401"));
    let refused = (0..50).map(|_| ask()).find(|head| !head.starts_with("http/1.1 401")).unwrap();
    assert!(refused.starts_with("http/1.1 429") && refused.contains("retry-after: "), "{refused}");
}
