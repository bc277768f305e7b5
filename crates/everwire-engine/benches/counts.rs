//! Jobs whose instructions and allocations are counted: `everwire-counts JOB N` does a job N times and prints how many
//! operations that were. The cost of one is the difference between N and 2 N, so what is done once cancels. Without a
//! job it lists them, each with an N that is enough.
//!
//! Never measured here: time. `cargo xtask counts` runs it under valgrind and holds the figures against
//! `crates/everwire-engine/counts.toml`. A program and not a bench target, because those are built with the feature
//! `testing`, whose planted bugs are asked for in the hottest loops.

#![allow(clippy::print_stdout, reason = "its figures are read from there")]
#![allow(unreachable_pub, missing_docs, reason = "a program has no public interface")]

mod stage;

use everwire_proto::payload::Format;

use self::stage::{Stage, frame, publish};

/// Subscribers of one channel.
const SUBSCRIBERS: u32 = 1_000;
/// Publishes that wait when a batch is merged.
const MERGED: usize = 16;
/// More than a channel keeps, so that every publish that is counted takes an old one's place.
const KEPT: usize = 1_100;
/// Missed messages of a recovery.
const MISSED: u64 = 50;

/// Does a job so many times; how many operations that were.
type Job = fn(Format, usize) -> usize;

/// What is counted: name, a number of times that is enough, and how; each in JSON and in MessagePack, but among a
/// crowd only in JSON: there it is the growth that counts.
const JOBS: [(&str, usize, Job); 12] = [
    ("fanout", 20, |format, n| fanout(format, n, 1)),
    ("fanout-16", 8, |format, n| fanout(format, n, MERGED)),
    ("publish", 500, one_subscriber),
    ("nobody", 500, nobody),
    ("echo", 500, |format, n| echo(format, n, 1)),
    ("echo-16", 60, |format, n| echo(format, n, MERGED)),
    ("ping", 500, ping),
    ("subscribe", 500, subscribe),
    ("recover-50", 200, recover),
    ("nobody-crowd", 500, |format, n| nobody_on(crowded(format), format, n)),
    ("subscribe-crowd", 500, |format, n| subscribe_on(crowded(format), format, n)),
    ("recover-50-crowd", 200, |format, n| recover_on(crowded(format), format, n)),
];

/// Clients, each in a channel of its own, that have nothing to do with what is counted.
const CROWD: u32 = 5_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [job, n] = &words[..] else {
        for (name, enough, _) in JOBS {
            println!("{name}-json {enough}");
            if !name.ends_with("-crowd") {
                println!("{name}-msgpack {enough}");
            }
        }
        return;
    };
    let n = n.parse().expect("N is a number");
    let (name, format) = job.rsplit_once('-').expect("a job ends with its format");
    let format = match format {
        "json" => Format::Json,
        "msgpack" => Format::MsgPack,
        other => panic!("no format {other:?}"),
    };
    let (.., run) = JOBS.into_iter().find(|(known, ..)| *known == name).expect("no such job");
    println!("{}", run(format, n));
}

