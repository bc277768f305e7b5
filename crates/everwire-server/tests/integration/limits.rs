//! Limits that are met before a session is, and those that a config gives a namespace.

use std::io::Write as _;
use std::time::{Duration, Instant};

use everwire_client::Message;
use everwire_proto::ws::Opcode;
use everwire_server::config::{Config, describe};
use serde_json::{Value, json};

use crate::guarded::{self, api, config, connect, session, token};
use crate::wire::{Wire, frame, upgrade_lines};
use crate::world::{World, served, until, world_with};

/// Asks for an upgrade; the connection, whose head is read.
fn knock(world: &World, path: &str) -> Wire {
    let mut wire = world.dial();
    wire.raw(format!("{}\r\n", upgrade_lines(path)).as_bytes());
    wire.read_head();
    wire
}

/// The error of a refusal, which must have this code and a time in both of its places.
fn refusal(wire: &mut Wire, code: &str) -> u64 {
    let error: Value = serde_json::from_str(&wire.read_body()).unwrap();
    assert_eq!((&error["type"], &error["code"]), (&"error".into(), &code.into()), "{error}");
    let ms = error["retry_after_ms"].as_u64().unwrap();
    let seconds: u64 = wire.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(seconds, ms.div_ceil(1_000), "{error}");
    ms
}

fn metric(world: &World, sample: &str) -> f64 {
    let (_, text) = world.http("GET", "/metrics", "", "");
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().unwrap()
}

#[test]
fn an_address_has_so_many_connections_and_no_more() {
    let world = world_with(|config| config.limits.address_connections = 2);
    let (first, echo) = (world.session(), world.open("/echo"));
    for path in ["/ws", "/echo", "/echo/raw"] {
        let mut third = knock(&world, path);
        assert_eq!(third.status(), "429", "{path}");
        assert_eq!(refusal(&mut third, "rate_limited"), 45_000);
    }
    assert!(
        world.http("GET", "/health", "", "").0.starts_with("http/1.1 200"),
        "one answer is there for all"
    );
    assert!(metric(&world, "everwire_refused_connections_total{reason=\"address\"}") >= 3.0);
    assert_eq!(metric(&world, "everwire_addresses"), 1.0);
    // What is not upgraded takes no place for long, and who leaves gives it back.
    first.reset();
    until("a place is free", || knock(&world, "/ws").status() == "101");
    drop(echo);
    world.until_empty();
    for _ in 0..5 {
        until("what was refused is gone", || knock(&world, "/ws?token=x").status() == "400");
    }
    until("there is room again", || knock(&world, "/ws").status() == "101");
}

#[test]
fn a_second_has_so_many_handshakes_and_no_more() {
    let world = world_with(|config| (config.shards, config.handshakes_per_second) = (1, 1));
    assert_eq!(knock(&world, "/ws").status(), "101");
    // One more fits in only if a second has passed meanwhile.
    let refused = (0..50).map(|_| knock(&world, "/ws")).find(|wire| wire.status() != "101");
    let mut refused = refused.expect("not more than one a second");
    assert_eq!(refused.status(), "503");
    let ms = refusal(&mut refused, "overloaded");
    assert!((1_000..5_000).contains(&ms), "{ms}");
    until("the next second", || knock(&world, "/ws").status() == "101");
    assert!(metric(&world, "everwire_refused_connections_total{reason=\"handshakes\"}") >= 1.0);
}

#[test]
fn a_user_has_so_many_connections_and_no_more() {
    let world = world_with(|to| {
        *to = served(&config());
        (to.limits.user_connections, to.metrics_open) = (1, true);
    });
    let ann = token(Some("ann"), &json!({}));
    let first = session(&world, &ann);
    let (mut second, error) = connect(&world, &ann);
    assert_eq!((&error["code"], &error["retryable"]), (&"rate_limited".into(), &true.into()), "{error}");
    let bye = second.json();
    assert_eq!((&bye["type"], &bye["reconnect"]), (&"bye".into(), &true.into()), "{bye}");
    assert_eq!(second.closed_with(), 1013);
    session(&world, &token(Some("ben"), &json!({})));
    first.reset();
    until("the place is free", || connect(&world, &ann).1["type"] == "connected");
    assert!(metric(&world, "everwire_refused_connections_total{reason=\"user\"}") >= 1.0);
}

