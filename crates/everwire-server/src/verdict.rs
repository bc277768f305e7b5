//! Who may do what, and why: what `everwire explain` and the API's `explain` say. Sessions ask the same rules.

use everwire_engine::channel::Namespaces;
use everwire_engine::permit::{Right, Rule};
use everwire_engine::ports::{Entrance, Identity};
use everwire_engine::session::{Ruling, known_channel, rule_on};
use everwire_engine::time::Now;
use everwire_proto::codes::ErrorCode;

use crate::auth::{Fault, Tokens};

/// Whoever wants to do something.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    /// Who it is, and what the token says.
    pub(crate) identity: Identity,
    /// The token is for this channel alone, and for nothing but `subscribe`.
    pub(crate) only: Option<Box<str>>,
}

impl Holder {
    /// Whom a token speaks of, be it for `connect` or for `subscribe`.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub(crate) fn of(tokens: &Tokens, token: &str, now: Now) -> Result<Self, Fault> {
        match tokens.identity(token, now) {
            Err(Fault::ForChannel) => {
                let Entrance { user, channel, .. } = tokens.entrance(token, now)?;
                Ok(Self { identity: Identity { user, ..Identity::default() }, only: Some(channel) })
            }
            identity => Ok(Self { identity: identity?, only: None }),
        }
    }
}

/// What is decided, and by what.
#[derive(Debug)]
pub(crate) enum Verdict<'i> {
    /// The token is for this channel.
    Entered,
    /// It does not come to a rule: there is no such channel, or nobody gets so far.
    Refused(ErrorCode, String),
    /// A rule decides; where a token allows it, the line of its `allow`, if it is by one.
    Ruled(Ruling, Option<&'i Rule>),
}

impl Verdict<'_> {
    /// What lets in whoever has a token for one channel.
    pub(crate) const ENTERED: &'static str =
        "the token is for this channel: it lets in with `subscribe`, on a connection of the same user";
}

/// Decides. `known`: it has a token, or is a user, and so may connect where that is required.
pub(crate) fn verdict<'i>(
    (namespaces, connect_required): (&Namespaces, bool),
    (holder, known): (&'i Holder, bool),
    channel: &str,
    right: Right,
) -> Verdict<'i> {
    let options = match known_channel(channel, namespaces) {
        Ok(options) => options,
        Err(deny) => return Verdict::Refused(deny.code, deny.message),
    };
    if connect_required && !known {
        let because = "connect_required = true, so without a token nobody gets in";
        return Verdict::Refused(ErrorCode::Unauthorized, because.to_owned());
    }
    let Holder { identity, only } = holder;
    let ruling = rule_on(identity, channel, options, right);
    if let Some(only) = only {
        let refused = |words: String| Verdict::Refused(ErrorCode::PermissionDenied, words);
        return match (ruling, right) {
            _ if **only != *channel => refused(format!("the token is for {only}, and for no other channel")),
            (Ruling::Denied | Ruling::NotOwner, _) => Verdict::Ruled(ruling, None),
            (_, Right::Subscribe) => Verdict::Entered,
            _ => refused(
                "a token for one channel is for `subscribe` alone; all else is said by the one for `connect`"
                    .to_owned(),
            ),
        };
    }
    let rule = identity.permit.as_ref().and_then(|permit| permit.rule(channel, right));
    Verdict::Ruled(ruling, rule.filter(|_| ruling == Ruling::ByToken))
}

/// What would allow what was denied, each by itself.
pub(crate) fn helps(ruling: Ruling, channel: &str, right: Right) -> Vec<String> {
    let namespace = namespace_of(channel);
    let word = right.as_str();
    let rule = || format!("a token whose `allow` has {:?}: [{word:?}]", channel);
    let access = |words: &str| format!("access.{word} = {words} in [namespaces.{namespace}]");
    match ruling {
        Ruling::ToAnyone | Ruling::ToUsers | Ruling::ToOwner | Ruling::ByToken => Vec::new(),
        Ruling::Denied => vec![access("\"token\", \"authenticated\" or \"anyone\"")],
        Ruling::NotInToken => vec![rule(), access("\"authenticated\" or \"anyone\"")],
        Ruling::NoUser => vec!["a token with a user (`sub`)".to_owned(), rule(), access("\"anyone\"")],
        Ruling::NotOwner => {
            let owner = channel.split_once(':').map_or("", |(_, owner)| owner);
            vec![
                format!("a token of the user {owner}"),
                "a channel in another namespace: no rule opens that of a user to others".to_owned(),
            ]
        }
    }
}

