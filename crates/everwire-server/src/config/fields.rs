//! Every setting but those of namespaces and tokens: its name, what it is for, its limits, and where it goes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use everwire_brokers::disk::Sync;
use everwire_engine::channel::Namespaces;

use crate::drain::DrainLimits;
use crate::listen::{Listen, NoAddress};
use crate::log::{LogFormat, LogSettings, read_level};

use super::namespaces::read_namespaces;
use super::section::Section;
use super::setting::Book;
use super::tokens::read_tokens;
use super::value::Place;
use super::{ApiKey, Config, History, Mode, read_origin};

const U32: u64 = u32::MAX as u64;
const SECOND: u64 = 1_000;
pub(super) const DAY: u64 = 86_400 * SECOND;
const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
/// A key shorter than this can be guessed by who tries long enough.
const KEY_BYTES: usize = 32;
/// And one shorter than this by anybody.
const LEAST_KEY_BYTES: usize = 16;
/// The key in our examples begins so, and is no secret.
pub(super) const EXAMPLE_KEY: &str = "change-me";

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
pub(crate) fn fresh_key() -> String {
    let mut bits = [0; 16];
    match getrandom::fill(&mut bits) {
        Ok(()) => format!("{:032x}", u128::from_le_bytes(bits)),
        Err(_) => format!("{EXAMPLE_KEY}, at least {KEY_BYTES} characters"),
    }
}

/// Reads the whole; `file` is where relative paths are meant from.
pub(super) fn read_root(mut root: Section, file: &Path) -> (Config, Book) {
    let beside = file.parent().unwrap_or(Path::new(""));
    let mut config = serve();
    let listen_place = listen(&mut root, &mut config);
    proxy(&mut root, &mut config, listen_place);
    origins(&mut root, &mut config);
    api_keys(&mut root, &mut config, beside);
    root.flag(
        "connect_required",
        "The first command must be `connect`, with a token.",
        &mut config.connect_required,
    );
    root.word(
        "compression",
        "permessage-deflate on `/ws`.",
        &mut config.compression,
        &[("off", false), ("on", true)],
    );
    root.flag(
        "echo",
        "The echo paths `/`, `/echo` and `/echo/raw`; the last holds up to 16 MiB for each connection.",
        &mut config.echo,
    );
    root.flag(
        "pages",
        "Home and the demos; they want `echo = true`, and namespaces `demo` and `chat` that are open to anyone.",
        &mut config.pages,
    );
    root.number("shards", "Threads that serve sockets; 0: one per core.", &mut config.shards, 0..=1_024);
    root.section("limits", "Limits of each connection.", |limits| read_limits(limits, &mut config));
    root.section("times", "Times of a connection's life.", |times| read_times(times, &mut config));
    root.section("node", "Limits of the whole process.", |node| read_node(node, &mut config));
    read_history(&mut root, file, &mut config);
    root.section("metrics", "The numbers of `/metrics`.", |metrics| {
        let words = [("key", false), ("anyone", true)];
        let doc = "Who may read them: whoever has an API key, or anyone who reaches a listener.";
        metrics.word("access", doc, &mut config.metrics_open, &words);
        let doc = "A listener of their own, with `/health` and `/ready`, that is there until the end of the process. Unset: \
                   they are where all else is.";
        config.metrics_listen = places(metrics, doc, "[]");
    });
    let doc = "SIGTERM: how the node is left. A second signal stops at once.";
    root.section("drain", doc, |drain| read_drain(drain, &mut config.drain));
    let doc =
        "What is logged to stderr. The variable `EVERWIRE_LOG` and the flag `--log-format` go before it.";
    root.section("log", doc, |log| read_log(log, &mut config.log));
    let doc = "The backend's tokens (JSON Web Tokens) say who a user is and what the user may do. Several keys are good at \
               once: to change a secret, add the new one, sign with it, and take the old one out when its last token has ended.";
    root.optional("tokens", doc, |tokens| config.tokens = Some(Arc::new(read_tokens(tokens, beside))));
    read_namespaces(&mut root, &mut config);
    (config, root.end())
}

/// Where to listen; the place of what can be reached from elsewhere.
fn listen(root: &mut Section, config: &mut Config) -> Option<Place> {
    let mut listen = Vec::new();
    let mut open = None;
    let doc = "Where to listen: `host:port`. `localhost:8765` means both loopbacks.";
    for (address, place) in root.texts("listen", doc, "[\"localhost:8765\"]") {
        match address.parse() {
            Ok(at) => {
                let reached = matches!(at, Listen::At(addr) if !SocketAddr::ip(&addr).is_loopback());
                open = open.or(reached.then_some(place));
                listen.push(at);
            }
            Err(error) => root.fault("listen", place, NoAddress::to_string(&error)),
        }
    }
    if !listen.is_empty() {
        config.listen = listen;
    }
    open
}

