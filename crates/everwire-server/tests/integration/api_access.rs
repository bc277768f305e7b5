//! Who may ask the API for what, and what becomes of bodies that nobody should send.

use everwire_proto::api::{Grant, Spec, Verb};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::guarded::{JSON, config};
use crate::world::{KEY, World, served, world_with};

/// Keys for each right alone, and one without any.
fn world() -> World {
    let mut keys = format!("api_keys = [\"{KEY}\", {{ key = \"{}\", rights = [] }}", key_of("nothing"));
    for grant in Grant::ALL {
        keys.push_str(&format!(
            ", {{ key = \"{}\", rights = [{:?}] }}",
            key_of(grant.as_str()),
            grant.as_str()
        ));
    }
    let chat = "{ key = \"for-the-chat-alone-0\", channels = [\"open:chat*\"] }";
    let text = config().replace(&format!("api_keys = [\"{KEY}\"]"), &format!("{keys}, {chat}]"));
    world_with(|to| *to = served(&text))
}

fn key_of(right: &str) -> String {
    format!("the-key-of-{right:-<16}")
}

/// What each verb is asked at least. A verb without a line here does not compile.
fn good(verb: Verb) -> Value {
    match verb {
        Verb::Publish => json!({ "channel": "open:1", "data": 1 }),
        Verb::Broadcast => json!({ "channels": ["open:1", "open:2"], "data": 1 }),
        Verb::Batch => json!({ "publications": [{ "channel": "open:1", "data": 1 }] }),
        Verb::History | Verb::HistoryClear | Verb::Presence | Verb::PresenceStats => {
            json!({ "channel": "open:1" })
        }
        Verb::Channels | Verb::Connections | Verb::Info => json!({}),
        Verb::Subscribe | Verb::Unsubscribe => json!({ "user": "nobody", "channel": "open:1" }),
        Verb::Disconnect | Verb::Revoke => json!({ "user": "nobody" }),
        Verb::Refresh => json!({ "user": "nobody", "expires_at": 1 }),
        Verb::Explain => json!({ "channel": "open:1", "action": "publish" }),
    }
}

fn specs() -> impl Iterator<Item = &'static Spec> {
    Verb::ALL.iter().map(|verb| verb.spec())
}

#[test]
fn every_verb_wants_a_key_that_has_its_right() {
    let world = world();
    let backend = Backend::of(&world);
    // And the log's level, which is in no table.
    assert_eq!(backend.verbs().len(), Verb::ALL.len() + 1);
    for spec in specs() {
        let body = good(spec.verb).to_string();
        let own = key_of(spec.grant.as_str());
        let others = Grant::ALL.iter().find(|grant| **grant != spec.grant).unwrap();
        for (lines, status, told) in [
            (String::new(), 401, "an API key is needed"),
            ("X-API-Key: guess\r\n".to_owned(), 401, "not known here"),
            ("Authorization: Bearer guess\r\n".to_owned(), 401, "not known here"),
            (format!("Authorization: Basic {KEY}\r\n"), 401, "an API key is needed"),
            (format!("X-API-Key: {KEY}x\r\n"), 401, "not known here"),
            (format!("X-API-Key: {}\r\n", key_of("nothing")), 403, spec.grant.as_str()),
            (format!("X-API-Key: {}\r\n", key_of(others.as_str())), 403, spec.grant.as_str()),
            (format!("X-API-Key: {own}\r\n"), 200, "type"),
            (format!("Authorization: Bearer {own}\r\n"), 200, "type"),
            (format!("authorization: bearer {KEY}\r\n"), 200, "type"),
        ] {
            let (got, answer) = backend.send_with(spec.name, &format!("{JSON}{lines}"), &body);
            assert_eq!(got, status, "{} {lines}: {answer}", spec.name);
            assert!(answer.to_string().contains(told), "{} {lines}: {answer}", spec.name);
        }
    }
}

