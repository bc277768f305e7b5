//! A config as people write it: all of it, wrong in every way, and what is written of it.

use std::path::Path;
use std::time::Duration;

use everwire_brokers::disk::Sync;
use everwire_engine::channel::{OnSlow, Who};
use serde_json::{Value, json};

use crate::tls::ClientAuth;
use crate::trust::Told;

use super::namespaces::WHO;
use super::*;

/// The settings that a text sets, over nothing else.
fn gathered(text: &str, env: &[(&str, &str)], set: &[(&str, &str)]) -> Result<Gathered, Faults> {
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
    };
    let sources =
        Sources { file: "f".into(), text: text.into(), env: pairs(env), set: pairs(set), insecure: false };
    sources.gather()
}

fn faults(text: &str, env: &[(&str, &str)], set: &[(&str, &str)]) -> String {
    gathered(text, env, set).unwrap_err().to_string()
}

#[test]
fn the_later_goes_before_the_earlier() {
    let text = "[limits]\nchannels = 7\n";
    let channels = |text: &str, env: &[(&str, &str)], set: &[(&str, &str)]| {
        let gathered = gathered(text, env, set).unwrap();
        let found = gathered.settings.iter().find(|setting| setting.path == "limits.channels").unwrap();
        (gathered.config.limits.channels, found.place.clone())
    };
    let env = [("EVERWIRE_LIMITS__CHANNELS", "8"), ("EVERWIRE_LOG", "debug"), ("PATH", "x")];
    let set = [("limits.channels", "9")];
    assert_eq!(channels("", &[], &[]), (256, None));
    assert_eq!(channels(text, &[], &[]), (7, Some(Written::Line(2))));
    assert_eq!(channels(text, &env, &[]), (8, Some(Written::Env("EVERWIRE_LIMITS__CHANNELS".into()))));
    assert_eq!(channels(text, &env, &set), (9, Some(Written::Flag("limits.channels".into()))));
}

#[test]
fn the_environment_says_everything_that_a_file_does() {
    let secret = "0123456789abcdef0123456789abcdef";
    let tokens = format!("[{{ algorithm = \"HS256\", secret = \"{secret}\" }}]");
    let env = [
        ("EVERWIRE_LISTEN", "127.0.0.1:1, [::1]:2"),
        ("EVERWIRE_API_KEYS", secret),
        ("EVERWIRE_ORIGINS", "[\"https://a.example.com\"]"),
        ("EVERWIRE_CONNECT_REQUIRED", "true"),
        ("EVERWIRE_TIMES__HEARTBEAT", "5s"),
        ("EVERWIRE_LIMITS__MESSAGE_BYTES", "32KiB"),
        ("EVERWIRE_LIMITS__OUTBOX_BYTES", "65_536"),
        ("EVERWIRE_HISTORY__STORE", "memory"),
        ("EVERWIRE_NAMESPACES__CHAT__PRESENCE", "true"),
        ("EVERWIRE_NAMESPACES__CHAT__HISTORY__AGE", "1h"),
        ("EVERWIRE_TOKENS__KEYS", tokens.as_str()),
    ];
    let config = gathered("", &env, &[]).unwrap().config;
    assert_eq!((config.listen.len(), config.api_keys.len(), config.origins.len()), (2, 1, 1));
    assert_eq!((config.times.heartbeat_ms, config.limits.message_bytes), (5_000, 32_768));
    assert_eq!((config.limits.outbox_bytes, config.connect_required), (65_536, true));
    assert_eq!(config.history, History::Memory);
    let chat = config.namespaces.options_of("chat:1").unwrap();
    assert_eq!((chat.presence, chat.history.unwrap().age_ms), (true, 3_600_000));
    assert!(config.tokens.is_some());
}

