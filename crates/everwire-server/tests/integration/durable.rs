//! History over restarts of the real binary.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use everwire_client::{Client, Options};
use rustix::process::Signal;
use serde_json::json;

use crate::peer::{Peer, dial};
use crate::process::Process;
use crate::wire::PATIENCE;

/// A folder for a store; gone with it.
pub struct Data(PathBuf);

impl Data {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("everwire-data-{}-{count}", std::process::id())))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server whose history is in this folder; `more` goes to its section.
pub fn serve(data: &Path, more: &str) -> Process {
    Process::serve(&format!(
        "listen = [\"127.0.0.1:0\"]\nshards = 2\n[history]\ndata = {data:?}\n{more}\n\
         [limits]\ncommands_per_second = 1_000_000\ncommands_burst = 1_000_000\n\
         [namespaces.default]\nhistory = {{ messages = 100_000, bytes = 100_000_000 }}\n\
         access = {{ subscribe = \"anyone\", publish = \"anyone\", history = \"anyone\" }}\n"
    ))
}

pub fn options() -> Options {
    Options { dial: dial(), patience: PATIENCE, ..Options::default() }
}

fn client(server: &Process) -> Client {
    Client::connect(&format!("ws://{}/ws", server.addr), &options()).unwrap()
}

#[test]
fn a_restart_goes_on_where_it_was() {
    for (more, signal) in [
        ("sync = \"always\"", Signal::KILL),
        ("sync = \"interval\"\nsync_every = \"20ms\"", Signal::KILL),
        ("sync = \"none\"", Signal::KILL),
        ("", Signal::TERM),
    ] {
        let data = Data::new();
        let mut server = serve(data.path(), more);
        let mut ann = client(&server);
        let first = ann.ask("publish", &json!({ "channel": "news", "data": 1, "message_id": "m" })).unwrap();
        for number in 2..500 {
            ann.ask("publish", &json!({ "channel": "news", "data": number, "tags": { "k": "v" } })).unwrap();
        }
        match signal {
            Signal::KILL => server.kill(),
            _ => drop(server),
        }
        let server = serve(data.path(), more);
        let mut ann = client(&server);
        let since = &first["position"];
        let answer = ann.ask("subscribe", &json!({ "channel": "news", "since": since })).unwrap();
        assert_eq!(
            (answer["recovered"].as_bool(), answer["replaying"].as_u64()),
            (Some(true), Some(498)),
            "{more}"
        );
        for number in 2..500 {
            let message = ann.push().unwrap();
            assert_eq!((message["offset"].as_u64(), message["data"].as_u64()), (Some(number), Some(number)));
            assert_eq!(message["tags"]["k"], "v");
        }
        let next = ann.ask("publish", &json!({ "channel": "news", "data": 500 })).unwrap();
        assert_eq!(next["position"], json!({ "epoch": since["epoch"], "offset": 500 }), "{more}");
    }
}

#[test]
fn dev_keeps_history_where_it_is_told() {
    let data = Data::new();
    let folder = data.path().to_str().unwrap();
    let args = ["dev", "--listen", "127.0.0.1:0", "--data", folder];
    let server = Process::run(&args);
    let told = client(&server).ask("publish", &json!({ "channel": "news", "data": 1 })).unwrap();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_everwire")).args(args).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let words = String::from_utf8(second.stderr).unwrap();
    assert!(words.contains("in use by another process"), "{words}");
    drop(server);
    let server = Process::run(&args);
    let page = client(&server).ask("history", &json!({ "channel": "news" })).unwrap();
    assert_eq!((&page["position"], &page["messages"][0]["data"]), (&told["position"], &json!(1)));
}

/// Without a word about it, `serve` keeps history beside its config.
#[test]
fn serve_keeps_history_unless_it_is_told_not_to() {
    let namespace = "[namespaces.default]\nhistory = {}\naccess = { publish = \"anyone\" }\n";
    for (more, kept) in [("", true), ("[history]\nstore = \"memory\"\n", false)] {
        let server = Process::serve(&format!("listen = [\"127.0.0.1:0\"]\n{more}{namespace}"));
        client(&server).ask("publish", &json!({ "channel": "news", "data": 1 })).unwrap();
        assert_eq!(server.data().join("0000000001.log").exists(), kept, "{more}");
    }
}

