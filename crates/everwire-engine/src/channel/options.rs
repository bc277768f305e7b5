//! What a namespace's settings say of its channels.

use std::sync::Arc;

use everwire_proto::payload::Data;
use rustc_hash::FxHashMap;

use crate::name::namespace_of;
use crate::permit::Right;

/// What is kept of a channel's past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// At most so many messages.
    pub messages: usize,
    /// At most so old, ms.
    pub age_ms: u64,
    /// At most so many bytes of ready frames.
    pub bytes: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { messages: 1_000, age_ms: 600_000, bytes: 1024 * 1024 }
    }
}

/// What happens to a subscriber that does not keep up. Protocol section 4, "Slow readers".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSlow {
    /// It reads on from the window when it can; what is gone by then is told by a `gap`.
    Resync,
    /// Its messages are left out, and told.
    Drop,
    /// It is closed with 4100.
    Close,
}

/// Who may do a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Nobody, whatever a token says.
    Deny,
    /// Whoever has a token that allows it.
    Token,
    /// Whoever has a user, or a token that allows it.
    Authenticated,
    /// Everybody who is connected.
    Anyone,
}

/// Who may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Subscribe.
    pub subscribe: Who,
    /// Publish.
    pub publish: Who,
    /// Read who is there.
    pub presence: Who,
    /// Read the past.
    pub history: Who,
}

impl Access {
    /// The same for all four.
    pub fn all(who: Who) -> Self {
        Self { subscribe: who, publish: who, presence: who, history: who }
    }

    /// Who has this right.
    pub fn of(&self, right: Right) -> Who {
        match right {
            Right::Subscribe => self.subscribe,
            Right::Publish => self.publish,
            Right::Presence => self.presence,
            Right::History => self.history,
        }
    }
}

/// The settings of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What is kept; `None`: nothing, every message is volatile.
    pub history: Option<HistoryLimits>,
    /// Whether members are known.
    pub presence: bool,
    /// Who may do what.
    pub access: Access,
    /// What stands behind the namespace is a user, and only that one may subscribe and read.
    pub user_channels: bool,
    /// Largest payload, bytes; never above the connection's message limit.
    pub message_bytes: u32,
    /// What happens to slow subscribers.
    pub on_slow: OnSlow,
    /// Above so many members those who watch are told how many there are, and not who comes and goes.
    pub presence_members: u32,
    /// Whether a publisher that subscribes gets its own live messages.
    pub echo: bool,
    /// Publishes a second to each of its channels, the backend's included; `None`: as many as come.
    pub messages_per_second: Option<u32>,
    /// What published data must look like.
    pub schema: Option<Schema>,
    /// The tag whose value is a message's key: a subscriber that is behind gets only the newest of each key.
    pub conflate: Option<Box<str>>,
}

/// Whoever knows what published data must look like.
pub trait DataCheck: Send + Sync {
    /// Checks a payload; the error is for whoever sent it.
    fn check(&self, data: &Data<'_>) -> Result<(), String>;
}

/// A check of published data, shared by all that use the settings. Two are equal if they are the same one.
#[derive(Clone)]
pub struct Schema(pub Arc<dyn DataCheck>);

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Schema {}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schema").finish_non_exhaustive()
    }
}

impl Options {
    /// How many members are told of one by one, unless a config says otherwise.
    pub const PRESENCE_MEMBERS: u32 = 1_000;

    /// Everything allowed, history and presence on: the default namespace of dev mode.
    pub fn open() -> Self {
        Self {
            history: Some(HistoryLimits::default()),
            presence: true,
            access: Access::all(Who::Anyone),
            user_channels: false,
            message_bytes: 64 * 1024,
            on_slow: OnSlow::Resync,
            presence_members: Self::PRESENCE_MEMBERS,
            echo: true,
            messages_per_second: None,
            schema: None,
            conflate: None,
        }
    }
}

/// All namespaces of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Channels without a `:`; `None`: there are none.
    pub default: Option<Arc<Options>>,
    /// By name.
    pub named: FxHashMap<Box<str>, Arc<Options>>,
    /// What a namespace that nobody named gets; `None`: `unknown_channel`.
    pub unnamed: Option<Arc<Options>>,
}

impl Namespaces {
    /// Dev mode: everything allowed everywhere.
    pub fn open() -> Self {
        let open = Arc::new(Options::open());
        Self { default: Some(open.clone()), named: FxHashMap::default(), unnamed: Some(open) }
    }

    /// The settings for a channel of this name.
    pub fn options_of(&self, name: &str) -> Option<&Arc<Options>> {
        match namespace_of(name) {
            None => self.default.as_ref(),
            Some(namespace) => self.named.get(namespace).or(self.unnamed.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_finds_its_settings() {
        let mut namespaces = Namespaces::open();
        let quiet = Arc::new(Options { history: None, ..Options::open() });
        namespaces.named.insert("quiet".into(), quiet.clone());
        assert_eq!(namespaces.options_of("quiet:x"), Some(&quiet));
        assert!(namespaces.options_of("quiet").unwrap().history.is_some());
        assert!(namespaces.options_of("other:x").is_some());
        namespaces.unnamed = None;
        assert_eq!(namespaces.options_of("other:x"), None);
    }
}