#[test]
fn faults_of_the_environment_and_of_flags_name_them() {
    let env = [
        ("EVERWIRE_LIMITS__CHANNLS", "8"),
        ("EVERWIRE_LIMITS__COMMANDS_BURST", "many"),
        ("EVERWIRE_TIMES", "5"),
        ("EVERWIRE_LISTEN__PORT", "5"),
        ("EVERWIRE_ECHO", "yes"),
    ];
    let told = faults("listen = [\"[::1]:1\"]\necho = 7\n", &env, &[("shards", "-1"), ("times.body", "1")]);
    for fault in [
        "EVERWIRE_LIMITS__CHANNLS: limits.channls: unknown key; did you mean \"channels\"?",
        "EVERWIRE_LIMITS__COMMANDS_BURST: limits.commands_burst: expected a whole number, found string",
        "EVERWIRE_LISTEN__PORT: listen.port: listen is no table",
        "--set shards: must be from 0 to 1024",
    ] {
        assert!(told.contains(fault), "{fault}\nnot in\n{told}");
    }
}

/// The one that the reference shows and the one that the parser has are the same, so each can be wrong.
#[test]
fn every_setting_refuses_a_wrong_value_by_its_name() {
    let settings = describe();
    assert!(settings.len() > 50, "{}", settings.len());
    for setting in settings.iter().filter(|setting| setting.is_value()) {
        let wrong: &[&str] = match &setting.kind {
            Kind::Number(range) if *range.start() > 0 => {
                &["0", "-1", "18446744073709551615", "1.5", "\"1\"", "{}"]
            }
            Kind::Number(_) => &["-1", "18446744073709551615", "1.5", "\"1\"", "{}"],
            Kind::Time(_) => &["7", "\"7\"", "\"7 parsecs\"", "\"100000d\"", "\"-1s\"", "[]"],
            Kind::Size(_) => &["-1", "\"7KB\"", "\"100000000TiB\"", "18446744073709551615", "true"],
            Kind::Flag => &["\"yes\"", "1", "[]"],
            Kind::Word(_) => &["\"perhaps\"", "7", "[]"],
            Kind::Text => &["\"\"", "7", "[]"],
            Kind::Texts | Kind::TextsOrTables => &["\"\"", "7", "[7]", "{}"],
            Kind::Section | Kind::Optional | Kind::Tables | Kind::Names => unreachable!("it has no value"),
        };
        for value in wrong {
            let (table, key) = setting.path.rsplit_once('.').unwrap_or(("", &setting.path));
            let head = match table.strip_suffix("[]") {
                Some(list) => format!("[[{list}]]"),
                None if table.is_empty() => String::new(),
                None => format!("[{}]", table.replace("<name>", "chat")),
            };
            let told = faults(&format!("{head}\n{key} = {value}\n"), &[], &[]);
            let line = format!("f:2: {}: ", setting.path.replace("[]", "").replace("<name>", "chat"));
            assert!(told.lines().any(|told| told.starts_with(&line)), "{head} {key} = {value}\n{told}");
        }
    }
}

#[test]
fn what_is_insecure_is_refused_unless_it_is_meant() {
    let anyone = "[namespaces.chat]\naccess = { publish = \"anyone\" }\n";
    for (text, fault) in [
        ("origins = [\"*\"]\n", "f:1: origins: \"*\" is no origin"),
        ("listen = [\"0.0.0.0:80\"]\n", "f:1: listen: other machines reach this address"),
        ("listen = [\"[::]:80\"]\n", "f:1: listen: other machines reach this address"),
        ("api_keys = [\"0123456789abcdef\"]\n", "f:1: api_keys: a key has at least 32 characters"),
        (anyone, "f:2: namespaces.chat.access.publish: so anybody who reaches the server can speak"),
        ("[api]\nlisten = [\"0.0.0.0:80\"]\n", "f:2: api.listen: other machines reach this address"),
        ("[metrics]\nlisten = [\"0.0.0.0:80\"]\n", "f:2: metrics.listen: other machines reach this address"),
        (
            "[metrics]\nlisten = [\"[::]:80\"]\n[tls]\ncert_file = \"c\"\nkey_file = \"k\"\n",
            "f:2: metrics.listen: other machines reach this address, and it has no TLS, not even with [tls]",
        ),
    ] {
        assert!(faults(text, &[], &[]).starts_with(fault), "{text}: {}", faults(text, &[], &[]));
        assert!(Config::read("f", text).is_ok(), "{text}");
    }
    let proxy = "tls = \"proxy\"\nlisten = [\"0.0.0.0:80\"]\n";
    assert!(gathered(proxy, &[], &[]).is_ok());
    let all = format!("{proxy}[api]\nlisten = [\"0.0.0.0:81\"]\n[metrics]\nlisten = [\"0.0.0.0:82\"]\n");
    assert!(gathered(&all, &[], &[]).is_ok());
    assert!(gathered("[metrics]\nlisten = [\"127.0.0.1:80\", \"localhost:1\"]\n", &[], &[]).is_ok());
    assert!(gathered("listen = [\"127.0.0.1:80\", \"localhost:1\"]\n", &[], &[]).is_ok());
    let example = "api_keys = [\"change-me-0123456789abcdef0123456789\"]\n";
    assert!(Config::read("f", example).unwrap_err().to_string().contains("everybody knows"));
}

