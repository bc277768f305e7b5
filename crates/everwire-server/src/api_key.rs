//! A key of the HTTP API, and what it allows.

use std::fmt;

use everwire_proto::api::Grant;

/// A key. Its `Debug` prints `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    key: Box<str>,
    /// `None`: everything.
    grants: Option<Box<[Grant]>>,
    /// Channels, or their beginnings with a `*`; `None`: all.
    channels: Option<Box<[Box<str>]>>,
}

impl ApiKey {
    /// A key that allows everything.
    pub fn new(key: &str) -> Self {
        Self { key: key.into(), grants: None, channels: None }
    }

    /// The same key, that allows only this.
    #[must_use]
    pub fn with_grants(self, grants: &[Grant]) -> Self {
        Self { grants: Some(grants.into()), ..self }
    }

    /// The same key, for these channels alone; what ends with a `*` means all that begin so.
    #[must_use]
    pub fn with_channels<T: AsRef<str>>(self, patterns: &[T]) -> Self {
        Self { channels: Some(patterns.iter().map(|pattern| pattern.as_ref().into()).collect()), ..self }
    }

    /// The key itself; for the banner of dev mode alone.
    pub fn reveal(&self) -> &str {
        &self.key
    }

    /// Compares in a time that does not tell how much was right.
    pub fn matches(&self, given: &[u8]) -> bool {
        let mine = self.key.as_bytes();
        let differs = mine.iter().zip(given).fold(0u8, |acc, (a, b)| acc | (a ^ b));
        mine.len() == given.len() && std::hint::black_box(differs) == 0
    }

    /// Whether it allows this.
    pub fn grants(&self, grant: Grant) -> bool {
        self.grants.as_ref().is_none_or(|grants| grants.contains(&grant))
    }

    /// Whether it is for all channels.
    pub fn is_for_all_channels(&self) -> bool {
        self.channels.is_none()
    }

    /// Whether it is for this channel.
    pub fn is_for(&self, channel: &str) -> bool {
        let named = |pattern: &str| match pattern.strip_suffix('*') {
            Some(beginning) => channel.starts_with(beginning),
            None => channel == pattern,
        };
        self.channels.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| named(pattern)))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_compared_whole_and_never_printed() {
        let key = ApiKey::new("secret");
        assert!(key.matches(b"secret"));
        for wrong in [&b""[..], b"secre", b"secrets", b"Secret"] {
            assert!(!key.matches(wrong));
        }
        assert_eq!(format!("{key:?}"), "ApiKey(***)");
    }

    #[test]
    fn a_key_allows_what_it_names() {
        let all = ApiKey::new("k");
        assert!(
            Grant::ALL.iter().all(|grant| all.grants(*grant)) && all.is_for("x") && all.is_for_all_channels()
        );
        let some = all.with_grants(&[Grant::Publish]).with_channels(&["chat:*", "news"]);
        assert!(some.grants(Grant::Publish) && !some.grants(Grant::History) && !some.is_for_all_channels());
        for (channel, named) in
            [("chat:1", true), ("chat:", true), ("chats:1", false), ("news", true), ("newsroom", false)]
        {
            assert_eq!(some.is_for(channel), named, "{channel}");
        }
        assert!(!ApiKey::new("k").with_grants(&[]).grants(Grant::Info));
    }
}
