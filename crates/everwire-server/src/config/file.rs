//! The config file of `serve`: TOML text in, a checked [`Config`] or all its faults out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use everwire_brokers::disk::Sync;
use everwire_engine::channel::{Access, HistoryLimits, Namespaces, OnSlow, Options, Who};
use toml::de::DeTable;

use crate::drain::DrainLimits;
use crate::listen::{Listen, NoAddress};
use crate::log::{LogFormat, LogSettings, read_level};

use super::section::{Fault, Faults, Section, line_of};
use super::tokens::read_tokens;
use super::{ApiKey, Config, History, Mode, read_origin};

const U32: u64 = u32::MAX as u64;
const DAY_MS: u64 = 86_400_000;
/// A key shorter than this can be guessed.
const KEY_BYTES: usize = 16;
/// The key in our example begins so, and is no secret.
const EXAMPLE_KEY: &str = "change-me";

/// What to write when there is no file yet. The key is made on the spot, so that nobody has the same one.
const FIRST_FILE: &str =
    "there is no such file. Write one; in this one your backend publishes and everybody may listen:

    listen = [\"127.0.0.1:8765\"]
    api_keys = [\"KEY\"]

    [namespaces.default]
    access = { subscribe = \"anyone\", history = \"anyone\" }
    history = {}

docs/everwire.example.toml shows every key with its default. For a first try `everwire dev` needs no config.";

const WHO: [(&str, Who); 4] = [
    ("deny", Who::Deny),
    ("token", Who::Token),
    ("authenticated", Who::Authenticated),
    ("anyone", Who::Anyone),
];

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// All faults at once, each with its line; a file that can't be read is one fault.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::read(&file, &text),
            Err(error) => {
                let words = match error.kind() {
                    io::ErrorKind::NotFound => FIRST_FILE.replace("KEY", &fresh_key()),
                    _ => format!("the config file can't be read: {error}"),
                };
                Err(Faults { file, faults: vec![Fault { line: None, key: String::new(), words }] })
            }
        }
    }

    /// Checks the text of a file; `file` is its name in the faults.
    ///
    /// # Errors
    /// All faults at once, each with its line.
    pub fn read(file: &str, text: &str) -> Result<Self, Faults> {
        let (config, mut faults) = match DeTable::parse(text) {
            Ok(table) => read_root(Section::new(text, "", table.get_ref()), Path::new(file)),
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                let words = format!("this is no TOML: {}", error.message());
                (serve(), vec![Fault { line: Some(line), key: String::new(), words }])
            }
        };
        if faults.is_empty() {
            return Ok(config);
        }
        faults.sort_by_key(|fault| fault.line);
        Err(Faults { file: file.to_owned(), faults })
    }
}

/// Serve mode with an empty file: nothing is allowed.
fn serve() -> Config {
    Config {
        mode: Mode::Serve,
        namespaces: Namespaces::default(),
        echo: false,
        pages: false,
        drain: DrainLimits::default(),
        ..Config::dev()
    }
}

/// A key that nobody has guessed.
fn fresh_key() -> String {
    let mut bits = [0; 16];
    match getrandom::fill(&mut bits) {
        Ok(()) => format!("{:032x}", u128::from_le_bytes(bits)),
        Err(_) => format!("{EXAMPLE_KEY}, at least {KEY_BYTES} characters"),
    }
}