#[test]
fn keys_may_stand_in_a_file_of_their_own() {
    let dir = std::env::temp_dir().join(format!("everwire-keys-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(
        dir.join("keys"),
        "0123456789abcdef0123456789abcdef\n\nfedcba9876543210fedcba9876543210\n",
    )
    .unwrap();
    let sources = Sources {
        file: dir.join("everwire.toml").display().to_string(),
        env: vec![("EVERWIRE_API_KEYS_FILE".into(), "keys".into())],
        ..Sources::default()
    };
    let keys = sources.gather().unwrap().config.api_keys;
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys[1].matches(b"fedcba9876543210fedcba9876543210"));
    assert!(faults("api_keys_file = \"/nonexistent/keys\"\n", &[], &[]).starts_with("f:1: api_keys_file: "));
}

/// A name that a setting of tokens reads its secret from is no unknown setting.
#[test]
fn a_name_that_a_setting_names_is_known() {
    let text = "[[tokens.keys]]\nalgorithm = \"HS256\"\nsecret_env = \"EVERWIRE_TOKEN_SECRET\"\n";
    let told = faults(text, &[("EVERWIRE_TOKEN_SECRET", "x"), ("EVERWIRE_OTHER", "x")], &[]);
    assert!(told.contains("EVERWIRE_OTHER: other: unknown key"), "{told}");
    assert!(!told.contains("token_secret"), "{told}");
}

/// What Kubernetes tells of a service named everwire is nobody's wish; anything else that begins so is a mistake.
#[test]
fn what_kubernetes_sets_is_no_setting() {
    let of_kubernetes = [
        ("EVERWIRE_SERVICE_HOST", "10.0.0.7"),
        ("EVERWIRE_SERVICE_PORT", "8765"),
        ("EVERWIRE_SERVICE_PORT_WS", "8765"),
        ("EVERWIRE_PORT", "tcp://10.0.0.7:8765"),
        ("EVERWIRE_PORT_8765_TCP", "tcp://10.0.0.7:8765"),
        ("EVERWIRE_PORT_8765_TCP_PROTO", "tcp"),
        ("EVERWIRE_PORT_8765_TCP_PORT", "8765"),
        ("EVERWIRE_PORT_8765_TCP_ADDR", "10.0.0.7"),
        ("EVERWIRE_METRICS_SERVICE_HOST", "fd00::7"),
        ("EVERWIRE_METRICS_SERVICE_PORT", "9090"),
        ("EVERWIRE_METRICS_PORT", "tcp://[fd00::7]:9090"),
        ("EVERWIRE_METRICS_PORT_9090_TCP_ADDR", "fd00::7"),
    ];
    assert!(gathered("", &of_kubernetes, &[]).is_ok(), "{}", faults("", &of_kubernetes, &[]));
    for (name, value) in [
        ("EVERWIRE_PORT", "8765"),
        ("EVERWIRE_SERVICE_HOST", "everwire.example.com"),
        ("EVERWIRE_SERVICE_PORT", "many"),
        ("EVERWIRE_SERVICE", "10.0.0.7"),
        ("EVERWIRE_PORT_8765", "tcp://10.0.0.7:8765"),
        ("EVERWIRE_PORT_8765_TCP_NAME", "ws"),
        ("EVERWIRE_PORT_MANY_TCP_PORT", "8765"),
        ("EVERWIRE_LIMITS__PORT", "tcp://10.0.0.7:8765"),
        ("EVERWIRE_LIMITS__SERVICE_PORT", "1"),
    ] {
        assert!(faults("", &[(name, value)], &[]).starts_with(&format!("{name}: ")), "{name}={value}");
    }
}

