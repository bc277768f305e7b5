//! Who may do what, and why: what `everwire explain` and the API's `explain` say. Sessions ask the same rules.

use everwire_engine::channel::Namespaces;
use everwire_engine::permit::{Right, Rule};
use everwire_engine::ports::Identity;
use everwire_engine::session::{Ruling, known_channel, rule_on};
use everwire_proto::codes::ErrorCode;

/// What is decided, and by what.
#[derive(Debug)]
pub(crate) enum Verdict<'i> {
    /// It does not come to a rule: there is no such channel, or nobody gets so far.
    Refused(ErrorCode, String),
    /// A rule decides; where a token allows it, the line of its `allow`, if it is by one.
    Ruled(Ruling, Option<&'i Rule>),
}

/// Decides. `known`: it has a token, or is a user, and so may connect where that is required.
pub(crate) fn verdict<'i>(
    (namespaces, connect_required): (&Namespaces, bool),
    (identity, known): (&'i Identity, bool),
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
    let ruling = rule_on(identity, channel, options, right);
    let rule = identity.permit.as_ref().and_then(|permit| permit.rule(channel, right));
    Verdict::Ruled(ruling, rule.filter(|_| ruling == Ruling::ByToken))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use everwire_engine::channel::{Access, Options, Who};
    use everwire_engine::permit::Permit;

    use super::*;

    #[test]
    fn the_first_thing_in_the_way_decides() {
        let mut namespaces = Namespaces::default();
        let access = Access { publish: Who::Anyone, ..Access::all(Who::Token) };
        namespaces.named.insert("a".into(), Arc::new(Options { access, ..Options::open() }));
        let rules = [Rule::new("a:1*", [Right::Subscribe])].into();
        let permit = Some(Arc::new(Permit { rules, ..Permit::default() }));
        let invited = Identity { permit, ..Identity::default() };
        let nobody = Identity::default();
        let told = |who: (&Identity, bool), required: bool, channel: &str, right: Right| match verdict(
            (&namespaces, required),
            who,
            channel,
            right,
        ) {
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
        ] {
            assert_eq!(told(who, required, channel, right), wanted, "{channel} {right:?}");
        }
    }
}
