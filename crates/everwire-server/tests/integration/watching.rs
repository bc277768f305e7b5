//! What watches the server is told the truth: whether it lives, whether messages flow, and in numbers.

use serde_json::Value;

use crate::world::{KEY, World, until, world, world_with};

#[test]
fn a_server_lives_and_messages_flow() {
    let world = world();
    for path in ["/health", "/ready"] {
        let (head, body) = world.http("GET", path, "", "");
        assert!(head.starts_with("http/1.1 200") && head.contains("application/json"), "{path}: {head}");
        assert!(head.contains("cache-control: no-store"), "{path}: {head}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["status"], "ok", "{path}: {body}");
        let (head, body) = world.http("HEAD", path, "", "");
        assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{path}: {head}{body}");
        assert!(world.http("POST", path, "", "").0.starts_with("http/1.1 405"), "{path}");
    }
    let ready: Value = serde_json::from_str(&world.http("GET", "/ready", "", "").1).unwrap();
    assert_eq!((&ready["checks"]["broker"], &ready["checks"]["shards"]), (&"ok".into(), &"ok".into()));
}

/// A thousand who ask are one message.
#[test]
fn who_asks_often_gets_the_same_answer() {
    let world = world();
    let begun = std::time::Instant::now();
    for _ in 0..50 {
        assert!(world.http("GET", "/ready", "", "").0.starts_with("http/1.1 200"));
    }
    let most = u64::try_from(begun.elapsed().as_millis()).unwrap() / 1_000 + 1;
    let asked = world.came_back();
    assert!((1..=most).contains(&asked), "{asked} messages, {most} at most");
}

/// Who does nothing any more is seen by what does not come back, and at last by its silence.
#[test]
fn a_shard_that_hangs_is_named() {
    let world = world();
    world.end_shard(1);
    let said = |path: &str, words: &str| {
        let (head, body) = world.http("GET", path, "", "");
        head.starts_with("http/1.1 503") && body.contains("\"failing\"") && body.contains(words)
    };
    until("messages do not flow", || said("/ready", "no message came back from shard 1 within 1000 ms"));
    until("it hangs", || said("/health", "shard 1 has done nothing for "));
}

/// The channel by which the node listens to itself is nobody else's.
#[test]
fn no_client_can_name_the_channel_of_the_node() {
    let world = world();
    let mut client = world.session();
    for verb in ["subscribe", "unsubscribe", "presence", "history"] {
        let answer = client.ask(&format!(r#"{{"type":"{verb}","id":2,"channel":"\u0001loopback"}}"#));
        assert_eq!(answer["type"], "error", "{verb}: {answer}");
    }
    let answer = client.ask(r#"{"type":"publish","id":3,"channel":"\u0001loopback","data":7}"#);
    assert_eq!(answer["code"], "bad_channel_name", "{answer}");
    assert!(world.http("GET", "/ready", "", "").0.starts_with("http/1.1 200"));
}

fn metrics(world: &World) -> String {
    let (head, text) = world.http("GET", "/metrics", "", "");
    assert!(head.starts_with("http/1.1 200") && head.contains("application/openmetrics-text"), "{head}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    text
}

/// The value of a sample, its labels included.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().unwrap()
}

#[test]
fn what_happens_is_counted() {
    let world = world();
    let fresh = metrics(&world);
    assert_eq!((value(&fresh, "everwire_sessions"), value(&fresh, "everwire_subscriptions")), (0.0, 0.0));
    let (mut ann, mut ben) = (world.session(), world.session());
    for client in [&mut ann, &mut ben] {
        assert_eq!(client.ask(r#"{"type":"subscribe","id":2,"channel":"news"}"#)["type"], "subscribed");
    }
    assert_eq!(ann.ask(r#"{"type":"history","id":3,"channel":"a b"}"#)["code"], "bad_channel_name");
    for number in 0..10 {
        let body = format!(r#"{{"channel":"news","data":{number}}}"#);
        world.http("POST", "/api/publish", "Content-Type: application/json\r\n", &body);
        assert_eq!((&ann.json()["data"], &ben.json()["data"]), (&number.into(), &number.into()));
    }
    // Two `connect`, two `subscribe`, one refusal, each answered, and ten messages to each.
    let counted = |text: &str| value(text, "everwire_messages_out_total") >= 25.0;
    until("the shards told their figures", || counted(&metrics(&world)));
    let text = metrics(&world);
    for (sample, expected) in [
        ("everwire_connections", 2.0),
        ("everwire_sessions", 2.0),
        ("everwire_subscriptions", 2.0),
        ("everwire_channels", 1.0),
        ("everwire_messages_in_total", 5.0),
        ("everwire_messages_out_total", 25.0),
        ("everwire_publishes_total", 10.0),
        ("everwire_outbox_bytes", 0.0),
        ("everwire_slow_consumers_total", 0.0),
        ("everwire_command_errors_total{code=\"bad_channel_name\"}", 1.0),
        ("everwire_command_errors_total{code=\"overloaded\"}", 0.0),
        ("everwire_shards", 2.0),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
    assert!(value(&text, "everwire_bytes_in_total") > 5.0 * 20.0, "{text}");
    assert!(value(&text, "everwire_bytes_out_total") > 25.0 * 20.0, "{text}");
    assert!(value(&text, "everwire_turn_seconds_count") >= 4.0, "{text}");
    assert!(value(&text, "process_cpu_seconds_total") > 0.0 && value(&text, "process_open_fds") > 2.0);
    assert!(value(&text, "process_resident_memory_bytes") > 1e6, "{text}");
    for secret in ["news", "a b", KEY] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn a_recovery_a_refused_request_and_an_end_are_counted() {
    let world = world();
    let mut client = world.session();
    let wrong = "Content-Type: application/json\r\nX-API-Key: guess\r\n";
    assert!(world.http("POST", "/api/publish", wrong, "{}").0.starts_with("http/1.1 401"));
    for channel in ["a", "b"] {
        let lost = r#"{"type":"subscribe","id":2,"since":{"epoch":"gone","offset":0},"channel":"CHANNEL"}"#;
        assert_eq!(client.ask(&lost.replace("CHANNEL", channel))["recovered"], false);
        assert_eq!(client.json()["type"], "gap");
    }
    drop(client);
    world.until_empty();
    let told = |sample: &str, expected: f64| until(sample, || value(&metrics(&world), sample) == expected);
    told("everwire_recoveries_total{result=\"lost\"}", 2.0);
    told("everwire_recoveries_total{result=\"whole\"}", 0.0);
    told("everwire_gaps_total", 2.0);
    told("everwire_command_errors_total{code=\"unauthorized\"}", 1.0);
    told("everwire_sessions", 0.0);
    told("everwire_subscriptions", 0.0);
}

#[test]
fn numbers_are_for_whoever_has_a_key() {
    let closed = world_with(|config| config.mode = everwire_server::config::Mode::Serve);
    let status = |world: &World, lines: &str| {
        let (head, body) = world.http("GET", "/metrics", lines, "");
        assert_eq!(head.starts_with("http/1.1 200"), body.contains("everwire_connections"), "{head}");
        head.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status(&closed, ""), "401");
    assert_eq!(status(&closed, "Authorization: Bearer guess\r\n"), "401");
    assert_eq!(status(&closed, &format!("Authorization: Bearer {KEY}\r\n")), "200");
    let open = world_with(|config| {
        config.mode = everwire_server::config::Mode::Serve;
        config.metrics_open = true;
    });
    assert_eq!(status(&open, ""), "200");
}

/// The words of a text that are names of metrics.
fn named(text: &str) -> std::collections::BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("everwire_") || word.starts_with("process_")).collect()
}

#[test]
fn dashboard_and_alerts_name_metrics_that_there_are() {
    let text = metrics(&world());
    let there: std::collections::BTreeSet<_> =
        text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split(['{', ' ']).next()).collect();
    let grafana = include_str!("../../../../deploy/grafana.json");
    let dashboard: Value = serde_json::from_str(grafana).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 12);
    for (file, text) in
        [("grafana.json", grafana), ("alerts.yml", include_str!("../../../../deploy/alerts.yml"))]
    {
        let names = named(text);
        assert!(names.len() >= 5, "{file} names {names:?}");
        for name in names {
            assert!(there.contains(name), "{file} names {name}, which is not in /metrics");
        }
    }
}

/// The page has a line for each metric, with its type and its meaning, and no other one.
#[test]
fn the_page_of_metrics_is_complete() {
    let text = metrics(&world());
    let of = |start: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(start)?.split_once(' '));
        lines.map(|(name, words)| (name.to_owned(), words.to_owned())).collect::<Vec<_>>()
    };
    let rows: Vec<_> = of("# HELP ")
        .into_iter()
        .zip(of("# TYPE "))
        .map(|((name, help), (_, kind))| format!("| `{name}` | {kind} | {} |", help.trim_end_matches('.')))
        .collect();
    let page = include_str!("../../../../docs/metrics.md");
    let (_, numbers) = page.split_once("## The numbers").unwrap();
    let written: Vec<_> = numbers.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(written, rows, "docs/metrics.md should have these rows:\n{}", rows.join("\n"));
}