/// The documents that are written from the settings are those of today: `everwire config default` and its sisters.
#[test]
fn the_documents_are_those_of_the_settings() {
    let settings = describe();
    for (name, written, text) in [
        (
            "everwire.example.toml",
            include_str!("../../../../docs/everwire.example.toml"),
            template(&settings, &[]),
        ),
        (
            "everwire.schema.json",
            include_str!("../../../../docs/everwire.schema.json"),
            format!("{:#}\n", schema(&settings)),
        ),
        ("config.md", include_str!("../../../../docs/config.md"), reference(&settings)),
    ] {
        assert!(written == text, "docs/{name} is not what is there now: `cargo xtask docs` writes it anew");
    }
}

/// With every comment taken away that hides a setting, the template says what an empty file says.
#[test]
fn the_template_shows_the_defaults() {
    let template = template(&describe(), &[]);
    let mut all = String::new();
    let mut tokens = false;
    for line in template.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if bare.starts_with('[') && bare.ends_with(']') {
            tokens = ["tokens", "tls", "api_keys", "<"].iter().any(|part| bare.contains(part));
            all.push_str(if tokens { "" } else { bare });
        } else if !tokens && bare.split(' ').nth(1) == Some("=") && !bare.ends_with("= \"\"") {
            all.push_str(bare);
        }
        all.push('\n');
    }
    let shown = gathered(&all, &[], &[]).unwrap_or_else(|faults| panic!("{faults}\n{all}"));
    let none = gathered("", &[], &[]).unwrap();
    let value = |gathered: &Gathered, path: &str| {
        gathered.settings.iter().find(|s| s.path == path).map(|s| (s.value.clone(), s.default.clone()))
    };
    let mut seen = 0;
    for setting in shown.settings.iter().filter(|s| s.is_value() && s.place.is_some()) {
        assert_eq!(setting.value, setting.default, "{}", setting.path);
        seen += usize::from(value(&none, &setting.path).is_some());
    }
    assert!(seen > 25, "{seen} settings were seen\n{all}");
}

#[test]
fn the_schema_knows_every_setting() {
    let schema = schema(&describe());
    let chat = &schema["properties"]["namespaces"]["additionalProperties"]["properties"];
    assert_eq!(chat["presence"]["type"], "boolean");
    assert_eq!(chat["history"]["properties"]["messages"]["default"], 1_000);
    assert_eq!(schema["properties"]["limits"]["properties"]["channels"]["maximum"], 100_000);
    let keys = &schema["properties"]["tokens"]["properties"]["keys"]["items"];
    assert_eq!(keys["properties"]["algorithm"]["enum"][0], "HS256");
    assert_eq!(keys["additionalProperties"], false);
}