/// What nobody answers is as much work as a command, and is read at the same rate.
#[test]
fn pongs_of_either_kind_and_pings_have_the_rate_of_commands() {
    let world = world_with(|config| {
        (config.limits.commands_per_second, config.limits.commands_burst) = (1_000, 10);
    });
    let command = frame(Opcode::Text, br#"{"type":"pong"}"#);
    for bytes in [command, frame(Opcode::Ping, b""), frame(Opcode::Pong, b"")] {
        let mut client = world.session();
        let begun = Instant::now();
        client.raw(&bytes.repeat(1_000));
        client.text(r#"{"type":"ping","id":2}"#);
        while !matches!(client.next(), Some(Message::Text(_))) {}
        assert!(begun.elapsed() >= Duration::from_millis(900), "after {:?}", begun.elapsed());
    }
    assert!(metric(&world, "everwire_pauses_total{bucket=\"connection\"}") >= 3.0);
}

#[test]
fn a_value_may_be_so_deep_and_no_deeper() {
    let world = world_with(|config| config.limits.json_depth = 8);
    let mut client = world.session();
    let deep = |depth: usize| {
        let value = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        serde_json::from_str::<Value>(&value).unwrap()
    };
    for (depth, taken) in [(8, true), (9, false)] {
        let publish = json!({ "type": "publish", "id": 2, "channel": "a", "data": deep(depth) });
        let backend = json!({ "channel": "a", "data": deep(depth) });
        for answer in [client.ask(&publish.to_string()), api(&world, "publish", &backend)] {
            if taken {
                assert_eq!(answer["type"], "published", "{answer}");
            } else {
                assert_eq!(answer["code"], "bad_request", "{answer}");
                assert!(answer["message"].as_str().unwrap().contains("nested deeper than 8"), "{answer}");
            }
        }
    }
    assert_eq!(metric(&world, "everwire_command_errors_total{code=\"bad_request\"}"), 2.0);
    for (value, good) in [(8, true), (256, true), (7, false), (257, false)] {
        let read = Config::read("f", &format!("[limits]\njson_depth = {value}\n"));
        assert_eq!(read.is_ok_and(|config| config.limits.json_depth == value), good, "{value}");
    }
}

/// What a limit is called in the config, and where the numbers show that it is met or near.
#[test]
fn every_limit_has_a_setting_and_a_number() {
    let world = world_with(|config| config.metrics_open = true);
    let settings = describe();
    for (paths, sample) in [
        (&["commands_per_second", "commands_burst"][..], "everwire_pauses_total{bucket=\"connection\"}"),
        (&["commands_per_second", "channels"], "everwire_pauses_total{bucket=\"subscribes\"}"),
        (&["publishes_per_second", "publishes_burst"], "everwire_pauses_total{bucket=\"publishes\"}"),
        (&["user_commands_per_second", "user_commands_burst"], "everwire_pauses_total{bucket=\"user\"}"),
        (
            &["address_commands_per_second", "address_commands_burst"],
            "everwire_pauses_total{bucket=\"address\"}",
        ),
        (&["user_connections"], "everwire_refused_connections_total{reason=\"user\"}"),
        (&["address_connections"], "everwire_refused_connections_total{reason=\"address\"}"),
        (
            &["address_handshakes_per_second", "address_handshakes_burst"],
            "everwire_refused_connections_total{reason=\"address_handshakes\"}",
        ),
        (&["node.http_connections"], "everwire_http_connections"),
        (&["channels"], "everwire_command_errors_total{code=\"limit_exceeded\"}"),
        (&["outbox_bytes"], "everwire_slow_consumers_total"),
        (&["message_bytes"], "everwire_closes_total{code=\"1009\"}"),
        (&["bad_commands"], "everwire_closes_total{code=\"1008\"}"),
        (&["json_depth"], "everwire_command_errors_total{code=\"bad_request\"}"),
        (&["node.handshakes_per_second"], "everwire_refused_connections_total{reason=\"handshakes\"}"),
        (&["node.outbox_bytes"], "everwire_relieved_outboxes_total"),
        (&["node.channels"], "everwire_channels"),
        (&["node.history_bytes"], "everwire_history_bytes"),
        (&["node.message_ids", "node.channel_message_ids"], "everwire_message_ids"),
        (&["node.pending_bytes"], "everwire_collapses_total"),
        (&["node.inbox_bytes"], "everwire_drops_total{reason=\"inbox_messages\"}"),
        (&["node.ended_sessions"], "everwire_seats"),
    ] {
        for path in paths {
            let path = if path.contains('.') { (*path).to_owned() } else { format!("limits.{path}") };
            let setting = settings.iter().find(|setting| setting.path == path);
            assert!(setting.is_some_and(|setting| !setting.default.is_empty()), "{path}");
        }
        assert!(metric(&world, sample) >= 0.0, "{sample}");
    }
    let (_, text) = world.http("GET", "/metrics", "", "");
    let mut names: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let many = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), many, "no number is told twice");
}