fn read_root(mut root: Section<'_>, file: &Path) -> (Config, Vec<Fault>) {
    let beside = file.parent().unwrap_or(Path::new(""));
    let mut config = serve();
    listen(&mut root, &mut config);
    for (origin, at) in root.texts("origins") {
        match read_origin(&origin) {
            Ok(origin) => config.origins.push(origin),
            Err(words) => root.fault("origins", at, words),
        }
    }
    for (key, at) in root.texts("api_keys") {
        if key.starts_with(EXAMPLE_KEY) {
            root.fault("api_keys", at, "this is the key of the example, which everybody knows; write one of your own, such as `openssl rand -hex 16` prints");
        } else if key.len() < KEY_BYTES {
            root.fault("api_keys", at, format!("a key has at least {KEY_BYTES} characters"));
        }
        config.api_keys.push(ApiKey::new(&key));
    }
    let at = root.find("tokens").map_or(0, |tokens| tokens.span().start);
    if let Some(mut tokens) = root.section("tokens") {
        config.tokens = Some(Arc::new(read_tokens(&mut tokens, beside, at)));
        root.join(tokens.end());
    }
    root.flag("connect_required", &mut config.connect_required);
    root.flag("echo", &mut config.echo);
    root.flag("pages", &mut config.pages);
    root.word("compression", &mut config.compression, &[("off", false), ("on", true)]);
    root.number("shards", &mut config.shards, 0, 1_024);
    if let Some(mut limits) = root.section("limits") {
        read_limits(&mut limits, &mut config);
        root.join(limits.end());
    }
    if let Some(mut times) = root.section("times") {
        read_times(&mut times, &mut config);
        root.join(times.end());
    }
    if let Some(mut node) = root.section("node") {
        read_node(&mut node, &mut config);
        root.join(node.end());
    }
    read_history(&mut root, file, &mut config);
    if let Some(mut drain) = root.section("drain") {
        read_drain(&mut drain, &mut config.drain);
        root.join(drain.end());
    }
    if let Some(mut metrics) = root.section("metrics") {
        read_metrics(&mut metrics, &mut config);
        root.join(metrics.end());
    }
    if let Some(mut log) = root.section("log") {
        read_log(&mut log, &mut config.log);
        root.join(log.end());
    }
    if let Some(mut all) = root.section("namespaces") {
        for (name, mut section) in all.sections() {
            let mut options = read_namespace(&mut section, config.limits.message_bytes);
            read_owner(&mut section, &mut options, name == "default");
            let options = Arc::new(options);
            root.join(section.end());
            if name == "default" {
                config.namespaces.default = Some(options);
            } else {
                config.namespaces.named.insert(name.into(), options);
            }
        }
        // Its keys are names that the operator chose, so none is unknown.
        root.join(all.faults);
    }
    (config, root.end())
}

fn listen(root: &mut Section<'_>, config: &mut Config) {
    let listen = places(root);
    if !listen.is_empty() {
        config.listen = listen;
    }
}

fn places(section: &mut Section<'_>) -> Vec<Listen> {
    let mut listen = Vec::new();
    for (address, at) in section.texts("listen") {
        match address.parse() {
            Ok(place) => listen.push(place),
            Err(error) => section.fault("listen", at, NoAddress::to_string(&error)),
        }
    }
    listen
}

fn read_metrics(section: &mut Section<'_>, config: &mut Config) {
    section.word("access", &mut config.metrics_open, &[("key", false), ("anyone", true)]);
    config.metrics_listen = places(section);
}

fn read_log(section: &mut Section<'_>, log: &mut LogSettings) {
    if let Some((level, at)) = section.text("level") {
        match read_level(&level) {
            Ok(_) => log.level = Some(level),
            Err(words) => section.fault("level", at, words),
        }
    }
    let formats = [("pretty", LogFormat::Pretty), ("json", LogFormat::Json), ("logfmt", LogFormat::Logfmt)];
    section.word("format", &mut log.format, &formats);
}

fn read_limits(section: &mut Section<'_>, config: &mut Config) {
    let limits = &mut config.limits;
    section.number("message_bytes", &mut limits.message_bytes, 1_024, 16 << 20);
    section.number("channels", &mut limits.channels, 1, 100_000);
    section.number("commands_per_second", &mut limits.commands_per_second, 1, 1_000_000);
    section.number("commands_burst", &mut limits.commands_burst, 1, 1_000_000);
    section.number("outbox_bytes", &mut limits.outbox_bytes, 4_096, 1 << 30);
    section.number("unsent_bytes", &mut config.unsent_bytes, 4_096, 1 << 30);
    let limits = &mut config.limits;
    section.number("bad_commands", &mut limits.bad_commands, 0, U32);
    section.number("waiting_commands", &mut limits.waiting_commands, 1, 10_000);
}

fn read_times(section: &mut Section<'_>, config: &mut Config) {
    section.number("handshake_ms", &mut config.handshake_ms, 100, 600_000);
    section.number("body_ms", &mut config.body_ms, 100, 600_000);
    let times = &mut config.times;
    section.number("connect_ms", &mut times.connect_ms, 100, DAY_MS);
    section.number("heartbeat_ms", &mut times.heartbeat_ms, 500, DAY_MS);
    section.number("heartbeat_grace_ms", &mut times.heartbeat_grace_ms, 500, DAY_MS);
    section.number("stalled_ms", &mut times.stalled_ms, 500, DAY_MS);
    section.number("presence_grace_ms", &mut times.presence_grace_ms, 0, DAY_MS);
    section.number("resume_ms", &mut times.resume_ms, 0, DAY_MS);
    section.number("reconnect_spread_ms", &mut times.reconnect_spread_ms, 0, DAY_MS);
}