/// One publish after another to a thousand subscribers; operations are deliveries. Several at a time are merged: a
/// subscriber is sent them with one call.
fn fanout(format: Format, rounds: usize, at_once: usize) -> usize {
    let mut stage = stage_with(format);
    for slot in 1..=SUBSCRIBERS {
        stage.open(slot, format);
        stage.say(slot, &mut frame(format, r#"{"type":"subscribe","channel":"room"}"#));
    }
    let mut bytes = publish(format, "room", None);
    let mut round = |stage: &mut Stage| {
        (0..at_once).for_each(|_| stage.read(0, &mut bytes));
        stage.settle();
    };
    round(&mut stage);
    let before = stage.sink.sends;
    (0..rounds).for_each(|_| round(&mut stage));
    let subscribers = usize::try_from(SUBSCRIBERS).expect("a thousand");
    assert_eq!(stage.sink.sends - before, rounds * subscribers, "one send each");
    rounds * at_once * subscribers
}

/// A publish to a channel of one other subscriber, without an id: nobody waits for the reply.
fn one_subscriber(format: Format, times: usize) -> usize {
    let mut stage = stage_with(format);
    stage.open(1, format);
    stage.say(1, &mut frame(format, r#"{"type":"subscribe","channel":"room"}"#));
    repeat(&mut stage, &mut publish(format, "room", None), times, 1)
}

/// A publish to a channel that nobody listens to.
fn nobody(format: Format, times: usize) -> usize {
    nobody_on(stage_with(format), format, times)
}

fn nobody_on(mut stage: Stage, format: Format, times: usize) -> usize {
    repeat(&mut stage, &mut publish(format, "room", None), times, 0)
}

/// Publishes to a channel of one, so many in one read: their acknowledgements and one's own messages, in one send.
/// Operations are messages.
fn echo(format: Format, times: usize, at_once: usize) -> usize {
    let mut stage = stage_with(format);
    stage.say(0, &mut frame(format, r#"{"type":"subscribe","channel":"room"}"#));
    at_once * repeat(&mut stage, &mut publish(format, "room", Some(1)).repeat(at_once), times, 1)
}

/// A `ping` and its `pong`: what a command costs at least.
fn ping(format: Format, times: usize) -> usize {
    let mut stage = stage_with(format);
    repeat(&mut stage, &mut frame(format, r#"{"type":"ping","id":1}"#), times, 1)
}

/// A subscribe and an unsubscribe of a channel that others are in.
fn subscribe(format: Format, times: usize) -> usize {
    subscribe_on(stage_with(format), format, times)
}

fn subscribe_on(mut stage: Stage, format: Format, times: usize) -> usize {
    stage.open(1, format);
    stage.say(1, &mut frame(format, r#"{"type":"subscribe","channel":"room"}"#));
    let mut both = frame(format, r#"{"type":"subscribe","id":1,"channel":"room"}"#);
    both.extend(frame(format, r#"{"type":"unsubscribe","id":2,"channel":"room"}"#));
    repeat(&mut stage, &mut both, times, 1)
}

/// A subscribe that recovers 50 messages, and its unsubscribe.
fn recover(format: Format, times: usize) -> usize {
    recover_on(stage_with(format), format, times)
}

fn recover_on(mut stage: Stage, format: Format, times: usize) -> usize {
    let cell = stage.turn.node().find("room").expect("it was published to");
    let top = cell.top();
    let since = format!(r#"{{"epoch":"{}","offset":{}}}"#, top.epoch.as_str(), top.offset - MISSED);
    let ask = format!(r#"{{"type":"subscribe","id":1,"channel":"room","since":{since}}}"#);
    let (mut come, mut go) =
        (frame(format, &ask), frame(format, r#"{"type":"unsubscribe","channel":"room"}"#));
    for _ in 0..times {
        let before = stage.sink.bytes;
        stage.say(0, &mut come);
        assert!(stage.sink.bytes - before > 50 * 128, "fifty messages");
        stage.say(0, &mut go);
    }
    times
}

/// Slot 0 connected, and the channel's window full.
fn stage_with(format: Format) -> Stage {
    let mut stage = Stage::new();
    stage.open(0, format);
    let mut bytes = publish(format, "room", None);
    for _ in 0..KEPT {
        stage.say(0, &mut bytes);
    }
    stage
}

/// The same among a crowd.
fn crowded(format: Format) -> Stage {
    let mut stage = stage_with(format);
    stage.crowd(2, CROWD, format);
    stage
}

/// Says the same so many times; each makes so many sends.
fn repeat(stage: &mut Stage, bytes: &mut [u8], times: usize, sends: usize) -> usize {
    let before = stage.sink.sends;
    for _ in 0..times {
        stage.say(0, bytes);
    }
    assert_eq!(stage.sink.sends - before, times * sends, "sends");
    times
}
