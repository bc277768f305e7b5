//! What a token allows beyond what a channel's namespace allows everybody.

use std::fmt;

/// What can be done in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// Subscribe.
    Subscribe,
    /// Publish.
    Publish,
    /// Read who is there.
    Presence,
    /// Read the past.
    History,
}

impl Right {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Subscribe, Self::Publish, Self::Presence, Self::History];

    /// The word in a token's `allow` and in a namespace's `access`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Presence => "presence",
            Self::History => "history",
        }
    }

    /// Reads what [`Right::as_str`] wrote.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == word)
    }

    /// In a sentence, before a channel's name.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe to",
            Self::Publish => "publish to",
            Self::Presence => "see who is in",
            Self::History => "read the history of",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// One line of a token's `allow`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    /// A channel's name, or its beginning.
    name: Box<str>,
    /// What stood before a `*`: every channel that begins so.
    prefix: bool,
    rights: u8,
}

impl Rule {
    /// `pattern` is a channel's name, or a beginning and a `*`; a `*` elsewhere is a character of the name.
    pub fn new(pattern: &str, rights: impl IntoIterator<Item = Right>) -> Self {
        let (name, prefix) = match pattern.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (pattern, false),
        };
        let rights = rights.into_iter().fold(0, |bits, right| bits | right.bit());
        Self { name: name.into(), prefix, rights }
    }

    fn allows(&self, channel: &str, right: Right) -> bool {
        let named = if self.prefix { channel.starts_with(&*self.name) } else { *channel == *self.name };
        named && self.rights & right.bit() != 0
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rights: Vec<_> = Right::ALL.into_iter().filter(|r| self.rights & r.bit() != 0).collect();
        let words: Vec<_> = rights.iter().map(|r| format!("{:?}", r.as_str())).collect();
        let star = if self.prefix { "*" } else { "" };
        write!(f, "\"{}{star}\": [{}]", self.name, words.join(", "))
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names of channels may be private; a derived `Debug` must not carry them into a log.
        f.write_str("Rule(***)")
    }
}

/// What a token allows, and how much. Equal ones are shared between sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Permit {
    /// Each of them adds; none takes away.
    pub rules: Box<[Rule]>,
    /// Channels that the server subscribes it to; each is a right to subscribe too.
    pub subscriptions: Box<[Box<str>]>,
    /// Channels at once, where the token allows fewer than the config.
    pub channels: Option<u32>,
    /// Commands a second, where the token allows fewer than the config.
    pub commands_per_second: Option<u32>,
}

impl Permit {
    /// Whether it allows it.
    pub fn allows(&self, channel: &str, right: Right) -> bool {
        let named = || right == Right::Subscribe && self.subscriptions.iter().any(|own| **own == *channel);
        self.rule(channel, right).is_some() || named()
    }

    /// The first rule that allows it.
    pub fn rule(&self, channel: &str, right: Right) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.allows(channel, right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_a_channel_or_its_beginning() {
        for (pattern, channel, named) in [
            ("chat:1", "chat:1", true),
            ("chat:1", "chat:12", false),
            ("chat:1*", "chat:12", true),
            ("chat:*", "chat:", true),
            ("chat:*", "chats:1", false),
            ("*", "anything", true),
            ("*:1", "chat:1", false),
            ("", "x", false),
            ("**", "*x", true),
            ("**", "x", false),
        ] {
            let rule = Rule::new(pattern, [Right::Publish]);
            assert_eq!(rule.allows(channel, Right::Publish), named, "{pattern} {channel}");
            assert!(!rule.allows(channel, Right::Subscribe), "{pattern} {channel}");
        }
    }

    #[test]
    fn rights_have_words() {
        for right in Right::ALL {
            assert_eq!(Right::parse(right.as_str()), Some(right));
        }
        assert_eq!(Right::parse("Subscribe"), None);
        let rule = Rule::new("chat:*", [Right::History, Right::Subscribe]);
        assert_eq!(rule.to_string(), r#""chat:*": ["subscribe", "history"]"#);
        assert_eq!(format!("{rule:?}"), "Rule(***)");
    }
}