fn places(section: &mut Section, doc: &'static str, default: &str) -> Vec<Listen> {
    let mut places = Vec::new();
    for (address, place) in section.texts("listen", doc, default) {
        match address.parse() {
            Ok(at) => places.push(at),
            Err(error) => section.fault("listen", place, NoAddress::to_string(&error)),
        }
    }
    places
}

fn read_drain(section: &mut Section, drain: &mut DrainLimits) {
    let doc = "The process has ended by then.";
    section.time("window", doc, &mut drain.window_ms, SECOND..=600 * SECOND);
    let doc =
        "For so long new connections are told to go elsewhere, and `/ready` says so; then nobody listens.";
    section.time("notice", doc, &mut drain.notice_ms, 0..=600 * SECOND);
    let doc = "So many clients are asked to come to other nodes in a second, unless the window is too short for it.";
    section.number("clients_per_second", doc, &mut drain.clients_per_second, 1..=1_000_000);
}

fn read_log(section: &mut Section, log: &mut LogSettings) {
    let doc = "off, error, warn, info, debug or trace, or such as \"info,everwire_server::front=debug\"; `POST \
               /api/log_level` changes it while the server runs.";
    if let Some((level, place)) = section.text("level", doc, "\"info\"") {
        match read_level(&level) {
            Ok(_) => log.level = Some(level),
            Err(words) => section.fault("level", place, words),
        }
    }
    let formats = [("pretty", LogFormat::Pretty), ("json", LogFormat::Json), ("logfmt", LogFormat::Logfmt)];
    section.word("format", "How a line is written.", &mut log.format, &formats);
}

/// Whoever listens where others reach it without TLS says that a proxy has it.
fn proxy(root: &mut Section, config: &mut Config, open: Option<Place>) {
    let doc = "`\"proxy\"` says that a proxy in front has TLS, so that plain TCP off loopback is meant.";
    root.word("tls", doc, &mut config.tls_by_proxy, &[("none", false), ("proxy", true)]);
    if let Some(place) = open.filter(|_| !config.tls_by_proxy && !root.is_insecure()) {
        root.fault(
            "listen",
            place,
            "other machines reach this address, and it has no TLS: everybody on the way can read along. Where a proxy \
             in front has the certificate, say so with tls = \"proxy\"; for a trial start with --insecure",
        );
    }
}

fn origins(root: &mut Section, config: &mut Config) {
    let doc = "Pages of these origins may connect, besides those of the server's own origin: `https://app.example.com`.";
    for (origin, place) in root.texts("origins", doc, "[]") {
        match read_origin(&origin) {
            Ok(origin) => config.origins.push(origin),
            Err(words) => root.fault("origins", place, words),
        }
    }
}

fn api_keys(root: &mut Section, config: &mut Config, beside: &Path) {
    let doc = "Keys of the HTTP API, at least 32 characters each, such as `openssl rand -hex 16` prints. Without one the \
               API refuses everything.";
    let mut keys = root.secrets("api_keys", doc);
    if let Some((path, place)) = root.text("api_keys_file", "More of them: a file with one in each line.", "")
    {
        let path = beside.join(path);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                keys.extend(lines.map(|line| (line.to_owned(), place.clone())));
            }
            Err(error) => {
                root.fault("api_keys_file", place, format!("{} can't be read: {error}", path.display()))
            }
        }
    }
    let least = if root.is_insecure() { LEAST_KEY_BYTES } else { KEY_BYTES };
    for (key, place) in keys {
        if key.starts_with(EXAMPLE_KEY) {
            root.fault("api_keys", place, "this is the key of the example, which everybody knows; write one of your own, such as `openssl rand -hex 16` prints");
        } else if key.len() < least {
            root.fault(
                "api_keys",
                place,
                format!("a key has at least {least} characters, such as `openssl rand -hex 16` prints"),
            );
        }
        config.api_keys.push(ApiKey::new(&key));
    }
}

