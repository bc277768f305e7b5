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