/// The namespace that a channel's name has.
fn namespace_of(channel: &str) -> &str {
    channel.split_once(':').map_or("default", |(namespace, _)| namespace)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use everwire_engine::channel::{Access, Options, Who};
    use everwire_engine::permit::Permit;

    use super::*;

    /// What is said to help does.
    #[test]
    fn a_denial_says_what_helps() {
        let said = |ruling| helps(ruling, "chat:1", Right::Publish).join("; ");
        assert_eq!(said(Ruling::ToAnyone), "");
        assert_eq!(
            said(Ruling::NotInToken),
            "a token whose `allow` has \"chat:1\": [\"publish\"]; \
             access.publish = \"authenticated\" or \"anyone\" in [namespaces.chat]"
        );
        assert!(said(Ruling::NoUser).starts_with("a token with a user (`sub`); a token whose `allow`"));
        assert!(said(Ruling::Denied).starts_with("access.publish = \"token\", "));
        assert!(helps(Ruling::Denied, "news", Right::Publish)[0].ends_with("[namespaces.default]"));
        assert!(helps(Ruling::NotOwner, "user:bob", Right::History)[0].ends_with("the user bob"));
    }

    #[test]
    fn the_first_thing_in_the_way_decides() {
        let mut namespaces = Namespaces::default();
        let access = Access { publish: Who::Anyone, ..Access::all(Who::Token) };
        namespaces.named.insert("a".into(), Arc::new(Options { access, ..Options::open() }));
        let shut = Options { access: Access::all(Who::Deny), ..Options::open() };
        namespaces.named.insert("shut".into(), Arc::new(shut));
        let rules = [Rule::new("a:1*", [Right::Subscribe])].into();
        let permit = Some(Arc::new(Permit { rules, ..Permit::default() }));
        let invited = Holder { identity: Identity { permit, ..Identity::default() }, only: None };
        let nobody = Holder::default();
        let guest = Holder { only: Some("a:3".into()), ..Holder::default() };
        let told = |who: (&Holder, bool), required: bool, channel: &str, right: Right| match verdict(
            (&namespaces, required),
            who,
            channel,
            right,
        ) {
            Verdict::Entered => "entered".to_owned(),
            Verdict::Refused(code, _) => code.as_str().to_owned(),
            Verdict::Ruled(ruling, rule) => {
                format!("{ruling:?} {}", rule.map_or(String::new(), Rule::to_string))
            }
        };
        for (who, required, channel, right, wanted) in [
            ((&nobody, false), true, "b:1", Right::Publish, "unknown_channel"),
            ((&nobody, false), true, "a b", Right::Publish, "bad_channel_name"),
            ((&nobody, false), true, "a:1", Right::Publish, "unauthorized"),
            ((&nobody, true), true, "a:1", Right::Publish, "ToAnyone "),
            ((&nobody, false), false, "a:1", Right::Publish, "ToAnyone "),
            ((&nobody, false), false, "a:1", Right::Subscribe, "NotInToken "),
            ((&invited, true), true, "a:12", Right::Subscribe, "ByToken \"a:1*\": [\"subscribe\"]"),
            ((&invited, true), true, "a:2", Right::Subscribe, "NotInToken "),
            ((&guest, true), true, "a:3", Right::Subscribe, "entered"),
            ((&guest, true), true, "a:4", Right::Subscribe, "permission_denied"),
            ((&guest, true), true, "a:3", Right::History, "permission_denied"),
            ((&guest, true), true, "shut:3", Right::Subscribe, "permission_denied"),
            ((&invited, true), true, "shut:1", Right::Subscribe, "Denied "),
        ] {
            assert_eq!(told(who, required, channel, right), wanted, "{channel} {right:?}");
        }
    }
}
