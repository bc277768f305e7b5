//! What can go wrong: on the way to a connection, and while it lasts.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use everwire_proto::ws::Violation;
use serde_json::Value;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL can't be read.
    #[error("{url:?} is no address of a WebSocket here: {reason}")]
    Address {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A header or subprotocol of the caller that would break the request.
    #[error("{0:?} can't stand in a request: only printable ASCII may")]
    Header(String),
    /// The name of the host is not known.
    #[error("the host {host:?} can't be found: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers there; of several addresses this is the last.
    #[error("nobody answers at {addr}: {source}")]
    Unreachable {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server took the connection, and its answer was not whole in time.
    #[error("the server did not answer within {0:?}")]
    Timeout(Duration),
    /// The server does not upgrade.
    #[error("the server answered {status} instead of 101: {body}")]
    Refused {
        /// The status.
        status: u16,
        /// Its words, at most 64 KiB.
        body: String,
    },
    /// The server's 101 is not one that may be trusted.
    #[error("the server's answer to the upgrade is broken: {0}")]
    Handshake(&'static str),
    /// The connection broke before it was upgraded.
    #[error("the connection broke during the upgrade: {0}")]
    Io(#[from] io::Error),
    /// The WebSocket stood, but no `connected` came over it.
    #[error("the session did not begin: {0}")]
    Talk(#[from] TalkError),
}

/// What ends or disturbs a talk.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    /// What was waited for did not come. The connection lives.
    #[error("nothing came within {0:?}")]
    Timeout(Duration),
    /// The server refused a command. The connection lives.
    #[error(transparent)]
    Denied(#[from] Box<Denied>),
    /// The caller's `binary` is not base64. Nothing was sent.
    #[error("`binary` must be base64 with padding")]
    Base64,
    /// The server closed the connection with a close frame.
    #[error("the server closed the connection: {} {reason}", .code.map_or("no code".to_owned(), |c| c.to_string()))]
    Closed {
        /// The close code, if there was one.
        code: Option<u16>,
        /// The words beside it.
        reason: String,
    },
    /// The connection ended without a close frame.
    #[error("the connection ended without a goodbye")]
    Ended,
    /// The server broke the WebSocket protocol; it was told so.
    #[error("the server broke the protocol: {}", .0.reason)]
    Violation(Violation),
    /// What the server said is no object of the protocol.
    #[error("the server said what can't be read: {0}")]
    Unreadable(String),
    /// More pushes came while a reply was waited for than may be kept.
    #[error("{0} pushes wait to be taken, which is the limit")]
    Flooded(usize),
    /// The socket failed.
    #[error("the connection broke: {0}")]
    Io(io::Error),
}

/// An `error` of the protocol: the reply to a command.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Denied {
    /// Such as `permission_denied`.
    pub code: String,
    /// Words for whoever debugs it.
    pub message: String,
    /// Whether the same command may succeed later.
    pub retryable: bool,
    /// After so long, where the server named a time.
    pub retry_after: Option<Duration>,
    /// All of it, as it came.
    pub object: Value,
}

impl Denied {
    pub(crate) fn of(object: Value) -> Self {
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        Self {
            code: text("code"),
            message: text("message"),
            retryable: object["retryable"].as_bool().unwrap_or(false),
            retry_after: object["retry_after_ms"].as_u64().map(Duration::from_millis),
            object,
        }
    }
}
