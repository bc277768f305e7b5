//! Requests to the HTTP API against the table of its verbs: whatever a row says of a field is what the reader holds to.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use everwire_proto::api::{Call, Field, Kind, MOST_ITEMS, Revoke, Spec, Verb, Whom, decode};
use everwire_proto::codes::ErrorCode;
use serde_json::{Map, Value, json};

/// A value that a field takes.
fn sample(field: &Field) -> Value {
    match field.kind {
        Kind::Text { least, .. } => "x".repeat(least.max(1)).into(),
        Kind::Word(words) => words[0].into(),
        Kind::Client => "AAAAAAAAAAAAAAAA".into(),
        Kind::Channel => "a".into(),
        Kind::Channels => json!(["a"]),
        Kind::Int { least, .. } => least.into(),
        Kind::Flag => true.into(),
        Kind::Any => json!({ "deep": [null] }),
        Kind::Base64 => "AA==".into(),
        Kind::Position => json!({ "epoch": "e", "offset": 0 }),
        Kind::Tags => json!({ "k": "v" }),
        Kind::Publications => json!([{ "channel": "a", "data": 1 }]),
        Kind::Object(_) | Kind::Objects(_) | Kind::Results | Kind::Sentences => {
            panic!("no request has {}", field.name)
        }
    }
}

/// Values that it does not take.
fn refused(field: &Field) -> Vec<Value> {
    match field.kind {
        Kind::Any => Vec::new(),
        Kind::Text { least, most } => {
            let mut all = vec![7.into(), json!(["x"]), "x".repeat(most + 1).into()];
            all.extend((least > 0).then(|| Value::from("x".repeat(least - 1))));
            all
        }
        Kind::Word(_) => vec![7.into(), "dance".into()],
        Kind::Client => vec![7.into(), "short".into(), "!".repeat(16).into(), "A".repeat(17).into()],
        Kind::Int { least, most } => {
            let mut all = vec!["1".into(), json!(1.5), json!(-1), (most + 1).into()];
            all.extend((least > 0).then(|| Value::from(least - 1)));
            all
        }
        Kind::Flag => vec!["true".into(), 1.into()],
        Kind::Channels => vec![7.into(), json!([7]), json!([])],
        Kind::Publications => vec![7.into(), json!([7]), json!([]), json!([{ "channel": "a" }])],
        Kind::Channel | Kind::Base64 | Kind::Position | Kind::Tags => vec![7.into(), json!([7])],
        Kind::Object(_) | Kind::Objects(_) | Kind::Results | Kind::Sentences => {
            panic!("no request has {}", field.name)
        }
    }
}

/// What must be there and nothing else.
fn least(spec: &Spec) -> Map<String, Value> {
    let mut body = Map::new();
    for field in spec.fields {
        let chosen = spec.choice.is_some_and(|choice| choice.must && choice.of[0] == field.name);
        if field.must || chosen {
            body.insert(field.name.to_owned(), sample(field));
        }
    }
    body
}

fn specs() -> impl Iterator<Item = &'static Spec> {
    Verb::ALL.iter().map(|verb| verb.spec())
}

fn read(spec: &Spec, body: &Map<String, Value>) -> Result<(), String> {
    let text = Value::Object(body.clone()).to_string();
    match decode(spec.verb, text.as_bytes()) {
        Ok(_) => Ok(()),
        Err(refusal) => {
            assert_eq!((refusal.code, refusal.id), (ErrorCode::BadRequest, None), "{text}");
            Err(refusal.message)
        }
    }
}

#[test]
fn names_are_read_back_and_stand_once() {
    for (at, spec) in specs().enumerate() {
        assert_eq!(Verb::parse(spec.name), Some(spec.verb));
        assert!(specs().take(at).all(|other| other.name != spec.name), "{} stands twice", spec.name);
        assert!(spec.doc.ends_with('.') && spec.fields.iter().all(|f| f.doc.ends_with('.')), "{}", spec.name);
    }
    assert_eq!(Verb::parse("dance"), None);
}

#[test]
fn each_field_is_of_its_kind() {
    for spec in specs() {
        let body = least(spec);
        assert_eq!(read(spec, &body), Ok(()), "{} {body:?}", spec.name);
        for field in spec.fields {
            let mut body = body.clone();
            for other in spec.choice.iter().flat_map(|choice| choice.of) {
                if spec.choice.is_some_and(|choice| choice.of.contains(&field.name)) {
                    body.remove(*other);
                }
            }
            body.insert(field.name.to_owned(), sample(field));
            assert_eq!(read(spec, &body), Ok(()), "{} {}", spec.name, field.name);
            for wrong in refused(field) {
                let mut body = body.clone();
                body.insert(field.name.to_owned(), wrong.clone());
                let told = read(spec, &body).expect_err(&format!("{} {}: {wrong}", spec.name, field.name));
                assert!(told.contains(&format!("`{}", field.name)), "{} {wrong}: {told}", spec.name);
            }
        }
    }
}

