//! Plain HTTP: the API and its refusals, pages, numbers, and heads that are too much.

use serde_json::Value;

use crate::world::{KEY, World, served, world, world_with};

const JSON: &str = "Content-Type: application/json\r\n";

fn api(world: &World, lines: &str, body: &str) -> (String, Value) {
    let (head, body) = world.http("POST", "/api/publish", lines, body);
    (head.split(' ').nth(1).unwrap().to_owned(), serde_json::from_str(&body).unwrap())
}

#[test]
fn a_publish_over_http_reaches_a_subscriber() {
    let world = world();
    let mut client = world.session();
    assert_eq!(client.ask(r#"{"type":"subscribe","id":2,"channel":"news"}"#)["type"], "subscribed");
    let (status, published) = api(&world, JSON, r#"{"channel":"news","data":{"hi":1}}"#);
    assert_eq!((status.as_str(), published["type"].as_str()), ("200", Some("published")));
    let message = client.json();
    assert_eq!((&message["data"]["hi"], &message["offset"]), (&1.into(), &published["position"]["offset"]));
    assert!(message["from"].is_null(), "the backend is nobody's client");
    let (_, history) = world.http("POST", "/api/history", JSON, r#"{"channel":"news"}"#);
    assert_eq!(serde_json::from_str::<Value>(&history).unwrap()["messages"][0]["data"]["hi"], 1);
    let (_, presence) = world.http("POST", "/api/presence", JSON, r#"{"channel":"news"}"#);
    assert_eq!(serde_json::from_str::<Value>(&presence).unwrap()["clients"], 1);
}

#[test]
fn each_bad_api_request_gets_its_code_and_status() {
    let world = world();
    let good = r#"{"channel":"news","data":1}"#;
    let large = format!(r#"{{"channel":"news","data":"{}"}}"#, "x".repeat(80_000));
    let foreign = format!("{JSON}Origin: https://evil.example\r\n");
    let wrong_key = format!("{JSON}X-API-Key: guess\r\n");
    for (lines, body, status, code) in [
        ("", good, "415", "bad_request"),
        ("Content-Type: text/plain\r\n", good, "415", "bad_request"),
        (&foreign, good, "403", "permission_denied"),
        (&wrong_key, good, "401", "unauthorized"),
        (JSON, "{", "400", "bad_request"),
        (JSON, r#"{"data":1}"#, "400", "bad_request"),
        (JSON, r#"{"channel":"a b","data":1}"#, "400", "bad_channel_name"),
        (JSON, &large, "413", "too_large"),
    ] {
        let (got, error) = api(&world, lines, body);
        assert_eq!((got.as_str(), error["code"].as_str()), (status, Some(code)), "{lines} {error}");
        assert_eq!(error["type"], "error");
    }
    let (head, error) =
        world.http("POST", "/api/presence", JSON, r#"{"channel":"news","after":"no page's"}"#);
    assert!(head.starts_with("http/1.1 400") && error.contains("`after` must be"), "{head}{error}");
    for verb in ["dance", "connect", "ping"] {
        let (head, error) = world.http("POST", &format!("/api/{verb}"), JSON, "{}");
        assert!(head.starts_with("http/1.1 400") && error.contains("unknown_type"), "{verb}: {head}{error}");
    }
}

/// Bodies that come otherwise than in one piece of the length that was announced.
#[test]
fn bodies_in_chunks_cut_or_refused_before_they_come() {
    let world = world();
    let post = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let good = r#"{"channel":"news","data":1}"#;
    let (half, rest) = good.split_at(10);
    let large = format!("{chunked}10000\r\n{0}\r\n10000\r\n{0}\r\n0\r\n\r\n", "x".repeat(65_536));
    for (body, status, code) in [
        (
            format!("{chunked}a\r\n{half}\r\n{:x};ext=1\r\n{rest}\r\n0\r\nTrailer: x\r\n\r\n", rest.len()),
            "200",
            "published",
        ),
        (format!("{chunked}zz\r\n{good}\r\n0\r\n\r\n"), "400", "bad_request"),
        (format!("{chunked}ffffffffffffffffff\r\n{good}\r\n0\r\n\r\n"), "400", "bad_request"),
        (large, "413", "too_large"),
        (format!("Content-Length: 80000\r\n\r\n{}", "x".repeat(80_000)), "413", "too_large"),
        ("Content-Length: 80000\r\nExpect: 100-continue\r\n\r\n".to_owned(), "413", "too_large"),
        (format!("Content-Length: 8388608\r\n\r\n{}", "x".repeat(60_000)), "413", "too_large"),
    ] {
        let mut wire = world.dial();
        wire.raw(format!("{post}{body}").as_bytes());
        wire.read_head();
        let shown = &body[..body.len().min(60)];
        assert_eq!(wire.status(), status, "{shown}");
        assert!(wire.read_body().contains(&format!("\"{code}\"")), "{shown}");
    }
    let mut wire = world.dial();
    wire.raw(format!("{post}Content-Length: 100\r\n\r\n{half}").as_bytes());
    wire.shut();
    // Nobody may be there to read an answer; whoever is, reads that it was cut off.
    assert!(!wire.has_head() || wire.status() == "400", "{}", wire.head);
}

/// The namespace's own limit, its permissions, and what it does not have.
#[test]
fn each_refusal_of_a_namespace() {
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\napi_keys = [\"{KEY}\"]\n[namespaces.small]\nmessage_bytes = 10\nhistory = {{}}\n\
         [namespaces.bare]\n"
    );
    let world = world_with(|config| *config = served(&text));
    let lines = format!("{JSON}X-API-Key: {KEY}\r\n");
    for (verb, body, status, code) in [
        ("publish", r#"{"channel":"small:1","data":"12345678"}"#, "200", "published"),
        ("publish", r#"{"channel":"small:1","data":"123456789"}"#, "413", "too_large"),
        ("publish", r#"{"channel":"other:1","data":1}"#, "404", "unknown_channel"),
        (
            "publish",
            r#"{"channel":"small:1","data":1,"message_id":"m","volatile":true}"#,
            "400",
            "bad_request",
        ),
        ("history", r#"{"channel":"bare:1"}"#, "409", "not_available"),
        ("presence", r#"{"channel":"bare:1"}"#, "409", "not_available"),
        (
            "history",
            r#"{"channel":"small:1","since":{"epoch":"gone","offset":0}}"#,
            "409",
            "unrecoverable_position",
        ),
    ] {
        let (head, answer) = world.http("POST", &format!("/api/{verb}"), &lines, body);
        assert_eq!(head.split(' ').nth(1), Some(status), "{verb} {body}: {answer}");
        assert!(answer.contains(&format!("\"{code}\"")), "{verb} {body}: {answer}");
    }
}

#[test]
fn serve_mode_wants_a_key_and_knows_no_channel() {
    let text = format!("listen = [\"127.0.0.1:0\"]\napi_keys = [\"{KEY}\"]\n[namespaces.chat]\n");
    let world = world_with(|config| *config = served(&text));
    let bearer = format!("{JSON}Authorization: Bearer {KEY}\r\n");
    let header = format!("{JSON}X-API-Key: {KEY}\r\n");
    assert_eq!(api(&world, JSON, r#"{"channel":"chat:1","data":1}"#).0, "401");
    for lines in [&bearer, &header] {
        assert_eq!(api(&world, lines, r#"{"channel":"chat:1","data":1}"#).0, "200");
    }
    let (status, error) = api(&world, &bearer, r#"{"channel":"news","data":1}"#);
    assert_eq!((status.as_str(), error["code"].as_str()), ("404", Some("unknown_channel")));
    let mut client = world.session();
    assert_eq!(client.ask(r#"{"type":"subscribe","id":2,"channel":"chat:1"}"#)["code"], "permission_denied");
    assert_eq!(client.ask(r#"{"type":"history","id":3,"channel":"news"}"#)["code"], "unknown_channel");
    assert!(world.http("GET", "/", "", "").0.starts_with("http/1.1 404"), "no pages unless switched on");
    let (_, stats) = world.http("GET", "/stats", "", "");
    assert!(!stats.contains(KEY));
    for absent in ["echo", "demo", "chat"] {
        assert!(stats.contains(&format!("\"{absent}\":false")), "{absent}: {stats}");
    }
    // How much there is to do is told to whoever has a key, and to nobody else.
    let with_key = world.http("GET", "/stats", &format!("X-API-Key: {KEY}\r\n"), "").1;
    for figure in ["uptime_ms", "connections", "channels", "messages"] {
        let figure = format!("\"{figure}\":");
        assert!(!stats.contains(&figure) && with_key.contains(&figure), "{figure}: {stats} {with_key}");
        assert!(!world.http("GET", "/stats", "X-API-Key: guess\r\n", "").1.contains(&figure), "{figure}");
    }
}

#[test]
fn the_key_is_shown_to_our_own_page_alone() {
    let world = world();
    let stats = |lines: &str| world.http("GET", "/stats", lines, "").1;
    assert!(stats("").contains(KEY));
    for there in ["echo", "demo", "chat"] {
        assert!(stats("").contains(&format!("\"{there}\":true")), "{there}");
    }
    assert!(stats("Origin: http://localhost\r\n").contains(KEY));
    assert!(!stats("Origin: https://evil.example\r\n").contains(KEY));
    for host in ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "[::1].evil"] {
        let mut rebound = world.dial();
        rebound.raw(format!("GET /stats HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(!String::from_utf8(rebound.read_to_end()).unwrap().contains(KEY), "{host}");
        let mut rebound = world.dial();
        let post =
            "Content-Type: application/json\r\nContent-Length: 27\r\n\r\n{\"channel\":\"news\",\"data\":1}";
        rebound.raw(format!("POST /api/publish HTTP/1.1\r\nHost: {host}\r\n{post}").as_bytes());
        rebound.read_head();
        assert!(matches!(rebound.status(), "401" | "400"), "{host}: {}", rebound.head);
    }
}

#[test]
fn pages_are_guarded_and_cached() {
    let world = world();
    for path in
        ["/", "/demos/echo", "/demos/chat", "/docs/errors", "/assets/everwire.css", "/sdk/everwire.js"]
    {
        let (head, body) = world.http("GET", path, "", "");
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        assert!(
            head.contains("content-security-policy: default-src 'self'") && head.contains("nosniff"),
            "{head}"
        );
        let tag = head.lines().find_map(|l| l.strip_prefix("etag: ")).unwrap();
        let (head, empty) = world.http("GET", path, &format!("If-None-Match: {tag}\r\n"), "");
        assert!(head.starts_with("http/1.1 304") && empty.is_empty() && !body.is_empty(), "{path}: {head}");
    }
}

#[test]
fn where_there_is_nothing_a_person_gets_a_page_and_a_program_an_error() {
    let world = world();
    let (head, page) = world.http("GET", "/nothing", "Accept: text/html,*/*;q=0.8\r\n", "");
    assert!(head.starts_with("http/1.1 404") && head.contains("text/html") && head.contains("vary: accept"));
    assert!(page.contains("There is nothing here.") && page.contains("href=\"/demos/chat\""), "{page}");
    let (head, error) = world.http("GET", "/nothing", "", "");
    assert!(head.starts_with("http/1.1 404") && head.contains("application/json"), "{head}");
    assert!(error.contains("there is nothing at this address"), "{error}");
    assert!(error.contains("\"unknown_type\""), "{error}");
    let (head, _) = world.http("POST", "/nothing", "Accept: text/html\r\n", "");
    assert!(head.starts_with("http/1.1 404") && head.contains("application/json"), "{head}");
}

#[test]
fn without_pages_the_client_and_the_table_of_errors_are_still_served() {
    let world = world_with(|config| config.pages = false);
    for path in ["/sdk/everwire.js", "/assets/everwire.css", "/docs/errors"] {
        assert!(world.http("GET", path, "", "").0.starts_with("http/1.1 200"), "{path}");
    }
    for path in ["/", "/demos/chat"] {
        let (head, page) = world.http("GET", path, "Accept: text/html\r\n", "");
        assert!(head.starts_with("http/1.1 404") && !page.contains("href=\"/demos"), "{path}: {page}");
    }
}
