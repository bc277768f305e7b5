//! The binary itself: exit codes, words for beginners, the banner.

use std::process::{Command, Output};

use serde_json::Value;

use crate::world::world;

fn everwire(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_everwire")).args(args).output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_version_is_told() {
    let plain = everwire(&["version"]);
    let json = everwire(&["version", "--json"]);
    let version: Value = serde_json::from_slice(&json.stdout).unwrap();
    let version = version["version"].as_str().unwrap();
    assert_eq!(String::from_utf8(plain.stdout).unwrap(), format!("everwire {version}\n"));
    assert_eq!((plain.status.code(), json.status.code()), (Some(0), Some(0)));
}

#[test]
fn wrong_usage_is_2() {
    for args in [&["dance"][..], &["serve"], &["dev", "--port", "1"]] {
        assert_eq!(everwire(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_port_that_is_taken_comes_with_the_line_to_type() {
    let world = world();
    let taken = world.addr().to_string();
    let output = everwire(&["dev", "--listen", &taken]);
    assert_eq!(output.status.code(), Some(1));
    let words = words(&output);
    assert!(words.contains("is taken by another program"), "{words}");
    assert!(words.contains("everwire dev --listen localhost:0"), "{words}");
}

#[test]
fn an_address_that_is_none_is_explained() {
    let output = everwire(&["dev", "--listen", "8765"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("write host:port, such as 127.0.0.1:8765"), "{}", words(&output));
}

#[test]
fn a_bad_config_is_78_with_all_its_faults() {
    let file = std::env::temp_dir().join(format!("everwire-{}.toml", std::process::id()));
    std::fs::write(&file, "echoo = true\n[limits]\nchannels = 0\n").unwrap();
    let output = everwire(&["serve", "--config", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(output.status.code(), Some(78));
    let words = words(&output);
    assert!(words.contains(":1: echoo: unknown key; did you mean \"echo\"?"), "{words}");
    assert!(words.contains(":3: limits.channels: must be from 1 to 100000"), "{words}");
    assert_eq!(everwire(&["serve", "--config", "/nonexistent"]).status.code(), Some(78));
}
