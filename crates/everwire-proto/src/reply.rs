//! What the server says: replies and pushes, borrowed from whoever has the values. One enum serves both, because a
//! push is a reply without `id` (`connected`, `error`, `subscribed`, `unsubscribed` are sent as either).

use crate::codes::ErrorCode;
use crate::ids::{ClientId, SessionKey};
use crate::payload::Payload;
use crate::position::Position;

/// Everything that a server sends. `json::encode` and `msgpack::encode` write it, with `id` where it is a reply.
#[derive(Clone, Debug)]
pub enum Outgoing<'a> {
    /// The session stands.
    Connected(Connected<'a>),
    /// The token was replaced.
    Refreshed {
        /// When the new one ends, ms since 1970 UTC; absent where it never does.
        expires_at: Option<u64>,
    },
    /// A subscription stands.
    Subscribed(Subscribed<'a>),
    /// A subscription ended; with a reason where the server ended it.
    Unsubscribed {
        /// The channel.
        channel: &'a str,
        /// Only when the server did it.
        because: Option<UnsubscribeReason<'a>>,
    },
    /// A publish was taken.
    Published {
        /// Where it stands, on channels with history.
        position: Option<&'a Position>,
        /// Stored before under the same `message_id`; this is the first position.
        duplicate: bool,
    },
    /// A page of members.
    Presence(PresencePage<'a>),
    /// One's own state was set.
    PresenceUpdated,
    /// A page of history.
    History(HistoryPage<'a>),
    /// Answer to `ping`.
    Pong,
    /// A publication.
    Message {
        /// The channel.
        channel: &'a str,
        /// The message.
        message: Message<'a>,
    },
    /// A presence event.
    Member {
        /// What happened.
        event: MemberEvent,
        /// The channel.
        channel: &'a str,
        /// The presence version after it.
        version: u64,
        /// Who.
        member: Member<'a>,
    },
    /// How many members there are, where there are too many to tell of each.
    PresenceCount {
        /// The channel.
        channel: &'a str,
        /// The numbers.
        summary: PresenceSummary,
    },
    /// Presence events were left out: ask again.
    PresenceReset {
        /// The channel.
        channel: &'a str,
        /// The presence version now.
        version: u64,
    },
    /// What comes after `from` up to and including `to` can't be delivered.
    Gap {
        /// The channel.
        channel: &'a str,
        /// The client's position; absent for volatile messages.
        from: Option<&'a Position>,
        /// The client's position from now on; absent for volatile messages.
        to: Option<&'a Position>,
        /// Why.
        reason: GapReason,
    },
    /// A visible heartbeat.
    Ping,
    /// The server is about to close this connection.
    Bye {
        /// A word for programs, such as `draining`.
        code: &'a str,
        /// A sentence for people.
        message: &'a str,
        /// Whether to come back.
        reconnect: bool,
        /// When, a range in ms.
        after_ms: [u64; 2],
    },
    /// A refusal.
    Error {
        /// The code.
        code: ErrorCode,
        /// What happened, which value, what to do.
        message: &'a str,
        /// Where there is a time.
        retry_after_ms: Option<u64>,
        /// The channel's current position, for `unrecoverable_position`.
        position: Option<&'a Position>,
        /// What the path of its explanation begins with, such as `/realtime`, or nothing.
        base_path: &'a str,
    },
}

impl Outgoing<'_> {
    /// Its `type` on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connected(_) => "connected",
            Self::Refreshed { .. } => "refreshed",
            Self::Subscribed(_) => "subscribed",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::Published { .. } => "published",
            Self::Presence(_) => "presence",
            Self::PresenceUpdated => "presence_updated",
            Self::History(_) => "history",
            Self::Pong => "pong",
            Self::Message { .. } => "message",
            Self::Member { event: MemberEvent::Join, .. } => "join",
            Self::Member { event: MemberEvent::Leave, .. } => "leave",
            Self::Member { event: MemberEvent::State, .. } => "presence_state",
            Self::PresenceCount { .. } => "presence_count",
            Self::PresenceReset { .. } => "presence_reset",
            Self::Gap { .. } => "gap",
            Self::Ping => "ping",
            Self::Bye { .. } => "bye",
            Self::Error { .. } => "error",
        }
    }
}