/// What the parser takes the schema takes too, and it refuses keys that the parser refuses.
#[test]
fn the_schema_and_the_parser_agree() {
    let schema = jsonschema::validator_for(&schema(&describe())).unwrap();
    let key = "0123456789abcdef0123456789abcdef";
    let keys = |rest: &str| format!("api_keys = [\"{key}\", {{ key = \"{key}\", {rest} }}]\n");
    let namespace = "[namespaces.chat]\nmessage_bytes";
    let size = |size: Value| json!({ "namespaces": { "chat": { "message_bytes": size } } });
    let mut large = size(1_048_576.into());
    large["limits"] = json!({ "message_bytes": 1_048_576 });
    for (text, json, good) in [
        (format!("[limits]\nmessage_bytes = 1048576\n{namespace} = 1048576\n"), large, true),
        (format!("{namespace} = \"64KiB\"\n"), size("64KiB".into()), true),
        (format!("{namespace} = 17000000\n"), size(17_000_000.into()), false),
        (
            keys("rights = [\"publish\"], channels = [\"a:*\"]"),
            json!({ "api_keys": [key, { "key": key, "rights": ["publish"], "channels": ["a:*"] }] }),
            true,
        ),
        (
            keys("right = [\"publish\"]"),
            json!({ "api_keys": [key, { "key": key, "right": ["publish"] }] }),
            false,
        ),
        (
            format!("[[api_keys]]\nkey = \"{key}\"\nchannels = \"a\"\n"),
            json!({ "api_keys": [{ "key": key, "channels": "a" }] }),
            false,
        ),
        ("tls = \"proxy\"\n".to_owned(), json!({ "tls": "proxy" }), true),
    ] {
        assert_eq!(gathered(&text, &[], &[]).is_ok(), good, "{text}");
        assert_eq!(schema.is_valid(&json), good, "{text}");
    }
    let larger = faults(&format!("{namespace} = \"65KiB\"\n"), &[], &[]);
    assert_eq!(
        larger,
        "f:2: namespaces.chat.message_bytes: no message is larger than message_bytes of [limits], which is 64KiB"
    );
}

#[test]
fn differences_name_what_was_and_what_is() {
    let settings = |text: &str| gathered(text, &[], &[]).unwrap().settings;
    let (a, b) =
        (settings("[limits]\nchannels = 5\n"), settings("echo = true\n[times]\nheartbeat = \"5s\"\n"));
    assert_eq!(
        difference(&a, &b),
        "echo: false -> true\nlimits.channels: 5 -> 256\ntimes.heartbeat: \"25s\" -> \"5s\"\n"
    );
    assert_eq!(difference(&a, &a), "");
    // What a table has by default is not told beside what was written in it; a table that has nothing else is.
    let chat = settings("[namespaces.chat]\npresence = true\n");
    assert_eq!(difference(&settings(""), &chat), "namespaces.chat.presence: (unset) -> true\n");
    let history = settings("[namespaces.chat]\npresence = true\nhistory = {}\n");
    assert_eq!(difference(&chat, &history), "namespaces.chat.history: (unset) -> (its defaults)\n");
    assert_eq!(difference(&history, &chat), "namespaces.chat.history: (its defaults) -> (unset)\n");
    let key = "api_keys = [\"0123456789abcdef0123456789abcdef\"]\n";
    assert_eq!(difference(&settings(""), &settings(key)), "api_keys: [] -> \"***\"\n");
    // Secrets look alike, wherever they stand, and yet it is told that they are not the same.
    let keys = |one: &str, other: &str| {
        let table =
            |secret: &str| format!("[[tokens.keys]]\nalgorithm = \"HS256\"\nsecret = \"{secret:x<32}\"\n");
        settings(&format!("{}{}", table(one), table(other)))
    };
    let told = difference(&keys("a", "b"), &keys("a", "c"));
    assert_eq!(told, "tokens.keys.secret: changed, and not shown\n");
    assert_eq!(difference(&keys("a", "b"), &keys("a", "b")), "");
    let one = "0123456789abcdef0123456789abcdef";
    let api = |all: &[&str]| settings(&format!("api_keys = {all:?}\n"));
    for others in [&["fedcba9876543210fedcba9876543210"][..], &[one, "fedcba9876543210fedcba9876543210"]] {
        assert_eq!(difference(&api(&[one]), &api(others)), "api_keys: changed, and not shown\n");
    }
    let marked = format!("{:?}", keys("a", "b"));
    assert!(marked.contains("Mark(***)") && !marked.contains("xxxx"), "{marked}");
}

