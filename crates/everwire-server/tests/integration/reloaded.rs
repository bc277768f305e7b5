//! SIGHUP: another config for a server that runs.

use crate::peer::Peer;
use crate::process::Process;
use crate::world::until;

const ROOT: &str = "listen = [\"127.0.0.1:0\"]\n[history]\nstore = \"memory\"\n";

fn config(more: &str, access: &str) -> String {
    format!("{ROOT}{more}\n[namespaces.chat]\naccess = {{ {access} }}\n")
}

/// Whether somebody may listen in `chat`.
fn may(server: &Process) -> bool {
    let answer = Peer::session(server.addr).ask(r#"{"type":"subscribe","id":2,"channel":"chat:a"}"#);
    answer["type"] == "subscribed"
}

#[test]
fn what_can_change_changes_and_the_rest_is_named() {
    let server = Process::serve(&config("", ""));
    assert!(!may(&server));
    let mut before = Peer::session(server.addr);
    server.rewrite(&config("[limits]\nchannels = 3\n[node]\nchannels = 7\n", "subscribe = \"anyone\""));
    until("everybody may listen", || may(&server));
    // Who was there goes by it too, and a new connection is told its new limits.
    assert_eq!(before.ask(r#"{"type":"subscribe","id":2,"channel":"chat:a"}"#)["type"], "subscribed");
    let mut after = Peer::open(server.addr, "/ws");
    after.text(r#"{"type":"connect","id":1}"#);
    assert_eq!(after.json()["limits"]["channels"], 3);
    until("it is told", || server.log().contains("these settings hold after the next start"));
    let log = server.log();
    let waiting = log.lines().find(|line| line.contains("after the next start")).unwrap();
    assert!(waiting.contains("node.channels") && !waiting.contains("limits.channels"), "{waiting}");
}

#[test]
fn a_config_with_a_fault_changes_nothing() {
    let server = Process::serve(&config("", "subscribe = \"anyone\""));
    server.rewrite(&config("[limits]\nchannels = 0\nchannls = 1\n", ""));
    // The drop of the server wants no error in its log, so it is asked here, and mended.
    until("it is told", || server.log().contains("nothing has changed"));
    for fault in ["limits.channels: must be from 1", "limits.channls: unknown key"] {
        assert!(server.log().contains(fault), "{fault}: {}", server.log());
    }
    assert!(may(&server));
    server.rewrite(&config("", ""));
    until("nobody may listen", || !may(&server));
}

/// Tells the log when it was read again for the so-manieth time.
fn read_again(server: &Process, times: usize) {
    until("it is read", || server.log().matches("the config was read again").count() == times);
}

#[test]
fn a_changed_secret_is_named_and_not_shown() {
    let config = |key: &str| format!("api_keys = [\"{key}{key}\"]\n{ROOT}");
    let server = Process::serve(&config("0123456789abcdef"));
    server.rewrite(&config("0123456789abcdeF"));
    read_again(&server, 1);
    let log = server.log();
    let line = log.lines().find(|line| line.contains("the config was read again")).unwrap();
    assert!(line.contains("api_keys") && !log.contains("0123456789"), "{log}");
}

/// On disk, where a channel's stream is the store's.
#[test]
fn a_channel_in_use_goes_by_the_new_settings_of_its_namespace() {
    let config = |more: &str| {
        let access = "access = { subscribe = \"anyone\", publish = \"anyone\", history = \"anyone\" }";
        format!(
            "listen = [\"127.0.0.1:0\"]\n[namespaces.other]\nhistory = {{}}\n[namespaces.chat]\n{access}\n{more}\n"
        )
    };
    let server = Process::serve(&config("history = { messages = 10 }"));
    let mut peer = Peer::session(server.addr);
    assert_eq!(peer.ask(r#"{"type":"subscribe","id":2,"channel":"chat:a"}"#)["type"], "subscribed");
    let mut speaker = Peer::session(server.addr);
    let mut publish = || speaker.ask(r#"{"type":"publish","id":3,"channel":"chat:a","data":1}"#);
    for offset in 1..=10 {
        assert_eq!(publish()["position"]["offset"], offset);
        assert_eq!(peer.wait("message")["offset"], offset);
    }
    server.rewrite(&config("history = { messages = 3 }\nmessages_per_second = 1_000"));
    read_again(&server, 1);
    let page = peer.ask(r#"{"type":"history","id":4,"channel":"chat:a"}"#);
    assert_eq!(page["messages"].as_array().unwrap().len(), 3, "{page}");
    assert_eq!(publish()["position"]["offset"], 11);
    assert_eq!(peer.wait("message")["offset"], 11, "who listens has not noticed");
    // Without a stream it begins anew, and with one again where the store was.
    for (times, history, kept) in [(2, "", false), (3, "history = {}", true)] {
        server.rewrite(&config(history));
        read_again(&server, times);
        let out = peer.wait("unsubscribed");
        assert_eq!(
            (&out["code"], &out["resubscribe"]),
            (&"unrecoverable_position".into(), &true.into()),
            "{out}"
        );
        let back = peer.ask(r#"{"type":"subscribe","id":5,"channel":"chat:a"}"#);
        assert_eq!(back["position"]["offset"].as_u64(), kept.then_some(11), "{back}");
        assert_eq!(publish()["position"].is_null(), !kept);
        assert_eq!(peer.wait("message")["offset"].is_null(), !kept);
    }
}