fn read_node(section: &mut Section<'_>, config: &mut Config) {
    let node = &mut config.node_limits;
    section.number("channels", &mut node.channels, 1, 1 << 32);
    section.number("history_bytes", &mut node.history_bytes, 0, 1 << 50);
    section.number("inbox_bytes", &mut node.inbox_bytes, 64 << 10, 1 << 40);
    section.number("ended_sessions", &mut node.ended_sessions, 0, 1 << 32);
}

fn read_drain(section: &mut Section<'_>, drain: &mut DrainLimits) {
    section.number("window_ms", &mut drain.window_ms, 1_000, 600_000);
    section.number("notice_ms", &mut drain.notice_ms, 0, 600_000);
    section.number("clients_per_second", &mut drain.clients_per_second, 1, 1_000_000);
}

/// Where history is kept. A relative folder is meant from where the config file stands.
fn read_history(root: &mut Section<'_>, file: &Path, config: &mut Config) {
    let (mut on_disk, mut sync, mut sync_ms) = (true, Sync::Always, None);
    let mut data = default_data(file);
    if let Some(mut history) = root.section("history") {
        history.word("store", &mut on_disk, &[("disk", true), ("memory", false)]);
        let interval = Sync::Interval(History::SYNC_EVERY);
        let syncs = [("always", Sync::Always), ("interval", interval), ("none", Sync::None)];
        history.word("sync", &mut sync, &syncs);
        history.number("sync_ms", sync_ms.get_or_insert(100), 1, 60_000);
        history.number("max_bytes", &mut config.history_max_bytes, 0, 1 << 50);
        if let Some((asked, _)) = history.text("data") {
            data = file.parent().unwrap_or(Path::new("")).join(asked);
        }
        root.join(history.end());
    }
    if let (Sync::Interval(every), Some(ms)) = (&mut sync, sync_ms) {
        *every = Duration::from_millis(ms);
    }
    config.history = if on_disk { History::Disk { data, sync } } else { History::Memory };
}

/// The folder that systemd has made for the service, or one beside the config file that is named like it.
fn default_data(file: &Path) -> PathBuf {
    match std::env::var_os("STATE_DIRECTORY").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("history"),
        None => file.with_extension("data"),
    }
}

/// What a namespace does not allow is denied unless a token allows it, and what it does not switch on is off.
fn read_namespace(section: &mut Section<'_>, message_bytes: u32) -> Options {
    let mut options = Options {
        history: None,
        presence: false,
        access: Access::all(Who::Token),
        user_channels: false,
        message_bytes,
        on_slow: OnSlow::Close,
    };
    if let Some(mut history) = section.section("history") {
        let mut limits = HistoryLimits::default();
        history.number("messages", &mut limits.messages, 1, 10_000_000);
        history.number("age_ms", &mut limits.age_ms, 1_000, 3_650 * DAY_MS);
        history.number("bytes", &mut limits.bytes, 1_024, 1 << 40);
        section.join(history.end());
        options.history = Some(limits);
        options.on_slow = OnSlow::Resync;
    }
    section.flag("presence", &mut options.presence);
    section.number("message_bytes", &mut options.message_bytes, 1, u64::from(message_bytes));
    let slow = [("resync", OnSlow::Resync), ("drop", OnSlow::Drop), ("close", OnSlow::Close)];
    section.word("on_slow", &mut options.on_slow, &slow);
    if options.history.is_none() && options.on_slow == OnSlow::Resync {
        let at = section.find("on_slow").map_or(0, |v| v.span().start);
        section.fault("on_slow", at, "\"resync\" reads on from history, which is off here: add [history], or write \"drop\" or \"close\"");
    }
    if let Some(mut access) = section.section("access") {
        read_who(&mut access, "subscribe", &mut options.access.subscribe);
        read_who(&mut access, "publish", &mut options.access.publish);
        read_who(&mut access, "presence", &mut options.access.presence);
        read_who(&mut access, "history", &mut options.access.history);
        section.join(access.end());
    }
    options
}