#[test]
fn what_must_be_there_is_missed_and_what_nobody_knows_is_not() {
    for spec in specs() {
        let body = least(spec);
        for name in body.keys() {
            let mut less = body.clone();
            less.remove(name);
            let told = read(spec, &less).expect_err(name);
            assert!(told.contains(&format!("`{name}`")), "{} {told}", spec.name);
            // Null is absent, but for `data`, of which it is a value.
            let mut null = body.clone();
            null.insert(name.clone(), Value::Null);
            assert_eq!(read(spec, &null).is_ok(), name == "data", "{} {name}", spec.name);
        }
        let mut more = body.clone();
        more.insert("unheard_of".to_owned(), json!([1]));
        assert_eq!(read(spec, &more), Ok(()), "{}", spec.name);
        if let Some(choice) = spec.choice {
            let mut both = body.clone();
            for name in choice.of {
                both.insert((*name).to_owned(), sample(spec.field(name).unwrap()));
            }
            assert!(read(spec, &both).unwrap_err().contains("exclude each other"), "{}", spec.name);
        }
        if let Some(field) = spec.fields.first() {
            let twice = format!("{{\"{0}\":1,\"{0}\":1}}", field.name);
            assert!(decode(spec.verb, twice.as_bytes()).is_err(), "{twice}");
        }
        for broken in ["", "{", "[]", "7", "null", "{\"a\":}", "{}x", "{\"a\":\"\u{7}\"}"] {
            assert!(decode(spec.verb, broken.as_bytes()).is_err(), "{} {broken:?}", spec.name);
        }
        assert!(decode(spec.verb, b"{\"x\":\"\xff\"}").is_err());
    }
}

#[test]
fn lists_are_read_whole_and_bounded() {
    let body = "{ \"channels\" : [ \"a\" ,\r\n\t\"\\u0062\" ], \"data\": { \"x\" :\n1 }, \"tags\": {\"k\":\"v\"}, \"message_id\": \"m\" }";
    let Ok(Call::Broadcast(broadcast)) = decode(Verb::Broadcast, body.as_bytes()) else { panic!("{body}") };
    assert_eq!(broadcast.channels, ["a", "b"]);
    let one = broadcast.to("b");
    assert_eq!((&*one.channel, one.message_id.as_deref(), one.tags.len()), ("b", Some("m"), 1));
    let body = "{\"publications\":[{\"channel\":\"a\",\"data\":1},\n{\"channel\":\"b\",\"binary\":\"AAE=\",\"volatile\":true}]}";
    let Ok(Call::Batch(batch)) = decode(Verb::Batch, body.as_bytes()) else { panic!("{body}") };
    assert_eq!((batch.len(), &*batch[1].channel, batch[1].volatile, batch[1].data.len()), (2, "b", true, 2));
    let list = |count: usize| format!("{{\"channels\":[{}\"a\"],\"data\":1}}", "\"a\",".repeat(count - 1));
    assert!(decode(Verb::Broadcast, list(MOST_ITEMS).as_bytes()).is_ok());
    let told = decode(Verb::Broadcast, list(MOST_ITEMS + 1).as_bytes()).unwrap_err().message;
    assert!(told.contains("more than 10000"), "{told}");
    let told =
        decode(Verb::Batch, b"{\"publications\":[{\"channel\":\"a\",\"data\":1},{}]}").unwrap_err().message;
    assert!(told.starts_with("`publications` at 1: `channel` is missing"), "{told}");
    let deep = format!("{{\"publications\":[{}]}}", "[".repeat(100_000));
    assert!(decode(Verb::Batch, deep.as_bytes()).is_err());
    for broken in ["[{\"channel\":\"a\",\"data\":1}", "[,]", "[{}{}]", "[{\"channel\":\"a\",\"data\":1},]"] {
        assert!(
            decode(Verb::Batch, format!("{{\"publications\":{broken}}}").as_bytes()).is_err(),
            "{broken}"
        );
    }
}

#[test]
fn what_is_read_is_what_was_said() {
    let user = Whom::User("ann".into());
    for (verb, body, wanted) in [
        (
            Verb::Disconnect,
            r#"{"user":"ann","code":4200,"reason":"moved"}"#,
            Call::Disconnect { whom: user.clone(), code: Some(4200), reason: Some("moved".into()) },
        ),
        (
            Verb::Unsubscribe,
            r#"{"client":"AAAAAAAAAAAAAAAA","channel":"a"}"#,
            Call::Unsubscribe { whom: Whom::Client("AAAAAAAAAAAAAAAA".into()), channel: "a".into() },
        ),
        (Verb::Refresh, r#"{"user":"ann","expires_at":5}"#, Call::Refresh { whom: user, expires_at: 5 }),
        (
            Verb::Revoke,
            r#"{"user":"ann","expires_at":7}"#,
            Call::Revoke(Revoke::User { user: "ann".into(), expires_at: Some(7) }),
        ),
        (
            Verb::Revoke,
            r#"{"token_id":"t1","expires_at":5}"#,
            Call::Revoke(Revoke::Token { id: "t1".into(), expires_at: Some(5) }),
        ),
        (Verb::Info, "{}", Call::Info),
    ] {
        assert_eq!(decode(verb, body.as_bytes()), Ok(wanted), "{body}");
    }
}
