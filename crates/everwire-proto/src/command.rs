//! What a client asks: the commands of the protocol, section 2, borrowed from the frame they came in.

use std::borrow::Cow;

use crate::codes::ErrorCode;
use crate::payload::Data;
use crate::secret::Secret;

/// One command with the id the client chose for it (1..2^53-1; absent: no reply unless it fails).
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// The id that the reply will carry.
    pub id: Option<u64>,
    /// What is asked.
    pub command: Command<'a>,
}

/// The commands.
#[derive(Clone, Debug, PartialEq)]
pub enum Command<'a> {
    /// Opens the session.
    Connect(Connect<'a>),
    /// A new token for a living session.
    Refresh {
        /// The token.
        token: Secret<Cow<'a, str>>,
    },
    /// Subscribes to a channel.
    Subscribe(Subscribe<'a>),
    /// Ends a subscription.
    Unsubscribe {
        /// The channel.
        channel: Cow<'a, str>,
    },
    /// Publishes to a channel.
    Publish(Publish<'a>),
    /// Asks who is in a channel.
    Presence {
        /// The channel.
        channel: Cow<'a, str>,
        /// At most so many members.
        limit: Option<u64>,
        /// Go on after this member: the `next` of the page before.
        after: Option<Cow<'a, str>>,
    },
    /// Sets one's own presence state in a channel.
    PresenceUpdate {
        /// The channel.
        channel: Cow<'a, str>,
        /// The new state; `None` (JSON `null`, or absent) clears it. At most 1 KiB.
        state: Option<Data<'a>>,
    },
    /// Reads a channel's history.
    History(History<'a>),
    /// Calls a method of the application's backend.
    Call {
        /// The method.
        method: Cow<'a, str>,
        /// Its argument.
        data: Data<'a>,
    },
    /// Asks for a `pong`.
    Ping,
    /// Answers a visible `ping`.
    Pong,
}

/// Fields of `connect`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connect<'a> {
    /// The token.
    pub token: Option<Secret<Cow<'a, str>>>,
    /// The client library's name, at most 64 bytes.
    pub name: Option<Cow<'a, str>>,
    /// Its version, at most 64 bytes.
    pub version: Option<Cow<'a, str>>,
    /// Wants visible `ping` pushes.
    pub heartbeat: bool,
    /// The session to go on with.
    pub resume: Option<Secret<Cow<'a, str>>>,
    /// Positions for server-side subscriptions.
    pub since: Vec<(Cow<'a, str>, Since<'a>)>,
}

/// A position as the client wrote it; the epoch is checked to be a wire id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since<'a> {
    /// The epoch.
    pub epoch: Cow<'a, str>,
    /// The offset, 0..2^53-1.
    pub offset: u64,
}

/// Fields of `subscribe`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subscribe<'a> {
    /// The channel.
    pub channel: Cow<'a, str>,
    /// A subscription token.
    pub token: Option<Secret<Cow<'a, str>>>,
    /// Recover from here.
    pub since: Option<Since<'a>>,
    /// Begin with so many of the newest messages.
    pub rewind: Option<u64>,
    /// Wants presence events.
    pub presence: bool,
    /// `Some(false)` spares this connection its own live messages.
    pub echo: Option<bool>,
    /// At most so many messages a second.
    pub max_rate: Option<u64>,
}

/// Fields of `publish`.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish<'a> {
    /// The channel.
    pub channel: Cow<'a, str>,
    /// The payload.
    pub data: Data<'a>,
    /// The idempotency key, 1..64 bytes.
    pub message_id: Option<Cow<'a, str>>,
    /// At most 16 tags of 64 + 256 bytes.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Live only, no history.
    pub volatile: bool,
}

impl Publish<'_> {
    /// The same, borrowed from nobody.
    pub fn into_owned(self) -> Publish<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Publish {
            channel: own(self.channel),
            data: self.data.into_owned(),
            message_id: self.message_id.map(own),
            tags: self.tags.into_iter().map(|(key, value)| (own(key), own(value))).collect(),
            volatile: self.volatile,
        }
    }
}

/// Fields of `history`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History<'a> {
    /// The channel.
    pub channel: Cow<'a, str>,
    /// 1..1 000; absent: 100.
    pub limit: Option<u64>,
    /// Only messages after this position.
    pub since: Option<Since<'a>>,
    /// Only messages before this position.
    pub before: Option<Since<'a>>,
    /// Newest first.
    pub reverse: bool,
}

/// Why a command was refused, ready to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The command's id where it could be read.
    pub id: Option<u64>,
    /// The code.
    pub code: ErrorCode,
    /// What happened, which value, what to do.
    pub message: String,
}
