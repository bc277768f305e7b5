//! Words on the wire, one at a time: `cargo bench -p everwire-proto`.
//!
//! For a look at one function while it is changed. Times of one machine and one moment: what is promised is counted
//! (`cargo xtask counts`) or measured against a floor in the same run (`everwire bench`).

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use everwire_proto::command::Command;
use everwire_proto::ids::{ClientId, Epoch};
use everwire_proto::payload::Payload;
use everwire_proto::position::Position;
use everwire_proto::reply::{From, Message, Outgoing};
use everwire_proto::ws::{self, Decoder, Deflater, Event, Inflater, Limits, Opcode};
use everwire_proto::{json, msgpack, transcode};

fn main() {
    divan::main();
}

const SIZES: [usize; 3] = [128, 4 * 1024, 60 * 1024];

/// Text as people write it: most of it ASCII, with a little of everything.
fn text(size: usize) -> String {
    let words = "the quick brown fox jumps over the lazy dog; żółw, 海龟, 🐢. ";
    let mut text: String = words.chars().cycle().take(size).collect();
    while text.len() > size {
        text.pop();
    }
    text
}

/// A mask that changes nothing, so that a frame can be decoded in place again and again; to apply it costs the same.
const MASK: [u8; 4] = [0; 4];

fn decode(bencher: Bencher<'_, '_>, opcode: Opcode, payload: &[u8]) {
    let mut frame = Vec::new();
    ws::write_masked_frame(&mut frame, opcode, MASK, payload);
    let (mut decoder, mut inflater) = (server(false), Inflater::new());
    bencher.counter(BytesCount::new(payload.len())).bench_local(|| {
        let mut window = &mut frame[..];
        match decoder.next(&mut window, &mut inflater) {
            Ok(Some(Event::Text(payload) | Event::Binary(payload))) => black_box(payload.len()),
            other => panic!("{other:?}"),
        }
    });
}

fn server(deflate: bool) -> Decoder {
    Decoder::server(Limits { message_bytes: 64 * 1024 }, deflate)
}

/// Header, mask and UTF-8.
#[divan::bench(args = SIZES)]
fn decode_text(bencher: Bencher<'_, '_>, size: usize) {
    decode(bencher, Opcode::Text, text(size).as_bytes());
}

/// The same where all of it is ASCII.
#[divan::bench(args = SIZES)]
fn decode_ascii(bencher: Bencher<'_, '_>, size: usize) {
    decode(bencher, Opcode::Text, "x".repeat(size).as_bytes());
}

/// Header and mask.
#[divan::bench(args = SIZES)]
fn decode_binary(bencher: Bencher<'_, '_>, size: usize) {
    decode(bencher, Opcode::Binary, &vec![7; size]);
}

#[divan::bench(args = SIZES)]
fn mask(bencher: Bencher<'_, '_>, size: usize) {
    let (payload, mut out) = (vec![7; size], Vec::with_capacity(size + 14));
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        ws::write_masked_frame(&mut out, Opcode::Binary, [1, 2, 3, 4], black_box(&payload));
        out.len()
    });
}

#[divan::bench(args = SIZES)]
fn deflate(bencher: Bencher<'_, '_>, size: usize) {
    let (payload, mut deflater, mut out) = (text(size), Deflater::new(), Vec::new());
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        deflater.write_frame(&mut out, Opcode::Text, black_box(payload.as_bytes()));
        out.len()
    });
}

#[divan::bench(args = SIZES)]
fn inflate(bencher: Bencher<'_, '_>, size: usize) {
    let (mut deflated, mut frame) = (Vec::new(), Vec::new());
    Deflater::new().write_frame(&mut deflated, Opcode::Text, text(size).as_bytes());
    ws::write_masked_frame(&mut frame, Opcode::Text, MASK, ws::frame_payload(&deflated));
    // RSV1: the payload is deflated.
    frame[0] |= 0x40;
    let (mut decoder, mut inflater) = (server(true), Inflater::new());
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let mut window = &mut frame[..];
        match decoder.next(&mut window, &mut inflater) {
            Ok(Some(Event::Text(text))) => black_box(text.len()),
            other => panic!("{other:?}"),
        }
    });
}

fn publish(size: usize) -> String {
    format!(r#"{{"type":"publish","id":7,"channel":"room:42","data":"{}"}}"#, "x".repeat(size))
}

#[divan::bench(args = SIZES)]
fn json_decode(bencher: Bencher<'_, '_>, size: usize) {
    let command = publish(size);
    bencher.counter(BytesCount::new(command.len())).bench_local(|| {
        let request = json::decode(black_box(command.as_bytes())).expect("it is a command");
        matches!(request.command, Command::Publish(_))
    });
}

#[divan::bench(args = SIZES)]
fn msgpack_decode(bencher: Bencher<'_, '_>, size: usize) {
    let mut command = Vec::new();
    transcode::command_to_msgpack(publish(size).as_bytes(), &mut command).expect("it is a command");
    bencher.counter(BytesCount::new(command.len())).bench_local(|| {
        let request = msgpack::decode(black_box(&command)).expect("it is a command");
        matches!(request.command, Command::Publish(_))
    });
}

fn message<T>(
    bencher: Bencher<'_, '_>,
    size: usize,
    encode: impl Fn(Option<u64>, &Outgoing<'_>, &mut Vec<u8>) -> T,
) {
    let payload = Payload::Json(format!("\"{}\"", "x".repeat(size)).into_bytes().into());
    let from = Some(From { client: ClientId([7; 12]), user: Some("ann"), info: None });
    let message = Message {
        offset: Some(12_345),
        payload: payload.view(),
        message_id: None,
        from,
        time: 1_767_225_600_000,
        tags: &[],
    };
    let (what, mut out) = (Outgoing::Message { channel: "room:42", message }, Vec::new());
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        encode(None, black_box(&what), &mut out);
        out.len()
    });
}

#[divan::bench(args = SIZES)]
fn json_encode(bencher: Bencher<'_, '_>, size: usize) {
    message(bencher, size, json::encode);
}

/// Its payload was published in JSON.
#[divan::bench(args = SIZES)]
fn msgpack_encode(bencher: Bencher<'_, '_>, size: usize) {
    message(bencher, size, msgpack::encode);
}

#[divan::bench]
fn json_encode_published(bencher: Bencher<'_, '_>) {
    let position = Position { epoch: Epoch::from_random(7), offset: 12_345 };
    let (what, mut out) = (Outgoing::Published { position: Some(&position), duplicate: false }, Vec::new());
    bencher.bench_local(|| {
        out.clear();
        json::encode(Some(7), black_box(&what), &mut out);
        out.len()
    });
}
