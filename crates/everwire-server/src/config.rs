//! What the server was told to be: checked, immutable, one struct.

mod units;
mod value;
mod setting;
mod unknown;
mod section;
mod tokens;
mod namespaces;
mod api;
mod fields;
mod sources;
mod described;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use everwire_brokers::disk::Sync;
use everwire_engine::channel::{Namespaces, Who};
use everwire_engine::limits::{ConnectionLimits, NodeLimits, Times};
use everwire_engine::node::Settings;
use everwire_proto::ws::origin;

use crate::auth::{REVOCATIONS, Tokens};
use crate::drain::DrainLimits;
use crate::listen::Listen;
use crate::log::LogSettings;
use crate::tls::Files;
use crate::trust::Proxies;

pub(crate) use self::described::differing;
pub use self::described::{difference, env_names, reference, schema, template};
pub(crate) use self::fields::{fresh_key, fresh_secret};
pub use self::setting::{Fault, Faults, Kind, Mark, Setting};
pub use self::sources::{ENV, Gathered, Sources, describe};
pub use self::value::Written;
pub use crate::api_key::ApiKey;

/// The port, unless another one is asked for.
pub const PORT: u16 = 8765;

/// An origin as a config or a flag names it.
///
/// # Errors
/// What to write instead.
pub fn read_origin(text: &str) -> Result<String, String> {
    if origin::is_well_formed(text) || origin::is_pattern(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is no origin; write scheme and host, with a port if it has one and nothing behind it: https://app.example.com, \
         or https://*.example.com for all below that name"
    ))
}

/// Which of the two ways of running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything allowed, on loopback.
    Dev,
    /// What the file says, and nothing else.
    Serve,
}

impl Mode {
    /// The word in banner and `/stats`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Serve => "serve",
        }
    }
}

/// Where the history of channels is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum History {
    /// In the process: its end is the end of every stream.
    Memory,
    /// In a folder: a restart goes on with it.
    Disk {
        /// The folder.
        data: PathBuf,
        /// When a publish is acknowledged.
        sync: Sync,
    },
}

impl History {
    /// What `sync = "interval"` means where no time is given.
    pub const SYNC_EVERY: Duration = Duration::from_millis(100);
}

/// Limits of the HTTP API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// Publications of a batch, or channels of a broadcast.
    pub items: u32,
    /// Bytes of the body of a batch or a broadcast; at least what a single publish may have.
    pub body_bytes: u32,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self { items: 1_000, body_bytes: 4 << 20 }
    }
}

/// What stands before and behind the host in the addresses of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// They begin with `https` and `wss`.
    pub tls: bool,
    /// What its paths begin with, such as `/realtime`, or nothing.
    pub base_path: &'a str,
}

/// A path under which all others stand: `/` for none, which is kept as nothing.
///
/// # Errors
/// What to write instead.
pub fn read_base_path(text: &str) -> Result<String, &'static str> {
    if text == "/" {
        return Ok(String::new());
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
    let good = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
    match text.strip_prefix('/') {
        Some(rest) if text.len() <= 200 && rest.split('/').all(good) => Ok(text.to_owned()),
        _ => Err(
            "write a path such as /realtime: a slash before each part and none at the end, letters, digits and ._~- in them",
        ),
    }
}

