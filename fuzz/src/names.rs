//! Names that the engine reads.

use everwire_engine::name::{ChannelName, namespace_of};

/// What a fuzz target does with its bytes.
pub type Body = fn(&[u8]);

/// The targets of this file.
pub const TARGETS: [(&str, Body); 1] = [("channel", channel)];

/// A channel's name: as the protocol's section 3 says, and nothing else.
pub fn channel(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let good = (1..=255).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    match ChannelName::parse(text) {
        Ok(name) => {
            assert!(good && name.as_str() == text);
            assert!(
                namespace_of(text).is_none_or(|n| text.starts_with(&format!("{n}:")) && !n.contains(':'))
            );
        }
        Err(bad) => assert!(!good && bad.to_string().len() < 200, "{bad}"),
    }
    assert_eq!(namespace_of(text).is_some(), text.contains(':'));
}
