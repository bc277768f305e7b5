//! Merging changes nothing: whatever is joined into one send, split by a full socket or left for a later turn, every
//! subscriber gets the same stored frames, byte for byte, as from a server that sends each frame when it arises.

use std::collections::BTreeMap;

use everwire_engine::entry::Form;
use everwire_engine::limits::{ConnectionLimits, NodeLimits};
use everwire_engine::testing::{OneShard, Rng};
use everwire_engine::time::Now;
use everwire_engine::turn::{Carrier, Flow, Peer, Sent, Turn};
use everwire_proto::payload::Format;
use everwire_proto::transcode;
use everwire_proto::ws::{Decoder, Event, Inflater, Limits};
use serde_json::Value;

const NOW: Now = Now { mono_ms: 5_000, unix_ms: 1_700_000_000_000 };
const CLIENTS: u32 = 12;
const CHANNELS: [&str; 4] = ["a", "b", "c", "d"];

/// One command of one client.
type Step = (u32, String);

fn form(slot: u32) -> Form {
    [Form::Json, Form::JsonDeflated, Form::MsgPack, Form::MsgPackDeflated][slot as usize % 4]
}

fn script(rng: &mut Rng) -> Vec<Step> {
    let mut steps: Vec<Step> = (0..CLIENTS).map(|slot| (slot, r#"{"type":"connect"}"#.to_owned())).collect();
    for number in 0..400 {
        let slot = u32::try_from(rng.below(CLIENTS as usize)).expect("a few clients");
        let channel = CHANNELS[rng.below(CHANNELS.len())];
        let command = match rng.below(10) {
            0 | 1 => {
                format!(r#"{{"type":"subscribe","id":1,"channel":"{channel}","echo":{}}}"#, rng.chance(700))
            }
            2 => format!(
                r#"{{"type":"subscribe","id":2,"channel":"{channel}","rewind":{}}}"#,
                rng.between(1, 9)
            ),
            3 if rng.chance(500) => format!(r#"{{"type":"unsubscribe","id":3,"channel":"{channel}"}}"#),
            4 => r#"{"type":"ping","id":4}"#.to_owned(),
            _ => {
                let pad = "y".repeat(rng.below(700));
                format!(r#"{{"type":"publish","channel":"{channel}","data":"{number}{pad}"}}"#)
            }
        };
        steps.push((slot, command));
    }
    steps
}

fn turn() -> Turn {
    let limits = ConnectionLimits { commands_burst: 1_000_000, ..ConnectionLimits::default() };
    let node = NodeLimits { inbox_bytes: 1 << 30, ..NodeLimits::default() };
    let mut turn = OneShard { limits, node, ..OneShard::default() }.turn(NOW);
    for slot in 0..CLIENTS {
        turn.open(slot, Peer { form: form(slot), token: None, address: None }, NOW);
    }
    turn
}

/// Sockets that keep what they take.
struct Sockets {
    taken: Vec<Vec<u8>>,
    full: Vec<bool>,
    /// Takes everything where there is none.
    moody: Option<Rng>,
    /// What the turn says that it gave them.
    frames: u64,
}

impl Sockets {
    fn new(moody: Option<Rng>) -> Self {
        Self {
            taken: vec![Vec::new(); CLIENTS as usize],
            full: vec![false; CLIENTS as usize],
            moody,
            frames: 0,
        }
    }
}

impl Carrier for Sockets {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        let at = slot as usize;
        assert!(!self.full[at], "a full socket is not written to");
        let moody = self.moody.as_mut();
        let taken =
            moody.map_or(
                bytes.len(),
                |rng| {
                    if rng.chance(300) { rng.below(bytes.len() + 1) } else { bytes.len() }
                },
            );
        self.full[at] = taken < bytes.len();
        self.taken[at].extend_from_slice(&bytes[..taken]);
        Sent::Bytes(taken)
    }
}

fn command(turn: &mut Turn, (slot, text): &Step) {
    let mut packed = Vec::new();
    let bytes = match form(*slot).format() {
        Format::Json => text.as_bytes(),
        Format::MsgPack => {
            transcode::to_msgpack(text.as_bytes(), &mut packed);
            &packed
        }
    };
    assert_eq!(turn.message(*slot, bytes, NOW), Flow::Continue);
}

/// Sends each frame when it arises.
fn naive(steps: &[Step]) -> Sockets {
    let (mut turn, mut sockets) = (turn(), Sockets::new(None));
    for step in steps {
        command(&mut turn, step);
        turn.take_inbox(NOW);
        while turn.flush(&mut sockets, NOW, 512) {}
    }
    sockets.frames = turn.figures().frames;
    sockets
}

/// The same commands, with turns, budgets and full sockets as they come.
fn merged(steps: &[Step], rng: &mut Rng) -> Sockets {
    let (mut turn, mut sockets) = (turn(), Sockets::new(Some(Rng::new(rng.bits()))));
    for step in steps {
        command(&mut turn, step);
        if rng.chance(200) {
            turn.take_inbox(NOW);
        }
        if rng.chance(150) {
            turn.flush(&mut sockets, NOW, 1 + rng.below(14));
        }
        let slot = rng.below(CLIENTS as usize);
        if std::mem::take(&mut sockets.full[slot]) {
            turn.writable(u32::try_from(slot).expect("a few clients"));
        }
    }
    sockets.moody = None;
    turn.take_inbox(NOW);
    for round in 0.. {
        for slot in 0..CLIENTS {
            if std::mem::take(&mut sockets.full[slot as usize]) {
                turn.writable(slot);
            }
        }
        if !turn.flush(&mut sockets, NOW, 512) {
            break;
        }
        assert!(round < 1_000, "it comes to rest");
    }
    sockets.frames = turn.figures().frames;
    sockets
}

/// How many frames they were sent.
fn count(sockets: &Sockets) -> u64 {
    let mut frames = 0;
    for taken in &sockets.taken {
        let mut bytes = taken.clone();
        let mut decoder = Decoder::client(Limits { message_bytes: 1 << 20 }, true);
        let (mut inflater, mut at) = (Inflater::new(), 0);
        while at < bytes.len() {
            let mut input = &mut bytes[at..];
            let before = input.len();
            frames += u64::from(decoder.next(&mut input, &mut inflater).expect("good frames").is_some());
            at += before - input.len();
        }
    }
    frames
}

/// The stored frames of each channel, by subscription: what came, and whether it was ended.
type Heard = BTreeMap<String, Vec<(Vec<Vec<u8>>, bool)>>;

fn heard(slot: u32, mut bytes: Vec<u8>) -> Heard {
    let mut decoder = Decoder::client(Limits { message_bytes: 1 << 20 }, true);
    let mut inflater = Inflater::new();
    let (mut heard, mut at) = (Heard::new(), 0);
    while at < bytes.len() {
        let mut input = &mut bytes[at..];
        let before = input.len();
        let frame = match decoder.next(&mut input, &mut inflater).expect("good frames") {
            Some(Event::Text(frame) | Event::Binary(frame)) => frame.to_vec(),
            other => panic!("client {slot}: {other:?}"),
        };
        at += before - input.len();
        let mut text = Vec::new();
        match form(slot).format() {
            Format::Json => text.clone_from(&frame),
            Format::MsgPack => transcode::to_json(&frame, &mut text),
        }
        let value: Value = serde_json::from_slice(&text).expect("one object");
        let channel = value["channel"].as_str().unwrap_or_default().to_owned();
        let subscriptions = heard.entry(channel).or_default();
        match value["type"].as_str() {
            Some("subscribed") => subscriptions.push((Vec::new(), false)),
            Some("unsubscribed") => subscriptions.last_mut().expect("it was subscribed").1 = true,
            Some("message") => subscriptions.last_mut().expect("it is subscribed").0.push(frame),
            _ => {}
        }
    }
    heard
}

#[test]
fn merging_changes_nothing() {
    let (mut frames, mut ended) = (0, 0);
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let steps = script(&mut rng);
        let (one_by_one, joined) = (naive(&steps), merged(&steps, &mut rng));
        for sockets in [&one_by_one, &joined] {
            assert_eq!(count(sockets), sockets.frames, "seed {seed}: the figure is true");
        }
        for slot in 0..CLIENTS {
            let [naive, merged] = [&one_by_one, &joined].map(|s| heard(slot, s.taken[slot as usize].clone()));
            assert_eq!(naive.keys().collect::<Vec<_>>(), merged.keys().collect::<Vec<_>>(), "seed {seed}");
            for (channel, subscriptions) in &naive {
                assert_eq!(
                    subscriptions.len(),
                    merged[channel].len(),
                    "seed {seed}, client {slot}, {channel}"
                );
                for ((all, over), (got, _)) in subscriptions.iter().zip(&merged[channel]) {
                    // Whoever unsubscribes may be spared what was still on its way.
                    let expected = if *over { all.get(..got.len()) } else { Some(&all[..]) };
                    assert_eq!(expected, Some(&got[..]), "seed {seed}, client {slot}, {channel}");
                    frames += got.len();
                    ended += usize::from(*over);
                }
            }
        }
    }
    assert!(frames > 15_000 && ended > 300, "too little happened: {frames} frames, {ended} ends");
}

#[test]
fn what_a_flush_does_not_reach_waits_where_it_was_said() {
    let (mut turn, mut sockets) = (turn(), Sockets::new(None));
    for slot in 0..CLIENTS {
        command(&mut turn, &(slot, r#"{"type":"connect"}"#.to_owned()));
    }
    while turn.flush(&mut sockets, NOW, 512) {}
    let before = turn.figures().frames;
    let ping = |slot| (slot, r#"{"type":"ping","id":4}"#.to_owned());
    (0..CLIENTS).for_each(|slot| command(&mut turn, &ping(slot)));
    assert!(turn.flush(&mut sockets, NOW, 2), "there is more");
    assert_eq!(turn.figures().outbox_bytes, 0, "nobody is given an outbox because the others went first");
    // Whoever goes meanwhile leaves nothing behind, and who says more is answered with the rest.
    turn.closed(CLIENTS - 1, NOW);
    command(&mut turn, &ping(CLIENTS - 2));
    while turn.flush(&mut sockets, NOW, 2) {}
    assert_eq!(turn.figures().frames - before, u64::from(CLIENTS));
    assert_eq!(count(&sockets), turn.figures().frames);
    assert!(!turn.is_full() && turn.figures().outbox_bytes == 0);
}
