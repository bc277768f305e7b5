//! The table.

use super::shape::{Choice, Field, Grant, Kind, Spec};
use crate::codes::ErrorCode::{
    self, BadChannelName, Internal, LimitExceeded, NotAvailable, Overloaded, Timeout, TooLarge,
    UnknownChannel, UnrecoverablePosition,
};
use crate::position::MAX_INTEGER;

const fn must(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, must: true, doc }
}

const fn may(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, must: false, doc }
}

const fn text(most: usize) -> Kind {
    Kind::Text { least: 1, most }
}

const COUNT: Kind = Kind::Int { least: 0, most: MAX_INTEGER };
/// Names of users, ids of tokens.
const NAME: Kind = text(255);
const PAGE: Kind = Kind::Int { least: 1, most: 1_000 };
/// A `next` holds a channel's name at most, and a number.
const CURSOR: Kind = text(300);
const ACTIONS: &[&str] = &["subscribe", "publish", "presence", "history"];

const CHANNEL: Field = must("channel", Kind::Channel, "The channel.");
const LIMIT: Field = may("limit", PAGE, "At most so many on this page; 100 without it.");
const AFTER: Field = may("after", CURSOR, "The `next` of the page before, as it was.");
const NEXT: Field = may("next", CURSOR, "The `after` of the next page; absent on the last one.");
const DATA: Field = may("data", Kind::Any, "The payload: any JSON value.");
const BINARY: Field = may("binary", Kind::Base64, "The payload, where it is bytes.");
const MESSAGE_ID: Field = may(
    "message_id",
    text(64),
    "Idempotency key: the same one in the same channel, within five minutes, is stored once.",
);
const TAGS: Field = may("tags", Kind::Tags, "At most 16, of 64 bytes of key and 256 of value.");
const VOLATILE: Field = may("volatile", Kind::Flag, "Live only: without history and without a position.");
const PAYLOAD: Option<Choice> = Some(Choice { of: &["data", "binary"], must: true });
const WHOM: Option<Choice> = Some(Choice { of: &["user", "client"], must: true });
const USER: Field = may("user", NAME, "All connections of this user.");
const BY_CLIENT: Field = may("client", Kind::Client, "The connection of this client.");
const MATCHED: Field = must("connections", COUNT, "How many connections are meant by it now.");

/// What `publish` takes, and each item of a `batch`.
pub const FIELDS_OF_A_PUBLICATION: &[Field] = &[CHANNEL, DATA, BINARY, MESSAGE_ID, TAGS, VOLATILE];

const PUBLISHED: &[Field] = &[
    may("position", Kind::Position, "Where it stands, in a channel with history."),
    may("duplicate", Kind::Flag, "True: it was stored before, under the same `message_id`."),
];

const SENDER: &[Field] = &[
    must("client", Kind::Client, "Its connection."),
    may("user", NAME, "Its user, unless anonymous."),
    may("info", Kind::Any, "What its token says of it."),
];

const MEMBER: &[Field] = &[
    must("client", Kind::Client, "Its connection."),
    may("user", NAME, "Its user, unless anonymous."),
    may("info", Kind::Any, "What its token says of it."),
    may("state", Kind::Any, "What it says of itself."),
];

const MESSAGE: &[Field] = &[
    may("offset", COUNT, "Its number."),
    DATA,
    BINARY,
    MESSAGE_ID,
    may("from", Kind::Object(SENDER), "The sender; absent: the backend."),
    must("time", COUNT, "When it was taken, ms since 1970 UTC."),
    TAGS,
];

const PRESENCE_COUNTS: &[Field] = &[
    CHANNEL,
    must("version", COUNT, "Rises with every change."),
    must("users", COUNT, "Different users; every anonymous member is one of its own."),
    must("clients", COUNT, "Connections."),
];

const KNOWN_CHANNEL: &[Field] = &[
    CHANNEL,
    must("subscribed", Kind::Flag, "Whether anybody is subscribed to it on this node."),
    may("position", Kind::Position, "The top of its stream as this node knows it, where it has history."),
    may("users", COUNT, "Different users in it, where it has presence."),
    may("clients", COUNT, "Connections in it, where it has presence."),
];

const CONNECTION: &[Field] = &[
    must("client", Kind::Client, "Its public id."),
    may("user", NAME, "Its user, unless anonymous."),
    must("channels", COUNT, "How many channels it is subscribed to."),
    must("connected_ms", COUNT, "How long it is here."),
    may("expires_at", COUNT, "When it ends, ms since 1970 UTC."),
];

