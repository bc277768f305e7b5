//! The binary itself: exit codes, words for beginners, the banner.

use std::process::{Command, Output};

use serde_json::Value;

use crate::peer::Peer;
use crate::process::{Process, Scratch};
use crate::wire::Wire;
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
fn wrong_usage_is_2_and_says_what_is_right() {
    for (args, hint) in [
        (&["dance"][..], "Usage: everwire"),
        (&["deb"], "'dev'"),
        (&["serve"], "--config <FILE>"),
        (&["dev", "--port", "1234"], "tip: a port is part of the address: --listen 127.0.0.1:1234"),
        (&["serve"], "tip: everwire serve --config everwire.toml"),
        (&["dev", "--lisen", "localhost:1"], "'--listen'"),
        (&["dev", "--listen"], "<HOST:PORT>"),
        (&["dev", "--listen", "8765"], "write localhost:8765"),
        (&["dev", "--origin", "mybox.local"], "\"mybox.local\" is no origin; write scheme and host"),
        (&["dev", "--origin", "http://mybox.local/"], "nothing behind it"),
        (&["dev", "--listen", "localhost"], "such as localhost:8765"),
        (&["serve", "--config", "f", "--listen", "example.org:80"], "names are not looked up"),
        (&["version", "--jsn"], "'--json'"),
    ] {
        let output = everwire(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(words(&output).contains(hint), "{args:?}: {}", words(&output));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    let help = everwire(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(["dev", "serve", "version"].iter().all(|verb| help.contains(verb)), "{help}");
}

#[test]
fn a_port_that_is_taken_comes_with_the_line_to_type() {
    let world = world();
    let (taken, port) = (world.addr().to_string(), world.addr().port());
    let config = Scratch::new("taken.toml", &format!("listen = [\"{taken}\"]\n"));
    let path = config.path().to_str().unwrap();
    let own = env!("CARGO_BIN_EXE_everwire");
    let cargo = if cfg!(debug_assertions) { "cargo run --" } else { "cargo run --release --" };
    for (args, by_cargo, again) in [
        (&["dev", "--listen", &taken][..], false, format!("{own} dev --listen localhost:0")),
        (&["dev", "--listen", &taken], true, format!("    {cargo} dev --listen localhost:0")),
        (&["serve", "--config", path], false, format!("{own} serve --config {path} --listen localhost:0")),
    ] {
        let mut command = Command::new(own);
        // Cargo runs this test too, and says so to everything under it.
        command.args(args).env_remove("CARGO_PKG_NAME");
        if by_cargo {
            command.env("CARGO_PKG_NAME", "everwire-server");
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let words = words(&output);
        assert!(
            words.starts_with(&format!("port {port} of 127.0.0.1 is taken by another program")),
            "{words}"
        );
        assert!(words.contains(&format!("ss -ltnp 'sport = :{port}'")) && words.contains(&again), "{words}");
        assert!(output.stdout.is_empty(), "no banner of a server that does not run");
    }
}

#[test]
fn an_address_that_is_not_ours_is_no_usage() {
    let output = everwire(&["dev", "--listen", "192.0.2.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).starts_with("can't listen on 192.0.2.1:0: "), "{}", words(&output));
    assert!(words(&output).contains("`ip addr` shows"), "{}", words(&output));
}

#[test]
fn a_bad_config_is_78_with_all_its_faults() {
    let config = Scratch::new(
        "bad.toml",
        "echoo = true\nlisten = [\"8765\"]\napi_keys = [\"short\"]\n[limits]\nchannels = 0\nmessage_bytes = \"64k\"\n\
         [namespaces.chat]\non_slow = \"wait\"\n",
    );
    let path = config.path().to_str().unwrap();
    let output = everwire(&["serve", "--config", path]);
    assert_eq!(output.status.code(), Some(78));
    let words_of = words(&output);
    let lines: Vec<_> = words_of.lines().collect();
    for (line, start) in lines.iter().zip([
        "1: echoo: unknown key; did you mean \"echo\"?",
        "2: listen: \"8765\" is no address to listen on; write localhost:8765",
        "3: api_keys: a key has at least 32 characters",
        "5: limits.channels: must be from 1 to 100000",
        "6: limits.message_bytes: \"64k\" is no size",
        "8: namespaces.chat.on_slow: \"wait\" is none of ",
    ]) {
        assert!(line.starts_with(&format!("{path}:{start}")), "{line}\nwanted {start}");
    }
    assert_eq!(lines.len(), 6, "{words_of}");
    assert!(!words_of.contains("short"), "a secret is shown");
    let broken = Scratch::new("broken.toml", "a = 1\nb = = 2\n");
    let output = everwire(&["serve", "--config", broken.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    assert!(words(&output).contains(":2: this is no TOML: "), "{}", words(&output));
    let output = everwire(&["serve", "--config", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        words(&output).starts_with("/nonexistent: there is no such file.\n`everwire init` writes one"),
        "{}",
        words(&output)
    );
    // The keys of every example that there ever was are known to everybody.
    let example =
        Scratch::new("example.toml", "api_keys = [\"change-me-0123456789-0123456789-0123456789\"]\n");
    let output = everwire(&["serve", "--insecure", "--config", example.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    assert!(words(&output).contains(": api_keys: this is the key of the example"), "{}", words(&output));
}

#[test]
fn what_is_insecure_wants_a_word() {
    let config = Scratch::new(
        "open.toml",
        "listen = [\"0.0.0.0:0\"]\n[namespaces.chat]\naccess = { publish = \"anyone\" }\n",
    );
    let path = config.path().to_str().unwrap();
    let output = everwire(&["config", "check", "--config", path]);
    assert_eq!(output.status.code(), Some(78));
    for fault in ["1: listen: other machines", "3: namespaces.chat.access.publish: so anybody"] {
        assert!(words(&output).contains(&format!("{path}:{fault}")), "{}", words(&output));
    }
    let output = everwire(&["config", "check", "--insecure", "--config", path]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert!(text(&output).starts_with(&format!("{path}: good; 2 settings of its own")), "{}", text(&output));
}

fn text(output: &std::process::Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_environment_and_flags_go_before_the_file() {
    let config = Scratch::new("layers.toml", "[limits]\nchannels = 5\n");
    let path = config.path().to_str().unwrap();
    let run = |name: &str, value: &str, set: &str| {
        let args = ["config", "check", "--set", set];
        let mut command = Command::new(env!("CARGO_BIN_EXE_everwire"));
        command.args(args).env("EVERWIRE_CONFIG", path).env(name, value).output().unwrap()
    };
    let one = everwire(&["config", "check", "--config", path]);
    assert!(text(&one).contains("good; 1 setting of its own"), "{}", text(&one));
    let good = run("EVERWIRE_ECHO", "true", "limits.channels=6");
    assert!(text(&good).contains("good; 2 settings"), "{}{}", text(&good), words(&good));
    let bad = run("EVERWIRE_ECO", "true", "limits.channels=0");
    assert_eq!(bad.status.code(), Some(78));
    for fault in
        ["EVERWIRE_ECO: eco: unknown key; did you mean \"echo\"?", "--set limits.channels: must be from 1"]
    {
        assert!(words(&bad).contains(fault), "{}", words(&bad));
    }
    let output = everwire(&["config", "diff", path]);
    assert_eq!(text(&output), "limits.channels: 256 -> 5\n");
}

#[test]
fn what_a_config_could_say_is_printed() {
    for (what, holds) in [
        ("default", "# listen = [\"localhost:8765\"]"),
        ("env", "EVERWIRE_LIMITS__CHANNELS = 256   # 1 to 100000"),
        ("schema", "\"additionalProperties\": false"),
        ("reference", "| `channels` | Channels at once. | 1 to 100000 | `256` |"),
    ] {
        let output = everwire(&["config", what]);
        assert_eq!(output.status.code(), Some(0), "{what}");
        assert!(text(&output).contains(holds), "{what}: {}", text(&output));
    }
}

#[test]
fn the_doctor_tells_what_is_well_and_what_is_not() {
    let server = Process::run(&["dev", "--listen", "127.0.0.1:0"]);
    let listen = format!("listen = [\"{}\"]\n", server.addr);
    let config = Scratch::new("doctor.toml", &listen);
    let path = config.path().to_str().unwrap();
    let url = format!("ws://{}/ws", server.addr);
    let well = everwire(&["doctor", "--config", path, "--url", &url]);
    assert_eq!(well.status.code(), Some(0), "{}", words(&well));
    for line in [
        "ok   config ",
        "ok   clock ",
        "ok   socket         ws://",
        "as nobody, and answers",
        "is taken, by this server",
    ] {
        assert!(text(&well).contains(line), "{line}: {}", text(&well));
    }
    let port = server.addr.port();
    let url_of = |scheme: &str| format!("{scheme}://127.0.0.1:{port}/ws");
    let paged = everwire(&["doctor", "--config", path, "--url", &url_of("http")]);
    assert_eq!(paged.status.code(), Some(0), "{}", words(&paged));
    let sealed = everwire(&["doctor", "--config", path, "--url", &url_of("wss")]);
    assert!(words(&sealed).contains("this port speaks no TLS; use ws://"), "{}", words(&sealed));
    let nowhere = Scratch::new("doctor.toml", "listen = [\"192.0.2.1:1\"]\n");
    let args = ["doctor", "--insecure", "--config", nowhere.path().to_str().unwrap(), "--url", &url];
    let ill = everwire(&[&args[..], &["--origin", "https://elsewhere.example.com"]].concat());
    assert_eq!(ill.status.code(), Some(1));
    for line in [
        "BAD  listen         can't listen on 192.0.2.1:1",
        &format!("BAD  socket         ws://127.0.0.1:{port}/ws: "),
    ] {
        assert!(words(&ill).contains(line), "{line}: {}", words(&ill));
    }
}

/// What `serve` would refuse, whoever looks says so before.
#[test]
fn what_keeps_a_server_from_starting_is_told_before() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\n[api]\nlisten = [\"{taken}\"]\n[metrics]\nlisten = [\"{taken}\"]\n"
    );
    let config = Scratch::new("ports.toml", &text);
    let ill = everwire(&["doctor", "--config", config.path().to_str().unwrap()]);
    assert_eq!(ill.status.code(), Some(1), "{}", text_of_both(&ill));
    for name in ["api.listen", "metrics.listen"] {
        let line = format!("BAD  {name:<14} {taken} is taken by ");
        assert!(words(&ill).contains(&line), "{line}: {}", words(&ill));
    }
    let sealed =
        Scratch::new("sealed.toml", "[tls]\ncert_file = \"absent.pem\"\nkey_file = \"absent.key\"\n");
    let path = sealed.path().to_str().unwrap();
    let check = everwire(&["config", "check", "--config", path]);
    assert_eq!(check.status.code(), Some(78), "{}", text_of_both(&check));
    assert!(words(&check).starts_with(&format!("{path}: TLS: can't read ")), "{}", words(&check));
}

fn text_of_both(output: &Output) -> String {
    format!("{}{}", text(output), words(output))
}

#[test]
fn a_new_server_begins_with_files_that_work() {
    let dir = std::env::temp_dir().join(format!("everwire-init-{}", std::process::id()));
    // It is not there yet.
    let folder = dir.to_str().unwrap();
    let output = everwire(&["init", folder]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let path = dir.join("everwire.toml");
    let config = path.to_str().unwrap();
    let line = format!("everwire serve --config {config}");
    assert!(text(&output).contains(&line), "{}", text(&output));
    let owned = format!("install -D -o root -g everwire -m 640 {config} /etc/everwire/everwire.toml");
    assert!(text(&output).contains(&owned), "{}", text(&output));
    let unit = std::fs::read_to_string(dir.join("everwire.service")).unwrap();
    assert_eq!(unit, include_str!("../../../../deploy/everwire.service"));
    let again = everwire(&["init", folder]);
    assert_eq!(again.status.code(), Some(1));
    assert!(words(&again).contains("is there already, and stays as it is"), "{}", words(&again));
    let written = std::fs::read_to_string(&path).unwrap();
    let key = written.lines().find_map(|line| line.strip_prefix("api_keys = [\"")).unwrap();
    let key = key.trim_end_matches("\"]");
    let token = everwire(&["token", "new", "--config", config, "--user", "ann"]);
    assert_eq!(token.status.code(), Some(0), "{}", words(&token));
    let server = Process::run(&["serve", "--config", config, "--listen", "127.0.0.1:0"]);
    let mut listener = Peer::session(server.addr);
    assert_eq!(listener.ask(r#"{"type":"subscribe","id":2,"channel":"news"}"#)["type"], "subscribed");
    let mut wire = Wire::dial(server.addr);
    let body = r#"{"channel":"news","data":1}"#;
    wire.raw(format!("POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-API-Key: {key}\r\nContent-Length: 27\r\n\r\n{body}").as_bytes());
    wire.read_head();
    assert_eq!(wire.status(), "200");
    assert_eq!(listener.json()["data"], 1);
    drop(server);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn dev_mode_shows_where_everything_is() {
    let server = Process::run(&["dev", "--listen", "localhost:0"]);
    let port = server.addr.port();
    for line in [
        format!("  home   http://localhost:{port}/"),
        format!("  chat   http://localhost:{port}/demos/chat"),
        format!("  socket ws://localhost:{port}/ws"),
        format!("  echo   ws://localhost:{port}/echo"),
        format!("  API    http://localhost:{port}/api/publish"),
    ] {
        assert!(server.banner.lines().any(|l| l == line), "{line} is not in {}", server.banner);
    }
    let last = server.banner.lines().last().unwrap();
    assert!(last.starts_with("  ready in ") && last.ends_with(" ms; Ctrl-C stops it"), "{last}");
    // The key that is shown is the one that works, and another does not.
    let key = server.banner.lines().find_map(|l| l.trim().strip_prefix("key    ")).unwrap();
    let key = key.split(' ').next().unwrap();
    for (key, status) in [(key, "200"), ("dev-0", "401")] {
        let mut wire = Wire::dial(server.addr);
        let body = r#"{"channel":"news","data":1}"#;
        wire.raw(format!("POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-API-Key: {key}\r\nContent-Length: 27\r\n\r\n{body}").as_bytes());
        wire.read_head();
        assert_eq!(wire.status(), status);
    }
    // Both loopbacks, where there are two.
    Peer::session(server.addr);
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        Peer::session(([0, 0, 0, 0, 0, 0, 0, 1], port).into());
    }
}

#[test]
fn several_listeners_and_one_server() {
    let server = Process::run(&["dev", "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
    let also = server.banner.lines().find_map(|l| l.trim().strip_prefix("also   http://localhost:")).unwrap();
    let second: u16 = also.trim_end_matches('/').parse().unwrap();
    assert_ne!(second, server.addr.port());
    let mut one = Peer::session(server.addr);
    let mut other = Peer::session(([127, 0, 0, 1], second).into());
    assert_eq!(one.ask(r#"{"type":"subscribe","id":2,"channel":"a"}"#)["type"], "subscribed");
    assert_eq!(other.ask(r#"{"type":"publish","id":2,"channel":"a","data":7}"#)["type"], "published");
    assert_eq!(one.json()["data"], 7);
}

#[test]
fn serve_listens_where_it_is_told_and_warns() {
    let config = Scratch::new("serve.toml", "listen = [\"192.0.2.1:1\"]\n");
    let path = config.path().to_str().unwrap();
    let server = Process::run(&["serve", "--config", path, "--listen", "127.0.0.1:0"]);
    for warning in ["no api_keys in the config", "no namespaces in the config"] {
        assert!(server.banner.contains(&format!("  warning: {warning}")), "{}", server.banner);
    }
    for absent in ["home", "chat", "echo", "key"] {
        assert!(!server.banner.contains(&format!("\n  {absent} ")), "{absent}: {}", server.banner);
    }
    let mut client = Peer::session(server.addr);
    let answer = client.ask(r#"{"type":"subscribe","id":2,"channel":"a"}"#);
    assert_eq!(answer["code"], "unknown_channel", "{answer}");
}

#[test]
fn a_wish_for_the_log_that_can_not_be_read_is_told() {
    // A word alone would be the name of a part of the program, and silence all others.
    for asked in ["a=b=c", "loud"] {
        let output = Command::new(env!("CARGO_BIN_EXE_everwire"))
            .args(["serve", "--config", "/nonexistent", "--log-format", "json"])
            .env("EVERWIRE_LOG", asked)
            .output()
            .unwrap();
        let words = words(&output);
        let line = words.lines().find(|line| line.contains("EVERWIRE_LOG can't be read")).expect(&words);
        assert!(line.contains("is no level; write one of off, error") && line.contains("\"info\""), "{line}");
    }
}

#[test]
fn the_form_of_the_log_is_asked_for() {
    for (format, begins) in [("logfmt", "level=warn message=\"EVERWIRE_LOG"), ("json", "\"level\":\"warn\"")]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_everwire"))
            .args(["serve", "--config", "/nonexistent", "--log-format", format])
            .env("EVERWIRE_LOG", "a=b=c")
            .output()
            .unwrap();
        assert!(words(&output).contains(begins), "{}", words(&output));
    }
    let output = Command::new(env!("CARGO_BIN_EXE_everwire")).args(["dev", "--log-format", "xml"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output).contains("none of pretty, json, logfmt"), "{}", words(&output));
}
