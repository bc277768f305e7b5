//! JSON commands: what is read, what is refused, and in which words.

use everwire_proto::codes::ErrorCode;
use everwire_proto::command::Command;
use everwire_proto::payload::Data;
use everwire_proto::{json, transcode};
use proptest::prelude::*;

fn refused(frame: &str) -> (Option<u64>, ErrorCode, String) {
    let refusal = json::decode(frame.as_bytes()).expect_err(frame);
    (refusal.id, refusal.code, refusal.message)
}

#[test]
fn a_publish_is_read_without_touching_its_data() {
    let frame =
        br#" { "id" : 7, "data": {"a" : [1, "x\n"]}, "type":"publish","channel":"r\u00f6m","x":[{}] } "#;
    let request = json::decode(frame).unwrap();
    assert_eq!(request.id, Some(7));
    let Command::Publish(publish) = request.command else { panic!("{request:?}") };
    assert_eq!(publish.channel, "röm");
    assert_eq!(publish.data, Data::Json(br#"{"a" : [1, "x\n"]}"#.as_slice().into()));
}

#[test]
fn line_ends_between_tokens_become_spaces() {
    let request = json::decode(b"{\"type\":\"publish\",\"channel\":\"r\",\"data\":[1,\r\n2]}").unwrap();
    let Command::Publish(publish) = request.command else { panic!("{request:?}") };
    assert_eq!(publish.data, Data::Json(b"[1,  2]".as_slice().into()));
}

#[test]
fn null_is_absent_but_data_may_be_null() {
    let request =
        json::decode(br#"{"type":"publish","id":null,"channel":"r","data":null,"tags":null}"#).unwrap();
    assert_eq!(request.id, None);
    let Command::Publish(publish) = request.command else { panic!("{request:?}") };
    assert_eq!(publish.data, Data::Json(b"null".as_slice().into()));
    assert!(publish.tags.is_empty());
}

#[test]
fn refusals_name_the_field_and_carry_the_id() {
    use ErrorCode::{BadRequest, UnknownType};
    let deep =
        format!(r#"{{"type":"publish","id":1,"channel":"r","data":{}1{}}}"#, "[".repeat(65), "]".repeat(65));
    for (frame, id, code, part) in [
        ("", None, BadRequest, "`{` expected at byte 0"),
        ("[1]", None, BadRequest, "a command is one object"),
        ("{} x", None, BadRequest, "the end expected"),
        (r#"{"type":"ping","id":1,}"#, None, BadRequest, "a string expected"),
        (r#"{"type":"ping","id":1.0}"#, None, BadRequest, "`id`"),
        (r#"{"type":"ping","id":0}"#, None, BadRequest, "`id` is 0"),
        (r#"{"type":"ping","id":9007199254740992}"#, None, BadRequest, "2^53-1"),
        (r#"{"type":"ping","id":"1"}"#, None, BadRequest, "`id` is a string"),
        (r#"{"id":3}"#, Some(3), BadRequest, "`type` is missing"),
        (r#"{"type":"subscribe","channel":5,"id":3}"#, Some(3), BadRequest, "`channel` is an integer"),
        (r#"{"type":"ping","id":3,"id":4}"#, None, BadRequest, "\"id\" stands twice"),
        (r#"{"type":"ping","a":1,"id":4,"a":1}"#, Some(4), BadRequest, "\"a\" stands twice"),
        (r#"{"type":"subscrib","id":3}"#, Some(3), UnknownType, "did you mean \"subscribe\"?"),
        (r#"{"type":"x","id":3}"#, Some(3), UnknownType, "the commands are"),
        (r#"{"type":"publish","id":3,"channel":"r"}"#, Some(3), BadRequest, "`data` is missing"),
        (r#"{"type":"publish","id":3,"channel":"r","data":1,"binary":""}"#, Some(3), BadRequest, "exclude"),
        (r#"{"type":"publish","id":3,"channel":"r","binary":"?"}"#, Some(3), BadRequest, "base64"),
        (r#"{"type":"publish","id":3,"channel":"r","data":1,"message_id":""}"#, Some(3), BadRequest, "empty"),
        (r#"{"type":"subscribe","id":3,"channel":"\ud800"}"#, Some(3), BadRequest, "surrogate"),
        (
            r#"{"type":"subscribe","id":3,"channel":"r","since":{"epoch":"!","offset":1}}"#,
            Some(3),
            BadRequest,
            "epoch",
        ),
        (
            r#"{"type":"subscribe","id":3,"channel":"r","since":{"epoch":"e","epoch":"e","offset":1}}"#,
            Some(3),
            BadRequest,
            "twice",
        ),
        (
            r#"{"type":"connect","id":3,"since":{"a":{"epoch":"e","offset":1},"b":null,"a":null}}"#,
            Some(3),
            BadRequest,
            "`since` has the key \"a\" twice",
        ),
        (r#"{"type":"connect","id":3,"since":{"a":1}}"#, Some(3), BadRequest, "`since.a` is an integer"),
        (
            r#"{"type":"publish","id":3,"channel":"r","data":1,"tags":{"a":"","b":"","a":null}}"#,
            Some(3),
            BadRequest,
            "`tags` has the key \"a\" twice",
        ),
        (&deep, None, BadRequest, "deeper than 64"),
    ] {
        let (got_id, got_code, message) = refused(frame);
        assert_eq!(got_code, code, "{frame}: {message}");
        assert!(message.contains(part), "{frame}: {message}");
        assert_eq!(got_id, id, "{frame}: {message}");
    }
}

#[test]
fn the_longest_allowed_things_are_allowed() {
    let data = format!("{}1{}", "[".repeat(64), "]".repeat(64));
    let tags: Vec<_> = (0..16).map(|i| format!("\"{i:0>64}\":\"{}\"", "v".repeat(256))).collect();
    let frame = format!(
        r#"{{"type":"publish","channel":"r","data":{data},"message_id":"{}","tags":{{{}}}}}"#,
        "m".repeat(64),
        tags.join(",")
    );
    assert!(json::decode(frame.as_bytes()).is_ok());
}

#[test]
fn null_is_absent_in_maps_too() {
    let position = r#"{"epoch":"e","offset":1}"#;
    let frame = format!(r#"{{"type":"connect","since":{{"a":null,"b":{position},"c":null}}}}"#);
    let Command::Connect(connect) = json::decode(frame.as_bytes()).unwrap().command else {
        panic!("{frame}")
    };
    assert_eq!(connect.since.iter().map(|(channel, _)| &**channel).collect::<Vec<_>>(), ["b"]);
    let nulls: Vec<_> = (0..40).map(|i| format!("\"{i}\":null")).collect();
    let frame =
        format!(r#"{{"type":"publish","channel":"r","data":1,"tags":{{"k":"v",{}}}}}"#, nulls.join(","));
    let Command::Publish(publish) = json::decode(frame.as_bytes()).unwrap().command else {
        panic!("{frame}")
    };
    assert_eq!(publish.tags, [("k".into(), "v".into())]);
}

/// A ping with so many other fields, their keys all different but for the last, if it is to be `doubled`.
fn crowded(fields: usize, doubled: bool) -> String {
    let mut frame = String::from(r#"{"type":"ping","id":9"#);
    for i in 0..fields {
        let key = if doubled && i == fields - 1 { 0 } else { i };
        frame.push_str(&format!(",\"k{key}\":0"));
    }
    frame + "}"
}

#[test]
fn a_command_has_at_most_1024_fields() {
    for fields in [13, 14, 15, 16, 17, 1_022] {
        assert!(json::decode(crowded(fields, false).as_bytes()).is_ok(), "{fields}");
        let (id, code, message) = refused(&crowded(fields, true));
        assert_eq!((id, code), (Some(9), ErrorCode::BadRequest), "{fields}");
        assert_eq!(message, "the key \"k0\" stands twice", "{fields}");
    }
    for doubled in [false, true] {
        let (id, code, message) = refused(&crowded(1_023, doubled));
        assert_eq!((id, code), (None, ErrorCode::BadRequest));
        assert!(message.contains("at most 1024 fields"), "{message}");
    }
    // The same holds for every object that is read, wherever it stands; what is only skipped may be larger.
    let nulls = |count: usize| (0..count).map(|i| format!("\"{i}\":null")).collect::<Vec<_>>().join(",");
    for (before, after) in [
        (r#"{"type":"connect","id":9,"since":{"#, "}}"),
        (r#"{"type":"connect","id":9,"since":{"a":{"epoch":"e","offset":1,"#, "}}}"),
        (r#"{"type":"publish","id":9,"channel":"r","data":1,"tags":{"#, "}}"),
    ] {
        assert!(json::decode(format!("{before}{}{after}", nulls(1_000)).as_bytes()).is_ok(), "{before}");
        let (id, code, message) = refused(&format!("{before}{}{after}", nulls(1_025)));
        assert_eq!((id, code), (Some(9), ErrorCode::BadRequest), "{before}");
        assert!(message.contains("at most 1024 fields"), "{message}");
    }
    for skipped in [r#""data":{OBJECT}"#, r#""data":1,"unknown":{OBJECT}"#] {
        let field = skipped.replace("OBJECT", &nulls(2_000));
        let frame = format!(r#"{{"type":"publish","channel":"r",{field}}}"#);
        assert!(json::decode(frame.as_bytes()).is_ok(), "{skipped}");
    }
    // So many bytes of keys that comparing each with each would take hours.
    assert!(refused(&crowded(1_000_000, false)).2.contains("at most 1024 fields"));
}

#[test]
fn a_refusal_shows_little_of_what_was_sent() {
    let long = r"\u0001".repeat(10_000);
    for frame in [
        format!(r#"{{"type":"ping","{long}":1,"{long}":1}}"#),
        format!(r#"{{"type":"{long}"}}"#),
        format!(r#"{{"type":"connect","since":{{"{long}":1}}}}"#),
        format!(r#"{{"type":"connect","since":{{"{long}":{{}}}}}}"#),
        format!(r#"{{"type":"connect","since":{{"{long}":null,"{long}":null}}}}"#),
        format!(r#"{{"type":"subscribe","channel":"r","since":{{"{long}":1,"{long}":1}}}}"#),
        format!(r#"{{"type":"publish","channel":"r","data":1,"tags":{{"{long}":""}}}}"#),
        format!(r#"{{"type":"publish","channel":"r","data":1,"tags":{{"{long}":5}}}}"#),
        format!(r#"{{"type":"publish","channel":"r","data":1,"tags":{{"{long}":"","{long}":""}}}}"#),
        format!(r#"{{"type":"publish","channel":"r","binary":"{long}"}}"#),
    ] {
        let (_, _, message) = refused(&frame);
        assert!(message.len() < 600, "{} bytes: {message}", message.len());
    }
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| serde_json::json!(n).to_string()),
        any::<String>().prop_map(|s| serde_json::json!(s).to_string()),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|v| format!("[{}]", v.join(" ,"))),
            prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|v| {
                let fields: Vec<_> =
                    v.iter().map(|(k, v)| format!("{}: {v}", serde_json::json!(k))).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_serde_on_mangled_json(text in any_json(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = format!("{{\"type\":\"call\",\"method\":\"m\",\"data\":{text}}}").into_bytes();
        let at = cut.index(bytes.len());
        if byte < 128 {
            bytes[at] = byte;
        }
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
            let ours = json::decode(&bytes);
            if let Err(refusal) = &ours && refusal.message.starts_with("not JSON:") {
                prop_assert!(theirs.is_err(), "{text}: {}", refusal.message);
            }
            if let Err(e) = &theirs && !e.to_string().contains("out of range") && !e.to_string().contains("surrogate")
                && !e.to_string().contains("hex escape") {
                prop_assert!(ours.is_err(), "{text}: {e}");
            }
        }
    }

    #[test]
    fn payloads_survive_the_other_format(text in any_json()) {
        let (mut packed, mut back, mut again) = (Vec::new(), Vec::new(), Vec::new());
        transcode::to_msgpack(text.as_bytes(), &mut packed);
        transcode::to_json(&packed, &mut back);
        transcode::to_msgpack(&back, &mut again);
        prop_assert_eq!(&packed, &again);
        let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
        let ours: serde_json::Value = serde_json::from_slice(&back).unwrap();
        prop_assert_eq!(theirs, ours);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if std::str::from_utf8(&bytes).is_ok() {
            let _ = json::decode(&bytes);
        }
        let _ = everwire_proto::msgpack::decode(&bytes);
        let _ = json::decode_verb("publish", &bytes);
    }
}