/// Everything, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Dev or serve.
    pub mode: Mode,
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// Whether a proxy in front has TLS, so that plain TCP is meant wherever it listens.
    pub tls_by_proxy: bool,
    /// Certificate and key; `None`: plain.
    pub tls: Option<Files>,
    /// Proxies whose word on a client's address is taken.
    pub proxies: Proxies,
    /// What all paths begin with, such as `/realtime`; or nothing.
    pub base_path: String,
    /// Origins that may connect besides our own.
    pub origins: Vec<String>,
    /// Limits of each connection.
    pub limits: ConnectionLimits,
    /// Limits of the node.
    pub node_limits: NodeLimits,
    /// Times of a connection's life.
    pub times: Times,
    /// Bytes that the kernel may take for one connection before they go out; what is more waits in the outbox, where
    /// the limits hold and a slow reader shows.
    pub unsent_bytes: u32,
    /// A head must be whole after so long, ms; connections that say nothing are cut then.
    pub handshake_ms: u64,
    /// The body of a request to the API must be whole after so long, ms.
    pub body_ms: u64,
    /// Where history is kept.
    pub history: History,
    /// On disk so many bytes of it, and no more publishes then; 0: the medium is the limit.
    pub history_max_bytes: u64,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Whether the first command must be `connect`, with a token.
    pub connect_required: bool,
    /// Whether `/ws` accepts permessage-deflate.
    pub compression: bool,
    /// Whether the echo paths exist.
    pub echo: bool,
    /// Whether the pages of home and demos exist.
    pub pages: bool,
    /// Keys of the HTTP API.
    pub api_keys: Vec<ApiKey>,
    /// Where the API listens alone; empty: where everything does.
    pub api_listen: Vec<Listen>,
    /// Limits of the API.
    pub api_limits: ApiLimits,
    /// What knows tokens; `None`: no token can be accepted.
    pub tokens: Option<Arc<Tokens>>,
    /// Revoked tokens and users that are remembered.
    pub revocations: usize,
    /// Shards; 0: one per core.
    pub shards: u16,
    /// Handshakes a second, for each shard.
    pub handshakes_per_second: u32,
    /// Connections that are no WebSocket.
    pub http_connections: u32,
    /// Whether `/metrics` needs no API key.
    pub metrics_open: bool,
    /// Where `/metrics` is, and `/health` and `/ready` too; empty: where everything else is.
    pub metrics_listen: Vec<Listen>,
    /// How the node is left.
    pub drain: DrainLimits,
    /// What the log says, and how.
    pub log: LogSettings,
}

impl Config {
    /// Dev mode: everything allowed, a fresh API key.
    pub fn dev() -> Self {
        Self {
            mode: Mode::Dev,
            listen: vec![Listen::BothLoopbacks(PORT)],
            tls_by_proxy: false,
            tls: None,
            proxies: Proxies::default(),
            base_path: String::new(),
            origins: Vec::new(),
            limits: ConnectionLimits::default(),
            node_limits: NodeLimits::default(),
            times: Times::default(),
            unsent_bytes: 32 * 1024,
            handshake_ms: 10_000,
            body_ms: 10_000,
            history: History::Memory,
            history_max_bytes: 64 << 30,
            namespaces: Namespaces::open(),
            connect_required: false,
            compression: false,
            echo: true,
            pages: true,
            api_keys: Vec::new(),
            api_listen: Vec::new(),
            api_limits: ApiLimits::default(),
            tokens: None,
            revocations: REVOCATIONS,
            shards: 0,
            handshakes_per_second: 5_000,
            http_connections: 10_000,
            metrics_open: false,
            metrics_listen: Vec::new(),
            log: LogSettings::default(),
            // Nobody is behind a balancer here, and whoever pressed Ctrl-C waits.
            drain: DrainLimits { notice_ms: 0, ..DrainLimits::default() },
        }
    }

    /// What its addresses look like.
    pub fn place(&self) -> Place<'_> {
        Place { tls: self.tls.is_some(), base_path: &self.base_path }
    }

    /// What the engine goes by.
    pub fn settings(&self) -> Settings {
        Settings {
            name: "everwire".into(),
            namespaces: self.namespaces.clone(),
            limits: self.limits,
            times: self.times,
            connect_required: self.connect_required,
            base_path: self.base_path.as_str().into(),
        }
    }

    /// Whether any channel keeps messages.
    pub fn keeps_history(&self) -> bool {
        let Namespaces { default, named, unnamed } = &self.namespaces;
        default.iter().chain(named.values()).chain(unnamed).any(|options| options.history.is_some())
    }

    /// Whether anybody's page may do in a channel what our demos do: listen, see who is there, and speak.
    pub fn is_open_to_pages(&self, channel: &str) -> bool {
        let Some(options) = self.namespaces.options_of(channel) else { return false };
        let access = &options.access;
        let all = [access.subscribe, access.publish, access.presence].iter().all(|who| *who == Who::Anyone);
        all && options.presence && !self.connect_required
    }
}