#[test]
fn a_token_of_a_channel_that_is_revoked_ends_its_subscription() {
    let world = guarded::guarded();
    let mut ann = session(&world, &token(Some("ann"), &json!({})));
    let one = |channel: &str, id: &str| token(Some("ann"), &json!({ "channel": channel, "jti": id }));
    for (channel, id) in [("token:1", "j1"), ("token:2", "j2")] {
        let ask = json!({ "type": "subscribe", "id": 2, "channel": channel, "token": one(channel, id) });
        assert_eq!(ann.ask(&ask.to_string())["type"], "subscribed");
    }
    assert_eq!(api(&world, "revoke", &json!({ "token_id": "j1" }))["type"], "revoked");
    let out = ann.json();
    assert_eq!((&out["type"], &out["channel"]), (&"unsubscribed".into(), &"token:1".into()), "{out}");
    assert_eq!((&out["code"], &out["resubscribe"]), (&"token_invalid".into(), &false.into()), "{out}");
    for (channel, data) in [("token:1", 1), ("token:2", 2)] {
        assert_eq!(api(&world, "publish", &json!({ "channel": channel, "data": data }))["type"], "published");
    }
    assert_eq!(ann.json()["data"], 2);
    let again = json!({ "type": "subscribe", "id": 3, "channel": "token:1", "token": one("token:1", "j1") });
    assert_eq!(ann.ask(&again.to_string())["code"], "token_invalid");
}

/// Nothing else happens: the shard wakes by itself when the rate allows the next message.
#[test]
fn a_subscription_with_a_rate_gets_the_newest_in_time() {
    let world = world_with(|config| config.shards = 1);
    let (mut reader, mut publisher) = (world.session(), world.session());
    let subscribe = r#"{"type":"subscribe","id":2,"channel":"a","max_rate":4}"#;
    assert_eq!(reader.ask(subscribe)["type"], "subscribed");
    let mut publish = |data: u64| {
        let command = json!({ "type": "publish", "id": 3, "channel": "a", "data": data }).to_string();
        assert_eq!(publisher.ask(&command)["type"], "published");
    };
    publish(0);
    assert_eq!(reader.json()["data"], 0);
    (1..=9).for_each(&mut publish);
    let mut seen = Vec::new();
    while seen.last() != Some(&9) {
        seen.push(reader.json()["data"].as_u64().unwrap());
    }
    assert!(seen.len() < 9 && seen.is_sorted(), "{seen:?}");
}