const LIMITS: &[Field] = &[
    must("message_bytes", COUNT, "Of a message."),
    must("channels", COUNT, "Of a connection."),
    must("commands_per_second", COUNT, "Of a connection."),
    must("items", COUNT, "Publications of a batch, channels of a broadcast."),
    must("body_bytes", COUNT, "Of the body of a batch or broadcast."),
];

/// The object of every refusal.
pub const ERROR: &[Field] = &[
    must("code", text(64), "A word for programs: /docs/errors has them all."),
    must("message", text(8_192), "What happened, which value, what to do."),
    must("retryable", Kind::Flag, "Whether the same request may succeed later."),
    must("docs", text(255), "Where the code is explained."),
    may("retry_after_ms", COUNT, "Where there is a time."),
    may("position", Kind::Position, "The channel's position, with `unrecoverable_position`."),
];

const OF_STORING: &[ErrorCode] = &[BadChannelName, UnknownChannel, TooLarge, Timeout, Overloaded, Internal];
const OF_READING: &[ErrorCode] =
    &[BadChannelName, UnknownChannel, NotAvailable, UnrecoverablePosition, Timeout, Overloaded, Internal];
const OF_PRESENCE: &[ErrorCode] = &[BadChannelName, UnknownChannel, NotAvailable, Overloaded];
const OF_SHARDS: &[ErrorCode] = &[Timeout];

macro_rules! verbs {
    ($($verb:ident $name:literal $grant:ident $doc:literal
       ($fields:expr) ($choice:expr) -> $answer:literal ($tells:expr) or ($refusals:expr);)*) => {
        /// A verb of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Verb { $(#[doc = $doc] $verb,)* }

        impl Verb {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$verb,)*];

            /// Its row of the table.
            pub fn spec(self) -> &'static Spec {
                match self { $(Self::$verb => {
                    const ROW: Spec = Spec {
                        verb: Verb::$verb,
                        name: $name,
                        grant: Grant::$grant,
                        doc: $doc,
                        fields: $fields,
                        choice: $choice,
                        answer: $answer,
                        tells: $tells,
                        refusals: $refusals,
                    };
                    &ROW
                })* }
            }
        }
    };
}

