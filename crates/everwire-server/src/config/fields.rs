//! Every setting but those of namespaces and tokens: its name, what it is for, its limits, and where it goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use everwire_brokers::disk::Sync;
use everwire_engine::channel::Namespaces;
use everwire_engine::limits::ConnectionLimits;
use everwire_proto::payload::MOST_DEPTH;
use everwire_proto::ws::origin;

use crate::drain::DrainLimits;
use crate::listen::{Listen, NoAddress};
use crate::log::{LogFormat, LogSettings, read_level};
use crate::tls::{ClientAuth, Files};
use crate::trust::Told;

use super::api::{EXAMPLE_KEY, read_api, read_keys};
use super::namespaces::read_namespaces;
use super::section::Section;
use super::setting::Book;
use super::tokens::read_tokens;
use super::units::write_time;
use super::value::Written;
use super::{Config, History, Mode, read_base_path, read_origin};

const U32: u64 = u32::MAX as u64;
const SECOND: u64 = 1_000;
pub(super) const DAY: u64 = 86_400 * SECOND;
const KIB: u64 = 1 << 10;
/// The most that a config may allow a message to have.
pub(super) const MESSAGE_BYTES: u64 = 16 << 20;
const GIB: u64 = 1 << 30;

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
        Err(_) => format!("{EXAMPLE_KEY}, at least 32 characters"),
    }
}

/// A secret for tokens that nobody has guessed.
pub(crate) fn fresh_secret() -> String {
    format!("{}{}", fresh_key(), fresh_key())
}

/// Reads the whole; `file` is where relative paths are meant from.
pub(super) fn read_root(mut root: Section, file: &Path) -> (Config, Book) {
    let beside = file.parent().unwrap_or(Path::new(""));
    let mut config = serve();
    let open = listen(&mut root, &mut config);
    read_proxies(&mut root, &mut config);
    origins(&mut root, &mut config);
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
    // Last of what stands in no table: a head of its own may follow.
    read_keys(&mut root, beside, &mut config.api_keys);
    let open_api = read_api(&mut root, &mut config);
    read_tls(&mut root, beside, &mut config);
    root.section("limits", "Limits of each connection.", |limits| read_limits(limits, &mut config));
    root.section("times", "Times of a connection's life.", |times| read_times(times, &mut config));
    root.section("node", "Limits of the whole process.", |node| read_node(node, &mut config));
    read_history(&mut root, file, &mut config);
    let mut open_metrics = None;
    root.section("metrics", "The numbers of `/metrics`.", |metrics| {
        open_metrics = read_metrics(metrics, &mut config);
    });
    refuse_plain(&mut root, &config, [("listen", open), ("api.listen", open_api)], open_metrics);
    let doc = "SIGTERM: how the node is left. A second signal stops at once.";
    root.section("drain", doc, |drain| read_drain(drain, &mut config.drain));
    let doc =
        "What is logged to stderr. The variable `EVERWIRE_LOG` and the flag `--log-format` go before it.";
    root.section("log", doc, |log| read_log(log, &mut config.log));
    let doc = "The backend's tokens (JSON Web Tokens) say who a user is and what the user may do. Several keys are good at \
               once: to change a secret, add the new one, sign with it, and take the old one out when its last token has ended.";
    root.optional("tokens", doc, |tokens| {
        let doc = "Revocations that are remembered; one is forgotten when its `expires_at` is over.";
        tokens.number("revocations", doc, &mut config.revocations, 1..=10_000_000);
        config.tokens = Some(Arc::new(read_tokens(tokens, beside)));
    });
    read_namespaces(&mut root, beside, &mut config);
    (config, root.end())
}

/// Whether others than this machine reach it.
fn is_open(listen: &Listen) -> bool {
    matches!(listen, Listen::At(addr) if !addr.ip().is_loopback())
}