#[test]
fn the_level_of_the_log_is_as_the_document_says() {
    let world = world();
    let backend = Backend::of(&world);
    let own = format!("X-API-Key: {}\r\n", key_of("log_level"));
    for (lines, body, status) in [
        (String::new(), r#"{"level":"info"}"#, 401),
        (format!("X-API-Key: {}\r\n", key_of("nothing")), r#"{"level":"info"}"#, 403),
        (own.clone(), r#"{"level":7}"#, 400),
        (own.clone(), "nothing", 400),
        (own.clone(), r#"{"level":"a=b=c"}"#, 400),
    ] {
        let (got, answer) = backend.send_with("log_level", &format!("{JSON}{lines}"), body);
        assert_eq!(got, status, "{lines} {body}: {answer}");
    }
    assert_eq!(backend.send_with("log_level", &own, r#"{"level":"info"}"#).0, 415);
}

#[test]
fn every_verb_refuses_what_it_can_not_read() {
    let world = world();
    let backend = Backend::of(&world);
    for spec in specs() {
        let mut unheard_of = good(spec.verb);
        unheard_of["unheard_of"] = json!({ "a": [1] });
        assert_eq!(backend.send(spec.name, &unheard_of.to_string()).0, 200, "{}", spec.name);
        for field in spec.fields {
            // `data` alone takes anything.
            let mut wrong = good(spec.verb);
            wrong[field.name] = json!([{ "no": "such" }]);
            let (status, answer) = backend.send(spec.name, &wrong.to_string());
            let wanted = if field.name == "data" { 200 } else { 400 };
            assert_eq!(status, wanted, "{} {}: {answer}", spec.name, field.name);
        }
        for malformed in ["", "{", "[]", "null", "7", "{\"channel\":}", "{} {}"] {
            let (status, answer) = backend.send(spec.name, malformed);
            assert_eq!((status, &answer["code"]), (400, &json!("bad_request")), "{} {malformed}", spec.name);
        }
        let lines = format!("Content-Type: text/plain\r\nX-API-Key: {KEY}\r\n");
        assert_eq!(backend.send_with(spec.name, &lines, "{}").0, 415, "{}", spec.name);
        let lines = format!("{JSON}X-API-Key: {KEY}\r\nOrigin: https://evil.example\r\n");
        assert_eq!(backend.send_with(spec.name, &lines, "{}").0, 403, "{}", spec.name);
        for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let (head, _) = world.http(method, &format!("/api/{}", spec.name), "", "");
            assert!(
                head.starts_with("http/1.1 405") && head.contains("allow: post"),
                "{}: {head}",
                spec.name
            );
        }
    }
}

#[test]
fn hostile_bodies_get_an_answer_and_nothing_else() {
    let text = config().replace("shards = 2\n", "shards = 2\napi = { items = 5, body_bytes = 65_536 }\n");
    let world = world_with(|to| *to = served(&text));
    let backend = Backend::of(&world);
    let list = |count: usize| format!("[{}\"open:1\"]", "\"open:1\",".repeat(count - 1));
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let fields: String = (0..1_025).map(|n| format!("\"f{n}\":0,")).collect();
    for (verb, body, status) in [
        ("broadcast", format!("{{\"channels\":{},\"data\":1}}", list(5)), 200),
        ("broadcast", format!("{{\"channels\":{},\"data\":1}}", list(6)), 413),
        ("broadcast", format!("{{\"channels\":{},\"data\":1}}", list(1_000)), 413),
        // More than the body may have.
        ("broadcast", format!("{{\"channels\":{},\"data\":1}}", list(20_000)), 413),
        ("batch", format!("{{\"publications\":[{}]}}", "{},".repeat(1_000)), 400),
        ("publish", format!("{{\"channel\":\"open:1\",\"data\":{}}}", deep(64)), 200),
        ("publish", format!("{{\"channel\":\"open:1\",\"data\":{}}}", deep(65)), 400),
        ("publish", format!("{{\"channel\":\"open:1\",\"data\":{}}}", deep(30_000)), 400),
        ("batch", format!("{{\"publications\":{}}}", deep(30_000)), 400),
        ("info", format!("{{{fields}\"z\":0}}"), 400),
        ("publish", format!("{{\"channel\":\"{}\",\"data\":1}}", "x".repeat(300)), 400),
        ("publish", format!("{{\"channel\":\"open:1\",\"data\":\"{}\"}}", "x".repeat(70_000)), 413),
        ("publish", format!("{{\"channel\":\"open:1\",\"data\":\"{}\"}}", "x".repeat(80_000)), 413),
        ("channels", "{\"limit\":1001}".to_owned(), 400),
        ("channels", "{\"after\":\"64-x\"}".to_owned(), 400),
        ("connections", "{\"after\":\"0\"}".to_owned(), 400),
        ("connections", "{\"after\":\"65536-0\"}".to_owned(), 400),
        ("connections", "{\"after\":\"9-0\"}".to_owned(), 200),
        ("connections", "{\"after\":\"0-4294967295\"}".to_owned(), 200),
        ("connections", "{\"channel\":\"a b\"}".to_owned(), 400),
        ("connections", "{\"client\":\"not 16 characters\"}".to_owned(), 400),
        ("disconnect", "{\"client\":\"!!!!!!!!!!!!!!!!\"}".to_owned(), 400),
    ] {
        let (got, answer) = backend.send(verb, &body);
        assert_eq!(got, status, "{verb} {}: {answer}", &body[..body.len().min(80)]);
        assert!(answer.to_string().len() < 2_000, "{verb}: an answer that grows with what was sent");
    }
    assert_eq!(backend.ask("info", &json!({}))["limits"]["items"], 5);
}

#[test]
fn a_key_for_some_channels_is_for_no_others() {
    let world = world();
    let all = Backend::of(&world);
    let chat = Backend::with_key(&world, "for-the-chat-alone-0");
    all.ask("broadcast", &json!({ "channels": ["open:chat1", "open:chat2", "open:other"], "data": 1 }));
    for spec in specs().filter(|spec| spec.field("channel").is_some()) {
        let mut body = good(spec.verb);
        for (channel, status) in [("open:chat1", 200), ("open:other", 403)] {
            body["channel"] = channel.into();
            let (got, answer) = chat.send(spec.name, &body.to_string());
            assert_eq!(got, status, "{} {channel}: {answer}", spec.name);
        }
    }
    assert_eq!(chat.refused("connections", &json!({})).0, 403);
    let names = chat.ask("channels", &json!({}))["channels"].as_array().unwrap().clone();
    assert_eq!(names.len(), 2, "{names:?}");
    let results = chat.ask("broadcast", &json!({ "channels": ["open:chat1", "open:other"], "data": 1 }));
    let results = results["results"].as_array().unwrap();
    assert_eq!(
        (&results[0]["type"], &results[1]["code"]),
        (&json!("published"), &json!("permission_denied"))
    );
    let publications =
        json!([{ "channel": "open:other", "data": 1 }, { "channel": "open:chat2", "data": 1 }]);
    let results = chat.ask("batch", &json!({ "publications": publications }));
    assert_eq!(results["results"][0]["code"], "permission_denied");
    assert_eq!(results["results"][1]["type"], "published");
}

#[test]
fn the_numbers_want_their_right_too() {
    let world = world();
    for (key, status) in [(key_of("metrics"), "200"), (key_of("info"), "403"), (KEY.to_owned(), "200")] {
        let (head, _) = world.http("GET", "/metrics", &format!("X-API-Key: {key}\r\n"), "");
        assert_eq!(head.split(' ').nth(1), Some(status), "{key}");
    }
    assert!(world.http("GET", "/metrics", "", "").0.starts_with("http/1.1 401"));
}

#[test]
fn an_api_with_a_listener_of_its_own_is_nowhere_else() {
    let text = config().replace("shards = 2\n", "shards = 2\napi = { listen = [\"127.0.0.1:0\"] }\n");
    let world = world_with(|to| *to = served(&text));
    let lines = format!("{JSON}X-API-Key: {KEY}\r\n");
    for (method, path) in [("POST", "/api/info"), ("POST", "/api/dance"), ("GET", "/api/openapi.json")] {
        let (head, error) = world.http(method, path, &lines, "{}");
        assert!(head.starts_with("http/1.1 404") && error.contains("unknown_type"), "{path}: {head}{error}");
    }
    let (head, answer) = World::http_at(world.api_addr(), "POST", "/api/info", &lines, "{}");
    assert!(head.starts_with("http/1.1 200") && answer.contains("\"type\":\"info\""), "{head}{answer}");
    let (head, _) = World::http_at(world.api_addr(), "GET", "/api/openapi.json", "", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(!world.http("GET", "/stats", "", "").1.contains("\"api\""), "it is not where the page is");
    // Everything else is where it was.
    assert!(world.http("GET", "/health", "", "").0.starts_with("http/1.1 200"));
}