/// Fields of `connected`.
#[derive(Clone, Debug)]
pub struct Connected<'a> {
    /// The public id.
    pub client: ClientId,
    /// The secret of this session.
    pub session: SessionKey,
    /// Present iff `resume` was asked.
    pub resumed: Option<bool>,
    /// The node's name.
    pub node: &'a str,
    /// The user, unless anonymous.
    pub user: Option<&'a str>,
    /// Silence after which the server pings.
    pub heartbeat_ms: u64,
    /// The end of the token, ms since 1970 UTC.
    pub expires_at: Option<u64>,
    /// `limits`.
    pub limits: WireLimits,
    /// What the server subscribed it to.
    pub subscriptions: &'a [Subscribed<'a>],
    /// After an unannounced close, wait a random time up to this.
    pub reconnect_spread_ms: u64,
}

/// The limits that a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireLimits {
    /// Largest message, bytes.
    pub message_bytes: u32,
    /// Channels per connection.
    pub channels: u32,
    /// Commands per second.
    pub commands_per_second: u32,
}

/// Fields of `subscribed`.
#[derive(Clone, Debug)]
pub struct Subscribed<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The top of the stream, iff the channel has history.
    pub position: Option<&'a Position>,
    /// Present iff `since` was asked and `rewind` did not stand in for it.
    pub recovered: Option<bool>,
    /// How many `message` frames of replay follow; present iff > 0 or `recovered` is.
    pub replaying: Option<u64>,
    /// Present iff presence events were asked for.
    pub presence: Option<PresenceSummary>,
    /// The end of the subscription token, ms since 1970 UTC.
    pub expires_at: Option<u64>,
}

/// Numbers of a channel's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceSummary {
    /// Different users; every anonymous member is one of its own.
    pub users: u64,
    /// Connections.
    pub clients: u64,
    /// Rises with every change.
    pub version: u64,
}

/// Why the server ended a subscription.
#[derive(Clone, Copy, Debug)]
pub struct UnsubscribeReason<'a> {
    /// An error code's word.
    pub code: &'a str,
    /// A sentence for people.
    pub message: &'a str,
    /// Whether to subscribe again.
    pub resubscribe: bool,
}

/// One member of a channel.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its connection.
    pub client: ClientId,
    /// Its user, unless anonymous.
    pub user: Option<&'a str>,
    /// What the token says of it.
    pub info: Option<&'a Payload>,
    /// What it says of itself.
    pub state: Option<&'a Payload>,
}

/// Kinds of presence events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberEvent {
    /// `join`
    Join,
    /// `leave`
    Leave,
    /// `presence_state`
    State,
}

/// Fields of `presence`.
#[derive(Clone, Debug)]
pub struct PresencePage<'a> {
    /// The channel.
    pub channel: &'a str,
    /// Numbers of the whole channel.
    pub summary: PresenceSummary,
    /// This page.
    pub members: Vec<Member<'a>>,
    /// Where the next page begins: the `after` to ask for it with.
    pub next: Option<&'a str>,
    /// The version moved since the first page.
    pub stale: bool,
}

/// The sender of a message, absent when the backend published.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// Its connection.
    pub client: ClientId,
    /// Its user, unless anonymous.
    pub user: Option<&'a str>,
    /// What its token says of it.
    pub info: Option<&'a Payload>,
}

/// A message without its channel, as in `message` and in `history.messages[]`.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its offset; absent on volatile ones.
    pub offset: Option<u64>,
    /// The payload.
    pub payload: &'a Payload,
    /// The idempotency key, where the publisher gave one.
    pub message_id: Option<&'a str>,
    /// The sender.
    pub from: Option<From<'a>>,
    /// When it was taken, ms since 1970 UTC.
    pub time: u64,
    /// Tags.
    pub tags: &'a [(Box<str>, Box<str>)],
}

/// Fields of `history`.
#[derive(Clone, Debug)]
pub struct HistoryPage<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The top of the stream.
    pub position: &'a Position,
    /// The messages, in the order asked.
    pub messages: Vec<Message<'a>>,
    /// Where to go on; absent at the end.
    pub next: Option<Position>,
}

/// Why something can't be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// Older than what is kept.
    HistoryExpired,
    /// The stream's past was lost.
    EpochChanged,
    /// The client did not read fast enough.
    SlowConsumer,
}

impl GapReason {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HistoryExpired => "history_expired",
            Self::EpochChanged => "epoch_changed",
            Self::SlowConsumer => "slow_consumer",
        }
    }
}