fn read_limits(section: &mut Section, config: &mut Config) {
    let limits = &mut config.limits;
    section.size(
        "message_bytes",
        "The largest message, either way.",
        &mut limits.message_bytes,
        KIB..=16 << 20,
    );
    section.number("channels", "Channels at once.", &mut limits.channels, 1..=100_000);
    let doc = "Commands a second; who sends more is not read until it is allowed again.";
    section.number("commands_per_second", doc, &mut limits.commands_per_second, 1..=1_000_000);
    section.number("commands_burst", "Commands at once.", &mut limits.commands_burst, 1..=1_000_000);
    section.size(
        "outbox_bytes",
        "What may wait for a client that does not read.",
        &mut limits.outbox_bytes,
        4 * KIB..=GIB,
    );
    let doc = "Of which the kernel may have so much before it goes out (Linux).";
    section.size("unsent_bytes", doc, &mut config.unsent_bytes, 4 * KIB..=GIB);
    let limits = &mut config.limits;
    let doc = "Unreadable commands within 10 s, then it is closed with 1008.";
    section.number("bad_commands", doc, &mut limits.bad_commands, 0..=U32);
    let doc = "Commands that wait for an answer; more are not read.";
    section.number("waiting_commands", doc, &mut limits.waiting_commands, 1..=10_000);
}

fn read_times(section: &mut Section, config: &mut Config) {
    section.time(
        "handshake",
        "An HTTP head must be whole by then.",
        &mut config.handshake_ms,
        100..=600 * SECOND,
    );
    let doc = "And the body of a request to the API so long after its head.";
    section.time("body", doc, &mut config.body_ms, 100..=600 * SECOND);
    let times = &mut config.times;
    section.time("connect", "The first command must have come.", &mut times.connect_ms, 100..=DAY);
    section.time("heartbeat", "After so much silence the server pings.", &mut times.heartbeat_ms, 500..=DAY);
    let doc = "And after so much more it closes with 4101.";
    section.time("heartbeat_grace", doc, &mut times.heartbeat_grace_ms, 500..=DAY);
    let doc = "A client that takes nothing for so long is closed with 4100.";
    section.time("stalled", doc, &mut times.stalled_ms, 500..=DAY);
    let doc = "A member that vanished leaves the presence after this.";
    section.time("presence_grace", doc, &mut times.presence_grace_ms, 0..=DAY);
    section.time("resume", "How long a session can be resumed.", &mut times.resume_ms, 0..=DAY);
    let doc = "Clients that are sent away come back within this.";
    section.time("reconnect_spread", doc, &mut times.reconnect_spread_ms, 0..=DAY);
}

fn read_node(section: &mut Section, config: &mut Config) {
    let node = &mut config.node_limits;
    section.number("channels", "Channels that are known at once.", &mut node.channels, 1..=1 << 32);
    section.size("history_bytes", "Memory of all histories.", &mut node.history_bytes, 0..=1 << 50);
    let doc = "What may wait between two threads before it collapses.";
    section.size("inbox_bytes", doc, &mut node.inbox_bytes, 64 * KIB..=1 << 40);
    let doc = "Ended sessions that can be resumed; at least as many as there ever were at once.";
    section.number("ended_sessions", doc, &mut node.ended_sessions, 0..=1 << 32);
}

/// Where history is kept. A relative folder is meant from where the config file stands.
fn read_history(root: &mut Section, file: &Path, config: &mut Config) {
    let (mut on_disk, mut sync) = (true, Sync::Always);
    let mut every_ms = u64::try_from(History::SYNC_EVERY.as_millis()).expect("it is short");
    let mut data = default_data(file);
    let doc = "Where channels keep their messages; without any history nothing is written.";
    root.section("history", doc, |history| {
        let doc = "On disk a restart goes on with it; in memory it begins with empty channels.";
        history.word("store", doc, &mut on_disk, &[("disk", true), ("memory", false)]);
        let doc = "A folder, from where the config file stands. Unset: `$STATE_DIRECTORY/history` under systemd, else the \
                   config file's name with `.data`.";
        if let Some((asked, _)) = history.text("data", doc, "") {
            data = file.parent().unwrap_or(Path::new("")).join(asked);
        }
        let interval = Sync::Interval(History::SYNC_EVERY);
        let syncs = [("always", Sync::Always), ("interval", interval), ("none", Sync::None)];
        let doc = "A publish is acknowledged: \"always\", when it is on the medium; \"interval\" and \"none\", when the \
                   system has it, which survives the end of the process.";
        history.word("sync", doc, &mut sync, &syncs);
        let doc = "With \"interval\" the medium has it so much later.";
        history.time("sync_every", doc, &mut every_ms, 1..=60 * SECOND);
        let doc = "Of all files together; then publishes are refused, as on a medium that is full, until old messages go. 0: \
                   the medium is the limit.";
        history.size("max_bytes", doc, &mut config.history_max_bytes, 0..=1 << 50);
    });
    if let Sync::Interval(every) = &mut sync {
        *every = Duration::from_millis(every_ms);
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