#[test]
fn a_damaged_history_is_told_and_can_be_repaired() {
    let data = Data::new();
    let server = serve(data.path(), "");
    let mut ann = client(&server);
    for number in 1..4 {
        ann.ask("publish", &json!({ "channel": "news", "data": number })).unwrap();
    }
    drop((ann, server));
    let log = data.path().join("0000000001.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let everwire = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_everwire")).args(args).output().unwrap();
        let words = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), words)
    };
    let folder = data.path().to_str().unwrap();
    let (code, words) = everwire(&["dev", "--listen", "127.0.0.1:0", "--data", folder]);
    let repair = format!("everwire history repair {folder}");
    assert!(code == Some(1) && words.contains("is damaged at byte") && words.contains(&repair), "{words}");
    let (code, words) = everwire(&["history", "check", folder]);
    assert!(code == Some(1) && words.contains("damaged at byte"), "{words}");
    let (code, words) = everwire(&["history", "repair", folder]);
    assert!(code == Some(0) && words.contains("saved 3 messages"), "{words}");
    let (code, words) = everwire(&["history", "check", folder]);
    assert!(code == Some(0) && words.contains("no damage"), "{words}");
    let page = client(&serve(data.path(), "")).ask("history", &json!({ "channel": "news" })).unwrap();
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(3), "{page}");
    let (code, words) = everwire(&["history", "check", "/nonexistent"]);
    assert!(code == Some(1) && words.contains("can't be used"), "{words}");
}

/// A client that comes back after a restart in order is who it was, and what it repeats is known; after a crash, or too
/// late, it is somebody new.
#[test]
fn a_session_goes_on_after_an_orderly_restart() {
    for (signal, goes_on) in [(Signal::TERM, true), (Signal::KILL, false)] {
        let data = Data::new();
        let mut server = serve(data.path(), "");
        let mut ann = Peer::session(server.addr);
        let connected = ann.ask(r#"{"type":"publish","id":2,"channel":"a","data":1,"message_id":"m"}"#);
        let mut other = Peer::open(server.addr, "/ws");
        let me = other.ask(r#"{"type":"connect","id":1}"#);
        let publish = r#"{"type":"publish","id":2,"channel":"news","data":1,"message_id":"m"}"#;
        let first = other.ask(publish);
        assert_eq!((&connected["type"], &first["type"]), (&json!("published"), &json!("published")));
        server.signal(signal);
        if goes_on {
            assert_eq!(server.wait(), Some(0))
        } else {
            server.kill()
        }
        let file = data.path().join("sessions");
        assert_eq!(file.exists(), goes_on, "{signal:?}");
        if goes_on {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(
                std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
                0o600,
                "it has secrets"
            );
        }
        let server = serve(data.path(), "");
        assert!(!file.exists(), "it is good for one start");
        let mut back = Peer::open(server.addr, "/ws");
        let resume = json!({ "type": "connect", "id": 1, "resume": me["session"] }).to_string();
        let again = back.ask(&resume);
        assert_eq!((again["resumed"].as_bool(), again["client"] == me["client"]), (Some(goes_on), goes_on));
        let repeated = back.ask(publish);
        assert_eq!(repeated["duplicate"].as_bool(), goes_on.then_some(true), "{repeated}");
        assert_eq!(repeated["position"] == first["position"], goes_on, "{repeated}");
        let mut stranger = Peer::open(server.addr, "/ws");
        assert_eq!(stranger.ask(&resume)["resumed"], goes_on, "a session has one connection at a time");
        drop((back, stranger));
    }
}

#[test]
fn a_file_of_sessions_that_is_none_hinders_no_start() {
    let data = Data::new();
    for text in ["", "nonsense\n", "everwire sessions 1 soon\n", "everwire sessions 1 99999999999999\n[1]\n"]
    {
        std::fs::create_dir_all(data.path()).unwrap();
        std::fs::write(data.path().join("sessions"), text).unwrap();
        let server = serve(data.path(), "");
        assert!(server.log().contains("are not known"), "{text:?}: {}", server.log());
        assert_eq!(Peer::session(server.addr).ask(r#"{"type":"ping","id":1}"#)["type"], "pong");
    }
}
