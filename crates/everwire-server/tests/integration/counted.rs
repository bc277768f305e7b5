//! Numbers that nothing else reads: each is brought about once, and seen in `/metrics`.

use everwire_brokers::disk::Sync;
use everwire_proto::ws::Opcode;
use everwire_server::config::{Config, History};
use serde_json::json;

use crate::durable::Data;
use crate::guarded::{JSON, config, session, token};
use crate::peer::Peer;
use crate::world::{World, served, until, world, world_with};

/// A number. The shards tell theirs once a turn, so it is waited for.
fn told(world: &World, sample: &str) -> f64 {
    let (head, text) = world.http("GET", "/metrics", "", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().unwrap()
}

fn publish(client: &mut Peer, channel: &str, more: &str) {
    let command = format!(r#"{{"type":"publish","id":3,"channel":"{channel}","data":1{more}}}"#);
    let answer = client.ask(&command);
    assert_eq!(answer["type"], "published", "{channel}: {answer}");
}

const PING: &str = r#"{"type":"ping","id":9}"#;

#[test]
fn pauses_by_whose_bucket_was_empty() {
    type Limit = fn(&mut Config);
    let cases: [(&str, Limit); 4] = [
        ("connection", |c| (c.limits.commands_per_second, c.limits.commands_burst) = (10, 2)),
        ("publishes", |c| (c.limits.publishes_per_second, c.limits.publishes_burst) = (10, 1)),
        ("user", |c| (c.limits.user_commands_per_second, c.limits.user_commands_burst) = (10, 1)),
        ("address", |c| (c.limits.address_commands_per_second, c.limits.address_commands_burst) = (10, 1)),
    ];
    for (bucket, limit) in cases {
        let world = world_with(|to| {
            *to = served(&config());
            to.metrics_open = true;
            limit(to);
        });
        let mut ann = session(&world, &token(Some("ann"), &json!({})));
        for _ in 0..3 {
            assert_eq!(ann.ask(PING)["type"], "pong");
            publish(&mut ann, "open:1", "");
        }
        for other in ["connection", "subscribes", "publishes", "user", "address"] {
            let pauses = told(&world, &format!("everwire_pauses_total{{bucket=\"{other}\"}}"));
            assert_eq!(pauses > 0.0, other == bucket, "{other} of {bucket}: {pauses}");
        }
    }
}

#[test]
fn closes_by_their_code() {
    let world = world();
    let mut goodbye = world.session();
    goodbye.send(Opcode::Close, &1000u16.to_be_bytes());
    assert_eq!(goodbye.closed_with(), 1000);
    let mut wrong = world.session();
    wrong.send(Opcode::Binary, b"x");
    assert_eq!(wrong.closed_with(), 1003);
    for (code, closes) in [(1000, 1.0), (1003, 1.0), (1002, 0.0)] {
        assert_eq!(told(&world, &format!("everwire_closes_total{{code=\"{code}\"}}")), closes, "{code}");
    }
}

/// A reader that takes nothing, and a node whose outboxes may hold little together.
#[test]
fn what_is_left_out_of_an_outbox_and_why() {
    let world = world_with(|config| {
        (config.limits.commands_per_second, config.limits.commands_burst) = (1_000_000, 1_000_000);
        config.node_limits.outbox_bytes = 64 * 1024;
    });
    let (mut stuck, mut other) = (world.session(), world.session());
    let subscribe =
        |channel: &str| format!(r#"{{"type":"subscribe","id":2,"channel":"{channel}","presence":true}}"#);
    for channel in ["news", "room"] {
        stuck.text(&subscribe(channel));
        stuck.wait("subscribed");
    }
    other.text(&subscribe("room"));
    other.wait("subscribed");
    let pad = "x".repeat(60_000);
    let message = format!(r#"{{"type":"publish","id":3,"channel":"news","volatile":true,"data":"{pad}"}}"#);
    let pad = "x".repeat(1_000);
    let state = format!(r#"{{"type":"presence_update","id":3,"channel":"room","state":"{pad}"}}"#);
    let drops = |reason| format!("everwire_drops_total{{reason=\"{reason}\"}}");
    for (sample, command, answer) in [
        ("everwire_relieved_outboxes_total".to_owned(), &message, "published"),
        (drops("outbox_messages"), &message, "published"),
        (drops("outbox_presence"), &state, "presence_updated"),
    ] {
        until(&sample, || {
            other.text(command);
            other.wait(answer);
            told(&world, &sample) > 0.0
        });
    }
}

/// So little may wait for a channel that each message is too much.
#[test]
fn what_waits_for_a_channel_collapses() {
    let world = world_with(|config| config.node_limits.pending_bytes = 1);
    let (mut reader, mut publisher) = (world.session(), world.session());
    assert_eq!(reader.ask(r#"{"type":"subscribe","id":2,"channel":"news"}"#)["type"], "subscribed");
    (0..3).for_each(|_| publish(&mut publisher, "news", ""));
    for offset in 1..=3 {
        assert_eq!(reader.json()["offset"], offset, "it reads them from the history");
    }
    until("it is counted", || told(&world, "everwire_collapses_total") > 0.0);
}

/// Of more ids than a channel may remember the oldest is forgotten, and then a repetition is a message.
#[test]
fn a_channel_remembers_so_many_message_ids() {
    let world = world_with(|config| config.node_limits.message_ids = 2);
    let mut publisher = world.session();
    let mut publish = |id: u32| {
        let command =
            format!(r#"{{"type":"publish","id":3,"channel":"news","message_id":"m{id}","data":1}}"#);
        publisher.ask(&command)["position"]["offset"].as_u64().unwrap()
    };
    assert_eq!([1, 2, 1, 3, 3, 1].map(&mut publish), [1, 2, 1, 3, 3, 4]);
    assert_eq!(told(&world, "everwire_message_ids"), 2.0);
}

/// What goes from shard to shard has room for nothing, so marks go instead.
#[test]
fn what_is_left_out_of_an_inbox() {
    let world = world_with(|config| config.node_limits.inbox_bytes = 1);
    let mut all = [world.session(), world.session()];
    for client in &mut all {
        let subscribe = r#"{"type":"subscribe","id":2,"channel":"news","presence":true}"#;
        client.text(subscribe);
        client.wait("subscribed");
    }
    for sample in ["inbox_messages", "inbox_presence"] {
        let sample = format!("everwire_drops_total{{reason=\"{sample}\"}}");
        until(&sample, || {
            for client in &mut all {
                client.text(r#"{"type":"publish","id":3,"channel":"news","volatile":true,"data":1}"#);
                client.wait("published");
                client.text(r#"{"type":"presence_update","id":4,"channel":"news","state":1}"#);
                client.wait("presence_updated");
            }
            told(&world, &sample) > 0.0
        });
    }
}

fn on_disk(data: &Data, config: &mut Config) {
    config.history = History::Disk { data: data.path().to_owned(), sync: Sync::None };
}

#[test]
fn message_ids_and_channels_that_were_forgotten() {
    let data = Data::new();
    for disk in [false, true] {
        let world = world_with(|config| {
            config.node_limits.channels = 8;
            if disk {
                on_disk(&data, config);
            }
        });
        let mut client = world.session();
        for number in 0..3 {
            publish(&mut client, "a", &format!(r#","message_id":"m{number}""#));
        }
        publish(&mut client, "a", r#","message_id":"m1""#);
        assert_eq!(told(&world, "everwire_message_ids"), 3.0, "on disk: {disk}");
        let forgotten = ["everwire_evictions_total", "everwire_store_evictions_total"];
        assert_eq!(forgotten.map(|sample| told(&world, sample)), [0.0; 2]);
        // The store gives no channel up of which it keeps something.
        for number in 0..40 {
            let channel = format!("b{number}");
            publish(&mut client, &channel, "");
            let body = json!({ "channel": channel }).to_string();
            let (head, _) = world.http("POST", "/api/history_clear", JSON, &body);
            assert!(head.starts_with("http/1.1 200"), "{head}");
        }
        assert!(told(&world, forgotten[0]) > 0.0, "on disk: {disk}");
        assert_eq!(told(&world, forgotten[1]) > 0.0, disk);
    }
}
