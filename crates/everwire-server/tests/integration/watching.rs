//! What watches the server is told the truth: whether it lives, whether messages flow, and in numbers.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::guarded::{config, connect, token};
use crate::world::{KEY, World, served, until, world, world_with};

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

/// Who watches may have a listener of one's own, on which nothing else is.
#[test]
fn numbers_have_a_listener_of_their_own_where_they_are_told_to() {
    let world = world_with(|config| config.metrics_listen = vec!["127.0.0.1:0".parse().unwrap()]);
    let at = |addr, path: &str| {
        let (head, body) = World::http_at(addr, "GET", path, "", "");
        (head.split(' ').nth(1).unwrap().to_owned(), body)
    };
    let (status, text) = at(world.watch_addr(), "/metrics");
    assert!(status == "200" && text.contains("everwire_connections"), "{status} {text}");
    for path in ["/health", "/ready"] {
        assert_eq!((at(world.watch_addr(), path).0, at(world.addr(), path).0), ("200".into(), "200".into()));
    }
    assert_eq!(at(world.addr(), "/metrics").0, "404");
    for path in ["/", "/ws", "/stats", "/api/publish"] {
        assert_eq!(at(world.watch_addr(), path).0, "404", "{path}");
    }
}

/// Whatever clients say, no label comes of it: there are as many samples as before.
#[test]
fn labels_are_bounded() {
    let world = world();
    let samples = || {
        let text = metrics(&world);
        let names = text.lines().filter(|line| !line.starts_with('#'));
        names
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let before = samples();
    let mut client = world.session();
    for number in 0..100 {
        let channel = format!("space-{number}:room-{number}");
        client.ask(&format!(r#"{{"type":"subscribe","id":2,"channel":"{channel}"}}"#));
        if number < 10 {
            client.ask(&format!(r#"{{"type":"type-{number}","id":3}}"#));
        }
        world.http("GET", &format!("/path-{number}"), &format!("X-Label-{number}: 1\r\n"), "");
        let body = format!(r#"{{"user":"user-{number}","code":{}}}"#, 4_000 + number);
        world.http("POST", "/api/disconnect", "Content-Type: application/json\r\n", &body);
    }
    assert_eq!(samples(), before);
    assert!(before.len() < 250, "{}", before.len());
}

/// How long publishes and their delivery took is counted, once for each of them.
#[test]
fn latencies_are_counted() {
    let world = world();
    let (mut ann, mut ben) = (world.session(), world.session());
    ben.ask(r#"{"type":"subscribe","id":2,"channel":"news"}"#);
    for number in 0..10 {
        let answer = ann.ask(&format!(r#"{{"type":"publish","id":3,"channel":"news","data":{number}}}"#));
        assert_eq!((answer["type"].as_str(), ben.json()["data"].as_u64()), (Some("published"), Some(number)));
    }
    let counted = |name: &str| {
        let text = metrics(&world);
        let buckets: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("{name}_bucket{{le="))?.rsplit_once(' '))
            .map(|(_, count)| count.parse::<f64>().unwrap())
            .collect();
        assert!(
            buckets.is_sorted() && buckets.last() == Some(&value(&text, &format!("{name}_count"))),
            "{text}"
        );
        (value(&text, &format!("{name}_count")), value(&text, &format!("{name}_sum")))
    };
    until("publishes are counted", || counted("everwire_publish_seconds").0 >= 10.0);
    until("deliveries are counted", || counted("everwire_fanout_seconds").0 >= 10.0);
    for name in ["everwire_publish_seconds", "everwire_fanout_seconds"] {
        let (count, sum) = counted(name);
        assert!(count == 10.0 && sum > 0.0 && sum < 10.0, "{name}: {count}, {sum} s");
    }
}

/// A store that can't take messages is named, and it is no reason to restart.
#[test]
fn a_store_that_is_full_is_named() {
    let data = crate::durable::Data::new();
    let world = world_with(|config| {
        let (data, sync) = (data.path().to_owned(), everwire_brokers::disk::Sync::None);
        config.history = everwire_server::config::History::Disk { data, sync };
        config.history_max_bytes = 64 * 1024;
    });
    let ready = || world.http("GET", "/ready", "", "");
    assert!(ready().1.contains(r#""store":"ok""#), "{}", ready().1);
    let mut client = world.session();
    let publish = format!(r#"{{"type":"publish","id":2,"channel":"news","data":"{}"}}"#, "x".repeat(1_000));
    until("the store is full", || client.ask(&publish)["code"] == "overloaded");
    until("it is named", || {
        let (head, body) = ready();
        head.starts_with("http/1.1 503") && body.contains("max_bytes") && body.contains(r#""shards":"ok""#)
    });
    let text = metrics(&world);
    assert_eq!(value(&text, "everwire_store_refuses"), 1.0);
    assert!(
        value(&text, "everwire_store_bytes") >= 65_536.0
            && value(&text, "everwire_store_batches_total") > 1.0
    );
    assert!(client.ask(r#"{"type":"history","id":3,"channel":"news","limit":1}"#)["type"] == "history");
}

#[test]
fn users_are_counted_once_while_they_are_here() {
    let world = world_with(|to| {
        *to = served(&config());
        to.metrics_open = true;
    });
    let connect = |user: Option<&str>| connect(&world, &token(user, &json!({}))).0;
    let told = |users: f64| until("users are counted", || value(&metrics(&world), "everwire_users") == users);
    told(0.0);
    let (ann, again, ben) = (connect(Some("ann")), connect(Some("ann")), connect(Some("ben")));
    let anonymous = connect(None);
    told(2.0);
    drop((ann, anonymous));
    until("they have left", || world.connections() == 2);
    told(2.0);
    drop(again);
    told(1.0);
    drop(ben);
    told(0.0);
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
    let names: HashSet<_> = of("# TYPE ").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), rows.len(), "a name stands twice, and no reader of metrics takes the page");
    let page = include_str!("../../../../docs/metrics.md");
    let (_, numbers) = page.split_once("## The numbers").unwrap();
    let written: Vec<_> = numbers.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(written, rows, "docs/metrics.md should have these rows:\n{}", rows.join("\n"));
}
