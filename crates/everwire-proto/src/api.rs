//! The HTTP API in words: its verbs as one table, and what a request for each of them says.
//!
//! The table is the only place where a verb's name, fields, answer and refusals stand. Routing, the limits of fields, the
//! OpenAPI document and the table of the protocol's section 8 are made of it.

// Bottom to top: a module uses only those above it in this list.
mod shape;
mod table;
mod read;

use std::borrow::Cow;

pub use self::read::{decode, decode_within};
pub use self::shape::{Choice, Field, Grant, Kind, Spec};
pub use self::table::{ERROR, FIELDS_OF_A_PUBLICATION, Verb};

use crate::command::{History, Publish, Since};
use crate::payload::Data;
use crate::secret::Secret;

/// More than so many publications of a batch, or channels of a broadcast, are not even read.
pub const MOST_ITEMS: usize = 10_000;

/// What the application's backend asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Call<'a> {
    /// Publishes to one channel.
    Publish(Publish<'a>),
    /// Publishes the same to many channels.
    Broadcast(Broadcast<'a>),
    /// Publishes many things.
    Batch(Vec<Publish<'static>>),
    /// Reads a channel's history.
    History(History<'a>),
    /// Forgets a channel's history.
    HistoryClear {
        /// The channel.
        channel: Cow<'a, str>,
    },
    /// Asks who is in a channel.
    Presence {
        /// The channel.
        channel: Cow<'a, str>,
        /// At most so many members.
        limit: Option<u64>,
        /// Go on after this member: the `next` of the page before.
        after: Option<Cow<'a, str>>,
    },
    /// Asks how many are in a channel.
    PresenceStats {
        /// The channel.
        channel: Cow<'a, str>,
    },
    /// Asks which channels there are.
    Channels {
        /// Their names begin so.
        prefix: Cow<'a, str>,
        /// How many.
        page: Paging<'a>,
    },
    /// Asks which connections there are.
    Connections {
        /// All of these hold.
        which: Which<'a>,
        /// How many.
        page: Paging<'a>,
    },
    /// Subscribes connections to a channel.
    Subscribe {
        /// Whose.
        whom: Whom<'a>,
        /// The channel.
        channel: Cow<'a, str>,
        /// Recover from here.
        since: Option<Since<'a>>,
        /// Begin with so many of the newest messages.
        rewind: Option<u64>,
    },
    /// Takes connections out of a channel.
    Unsubscribe {
        /// Whose.
        whom: Whom<'a>,
        /// The channel.
        channel: Cow<'a, str>,
    },
    /// Ends connections.
    Disconnect {
        /// Whose.
        whom: Whom<'a>,
        /// The close code, 4000..4299.
        code: Option<u16>,
        /// A sentence for people, at most 120 bytes.
        reason: Option<Cow<'a, str>>,
    },
    /// Lets tokens be accepted no more, and ends the connections that have them.
    Revoke(Revoke<'a>),
    /// Sets when connections end.
    Refresh {
        /// Whose.
        whom: Whom<'a>,
        /// When, ms since 1970 UTC.
        expires_at: u64,
    },
    /// Asks about the server.
    Info,
    /// Asks who may do what, and which rule says so.
    Explain(Explain<'a>),
}

/// Fields of `broadcast`.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast<'a> {
    /// The channels, in the order of the results.
    pub channels: Vec<Cow<'static, str>>,
    /// The payload.
    pub data: Data<'a>,
    /// The idempotency key, in each of the channels.
    pub message_id: Option<Cow<'a, str>>,
    /// Tags.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Live only, no history.
    pub volatile: bool,
}

impl Broadcast<'_> {
    /// What it publishes to one of its channels.
    pub fn to<'c>(&'c self, channel: &'c str) -> Publish<'c> {
        let text = |text: &'c Cow<'_, str>| Cow::Borrowed(&**text);
        Publish {
            channel: Cow::Borrowed(channel),
            data: self.data.borrowed(),
            message_id: self.message_id.as_ref().map(text),
            tags: self.tags.iter().map(|(key, value)| (text(key), text(value))).collect(),
            volatile: self.volatile,
        }
    }
}

/// A piece of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging<'a> {
    /// At most so many.
    pub limit: usize,
    /// Where it begins: the `next` of the page before.
    pub after: Option<Cow<'a, str>>,
}

/// Which connections, of those that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which<'a> {
    /// Of this user.
    pub user: Option<Cow<'a, str>>,
    /// Of this client.
    pub client: Option<Cow<'a, str>>,
    /// Subscribed to this channel.
    pub channel: Option<Cow<'a, str>>,
}

/// Whose connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom<'a> {
    /// All of a user.
    User(Cow<'a, str>),
    /// The one of a client.
    Client(Cow<'a, str>),
}

/// Which tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoke<'a> {
    /// All that a user was given up to now.
    User(Cow<'a, str>),
    /// The one with this id (`jti`).
    Token {
        /// The id.
        id: Cow<'a, str>,
        /// When the token ends anyway, ms since 1970 UTC: until then it must be remembered.
        expires_at: Option<u64>,
    },
}

/// Fields of `explain`.
#[derive(Clone, Debug, PartialEq)]
pub struct Explain<'a> {
    /// The token of whoever wants to.
    pub token: Option<Secret<Cow<'a, str>>>,
    /// Or only a user, with a token that allows nothing of its own.
    pub user: Option<Cow<'a, str>>,
    /// In which channel.
    pub channel: Cow<'a, str>,
    /// What, one of the table's words.
    pub action: Cow<'a, str>,
}