/// Where to listen; the place of what can be reached from elsewhere.
fn listen(root: &mut Section, config: &mut Config) -> Option<Written> {
    let doc = "Where to listen: `host:port`. `localhost:8765` means both loopbacks; `unix:/run/everwire.sock` a Unix socket, \
               which its owner and group may open and which never speaks TLS; `systemd` what systemd has opened, \
               `systemd:NAME` the one of this name.";
    let (listen, open) = read_listen(root, doc, "[\"localhost:8765\"]");
    if !listen.is_empty() {
        config.listen = listen;
    }
    open
}

/// The list of listeners of a table; the place of the first one that can be reached from elsewhere.
pub(super) fn read_listen(
    section: &mut Section,
    doc: &'static str,
    default: &str,
) -> (Vec<Listen>, Option<Written>) {
    let (mut all, mut open) = (Vec::new(), None);
    for (address, place) in section.texts("listen", doc, default) {
        match address.parse() {
            Ok(at) => {
                open = open.or(is_open(&at).then_some(place));
                all.push(at);
            }
            Err(error) => section.fault("listen", place, NoAddress::to_string(&error)),
        }
    }
    (all, open)
}

/// Who may read the numbers, and where; the place of a listener that can be reached from elsewhere.
fn read_metrics(metrics: &mut Section, config: &mut Config) -> Option<Written> {
    let words = [("key", false), ("anyone", true)];
    let doc = "Who may read them: whoever has an API key, or anyone who reaches a listener.";
    metrics.word("access", doc, &mut config.metrics_open, &words);
    let doc = "A listener of their own, with `/health` and `/ready`, that is there until the end of the process. It never \
               speaks TLS, so off loopback it wants `tls = \"proxy\"`. Unset: they are where all else is.";
    let (listen, open) = read_listen(metrics, doc, "[]");
    let tcp = |listen: &Listen| matches!(listen, Listen::At(_) | Listen::BothLoopbacks(_));
    if !listen.iter().all(tcp) {
        let place = metrics.place();
        metrics.fault("listen", place, "the numbers are told over TCP alone: write host:port");
    }
    config.metrics_listen = listen;
    open
}

/// Whoever listens where other machines reach it has TLS, or a proxy in front that has. The listener of the metrics never
/// has: a key that is sent there can be read on the way even where all others are sealed.
fn refuse_plain(
    root: &mut Section,
    config: &Config,
    open: [(&str, Option<Written>); 2],
    open_metrics: Option<Written>,
) {
    if config.tls_by_proxy || root.is_insecure() {
        return;
    }
    for (key, place) in open.into_iter().filter(|_| config.tls.is_none()) {
        let words = "other machines reach this address, and it has no TLS: everybody on the way can read along. Name a \
                     certificate in [tls]; where a proxy in front has one, say so with tls = \"proxy\"; for a trial start \
                     with --insecure";
        if let Some(place) = place {
            root.fault(key, place, words);
        }
    }
    if let Some(place) = open_metrics {
        let words = "other machines reach this address, and it has no TLS, not even with [tls]: everybody on the way can read \
                     along, the key too. Listen on loopback; or leave it out, and /metrics is where all else is; where only a \
                     proxy with TLS reaches it, say so with tls = \"proxy\"; for a trial start with --insecure";
        root.fault("metrics.listen", place, words);
    }
}

