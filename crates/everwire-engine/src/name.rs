//! Channel names: protocol section 3.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The channel by which a node listens to itself. No client can name it: it is no good name.
const LOOPBACK: &str = "\u{1}loopback";

/// A checked channel name: 1..255 bytes of UTF-8 without control characters or white space. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

/// Why a name was refused; `Display` is the sentence that the client reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadName {
    /// No byte at all.
    Empty,
    /// Over 255 bytes.
    TooLong(usize),
    /// A control character or white space, at this byte.
    Forbidden(char, usize),
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the channel name is empty; a name has 1 to 255 bytes"),
            Self::TooLong(n) => write!(f, "the channel name has {n} bytes; at most 255 are allowed"),
            Self::Forbidden(c, at) => write!(
                f,
                "the channel name has {c:?} at byte {at}; control characters and white space are not allowed"
            ),
        }
    }
}

impl ChannelName {
    /// Checks `text` and keeps a copy of it.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Checks without keeping; what a look-up needs.
    pub fn check(text: &str) -> Result<(), BadName> {
        match text.len() {
            0 => return Err(BadName::Empty),
            1..=255 => {}
            n => return Err(BadName::TooLong(n)),
        }
        if text.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(());
        }
        match text.char_indices().find(|(_, c)| c.is_control() || c.is_whitespace()) {
            Some((at, c)) => Err(BadName::Forbidden(c, at)),
            None => Ok(()),
        }
    }

    /// The channel by which a node listens to itself.
    pub(crate) fn loopback() -> Self {
        Self(LOOPBACK.into())
    }

    /// Whether it is the channel by which a node listens to itself, which is in no namespace.
    pub(crate) fn is_loopback(&self) -> bool {
        &*self.0 == LOOPBACK
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The namespace of a name: what comes before the first `:`; `None` for the default one.
pub fn namespace_of(name: &str) -> Option<&str> {
    name.split_once(':').map(|(namespace, _)| namespace)
}

/// What stands behind the namespace; `None` in the default one.
pub fn own_part(name: &str) -> Option<&str> {
    name.split_once(':').map(|(_, own)| own)
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "chat:room-1", ":", "ünï", "emoji🦀", &"x".repeat(255)] {
            assert!(ChannelName::parse(good).is_ok(), "{good}");
        }
        assert_eq!(ChannelName::check(""), Err(BadName::Empty));
        assert_eq!(ChannelName::check(&"ä".repeat(128)), Err(BadName::TooLong(256)));
        for (bad, c, at) in
            [("a b", ' ', 1), ("\u{7}", '\u{7}', 0), ("x\u{a0}", '\u{a0}', 1), ("a\u{85}", '\u{85}', 1)]
        {
            assert_eq!(ChannelName::check(bad), Err(BadName::Forbidden(c, at)));
        }
        assert!(ChannelName::check(ChannelName::loopback().as_str()).is_err());
        assert_eq!(namespace_of("chat:a:b"), Some("chat"));
        assert_eq!(namespace_of("chat"), None);
        assert_eq!(namespace_of(":x"), Some(""));
        assert_eq!((own_part("user:a:b"), own_part("user")), (Some("a:b"), None));
    }
}