#[test]
fn history_is_on_disk_unless_it_is_told_otherwise() {
    let history =
        |section: &str| Config::read("conf/everwire.toml", &format!("[history]\n{section}")).unwrap().history;
    let disk = |data: &str, sync| History::Disk { data: data.into(), sync };
    let every = |ms| Sync::Interval(Duration::from_millis(ms));
    assert_eq!(history("store = \"memory\""), History::Memory);
    assert_eq!(history("data = \"d\""), disk("conf/d", Sync::Always));
    assert_eq!(history("data = \"/d\"\nsync = \"none\""), disk("/d", Sync::None));
    assert_eq!(history("data = \"d\"\nsync = \"interval\""), disk("conf/d", every(100)));
    assert_eq!(history("data = \"d\"\nsync = \"interval\"\nsync_every = \"5ms\""), disk("conf/d", every(5)));
    let text = "[history]\nstore = \"disc\"\ndata = \"\"\nsync = \"often\"\nsync_every = \"0s\"\nsyncs = 1\n";
    let faults = Config::read("f", text).unwrap_err().to_string();
    for fault in [
        "f:2: history.store: \"disc\" is none of \"disk\", \"memory\"",
        "f:3: history.data: it is empty; where nothing is meant leave the line out",
        "f:4: history.sync: \"often\" is none of",
        "f:5: history.sync_every: must be from 1ms to 1m",
        "f:6: history.syncs: unknown key; did you mean \"sync\"?",
    ] {
        assert!(faults.contains(fault), "{fault} not in {faults}");
    }
    assert_eq!(faults.lines().count(), 5, "{faults}");
}

#[test]
fn a_fault_says_what_was_found_and_what_to_write() {
    for (text, fault) in [
        (
            "listen = \"localhost:8902\"\n",
            "f:1: listen: expected a list of strings; write [\"localhost:8902\"]",
        ),
        ("[limits]\nchannels = 0\n", "f:2: limits.channels: must be from 1 to 100000, not 0"),
        ("[times]\nheartbeat = \"1ms\"\n", "f:2: times.heartbeat: must be from 500ms to 1d, not 1ms"),
        ("[limits]\nunsent_bytes = 1\n", "f:2: limits.unsent_bytes: must be from 4KiB to 1GiB, not 1B"),
        ("[tls]\ncert_file = \"\"\n", "f:2: tls.cert_file: it is empty"),
        ("base_path = 7\n", "f:1: base_path: expected a string, found integer"),
        (
            "[drain]\nwindow = \"1m\"\nnotice = \"2m\"\n",
            "f:3: drain.notice: it must be shorter than drain.window (1m)",
        ),
    ] {
        let told = faults(text, &[], &[]);
        assert!(told.lines().any(|line| line.starts_with(fault)), "{text}: {told}");
    }
}

/// A short window is for clients to go in, and not all notice; who asks for more notice is told.
#[test]
fn a_short_window_has_a_short_notice() {
    for (text, notice_ms) in [
        ("", 5_000),
        ("[drain]\nwindow = \"8s\"\n", 2_000),
        ("[drain]\nwindow = \"8s\"\nnotice = \"3s\"\n", 3_000),
        ("[drain]\nwindow = \"10m\"\n", 5_000),
    ] {
        assert_eq!(Config::read("f", text).unwrap().drain.notice_ms, notice_ms, "{text}");
    }
}

#[test]
fn an_empty_file_allows_nothing() {
    let config = Config::read("f", "").unwrap();
    assert_eq!((config.mode, config.echo, config.compression), (Mode::Serve, false, false));
    assert!(config.namespaces.options_of("news").is_none());
    assert!(config.namespaces.options_of("a:b").is_none());
}

