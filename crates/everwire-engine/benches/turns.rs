//! Turns of a shard without sockets: `cargo bench -p everwire-engine`.
//!
//! For a look at one path while it is changed. Times of one machine and one moment, of a build whose planted bugs are
//! asked for (feature `testing`): what is promised is counted (`cargo xtask counts`) or measured against a floor in the
//! same run (`everwire bench`).

#![allow(unreachable_pub, missing_docs, reason = "a program has no public interface")]

mod stage;

use divan::Bencher;
use divan::counter::ItemsCount;
use everwire_proto::payload::Format;

use self::stage::{Stage, frame, publish};

fn main() {
    divan::main();
}

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

/// A thousand clients in one channel, and one more who is in none.
fn room(format: Format) -> Stage {
    let mut stage = Stage::new();
    stage.open(0, format);
    for slot in 1..=1_000 {
        stage.open(slot, format);
        stage.say(slot, &mut frame(format, r#"{"type":"subscribe","channel":"room"}"#));
    }
    stage
}

/// Somebody in slot 0, and a full window.
fn past(format: Format) -> Stage {
    let mut stage = Stage::new();
    stage.open(0, format);
    for _ in 0..1_000 {
        stage.say(0, &mut publish(format, "room", None));
    }
    stage
}

/// One publish after another to a thousand.
#[divan::bench(args = FORMATS)]
fn fanout(bencher: Bencher<'_, '_>, format: Format) {
    let (mut stage, mut bytes) = (room(format), publish(format, "room", None));
    bencher.counter(ItemsCount::new(1_000_usize)).bench_local(|| stage.say(0, &mut bytes));
}

/// Sixteen at once, each subscriber's in one send.
#[divan::bench(args = FORMATS)]
fn fanout_of_16(bencher: Bencher<'_, '_>, format: Format) {
    let (mut stage, mut bytes) = (room(format), publish(format, "room", None).repeat(16));
    bencher.counter(ItemsCount::new(16_000_usize)).bench_local(|| stage.say(0, &mut bytes));
}

/// A publish to a channel of one: its acknowledgement and one's own message.
#[divan::bench(args = FORMATS)]
fn echo(bencher: Bencher<'_, '_>, format: Format) {
    let (mut stage, mut bytes) = (past(format), publish(format, "room", Some(1)));
    stage.say(0, &mut frame(format, r#"{"type":"subscribe","channel":"room"}"#));
    bencher.bench_local(|| stage.say(0, &mut bytes));
}

/// A page of a hundred.
#[divan::bench(args = FORMATS)]
fn history(bencher: Bencher<'_, '_>, format: Format) {
    let mut stage = past(format);
    let mut bytes = frame(format, r#"{"type":"history","id":1,"channel":"room","limit":100}"#);
    bencher.counter(ItemsCount::new(100_usize)).bench_local(|| stage.say(0, &mut bytes));
}

/// Fifty missed messages, and a good-bye.
#[divan::bench(args = FORMATS)]
fn recover(bencher: Bencher<'_, '_>, format: Format) {
    let mut stage = past(format);
    let top = stage.turn.node().find("room").expect("it was published to").top();
    let since = format!(r#"{{"epoch":"{}","offset":{}}}"#, top.epoch.as_str(), top.offset - 50);
    let ask = format!(r#"{{"type":"subscribe","id":1,"channel":"room","since":{since}}}"#);
    let (mut come, mut go) =
        (frame(format, &ask), frame(format, r#"{"type":"unsubscribe","channel":"room"}"#));
    bencher.counter(ItemsCount::new(50_usize)).bench_local(|| {
        stage.say(0, &mut come);
        stage.say(0, &mut go);
    });
}

/// A subscribe and an unsubscribe of an empty channel, among so many others in channels of their own.
#[divan::bench(args = [0, 10_000])]
fn subscribe(bencher: Bencher<'_, '_>, others: u32) {
    let mut stage = Stage::new();
    stage.open(0, Format::Json);
    stage.crowd(1, others, Format::Json);
    let mut both = frame(Format::Json, r#"{"type":"subscribe","id":1,"channel":"room"}"#);
    both.extend(frame(Format::Json, r#"{"type":"unsubscribe","id":2,"channel":"room"}"#));
    bencher.bench_local(|| stage.say(0, &mut both));
}
