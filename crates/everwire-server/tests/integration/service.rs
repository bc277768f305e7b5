//! Under systemd: what it is told, and the unit that is shipped.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use everwire_server::drain::DrainLimits;
use everwire_server::notify::Notifier;
use rustix::process::Signal;

use crate::process::{Process, Scratch};
use crate::wire::PATIENCE;
use crate::world::{World, until, world_with};

/// A socket of systemd's, and the file that it is.
fn systemd() -> (UnixDatagram, Scratch) {
    let file = Scratch::new("notify", "");
    std::fs::remove_file(file.path()).unwrap();
    let socket = UnixDatagram::bind(file.path()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, file)
}

/// What it hears next; empty: nothing for so long.
fn heard(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    let n = socket.recv(&mut bytes).unwrap_or(0);
    String::from_utf8(bytes[..n].to_vec()).unwrap()
}

#[test]
fn it_is_told_of_a_life() {
    let (socket, file) = systemd();
    let name = file.path().to_str().unwrap();
    let vars = [("NOTIFY_SOCKET", name), ("WATCHDOG_USEC", "300000")];
    let mut server = Process::run_in(&["dev", "--listen", "127.0.0.1:0"], &vars);
    assert_eq!(heard(&socket), "READY=1");
    for _ in 0..3 {
        assert_eq!(heard(&socket), "WATCHDOG=1", "messages flow");
    }
    server.signal(Signal::TERM);
    let said = std::iter::repeat_with(|| heard(&socket)).find(|said| said != "WATCHDOG=1");
    assert_eq!(said.as_deref(), Some("STOPPING=1"));
    assert_eq!(server.wait(), Some(0));
}

/// A server whose messages do not come back is one that the watchdog hears nothing of.
#[test]
fn the_watchdog_hears_nothing_when_messages_do_not_flow() {
    let (socket, file) = systemd();
    let mut world = world_with(|_| {});
    world.notify(Notifier::to(OsStr::new(file.path()), Some(Duration::from_millis(300))).unwrap());
    assert_eq!((heard(&socket), heard(&socket)), ("READY=1".to_owned(), "WATCHDOG=1".to_owned()));
    world.end_shard(1);
    socket.set_read_timeout(Some(Duration::from_millis(2_500))).unwrap();
    let begun = Instant::now();
    while !heard(&socket).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "it is told that all is well");
    }
}

/// Half a request, and nothing more: that its connection ended is told at `debug`.
fn break_a_connection(addr: SocketAddr) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

const ENDED: &str = "a connection ended before its time";

#[test]
fn the_level_of_the_log_is_changed_while_it_runs() {
    let server = Process::run(&["dev", "--listen", "127.0.0.1:0"]);
    let ask = |body: &str| {
        let lines = "Content-Type: application/json\r\n";
        let (head, body) = World::http_at(server.addr, "POST", "/api/log_level", lines, body);
        (head.split(' ').nth(1).unwrap().to_owned(), body)
    };
    break_a_connection(server.addr);
    for (body, words) in [
        ("", "must be a JSON object"),
        ("[]", "`level` must be a string"),
        (r#"{"level":7}"#, "`level` must be a string"),
        (r#"{"level":"debgu"}"#, "is no level; write one of off, error"),
        (&"x".repeat(2_000), "of at most 1024 bytes"),
    ] {
        let (status, answer) = ask(body);
        assert!(status == "400" && answer.contains(words), "{status} {answer}");
    }
    assert!(!server.log().contains(ENDED), "{}", server.log());
    assert_eq!(ask(r#"{"level":"info,everwire_server=debug"}"#).0, "200");
    until("it is logged", || {
        break_a_connection(server.addr);
        server.log().contains(ENDED)
    });
    assert_eq!(ask(r#"{"level":"info"}"#).0, "200");
    let (head, _) = World::http_at(server.addr, "GET", "/api/log_level", "", "");
    assert!(head.starts_with("http/1.1 405"), "{head}");
    let foreign = "Content-Type: application/json\r\nOrigin: http://evil.example\r\n";
    let (head, _) = World::http_at(server.addr, "POST", "/api/log_level", foreign, r#"{"level":"off"}"#);
    assert!(head.starts_with("http/1.1 403"), "{head}");
}

#[test]
fn the_config_says_what_is_logged_and_how() {
    let server = Process::serve("listen = [\"127.0.0.1:0\"]\n[log]\nlevel = \"debug\"\nformat = \"json\"\n");
    until("it is logged", || {
        break_a_connection(server.addr);
        server.log().contains(ENDED)
    });
    for line in server.log().lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}

#[test]
fn the_unit_is_what_the_server_expects() {
    let unit = include_str!("../../../../deploy/everwire.service");
    let mut keys: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    let mut section = "";
    for line in unit.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name,
            None => {
                let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line:?} is no setting"));
                assert!(key.chars().all(|c| c.is_ascii_alphanumeric()) && !value.is_empty(), "{line}");
                keys.entry((section, key)).or_default().push(value);
            }
        }
    }
    let service = |key: &'static str| keys[&("Service", key)].clone();
    assert_eq!(service("Type"), ["notify"]);
    assert_eq!(service("KillSignal"), ["SIGTERM"]);
    assert_eq!(service("SuccessExitStatus"), ["130 143"], "the codes of a second signal");
    assert_eq!(service("RestartPreventExitStatus"), ["78"], "a bad config is as bad at the next start");
    // A user of the moment (DynamicUser) could read no config that has a key in it.
    assert_eq!((service("User"), service("Group")), (vec!["everwire"], vec!["everwire"]));
    assert!(!keys.contains_key(&("Service", "DynamicUser")));
    assert!(service("ExecStart")[0].contains("everwire serve --config "), "{:?}", service("ExecStart"));
    assert_eq!(service("StateDirectory"), ["everwire"], "history is kept there");
    let seconds = |key: &'static str| service(key)[0].parse::<u64>().unwrap();
    assert!(
        seconds("TimeoutStopSec") * 1_000 > DrainLimits::default().window_ms,
        "it is not killed while it is left"
    );
    assert!(seconds("WatchdogSec") >= 10 && seconds("LimitNOFILE") >= 65_536);
    for key in ["NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "MemoryDenyWriteExecute"] {
        assert_eq!(service(key), ["yes"], "{key}");
    }
    assert_eq!(service("ProtectSystem"), ["strict"]);
    assert_eq!(keys[&("Install", "WantedBy")], ["multi-user.target"]);
}