fn read_who(access: &mut Section<'_>, right: &'static str, who: &mut Who) {
    match access.find(right) {
        Some(value) if value.get_ref().as_str() == Some("nobody") => {
            let words = "\"nobody\" is no word of this version: write \"deny\", or \"token\" for what tokens may allow";
            access.fault(right, value.span().start, words);
        }
        _ => access.word(right, who, &WHO),
    }
}

/// Channels that belong to users need a name behind the namespace.
fn read_owner(section: &mut Section<'_>, options: &mut Options, is_default: bool) {
    section.flag("user_channels", &mut options.user_channels);
    if options.user_channels && is_default {
        let at = section.find("user_channels").map_or(0, |value| value.span().start);
        section.fault("user_channels", at, "the namespace default has no `:` that a user could stand behind; name one, such as [namespaces.user]");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults that the example shows are those that hold.
    #[test]
    fn the_example_is_true() {
        let text = include_str!("../../../../docs/everwire.example.toml");
        let faults = Config::read("example", text).unwrap_err();
        let (line, key) = text.lines().enumerate().find(|(_, l)| l.contains(EXAMPLE_KEY)).unwrap();
        assert_eq!(faults.faults.len(), 1, "{faults}");
        assert!(faults.to_string().starts_with(&format!("example:{}: api_keys: this is the key", line + 1)));
        assert!(key.contains("\"change-me-0123456789\""), "the README replaces it by name: {key}");
        let text = &text.replace("change-me-0123456789", &fresh_key());
        let config = Config::read("example", text).unwrap();
        assert!(config.namespaces.options_of("news").is_some());
        let mut all = String::new();
        for line in text.lines() {
            // A key that is commented out, not a sentence.
            let key = line.strip_prefix("# ").filter(|l| l.split(' ').nth(1) == Some("="));
            all.push_str(key.unwrap_or(line));
            all.push('\n');
        }
        let shown = Config::read("example", &all).unwrap();
        assert_eq!(
            (shown.limits, shown.times, shown.node_limits),
            (config.limits, config.times, config.node_limits)
        );
        assert_eq!((shown.handshake_ms, shown.shards, shown.echo), (config.handshake_ms, 0, false));
        assert_eq!((shown.body_ms, shown.unsent_bytes), (config.body_ms, config.unsent_bytes));
        assert!(all.contains("\nstalled_ms = 30_000"), "the comments were not read as keys");
    }

    #[test]
    fn history_is_on_disk_unless_it_is_told_otherwise() {
        let history = |section: &str| {
            Config::read("conf/everwire.toml", &format!("[history]\n{section}")).unwrap().history
        };
        let disk = |data: &str, sync| History::Disk { data: data.into(), sync };
        let every = |ms| Sync::Interval(Duration::from_millis(ms));
        assert_eq!(history("store = \"memory\""), History::Memory);
        assert_eq!(history("data = \"d\""), disk("conf/d", Sync::Always));
        assert_eq!(history("data = \"/d\"\nsync = \"none\""), disk("/d", Sync::None));
        assert_eq!(history("data = \"d\"\nsync = \"interval\""), disk("conf/d", every(100)));
        assert_eq!(history("data = \"d\"\nsync = \"interval\"\nsync_ms = 5"), disk("conf/d", every(5)));
        let text = "[history]\nstore = \"disc\"\ndata = \"\"\nsync = \"often\"\nsync_ms = 0\nsyncs = 1\n";
        let faults = Config::read("f", text).unwrap_err().to_string();
        for fault in [
            "f:2: history.store: \"disc\" is none of \"disk\", \"memory\"",
            "f:3: history.data: expected a string that is not empty",
            "f:4: history.sync: \"often\" is none of",
            "f:5: history.sync_ms: must be from 1 to 60000",
            "f:6: history.syncs: unknown key; did you mean \"sync\"?",
        ] {
            assert!(faults.contains(fault), "{fault} not in {faults}");
        }
        assert_eq!(faults.lines().count(), 5, "{faults}");
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
            heartbeat_ms = 1_000
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
            "everwire.toml:6: limits.message_bytes: expected a whole number, found string",
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
        let words = Config::load(Path::new("/nonexistent/f")).unwrap_err().to_string();
        assert!(words.starts_with("/nonexistent/f: there is no such file. "), "{words}");
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
}