/// A file in a folder of its own, which is gone with it.
fn folder(name: &str, text: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("everwire-limits-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::File::create(dir.join("schema.json")).unwrap().write_all(text.as_bytes()).unwrap();
    dir
}

#[test]
fn what_is_published_must_fit_the_schema_of_its_namespace() {
    let schema = json!({
        "type": "object", "required": ["text"], "additionalProperties": false,
        "properties": { "text": { "type": "string", "maxLength": 10 } }
    });
    let dir = folder("fits", &schema.to_string());
    let file = dir.join("everwire.toml").display().to_string();
    let text = "listen = [\"127.0.0.1:0\"]\napi_keys = [\"0123456789abcdef\"]\n[history]\nstore = \"memory\"\n\
        [namespaces.chat]\nschema_file = \"schema.json\"\nhistory = {}\nmessages_per_second = 5\n\
        access = { subscribe = \"anyone\", publish = \"anyone\" }\n";
    let read = Config::read(&file, text);
    std::fs::remove_dir_all(&dir).unwrap();
    let world = world_with(|config| *config = read.unwrap());
    let mut client = world.session();
    let publish = |data: Value| json!({ "type": "publish", "id": 2, "channel": "chat:1", "data": data });
    let mut ask = |data: Value| client.ask(&publish(data).to_string());
    let error = ask(json!({ "text": "much too long" }));
    assert_eq!(error["code"], "bad_request", "{error}");
    let words = error["message"].as_str().unwrap();
    assert!(words.contains("at /text: ") && !words.contains("much too long"), "{words}");
    assert_eq!(ask(json!({ "text": "short" }))["position"]["offset"], 1);
    // The backend is held to it too, and to the rate of the channel.
    let refused = api(&world, "publish", &json!({ "channel": "chat:1", "data": { "texts": "short" } }));
    assert_eq!(refused["code"], "bad_request", "{refused}");
    let refused = api(&world, "publish", &json!({ "channel": "chat:1", "binary": "AAAA" }));
    assert_eq!(refused["code"], "bad_request", "{refused}");
    let body = json!({ "channel": "chat:1", "data": { "text": "short" } });
    let last = (0..50).map(|_| api(&world, "publish", &body)).find(|answer| answer["type"] != "published");
    assert_eq!(last.expect("5 at once and 5 a second")["code"], "rate_limited");
}

#[test]
fn a_schema_that_can_t_be_used_is_a_fault_of_the_config() {
    for (name, text, words) in [
        ("broken", "{", "is no JSON: "),
        ("wrong", r#"{"type":"nothing"}"#, "is no JSON Schema that can be used: "),
    ] {
        let dir = folder(name, text);
        let file = dir.join("f").display().to_string();
        let fault = Config::read(&file, "[namespaces.a]\nschema_file = \"schema.json\"\n").unwrap_err();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(fault.to_string().starts_with(&format!("{file}:2: namespaces.a.schema_file: ")), "{fault}");
        assert!(fault.to_string().contains(words), "{fault}");
    }
}

#[test]
fn the_limits_of_a_namespace_stand_in_its_config() {
    let text = "[limits]\nuser_connections = 3\naddress_commands_burst = 7\npublishes_per_second = 9\n\
        [node]\nmessage_ids = 11\noutbox_bytes = 1_000_000\nhandshakes_per_second = 13\n\
        [namespaces.a]\npresence_members = 5\necho = false\nmessages_per_second = 6\nconflate = \"symbol\"\n";
    let config = Config::read("f", text).unwrap();
    let limits = config.limits;
    assert_eq!((limits.user_connections, limits.address_commands_burst), (3, 7));
    assert_eq!((limits.publishes_per_second, config.handshakes_per_second), (9, 13));
    assert_eq!((config.node_limits.message_ids_in_all, config.node_limits.outbox_bytes), (11, 1_000_000));
    let options = config.namespaces.options_of("a:1").unwrap();
    assert_eq!((options.presence_members, options.echo, options.messages_per_second), (5, false, Some(6)));
    assert_eq!(options.conflate.as_deref(), Some("symbol"));
}