verbs! {
    Publish "publish" Publish "Publishes to one channel."
        (FIELDS_OF_A_PUBLICATION) (PAYLOAD) -> "published" (PUBLISHED) or (OF_STORING);
    Broadcast "broadcast" Publish "Publishes the same payload to many channels, each of which has a result of its own."
        (&[must("channels", Kind::Channels, "The channels."), DATA, BINARY, MESSAGE_ID, TAGS, VOLATILE])
        (PAYLOAD) -> "broadcast" (&[must("results", Kind::Results, "One for each channel, in their order.")])
        or (&[TooLarge]);
    Batch "batch" Publish "Publishes many things, in their order, each of which has a result of its own."
        (&[must("publications", Kind::Publications, "What `publish` would be asked.")])
        (None) -> "batch" (&[must("results", Kind::Results, "One for each publication, in their order.")])
        or (&[TooLarge]);
    History "history" History "Reads a page of a channel's history."
        (&[CHANNEL, may("limit", PAGE, "At most so many messages; 100 without it."),
           may("since", Kind::Position, "Only messages behind this position."),
           may("before", Kind::Position, "Only messages before this position."),
           may("reverse", Kind::Flag, "Newest first.")])
        (Some(Choice { of: &["since", "before"], must: false })) -> "history"
        (&[CHANNEL, must("position", Kind::Position, "The top of the stream."),
           must("messages", Kind::Objects(MESSAGE), "The page."),
           may("next", Kind::Position, "The `since` of the next page, or its `before` where it is reversed.")])
        or (OF_READING);
    HistoryClear "history_clear" HistoryClear
        "Forgets what a channel has kept. The epoch stays; the clearing takes a number of its own, and who asks for what was before is told a gap."
        (&[CHANNEL]) (None) -> "history_cleared"
        (&[CHANNEL, must("position", Kind::Position, "The top of the stream, before which nothing is kept.")])
        or (&[BadChannelName, UnknownChannel, NotAvailable, Timeout, Overloaded, Internal]);
    Presence "presence" Presence "Reads a page of who is in a channel."
        (&[CHANNEL, LIMIT, AFTER]) (None) -> "presence"
        (&[CHANNEL, must("version", COUNT, "Rises with every change."),
           must("users", COUNT, "Different users; every anonymous member is one of its own."),
           must("clients", COUNT, "Connections."),
           must("members", Kind::Objects(MEMBER), "The page."), NEXT,
           may("stale", Kind::Flag, "True: somebody came or went since the first page.")])
        or (OF_PRESENCE);
    PresenceStats "presence_stats" Presence "Counts who is in a channel."
        (&[CHANNEL]) (None) -> "presence_stats" (PRESENCE_COUNTS) or (OF_PRESENCE);
    Channels "channels" Channels "Lists channels that this node knows: those that are subscribed to, those that were used of late, and those of which the store has something. A page may be shorter than asked and not the last."
        (&[may("prefix", Kind::Text { least: 0, most: 255 }, "Only channels whose names begin so."), LIMIT, AFTER])
        (None) -> "channels" (&[must("channels", Kind::Objects(KNOWN_CHANNEL), "The page."), NEXT]) or (&[]);
    Connections "connections" Connections "Lists connections of this node. A page may be shorter than asked and not the last."
        (&[USER, BY_CLIENT, may("channel", Kind::Channel, "Only connections that are subscribed to it."), LIMIT, AFTER])
        (None) -> "connections" (&[must("connections", Kind::Objects(CONNECTION), "The page."), NEXT])
        or (&[BadChannelName, Timeout]);
    Subscribe "subscribe" Subscribe "Subscribes connections to a channel, which are told by a `subscribed` that is pushed. It lasts as long as the connection."
        (&[USER, BY_CLIENT, CHANNEL, may("since", Kind::Position, "Recover from here."),
           may("rewind", COUNT, "Begin with so many of the newest messages.")])
        (WHOM) -> "subscribed"
        (&[CHANNEL, MATCHED, must("refused", COUNT, "Of which so many have all the channels that they may, or could not be served.")])
        or (&[BadChannelName, UnknownChannel, Timeout]);
    Unsubscribe "unsubscribe" Subscribe "Takes connections out of a channel, which are told by an `unsubscribed` that is pushed."
        (&[USER, BY_CLIENT, CHANNEL]) (WHOM) -> "unsubscribed" (&[CHANNEL, MATCHED])
        or (&[BadChannelName, UnknownChannel, Timeout]);
    Disconnect "disconnect" Disconnect "Closes connections, with 4009 unless another code is given."
        (&[USER, BY_CLIENT, may("code", Kind::Int { least: 4_000, most: 4_299 }, "The close code, whose range tells clients what to do."),
           may("reason", Kind::Text { least: 0, most: 120 }, "A sentence for people.")])
        (WHOM) -> "disconnected" (&[]) or (&[]);
    Revoke "revoke" Revoke "Ends tokens: connections that have them are closed with 4001, and they are accepted no more."
        (&[may("user", NAME, "All tokens that this user was given up to now."),
           may("token_id", NAME, "The token with this `jti`."),
           may("expires_at", COUNT, "When the token, or the last one of the user, ends anyway, ms since 1970 UTC: it is not remembered longer.")])
        (Some(Choice { of: &["user", "token_id"], must: true })) -> "revoked" (&[])
        or (&[LimitExceeded, NotAvailable, Overloaded]);
    Refresh "refresh" Refresh "Sets when connections end, which are told by a `refreshed` that is pushed, as if their tokens said so."
        (&[USER, BY_CLIENT, must("expires_at", COUNT, "When, ms since 1970 UTC.")])
        (WHOM) -> "refreshed" (&[MATCHED]) or (OF_SHARDS);
    Info "info" Info "Says what the server is and has."
        (&[]) (None) -> "info"
        (&[must("version", text(64), "Of the server."), must("node", text(255), "Its name."),
           must("mode", Kind::Word(&["dev", "serve"]), "How it runs."), must("uptime_ms", COUNT, "Since its start."),
           must("connections", COUNT, "Open now."), must("channels", COUNT, "Known now."),
           must("messages", COUNT, "Published since its start."), must("limits", Kind::Object(LIMITS), "What it allows.")])
        or (&[]);
    Explain "explain" Explain "Says whether somebody may do something in a channel, and which rule decides."
        (&[may("token", text(8_192), "The token of whoever wants to."),
           may("user", NAME, "Or a user, as with a token that says nothing else."), CHANNEL,
           must("action", Kind::Word(ACTIONS), "What is to be done.")])
        (Some(Choice { of: &["token", "user"], must: false })) -> "explained"
        (&[must("allowed", Kind::Flag, "Whether it may be done."), must("because", text(8_192), "Why, in a sentence."),
           may("rule", text(8_192), "The line of the token's `allow` that allows it."),
           may("user", NAME, "Who it is, unless anonymous."),
           may("code", text(64), "What a client would be refused with."),
           may("helps", Kind::Sentences, "What would allow it, each by itself.")])
        or (&[]);
}

impl Verb {
    /// The verb of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|verb| verb.spec().name == name)
    }
}
