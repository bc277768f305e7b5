//! Who may do what in a channel, and which rule says so. Sessions and `everwire explain` ask the same function.

use std::fmt;

use crate::channel::{Options, Who};
use crate::name::own_part;
use crate::permit::Right;
use crate::ports::Identity;

/// A decision, and the rule that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The namespace denies it to all, whatever a token says.
    Denied,
    /// The namespace leaves it to tokens, and this one does not allow it, or there is none.
    NotInToken,
    /// The namespace wants a user, and there is none; nor does a token allow it.
    NoUser,
    /// The channel belongs to another user.
    NotOwner,
    /// The namespace allows it to all.
    ToAnyone,
    /// The namespace allows it to whoever has a user.
    ToUsers,
    /// The channel is the user's own.
    ToOwner,
    /// The token allows it.
    ByToken,
}

impl Ruling {
    /// Whether it may be done.
    pub fn admits(self) -> bool {
        matches!(self, Self::ToAnyone | Self::ToUsers | Self::ToOwner | Self::ByToken)
    }
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied => "the namespace says \"deny\", which no token overrules",
            Self::NotInToken => "the namespace says \"token\", and no rule of a token's `allow` names it",
            Self::NoUser => {
                "the namespace says \"authenticated\", there is no user, and no rule of a token's `allow` names it"
            }
            Self::NotOwner => "the namespace has user_channels, and the channel is another user's",
            Self::ToAnyone => "the namespace says \"anyone\"",
            Self::ToUsers => "the namespace says \"authenticated\", and there is a user",
            Self::ToOwner => "the namespace has user_channels, and the channel is this user's own",
            Self::ByToken => "the token names it, in `allow` or in `channels`",
        })
    }
}

/// Decides. `channel` has been checked, `options` are its namespace's.
pub fn rule_on(identity: &Identity, channel: &str, options: &Options, right: Right) -> Ruling {
    let who = options.access.of(right);
    if who == Who::Deny {
        return Ruling::Denied;
    }
    // Publishing to somebody is what others do; all else in a user's channel is that user's alone.
    if options.user_channels && right != Right::Publish {
        let own = identity.user.as_deref().is_some_and(|user| Some(user) == own_part(channel));
        return if own { Ruling::ToOwner } else { Ruling::NotOwner };
    }
    let refused = match (who, identity.user.is_some()) {
        (Who::Anyone, _) => return Ruling::ToAnyone,
        (Who::Authenticated, true) => return Ruling::ToUsers,
        (Who::Authenticated, false) => Ruling::NoUser,
        (Who::Token | Who::Deny, _) => Ruling::NotInToken,
    };
    let allowed = identity.permit.as_ref().is_some_and(|permit| permit.allows(channel, right));
    if allowed { Ruling::ByToken } else { refused }
}
