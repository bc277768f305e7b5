//! Golden frames: JSON files that the server and its clients share. What the server says is made byte for byte from
//! typed values, what clients say is read as the expected command. The client in `sdk/js` runs on the same files.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "golden/commands.rs"]
mod commands;
#[path = "golden/replies.rs"]
mod replies;

use std::collections::BTreeSet;
use std::path::Path;

use everwire_proto::codes::ErrorCode;
use everwire_proto::json;
use serde_json::Value;

const UP: &str = "client->server";
const DOWN: &str = "server->client";

/// One frame of a file.
struct Golden {
    name: String,
    direction: String,
    frame: String,
}

/// All frames of all files.
fn golden() -> Vec<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("the folder of golden frames is there") {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let frames: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for frame in frames {
            let text =
                |key: &str| frame[key].as_str().unwrap_or_else(|| panic!("{key} in {frame}")).to_owned();
            assert!(text("meaning").ends_with(['.', '?']), "a meaning is a sentence: {frame}");
            all.push(Golden { name: text("name"), direction: text("direction"), frame: text("frame") });
        }
    }
    all
}

/// The frames of one direction, whose names must be those of `cases`: no file without a value, no value without a
/// file, no name twice.
fn matched<'c, T>(direction: &str, cases: &'c [(&str, T)]) -> Vec<(Golden, &'c T)> {
    let frames: Vec<_> = golden().into_iter().filter(|g| g.direction == direction).collect();
    let names: BTreeSet<_> = frames.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names.len(), frames.len(), "a name stands twice");
    assert_eq!(names, cases.iter().map(|(name, _)| *name).collect(), "files (left) and values (right)");
    let of = |golden: Golden| {
        let case = cases.iter().find(|(name, _)| *name == golden.name).expect("the names are equal");
        (golden, &case.1)
    };
    frames.into_iter().map(of).collect()
}

#[test]
fn every_frame_has_a_direction() {
    for golden in golden() {
        assert!([UP, DOWN].contains(&golden.direction.as_str()), "{}: {}", golden.name, golden.direction);
    }
}

#[test]
fn what_the_server_says_is_written_byte_for_byte() {
    let cases = replies::all();
    let mut kinds = BTreeSet::new();
    for (golden, (id, what)) in matched(DOWN, &cases) {
        let mut written = Vec::new();
        json::encode(*id, what, &mut written);
        assert_eq!(String::from_utf8_lossy(&written), golden.frame, "{}", golden.name);
        kinds.insert(what.kind());
    }
    assert_eq!(kinds, replies::KINDS.into(), "kinds that a server says");
    for code in ErrorCode::ALL {
        let name = format!("error.{}", code.as_str());
        assert!(cases.iter().any(|(one, _)| *one == name), "{name} has no frame");
    }
}

#[test]
fn what_a_client_says_is_read_as_what_it_means() {
    let cases = commands::all();
    let mut kinds = BTreeSet::new();
    for (golden, wanted) in matched(UP, &cases) {
        let read = json::decode(golden.frame.as_bytes()).unwrap_or_else(|r| panic!("{}: {r:?}", golden.name));
        assert_eq!(read, *wanted, "{}", golden.name);
        kinds.insert(commands::kind(&read.command));
    }
    assert_eq!(kinds, commands::KINDS.into(), "kinds that a client says");
}