#[test]
fn everything_can_be_said() {
    let text = r#"
        listen = ["0.0.0.0:80", "localhost:0"]
        origins = ["https://app.example.com"]
        api_keys = ["0123456789abcdef"]
        connect_required = true
        compression = "on"
        echo = true
        [limits]
        message_bytes = 0x8000
        channels = 10
        [times]
        heartbeat = "1s"
        [node]
        channels = 5
        [metrics]
        access = "anyone"
        [namespaces.default]
        access = { subscribe = "anyone" }
        [namespaces.chat]
        history = { messages = 5 }
        presence = true
        on_slow = "drop"
        message_bytes = 1000
    "#;
    let config = Config::read("f", text).unwrap();
    assert_eq!((config.limits.message_bytes, config.limits.channels), (0x8000, 10));
    assert_eq!((config.times.heartbeat_ms, config.node_limits.channels), (1_000, 5));
    let default = config.namespaces.options_of("news").unwrap();
    assert_eq!((default.access.subscribe, default.access.publish), (Who::Anyone, Who::Token));
    let chat = config.namespaces.options_of("chat:1").unwrap();
    assert_eq!((chat.history.unwrap().messages, chat.on_slow), (5, OnSlow::Drop));
    assert!(config.namespaces.options_of("other:1").is_none());
    assert!(config.metrics_open);
}

#[test]
fn all_faults_are_told_at_once() {
    let text = "listen = [\"nowhere\"]\norigins = [\"app.example.com\", 7]\nconnect_requird = true\n\
        [limits]\nchannels = -1\nmessage_bytes = \"64k\"\n[namespaces.chat]\non_slow = \"wait\"\nhistori = {}\n";
    let faults = Config::read("everwire.toml", text).unwrap_err();
    let lines: Vec<_> = faults.to_string().lines().map(str::to_owned).collect();
    for (line, start) in lines.iter().zip([
        "everwire.toml:1: listen: \"nowhere\" is no address",
        "everwire.toml:2: origins: ",
        "everwire.toml:2: origins: ",
        "everwire.toml:3: connect_requird: unknown key; did you mean \"connect_required\"?",
        "everwire.toml:5: limits.channels: must be from 1 to 100000",
        "everwire.toml:6: limits.message_bytes: \"64k\" is no size",
        "everwire.toml:8: namespaces.chat.on_slow: \"wait\" is none of \"resync\", \"drop\", \"close\"",
        "everwire.toml:9: namespaces.chat.histori: unknown key; did you mean \"history\"?",
    ]) {
        assert!(line.starts_with(start), "{line}\nwanted {start}");
    }
    assert_eq!(lines.len(), 8, "{faults}");
}

#[test]
fn what_is_no_toml_names_its_line() {
    let faults = Config::read("f", "a = 1\nb = = 2\n").unwrap_err();
    assert!(faults.to_string().starts_with("f:2: this is no TOML: "), "{faults}");
}

#[test]
fn a_file_that_is_not_there_comes_with_one_to_write() {
    let faults = Config::load(Path::new("/nonexistent/f")).unwrap_err();
    // A log gets the fault, and no example with a key.
    assert_eq!(faults.lines().collect::<Vec<_>>(), ["/nonexistent/f: there is no such file."]);
    let words = faults.to_string();
    assert!(words.starts_with("/nonexistent/f: there is no such file.\n"), "{words}");
    let shown: Vec<_> = words.lines().filter_map(|l| l.strip_prefix("    ")).collect();
    let config = Config::read("f", &shown.join("\n")).unwrap();
    let news = config.namespaces.options_of("news").unwrap();
    assert_eq!((news.access.subscribe, news.access.publish), (Who::Anyone, Who::Token));
    assert_eq!(config.api_keys.len(), 1);
    // What is there and can't be read is another matter.
    let words = Config::load(Path::new("/")).unwrap_err().to_string();
    assert!(words.starts_with("/: the config file can't be read: "), "{words}");
}

#[test]
fn who_may_do_what_has_four_words() {
    let read = |access: &str| Config::read("f", &format!("[namespaces.a]\naccess = {{ {access} }}\n"));
    for (word, who) in WHO {
        let config = read(&format!("history = \"{word}\"")).unwrap();
        assert_eq!(config.namespaces.options_of("a:1").unwrap().access.history, who);
    }
    let faults = read("publish = \"nobody\"").unwrap_err().to_string();
    assert!(faults.starts_with("f:2: namespaces.a.access.publish: \"nobody\" is no word"), "{faults}");
    assert!(faults.contains("write \"deny\""), "{faults}");
    let owned = Config::read("f", "[namespaces.user]\nuser_channels = true\n").unwrap();
    assert!(owned.namespaces.options_of("user:ann").unwrap().user_channels);
    let faults = Config::read("f", "[namespaces.default]\nuser_channels = true\n").unwrap_err();
    assert!(faults.to_string().starts_with("f:2: namespaces.default.user_channels: "), "{faults}");
}

