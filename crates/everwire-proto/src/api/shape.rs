//! What a row of the table is made of.

use super::Verb;
use crate::codes::ErrorCode;

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A string of so many bytes.
    Text {
        /// At least.
        least: usize,
        /// At most.
        most: usize,
    },
    /// The public id of a client.
    Client,
    /// One of a few words.
    Word(&'static [&'static str]),
    /// A channel's name.
    Channel,
    /// A list of channels' names, as many as the config allows.
    Channels,
    /// A whole number.
    Int {
        /// At least.
        least: u64,
        /// At most.
        most: u64,
    },
    /// True or false.
    Flag,
    /// Any value, null included.
    Any,
    /// Bytes as base64 text.
    Base64,
    /// `{epoch, offset}`
    Position,
    /// A flat object of strings.
    Tags,
    /// An object.
    Object(&'static [Field]),
    /// A list of objects.
    Objects(&'static [Field]),
    /// A list of what `publish` takes, as many as the config allows.
    Publications,
    /// A list of what `publish` answers or is refused with.
    Results,
    /// A list of sentences.
    Sentences,
}

/// A field of a request or an answer.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its key.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// Whether it is always there.
    pub must: bool,
    /// What it means.
    pub doc: &'static str,
}

/// Fields that exclude each other.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Which.
    pub of: &'static [&'static str],
    /// Whether one of them must be there.
    pub must: bool,
}

/// A row of the table: everything about a verb.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The verb.
    pub verb: Verb,
    /// What stands behind `/api/`.
    pub name: &'static str,
    /// What a key must be allowed.
    pub grant: Grant,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// What it takes.
    pub fields: &'static [Field],
    /// Those of them that exclude each other.
    pub choice: Option<Choice>,
    /// The `type` of its answer.
    pub answer: &'static str,
    /// The other fields of its answer.
    pub tells: &'static [Field],
    /// What it may be refused with, besides what every request may be.
    pub refusals: &'static [ErrorCode],
}

impl Spec {
    /// A field that it takes.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

macro_rules! grants {
    ($($name:ident $word:literal $doc:literal;)*) => {
        /// What a key of the API may be allowed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Grant { $(#[doc = $doc] $name,)* }

        impl Grant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in the config.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

grants! {
    Publish "publish" "`publish`, `broadcast` and `batch`.";
    History "history" "Reading the past.";
    HistoryClear "history_clear" "Forgetting the past.";
    Presence "presence" "Who, and how many, are in a channel.";
    Channels "channels" "Which channels there are.";
    Connections "connections" "Which connections there are.";
    Subscribe "subscribe" "`subscribe` and `unsubscribe`.";
    Disconnect "disconnect" "Ending connections.";
    Revoke "revoke" "Revoking tokens.";
    Refresh "refresh" "Setting when connections end.";
    Info "info" "What the server is and has.";
    Explain "explain" "Who may do what.";
    Metrics "metrics" "`/metrics`.";
    LogLevel "log_level" "`/api/log_level`.";
}

impl Grant {
    /// Reads what [`Grant::as_str`] wrote.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|grant| grant.as_str() == word)
    }
}