fn read_drain(section: &mut Section, drain: &mut DrainLimits) {
    let doc = "The process has ended by then.";
    section.time("window", doc, &mut drain.window_ms, SECOND..=600 * SECOND);
    // Unless somebody says so, a short window is not all notice.
    drain.notice_ms = drain.notice_ms.min(drain.window_ms / 4);
    let doc = "For so long new connections are told to go elsewhere, and `/ready` says so; then nobody listens. Unset: 5s, or \
               a quarter of a shorter window.";
    let notice = section.time("notice", doc, &mut drain.notice_ms, 0..=600 * SECOND);
    if let Some(place) = notice.filter(|_| drain.notice_ms >= drain.window_ms) {
        let window = write_time(drain.window_ms);
        let words =
            format!("it must be shorter than drain.window ({window}): clients are to go within what is left");
        section.fault("notice", place, words);
    }
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

/// What stands between us and clients.
fn read_proxies(root: &mut Section, config: &mut Config) {
    let doc = "Whose word is taken for where a client is: addresses, networks, `unix` for whoever comes by a Unix socket.";
    for (proxy, place) in root.texts("trusted_proxies", doc, "[]") {
        match proxy.parse() {
            Ok(proxy) => config.proxies.trusted.push(proxy),
            Err(error) => root.fault("trusted_proxies", place, format!("{error}")),
        }
    }
    let told = [("X-Forwarded-For", Told::XForwardedFor), ("Forwarded", Told::Forwarded)];
    let doc = "The header in which they write it; the other one is not read.";
    root.word("forwarded_header", doc, &mut config.proxies.told, &told);
    let doc = "Their connections begin with a header of the PROXY protocol, version 2.";
    let place = root.flag("proxy_protocol", doc, &mut config.proxies.protocol);
    if let Some(place) = place.filter(|_| config.proxies.protocol && config.proxies.trusted.is_empty()) {
        let words = "it is taken from trusted_proxies alone, and there are none: name the proxy there";
        root.fault("proxy_protocol", place, words);
    }
    let doc = "What all paths begin with, such as `/realtime`.";
    if let Some((path, place)) = root.text("base_path", doc, "\"/\"") {
        match read_base_path(&path) {
            Ok(path) => config.base_path = path,
            Err(words) => root.fault("base_path", place, words),
        }
    }
}

/// Certificates, or the word that a proxy has them.
fn read_tls(root: &mut Section, beside: &Path, config: &mut Config) {
    if root.peek("tls") == Some("proxy") {
        root.word("tls", "", &mut config.tls_by_proxy, &[("proxy", true)]);
        return;
    }
    let doc = "`https://` and `wss://` on every port but that of `[metrics]`. Without the table there is none; `tls = \
               \"proxy\"` instead of it says that a proxy in front has TLS, so that plain TCP off loopback is meant.";
    root.optional("tls", doc, |tls| config.tls = read_files(tls, beside));
}

/// A relative file is meant from where the config file stands.
fn read_files(tls: &mut Section, beside: &Path) -> Option<Files> {
    let at = tls.place();
    let mut file = |key, doc| tls.text(key, doc, "").map(|(path, _)| beside.join(path));
    let doc =
        "The server's own certificate (PEM), and behind it those that signed it. It is read anew on SIGHUP.";
    let cert = file("cert_file", doc);
    let key = file("key_file", "Its key (PEM).");
    let client_ca = file("client_ca_file", "Who signs certificates of clients (PEM).");
    let mut client_auth = ClientAuth::Off;
    let words =
        [("off", ClientAuth::Off), ("optional", ClientAuth::Optional), ("required", ClientAuth::Required)];
    let doc = "Certificates of clients: not asked for, good ones only, or needed.";
    tls.word("client_auth", doc, &mut client_auth, &words);
    if client_auth != ClientAuth::Off && client_ca.is_none() {
        let words = "client_auth asks clients for certificates: name the file (PEM) of who signs them";
        tls.fault("client_ca_file", at.clone(), words);
    }
    match (cert, key) {
        (Some(cert), Some(key)) => Some(Files { cert, key, client_ca, client_auth }),
        _ if tls.is_describing() => None,
        _ => {
            tls.fault("cert_file", at, "[tls] needs both cert_file and key_file (PEM)");
            None
        }
    }
}

fn origins(root: &mut Section, config: &mut Config) {
    let doc = "Pages of these origins may connect, and fetch tickets, besides those of the server's own origin. \
               `https://*.example.com` means every name below example.com, not example.com itself.";
    for (origin, place) in root.texts("origins", doc, "[]") {
        if origin == origin::ANY && root.is_insecure() {
            config.origins.push(origin);
            continue;
        }
        match read_origin(&origin) {
            Ok(origin) => config.origins.push(origin),
            Err(words) => root.fault("origins", place, words),
        }
    }
}

fn read_limits(section: &mut Section, config: &mut Config) {
    let limits = &mut config.limits;
    section.size(
        "message_bytes",
        "The largest message, either way.",
        &mut limits.message_bytes,
        KIB..=MESSAGE_BYTES,
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
    let doc = "How deep arrays and objects may stand in each other, in commands and in bodies of the API.";
    section.number("json_depth", doc, &mut limits.json_depth, 8..=MOST_DEPTH as u64);
    let doc = "Unreadable commands within 10 s, then it is closed with 1008.";
    section.number("bad_commands", doc, &mut limits.bad_commands, 0..=U32);
    let doc = "Commands that wait for an answer; more are not read.";
    section.number("waiting_commands", doc, &mut limits.waiting_commands, 1..=10_000);
    read_shared(section, limits);
}

/// What the connections of a user, or of an address, may do together.
fn read_shared(section: &mut Section, limits: &mut ConnectionLimits) {
    const MOST: u64 = 1_000_000;
    let doc =
        "Publishes a second. Each is a command too, so that rate is met first unless this one is lower.";
    section.number("publishes_per_second", doc, &mut limits.publishes_per_second, 1..=MOST);
    section.number("publishes_burst", "Publishes at once.", &mut limits.publishes_burst, 1..=MOST);
    section.number("user_connections", "Connections of one user.", &mut limits.user_connections, 1..=U32);
    let doc = "Commands a second, of all connections of one user together.";
    section.number("user_commands_per_second", doc, &mut limits.user_commands_per_second, 1..=MOST);
    section.number("user_commands_burst", "And at once.", &mut limits.user_commands_burst, 1..=MOST);
    let doc = "Connections from one address (of IPv6: from one /64), WebSockets or not. Behind a proxy that is not named in trusted_proxies \
               everybody has the same.";
    section.number("address_connections", doc, &mut limits.address_connections, 1..=U32);
    let doc = "Handshakes a second from one address: upgrades, whether they succeed or not, handshakes of TLS, and asks for \
               tickets.";
    section.number("address_handshakes_per_second", doc, &mut limits.address_handshakes_per_second, 1..=MOST);
    section.number(
        "address_handshakes_burst",
        "And at once.",
        &mut limits.address_handshakes_burst,
        1..=MOST,
    );
    let doc = "Commands a second, of all connections of one address together.";
    section.number("address_commands_per_second", doc, &mut limits.address_commands_per_second, 1..=MOST);
    section.number("address_commands_burst", "And at once.", &mut limits.address_commands_burst, 1..=MOST);
}

fn read_times(section: &mut Section, config: &mut Config) {
    section.time(
        "handshake",
        "An HTTP head must be whole by then, the first one and any that follows on its connection; so must what comes before it: TLS, the header of a proxy.",
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
    let doc = "Message ids of all channels together; above it none remembers more than it does.";
    section.number("message_ids", doc, &mut node.message_ids_in_all, 0..=1 << 32);
    let doc = "Message ids of one channel, for five minutes each; of more the oldest are forgotten.";
    section.number("channel_message_ids", doc, &mut node.message_ids, 1..=U32);
    let doc = "What may wait in one thread for a channel's subscribers; above it stored messages are read from its history, and \
               others left out, which is told by a gap.";
    section.size("pending_bytes", doc, &mut node.pending_bytes, 64 * KIB..=1 << 40);
    let doc = "Outboxes of all connections; above it the largest is emptied, or its connection ended.";
    section.size("outbox_bytes", doc, &mut node.outbox_bytes, 64 * KIB..=1 << 50);
    let doc = "New connections a second, for each shard; above it 503, with a time to come back.";
    section.number("handshakes_per_second", doc, &mut config.handshakes_per_second, 1..=1_000_000);
    let doc = "Connections that are no WebSocket, or none yet, of which one address may have half; above it they are closed. \
               Never more than a quarter of the descriptors, so that these are there for WebSockets.";
    section.number("http_connections", doc, &mut config.http_connections, 2..=U32);
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