#[test]
fn resync_needs_history() {
    let faults = Config::read("f", "[namespaces.a]\non_slow = \"resync\"\n").unwrap_err();
    assert!(faults.to_string().starts_with("f:2: namespaces.a.on_slow:"), "{faults}");
}

#[test]
fn a_demo_needs_all_that_it_does() {
    assert!(Config::dev().is_open_to_pages("demo:wire"));
    let whole =
        "access = { subscribe = \"anyone\", publish = \"anyone\", presence = \"anyone\" }\npresence = true\n";
    let open = |root: &str, section: &str| {
        let text = format!("{root}\n[namespaces.demo]\n{section}");
        Config::read("f", &text).unwrap().is_open_to_pages("demo:wire")
    };
    assert!(open("", whole));
    for left_out in ["subscribe = \"anyone\", ", "publish = \"anyone\", ", "presence = true\n"] {
        assert!(!open("", &whole.replace(left_out, "")), "{left_out}");
    }
    assert!(!open("", &whole.replace("presence = \"anyone\"", "presence = \"authenticated\"")));
    assert!(!open("connect_required = true", whole));
    assert!(!Config::read("f", "").unwrap().is_open_to_pages("demo:wire"));
}

#[test]
fn proxies_and_certificates() {
    let root = "trusted_proxies = [\"10.0.0.0/8\", \"unix\"]\nforwarded_header = \"Forwarded\"\nproxy_protocol = true\nbase_path = \"/realtime\"\n";
    let tls = "[tls]\ncert_file = \"c.pem\"\nkey_file = \"/k.pem\"\n";
    let config = Config::read("conf/f", &format!("{root}{tls}")).unwrap();
    assert_eq!((config.proxies.trusted.len(), config.proxies.told), (2, Told::Forwarded));
    assert!(config.proxies.protocol && config.base_path == "/realtime");
    let files = config.tls.unwrap();
    assert_eq!((files.cert, files.key), ("conf/c.pem".into(), "/k.pem".into()));
    let auth = format!("{tls}client_ca_file = \"a.pem\"\nclient_auth = \"optional\"\n");
    let files = Config::read("f", &auth).unwrap().tls.unwrap();
    assert_eq!((files.client_ca, files.client_auth), (Some("a.pem".into()), ClientAuth::Optional));
    for (text, told) in [
        ("trusted_proxies = [\"10.0.0.0/33\"]", "f:1: trusted_proxies: \"10.0.0.0/33\" names no proxy"),
        ("proxy_protocol = true", "f:1: proxy_protocol: it is taken from trusted_proxies alone"),
        ("base_path = \"realtime/\"", "f:1: base_path: write a path such as /realtime"),
        ("forwarded_header = \"Via\"", "f:1: forwarded_header: \"Via\" is none of"),
        ("[tls]\ncert_file = \"c\"", "f:1: tls.cert_file: [tls] needs both"),
        (&format!("{tls}client_auth = \"required\""), "f:1: tls.client_ca_file: client_auth asks"),
    ] {
        let faults = Config::read("f", text).unwrap_err().to_string();
        assert!(faults.starts_with(told), "{faults}");
    }
}

#[test]
fn base_paths() {
    for (text, kept) in [("/", ""), ("/realtime", "/realtime"), ("/a/b-c.d_e~f", "/a/b-c.d_e~f")] {
        assert_eq!(read_base_path(text).as_deref(), Ok(kept));
    }
    for bad in ["", "realtime", "/realtime/", "//", "/a//b", "/a b", "/a?b", "/../x", "/.", "/%41", "/a:b"] {
        assert!(read_base_path(bad).is_err(), "{bad}");
    }
}
