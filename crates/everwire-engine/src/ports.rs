//! What the engine needs from outside: a broker that numbers and keeps, and an authority that knows users.
//!
//! Ports take commands and give events, never futures: an answer is there at once, or arrives later in the asking
//! shard's inbox. Nobody waits.

use std::sync::Arc;

use everwire_proto::codes::ErrorCode;
use everwire_proto::payload::Payload;

use crate::channel::{Cell, Draft, HistoryQuery, Options};
use crate::inbox::Answer;
use crate::name::ChannelName;
use crate::permit::Permit;
use crate::time::Now;

/// Where an answer goes: this shard's inbox, under this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The asking shard, or [`Ticket::DESK`].
    pub shard: u16,
    /// The number it will find in [`crate::inbox::Item::Answer`].
    pub number: u64,
}

impl Ticket {
    /// Whoever is no shard asks here, such as the HTTP API; the broker knows where its answers go.
    pub const DESK: u16 = u16::MAX;
}

/// What a broker can be asked.
#[derive(Debug)]
pub enum Ask {
    /// Number, append, fan out. Publishes of one shard to one channel are taken in the order asked.
    Publish(Draft),
    /// Read the past.
    History(HistoryQuery),
    /// Forget the past.
    Clear,
}

/// What became of an ask.
#[derive(Debug)]
pub enum Asked {
    /// Here is the answer.
    Now(Answer),
    /// It will be in the inbox, or a timeout will.
    Later,
    /// The cell was evicted between look-up and ask: look the channel up again. The ask comes back.
    Dead(Ask),
}

/// What a broker can do; differences between brokers are data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Cells are numbered in this process: every answer is `Now` and every cell is live.
    pub in_process: bool,
    /// What was acknowledged survives the end of this process.
    pub durable: bool,
}

/// A broker: appends, numbers and fans out, one atomic step per channel.
pub trait Broker: Send + Sync {
    /// What it can do.
    fn caps(&self) -> Caps;
    /// Makes the cell of a channel that this node did not know.
    fn cell(&self, name: ChannelName, options: Arc<Options>, now: Now) -> Cell;
    /// Asks for one thing on one channel.
    fn ask(&self, cell: &Arc<Cell>, ask: Ask, ticket: Ticket, now: Now) -> Asked;
    /// This node begins to listen to the channel. When the link stands the cell is told
    /// ([`Cell::attached`](crate::channel::Cell::attached)); a broker in this process has nothing to do.
    fn attach(&self, cell: &Arc<Cell>, now: Now);
    /// This node stops listening.
    fn detach(&self, cell: &Arc<Cell>, now: Now);
}

/// Who a connection is, and what its token allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user; `None`: anonymous.
    pub user: Option<Arc<str>>,
    /// What everybody may know of it, at most 1 KiB.
    pub info: Option<Arc<Payload>>,
    /// The end of the token, ms since 1970 UTC.
    pub expires_at: Option<u64>,
    /// What the token allows beyond the namespaces.
    pub permit: Option<Arc<Permit>>,
    /// The token's own id, by which it can be revoked.
    pub token_id: Option<Box<str>>,
    /// The number of the key that signed it; 0: nothing was signed.
    pub signed_by: u32,
}

/// What a token for one channel allows: to subscribe to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// To whom; `None`: to an anonymous client.
    pub user: Option<Arc<str>>,
    /// The channel.
    pub channel: Box<str>,
    /// The end of the token, ms since 1970 UTC; the subscription ends with it.
    pub expires_at: Option<u64>,
    /// The token's own id, by which it can be revoked.
    pub token_id: Option<Box<str>>,
    /// The number of the key that signed it; 0: nothing was signed.
    pub signed_by: u32,
}

/// Whoever knows tokens.
pub trait Authority: Send + Sync {
    /// Whom this token speaks of; the error is `token_invalid` or `token_expired` with one text for every refusal.
    fn check(&self, token: &str, now: Now) -> Result<Identity, (ErrorCode, String)>;
    /// Where this token, made for one channel, lets in; the errors are those of [`Authority::check`].
    fn check_entrance(&self, token: &str, now: Now) -> Result<Entrance, (ErrorCode, String)>;
}

/// The authority of a server without keys: no token can be accepted.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTokens;

impl Authority for NoTokens {
    fn check(&self, _token: &str, _now: Now) -> Result<Identity, (ErrorCode, String)> {
        let text = "this server has no keys for tokens; connect without one";
        Err((ErrorCode::TokenInvalid, text.to_owned()))
    }
    fn check_entrance(&self, _token: &str, _now: Now) -> Result<Entrance, (ErrorCode, String)> {
        let text = "this server has no keys for tokens; go on without one";
        Err((ErrorCode::TokenInvalid, text.to_owned()))
    }
}
