//! MessagePack commands: against a naive reader, and against the same commands in JSON.

use everwire_proto::codes::ErrorCode;
use everwire_proto::command::{Command, Refusal, Request};
use everwire_proto::payload::{DEPTH, Data, MOST_DEPTH};
use everwire_proto::{json, msgpack, transcode};
use proptest::prelude::*;
use rmpv::Value;

fn pack(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).expect("a vector takes everything");
    out
}

fn map(fields: Vec<(&str, Value)>) -> Value {
    Value::Map(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

fn call(data: Value) -> Vec<u8> {
    pack(&map(vec![("type", "call".into()), ("method", "m".into()), ("data", data)]))
}

fn refused(frame: &[u8]) -> Refusal {
    msgpack::decode(frame).expect_err(&format!("{frame:x?}"))
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Nil, |inside, _| Value::Array(vec![inside]))
}

#[test]
fn refusals_say_what_is_wrong_and_carry_the_id() {
    let publish = |id: Value, more: Vec<(&str, Value)>| {
        let mut fields = vec![("type", Value::from("publish")), ("id", id), ("channel", "r".into())];
        fields.extend(more);
        pack(&map(fields))
    };
    let mut endless = call(Value::Nil);
    endless.push(0xc0);
    for (frame, id, part) in [
        (vec![], None, "behind the end"),
        (vec![0x91, 0x01], None, "a command is one map"),
        (vec![0x81, 0x01, 0x01], None, "a key must be a string"),
        (vec![0xdf, 0xff, 0xff, 0xff, 0xff], None, "at most 1024 fields"),
        (vec![0x81, 0xa1, b'a', 0xdd, 0xff, 0xff, 0xff, 0xff], None, "behind the end"),
        (vec![0x81, 0xa1, b'a', 0xdb, 0xff, 0xff, 0xff, 0xff], None, "behind the end"),
        (vec![0x81, 0xa1, b'a', 0xc1], None, "extension types"),
        (vec![0x81, 0xa1, 0xff, 0xc0], None, "not UTF-8"),
        (endless, None, "bytes follow the command"),
        (call(Value::Ext(1, vec![1])), None, "extension types"),
        (call(Value::Array(vec![Value::Binary(vec![1])])), None, "not inside `data`"),
        (call(Value::F64(f64::NAN)), None, "NaN"),
        (call(Value::F32(f32::NEG_INFINITY)), None, "infinities"),
        (call(Value::Map(vec![(1.into(), 1.into())])), None, "a key must be a string"),
        (call(nested(65)), None, "deeper than 64"),
        (publish(0.into(), vec![]), None, "`id` is 0"),
        (publish((-1).into(), vec![]), None, "`id`"),
        (publish(1.5.into(), vec![]), None, "`id`"),
        (publish((1u64 << 53).into(), vec![]), None, "2^53-1"),
        (publish(3.into(), vec![]), Some(3), "`data` is missing"),
        (publish(3.into(), vec![("data", Value::Binary(vec![1]))]), Some(3), "bytes stand in `binary`"),
        (publish(3.into(), vec![("binary", "AA==".into())]), Some(3), "`binary` is a string"),
        (publish(3.into(), vec![("data", 1.into()), ("id", 4.into())]), None, "\"id\" stands twice"),
        (publish(3.into(), vec![("data", 1.into()), ("data", 1.into())]), Some(3), "\"data\" stands twice"),
    ] {
        let refusal = refused(&frame);
        assert_eq!((refusal.id, refusal.code), (id, ErrorCode::BadRequest), "{frame:x?}: {refusal:?}");
        assert!(refusal.message.contains(part), "{frame:x?}: {}", refusal.message);
    }
    assert!(msgpack::decode(&call(nested(64))).is_ok());
    let bytes = publish(3.into(), vec![("binary", Value::Binary(vec![1, 2]))]);
    let Command::Publish(publish) = msgpack::decode(&bytes).unwrap().command else { panic!("{bytes:?}") };
    assert_eq!(publish.data, Data::Binary([1, 2].as_slice().into()));
}

#[test]
fn what_is_nested_too_deep_is_no_stack_overflow() {
    for depth in [MOST_DEPTH + 1, 1_000_000] {
        let (mut out, mut packed) = (Vec::new(), vec![0x91; depth]);
        packed.push(0xc0);
        transcode::to_json(&packed, &mut out);
        assert_eq!(out, b"null");
        out.clear();
        transcode::to_msgpack("[".repeat(depth).as_bytes(), &mut out);
        assert_eq!(out, [0xc0]);
        assert!(msgpack::decode(&[&[0x81, 0xa1, b'a'][..], &packed].concat()).is_err());
        assert!(json::decode(format!("{{\"a\":{}", "[".repeat(depth)).as_bytes()).is_err());
    }
}

#[test]
fn another_depth_may_be_allowed_within_bounds() {
    let json = |depth: usize| {
        format!("{{\"type\":\"call\",\"method\":\"m\",\"data\":{}1{}}}", "[".repeat(depth), "]".repeat(depth))
    };
    for (allowed, deepest) in [(8, 8), (DEPTH, DEPTH), (MOST_DEPTH, MOST_DEPTH), (usize::MAX, MOST_DEPTH)] {
        for (depth, taken) in [(deepest, true), (deepest + 1, false)] {
            let (text, packed) = (json(depth), call(nested(depth)));
            let read = [
                json::decode_within(text.as_bytes(), allowed).map(drop),
                msgpack::decode_within(&packed, allowed).map(drop),
            ];
            for read in read {
                let words = format!("deeper than {deepest}");
                let told = |refusal: &Refusal| refusal.message.contains(&words);
                assert!(read.is_ok() == taken && read.as_ref().err().is_none_or(told), "{depth}: {read:?}");
            }
            if taken {
                let (mut one, mut other) = (Vec::new(), Vec::new());
                transcode::to_msgpack(
                    format!("{}1{}", "[".repeat(depth), "]".repeat(depth)).as_bytes(),
                    &mut one,
                );
                transcode::to_json(&one, &mut other);
                assert_eq!(other.len(), 2 * depth + 1, "what was taken reaches the other format");
            }
        }
    }
}

/// Whether a value may stand in a command, at this depth; the obvious way.
fn may_stand(value: &Value, depth: usize) -> bool {
    match value {
        Value::Nil | Value::Boolean(_) | Value::Integer(_) => true,
        Value::F32(n) => n.is_finite(),
        Value::F64(n) => n.is_finite(),
        Value::String(text) => text.is_str(),
        Value::Binary(_) => depth == 1,
        Value::Ext(..) => false,
        Value::Array(values) => depth <= 64 && values.iter().all(|v| may_stand(v, depth + 1)),
        Value::Map(fields) => {
            depth <= 64 && fields.iter().all(|(key, value)| key.is_str() && may_stand(value, depth + 1))
        }
    }
}

/// The fields of a frame, the obvious way.
fn naive(frame: &[u8]) -> Option<Vec<(Value, Value)>> {
    let mut rest = frame;
    let value = rmpv::decode::read_value(&mut rest).ok()?;
    let good = rest.is_empty() && may_stand(&value, 0);
    let Value::Map(fields) = value else { return None };
    (good && fields.len() <= 1_024).then_some(fields)
}

/// Floats have 64 bits everywhere behind the wire.
fn widened(value: &Value) -> Value {
    match value {
        Value::F32(n) => Value::F64(f64::from(*n)),
        Value::Array(values) => Value::Array(values.iter().map(widened).collect()),
        Value::Map(fields) => Value::Map(fields.iter().map(|(k, v)| (k.clone(), widened(v))).collect()),
        other => other.clone(),
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-200i64..70_000).prop_map(Value::from),
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        any::<String>().prop_map(Value::from),
        "[a-z\"\\\\\n\u{1}é]{0,70}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
            prop::collection::vec((any::<String>(), inner), 0..20)
                .prop_map(|fields| Value::Map(fields.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_a_naive_reader_on_mangled_frames(
        data in any_value(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut frame = call(data);
        if let Some(cut) = cut && changes.is_empty() {
            frame.truncate(cut.index(frame.len()));
        }
        for (at, byte) in &changes {
            let at = at.index(frame.len());
            frame[at] = *byte;
        }
        // The naive reader takes the one byte that has no meaning for a null.
        prop_assume!(!refuses_unused_byte(&frame));
        let theirs = naive(&frame);
        match msgpack::decode(&frame) {
            Ok(request) => {
                let fields = theirs.expect("the naive reader refuses it");
                let Command::Call { data, .. } = request.command else { return Ok(()) };
                let Data::MsgPack(ours) = data else { return Ok(()) };
                let field = fields.iter().find(|(key, _)| key.as_str() == Some("data")).expect("it has `data`");
                let read = rmpv::decode::read_value(&mut &*ours).unwrap();
                prop_assert_eq!(format!("{read:?}"), format!("{:?}", field.1));
                // To JSON and back it is the same value.
                let (mut text, mut back) = (Vec::new(), Vec::new());
                transcode::to_json(&ours, &mut text);
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
                transcode::to_msgpack(&text, &mut back);
                prop_assert_eq!(rmpv::decode::read_value(&mut &*back).unwrap(), widened(&field.1));
            }
            Err(refusal) => {
                let unreadable = ["not MessagePack for us", "nested deeper", "at most 1024 fields"];
                let unreadable = unreadable.iter().any(|part| refusal.message.contains(part));
                prop_assert_eq!(unreadable, theirs.is_none(), "{}", refusal.message);
            }
        }
    }
}

fn refuses_unused_byte(frame: &[u8]) -> bool {
    msgpack::decode(frame).is_err_and(|refusal| refusal.message.contains("extension types"))
        && rmpv::decode::read_value(&mut &*frame).is_ok_and(|v| may_stand(&v, 0))
}

/// A value of a field that can be written in both formats.
#[derive(Clone, Debug)]
enum Plain {
    Null,
    Bool(bool),
    Int(u64),
    Negative(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Map(Vec<(String, Plain)>),
}

impl Plain {
    fn packed(&self) -> Value {
        match self {
            Self::Null => Value::Nil,
            Self::Bool(flag) => (*flag).into(),
            Self::Int(n) => (*n).into(),
            Self::Negative(n) => (*n).into(),
            Self::Float(n) => (*n).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Bytes(bytes) => Value::Binary(bytes.clone()),
            Self::Map(fields) => {
                Value::Map(fields.iter().map(|(k, v)| (k.as_str().into(), v.packed())).collect())
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(flag) => flag.to_string(),
            Self::Int(n) => n.to_string(),
            Self::Negative(n) => n.to_string(),
            Self::Float(n) => format!("{n:e}"),
            Self::Text(text) => serde_json::json!(text).to_string(),
            Self::Bytes(bytes) => format!("\"{}\"", base64(bytes)),
            Self::Map(fields) => {
                let fields = fields.iter().map(|(k, v)| format!("{}: {}", serde_json::json!(k), v.text()));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(" ,"))
            }
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(group.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let six = (bits >> (18 - 6 * i) & 0x3f) as usize;
            out.push(if i > group.len() { '=' } else { char::from(ALPHABET[six]) });
        }
    }
    out
}

const KEYS: [&str; 20] = [
    "id",
    "channel",
    "data",
    "data",
    "message_id",
    "tags",
    "volatile",
    "token",
    "name",
    "heartbeat",
    "resume",
    "since",
    "rewind",
    "presence",
    "echo",
    "limit",
    "before",
    "reverse",
    "state",
    "unknown",
];

const VERBS: [&str; 13] = [
    "connect",
    "refresh",
    "subscribe",
    "unsubscribe",
    "publish",
    "publish",
    "presence",
    "presence_update",
    "history",
    "call",
    "ping",
    "pong",
    "subscripe",
];

fn any_plain() -> impl Strategy<Value = Plain> {
    let position = || {
        let offset = prop_oneof![(0u64..9).prop_map(Plain::Int), Just(Plain::Null), Just(Plain::Float(2.0))];
        let epoch = prop_oneof![Just("e1"), Just("e!"), Just("")];
        (epoch, offset).prop_map(|(epoch, offset)| {
            Plain::Map(vec![
                ("epoch".to_owned(), Plain::Text(epoch.to_owned())),
                ("offset".to_owned(), offset),
            ])
        })
    };
    prop_oneof![
        Just(Plain::Null),
        any::<bool>().prop_map(Plain::Bool),
        (0u64..5).prop_map(Plain::Int),
        any::<u64>().prop_map(Plain::Int),
        (i64::MIN..0).prop_map(Plain::Negative),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Plain::Float),
        ".{0,70}".prop_map(Plain::Text),
        position(),
        prop::collection::vec(("[ab]", any::<Option<u8>>()), 0..3).prop_map(|fields| {
            let value = |n: Option<u8>| n.map_or(Plain::Null, |n| Plain::Text(n.to_string()));
            Plain::Map(fields.into_iter().map(|(key, n)| (key, value(n))).collect())
        }),
        prop::collection::vec(("[ab]", position()), 0..3).prop_map(Plain::Map),
    ]
}

/// A field: often one that the commands know, with a value that is often of its type.
fn any_field() -> impl Strategy<Value = (String, Plain)> {
    prop_oneof![
        6 => (prop::sample::select(&KEYS[..]), any_plain()).prop_map(|(key, value)| (key.to_owned(), value)),
        4 => ".{0,300}".prop_map(|name| ("channel".to_owned(), Plain::Text(name))),
        2 => (prop::sample::select(&["method", "token"][..]), ".{0,30}")
            .prop_map(|(key, text)| (key.to_owned(), Plain::Text(text))),
        4 => any_plain().prop_map(|data| ("data".to_owned(), data)),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(|b| ("binary".to_owned(), Plain::Bytes(b))),
        1 => (1u64..1 << 53).prop_map(|id| ("id".to_owned(), Plain::Int(id))),
    ]
}

/// A request with its payload in MessagePack, whatever it came in.
fn shown(request: Result<Request<'_>, Refusal>) -> Result<String, (Option<u64>, ErrorCode)> {
    let mut request = request.map_err(|refusal| (refusal.id, refusal.code))?;
    let payload = match &mut request.command {
        Command::Publish(publish) => Some(&mut publish.data),
        Command::Call { data, .. } => Some(data),
        Command::PresenceUpdate { state, .. } => state.as_mut(),
        _ => None,
    };
    if let Some(data) = payload
        && let Data::Json(text) = data
    {
        let mut packed = Vec::new();
        transcode::to_msgpack(text, &mut packed);
        *data = Data::MsgPack(packed.into());
    }
    Ok(format!("{request:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_000))]

    #[test]
    fn a_command_means_the_same_in_both_formats(
        verb in prop::sample::select(&VERBS[..]),
        fields in prop::collection::vec(any_field(), 0..6),
    ) {
        let mut all = vec![("type".to_owned(), Plain::Text(verb.to_owned()))];
        all.extend(fields);
        let all = Plain::Map(all);
        let (text, packed) = (all.text(), pack(&all.packed()));
        prop_assert_eq!(shown(json::decode(text.as_bytes())), shown(msgpack::decode(&packed)), "{}", text);
    }
}
