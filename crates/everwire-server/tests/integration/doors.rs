//! Other ways in than a port: Unix sockets, sockets of systemd, proxies.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use everwire_proto::ws::Opcode;
use everwire_server::app::{self, StartError};
use everwire_server::config::{ApiKey, Config};
use everwire_server::doors::NoDoor;
use everwire_server::listen::Listen;

use crate::pki::Pair;
use crate::process::{Process, Scratch};
use crate::sealed::Sealed;
use crate::wire::{PATIENCE, Wire, frame, upgrade_lines};
use crate::world::{KEY, World, world_with};

const PUBLISH: &str = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 24\r\n";
const BODY: &str = "\r\n{\"channel\":\"a\",\"data\":1}";

/// A path that nothing is at.
fn free_path(name: &str) -> PathBuf {
    let file = Scratch::new(name, "");
    let path = file.path().to_owned();
    drop(file);
    path
}

/// What a server says to bytes, until it has ended.
fn said(mut stream: impl std::io::Read + std::io::Write, bytes: &[u8]) -> String {
    stream.write_all(bytes).unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

fn dial(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A WebSocket, with these further lines of its head; the first line of the answer.
fn knock(path: &Path, more: &str) -> (UnixStream, String) {
    let mut stream = dial(path);
    stream.write_all(format!("{}{more}\r\n", upgrade_lines("/ws")).as_bytes()).unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.extend(byte);
    }
    (stream, String::from_utf8_lossy(&line).into_owned())
}

/// A proxy that names nobody brings all the world: one of them must not shut the others out.
#[test]
fn who_comes_without_an_address_is_counted_with_nobody() {
    let config = |path: &Path, more: &str| {
        format!(
            "listen = [\"127.0.0.1:0\", \"unix:{}\"]\n{more}[limits]\naddress_connections = 1\n[history]\nstore = \"memory\"\n",
            path.display()
        )
    };
    let path = free_path("nameless.sock");
    let server = Process::serve(&config(&path, ""));
    let all: Vec<_> = (0..3).map(|_| knock(&path, "")).collect();
    assert!(all.iter().all(|(_, line)| line.contains(" 101 ")), "{all:?}");
    let log = server.log();
    assert_eq!(log.matches("trusted_proxies = [\"unix\"]").count(), 1, "{log}");
    assert_eq!(log.matches("nothing says from where").count(), 1, "{log}");
    let path = free_path("named.sock");
    let server = Process::serve(&config(&path, "trusted_proxies = [\"unix\"]\n"));
    let from = |last: u32| knock(&path, &format!("X-Forwarded-For: 192.0.2.{last}\r\n"));
    let (ann, again, ben) = (from(1), from(1), from(2));
    assert!(ann.1.contains(" 101 ") && again.1.contains(" 429 ") && ben.1.contains(" 101 "), "{again:?}");
    assert!(!server.log().contains("nothing says from where"));
}

#[test]
fn a_unix_socket_is_a_door_like_any_other() {
    let path = free_path("door.sock");
    let (at, pair) = (path.clone(), Pair::new());
    let world = world_with(|config| {
        config.listen.push(Listen::Unix(at));
        config.tls = Some(pair.files());
    });
    let health = said(dial(&path), b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(
        health.starts_with("HTTP/1.1 200") && health.ends_with("\"ok\"}\n"),
        "plain, whatever ports speak: {health}"
    );
    // Nobody's address is this machine's own: a proxy may stand there, and whoever is behind it has no key.
    let answer = said(dial(&path), format!("{PUBLISH}{BODY}").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let answer = said(dial(&path), format!("{PUBLISH}X-API-Key: {KEY}\r\n{BODY}").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut talk = dial(&path);
    let mut bytes = format!("{}\r\n", upgrade_lines("/echo/raw")).into_bytes();
    bytes.extend(frame(Opcode::Text, b"hello"));
    bytes.extend(frame(Opcode::Close, &1000u16.to_be_bytes()));
    talk.write_all(&bytes).unwrap();
    let mut said = Vec::new();
    talk.read_to_end(&mut said).unwrap();
    assert!(said.ends_with(b"\x81\x05hello\x88\x02\x03\xe8"), "{said:?}");
    world.until_empty();
    world.stop();
    assert!(!path.exists(), "it goes with its server");
}

#[test]
fn a_path_of_somebody_else_is_not_taken() {
    let path = free_path("taken.sock");
    let start = |path: &Path| {
        let config = Config {
            listen: vec![Listen::Unix(path.to_owned())],
            api_keys: vec![ApiKey::new(KEY)],
            ..Config::dev()
        };
        app::start(config)
    };
    let living = UnixListener::bind(&path).unwrap();
    assert!(matches!(start(&path), Err(StartError::Door(NoDoor::TakenPath(p))) if p == path));
    drop(living);
    start(&path).unwrap().stop();
    let absent = path.join("absent.sock");
    let error = start(&absent).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("unix:") && error.contains("absent.sock"), "{error}");
    let given = Config { listen: vec!["systemd".parse().unwrap()], ..Config::dev() };
    let error = app::start(given).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("no such socket was handed over"), "{error}");
}

/// As systemd starts a service: the sockets are open before, and come as descriptors from 3 on.
#[test]
fn sockets_that_were_opened_before() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let file =
        Scratch::new("serve.toml", "listen = [\"systemd\"]\necho = true\n[history]\nstore = \"memory\"\n");
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec \"$0\" serve --config \"$@\"";
    let start = |listen: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_everwire")]).arg(file.path());
        for place in listen {
            command.args(["--listen", place]);
        }
        command.stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
        command
    };
    // It waits in the queue of a server that does not run yet.
    let mut early = Wire::dial(addr);
    early.raw(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let server = Process::start(&mut start(&[]), None);
    assert_eq!(server.addr.port(), addr.port());
    early.read_head();
    assert_eq!(early.status(), "200");
    drop(server);
    let by_another_name = start(&["systemd:api"]).output().unwrap();
    let words = String::from_utf8_lossy(&by_another_name.stderr).into_owned();
    assert!(by_another_name.status.code() == Some(1) && words.contains("systemd:api"), "{words}");
    assert_eq!(Process::start(&mut start(&["systemd:web"]), None).addr.port(), addr.port());
}

fn behind(trusted: &[&str], change: impl FnOnce(&mut Config)) -> World {
    world_with(|config| {
        config.proxies.trusted = trusted.iter().map(|proxy| proxy.parse().unwrap()).collect();
        change(config);
    })
}

/// Dev mode asks whoever is on this machine for no key, and a client behind a proxy is not.
#[test]
fn the_address_behind_a_proxy_is_the_clients() {
    let status = |world: &World, lines: &str| {
        let answer = said(world.dial().stream, format!("{PUBLISH}{lines}{BODY}").as_bytes());
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let foreign = "X-Forwarded-For: 203.0.113.9\r\n";
    let own = "X-Forwarded-For: 127.0.0.1\r\n";
    let world = behind(&["127.0.0.1"], |_| {});
    for (lines, told) in [("", "200"), (foreign, "401"), (own, "200"), (&format!("{own}{foreign}"), "401")] {
        assert_eq!(status(&world, lines), told, "{lines}");
    }
    let untrusting = behind(&["10.0.0.0/8"], |_| {});
    assert_eq!(status(&untrusting, foreign), "200", "nobody is believed");
}

fn proxied(command: u8, client: [u8; 4]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([0x20 | command, 0x11, 0, 12]);
    bytes.extend(client);
    bytes.extend([127, 0, 0, 1, 0x30, 0x39, 0, 80]);
    bytes
}

#[test]
fn the_proxy_protocol() {
    let world = behind(&["127.0.0.1"], |config| {
        config.proxies.protocol = true;
        config.handshake_ms = 500;
    });
    let request = format!("{PUBLISH}{BODY}");
    for (header, told) in [
        (proxied(1, [203, 0, 113, 9]), "HTTP/1.1 401"),
        (proxied(1, [127, 0, 0, 1]), "HTTP/1.1 200"),
        (proxied(0, [0; 4]), "HTTP/1.1 200"),
        // Malformed, absent, of version 1, cut off: closed without a word.
        (proxied(7, [127, 0, 0, 1]), ""),
        (Vec::new(), ""),
        (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n".to_vec(), ""),
    ] {
        let answer = said(world.dial().stream, &[&header, request.as_bytes()].concat());
        let right = if told.is_empty() { answer.is_empty() } else { answer.starts_with(told) };
        assert!(right, "{header:?}: {answer}");
    }
    let mut silent = world.dial();
    silent.raw(&proxied(1, [127, 0, 0, 1])[..20]);
    assert!(silent.read_to_end().is_empty(), "half a header is cut in time");
    // An upgrade and its frame right behind the header.
    let mut bytes = proxied(1, [203, 0, 113, 9]);
    bytes.extend(format!("{}\r\n", upgrade_lines("/echo/raw")).as_bytes());
    bytes.extend(frame(Opcode::Text, b"hi"));
    let mut wire = world.dial();
    wire.raw(&bytes);
    wire.read_head();
    assert_eq!(wire.status(), "101");
    assert_eq!(wire.read_bytes(4), b"\x81\x02hi");
    // Who is not trusted speaks for itself.
    let strict = behind(&["10.0.0.1"], |config| config.proxies.protocol = true);
    let answer = said(strict.dial().stream, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = said(strict.dial().stream, &[&proxied(1, [127, 0, 0, 1]), request.as_bytes()].concat());
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn the_proxy_protocol_before_tls() {
    let pair = Pair::new();
    let world = behind(&["127.0.0.1"], |config| {
        config.proxies.protocol = true;
        config.tls = Some(pair.files());
    });
    let mut stream = TcpStream::connect(world.addr()).unwrap();
    stream.write_all(&proxied(1, [203, 0, 113, 9])).unwrap();
    let mut sealed = Sealed::over(stream, &pair.client());
    sealed.raw(format!("{PUBLISH}{BODY}").as_bytes());
    sealed.read_head();
    assert_eq!(sealed.status(), "401");
}

#[test]
fn everything_below_a_path() {
    let world = world_with(|config| config.base_path = "/realtime".to_owned());
    // A proxy may take the path off, or leave it.
    for base in ["", "/realtime"] {
        for (path, status, part) in [
            ("/", "200", "href=\"/realtime/demos/chat\""),
            ("", "200", "src=\"/realtime/assets/home.js\""),
            ("/demos/echo", "200", "href=\"/realtime/assets/everwire.css\""),
            ("/assets/home.js", "200", "from '/realtime/sdk/everwire.js'"),
            ("/docs/errors", "200", "href=\"/realtime/\""),
            ("/stats", "200", "ws://localhost/realtime/ws"),
            ("/health", "200", "ok"),
        ] {
            if base.is_empty() && path.is_empty() {
                continue;
            }
            let (head, body) = world.http("GET", &format!("{base}{path}"), "", "");
            assert!(
                head.contains(&format!(" {status} ")) && body.contains(part),
                "{base}{path}: {head}{body}"
            );
        }
        let mut peer = world.open(&format!("{base}/ws"));
        assert_eq!(peer.ask(r#"{"type":"connect","id":1}"#)["type"], "connected");
        let refused = peer.ask(r#"{"type":"subscribe","id":2,"channel":"a b"}"#);
        assert_eq!(refused["docs"], "/realtime/docs/errors#bad_channel_name");
        let json = "Content-Type: application/json\r\n";
        for (path, body, docs) in [
            ("/api/publish", "{}", "bad_request"),
            ("/api/broadcast", r#"{"channels":["a b"],"data":1}"#, "bad_channel_name"),
            ("/nowhere", "", "unknown_type"),
            ("/ws", "", "bad_request"),
        ] {
            let method = if body.is_empty() { "GET" } else { "POST" };
            let (head, answer) = world.http(method, &format!("{base}{path}"), json, body);
            let docs = format!("\"docs\":\"/realtime/docs/errors#{docs}\"");
            assert!(answer.contains(&docs), "{base}{path}: {head}{answer}");
        }
        let (head, _) = world.http("GET", &format!("{base}/echo"), "", "");
        assert!(head.contains("location: /realtime/demos/echo"), "{head}");
    }
    let (head, _) = world.http("GET", "/realtimes/health", "", "");
    assert!(head.contains(" 404 "), "{head}");
    let (head, body) = world.http("GET", "/realtime/nothing", "Accept: text/html\r\n", "");
    assert!(head.contains(" 404 ") && body.contains("/realtime/assets/"), "{head}{body}");
}

#[test]
fn dev_mode_makes_a_certificate_of_its_own() {
    let data = free_path("data");
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_everwire"));
        command.args(["dev", "--tls", "--listen", "127.0.0.1:0"]).env("XDG_DATA_HOME", &data);
        Process::start(&mut command, None)
    };
    let server = run();
    let cert = data.join("everwire/tls/cert.pem");
    assert!(server.banner.contains("wss://localhost:") && server.banner.contains("https://localhost:"));
    assert!(server.banner.contains(&cert.display().to_string()), "{}", server.banner);
    let first = std::fs::read(&cert).unwrap();
    drop(server);
    let again = run();
    assert_eq!(std::fs::read(&cert).unwrap(), first, "it is kept");
    drop(again);
    let nowhere = Command::new(env!("CARGO_BIN_EXE_everwire"))
        .args(["dev", "--tls", "--listen", "127.0.0.1:0"])
        .env_remove("XDG_DATA_HOME")
        .env_remove("HOME")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(nowhere.status.code() == Some(78) && words.contains("XDG_DATA_HOME"), "{words}");
    std::fs::remove_dir_all(data).unwrap();
}

#[test]
fn a_certificate_that_can_not_be_used_is_told() {
    let file = Scratch::new("bad.pem", "nothing");
    let config = format!(
        "listen = [\"127.0.0.1:0\"]\n[tls]\ncert_file = \"{0}\"\nkey_file = \"{0}\"\n[history]\nstore = \"memory\"\n",
        file.path().display()
    );
    let config = Scratch::new("tls.toml", &config);
    let output = Command::new(env!("CARGO_BIN_EXE_everwire"))
        .args(["serve", "--config"])
        .arg(config.path())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(words.contains("bad.pem") && words.contains("no certificate in"), "{words}");
}
