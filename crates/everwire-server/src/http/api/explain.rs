//! `explain`: who may do what, and which rule says so.

use everwire_engine::permit::{Right, Rule};
use everwire_engine::ports::Identity;
use everwire_proto::api::Explain;
use everwire_proto::codes::ErrorCode;
use serde::Serialize;

use super::written;
use crate::site::Site;
use crate::verdict::{Holder, Verdict, helps, verdict};

#[derive(Serialize)]
struct Explained {
    r#type: &'static str,
    allowed: bool,
    because: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    helps: Vec<String>,
}

fn denied(code: ErrorCode, because: String, identity: &Identity) -> Explained {
    Explained {
        r#type: "explained",
        allowed: false,
        because,
        rule: None,
        user: identity.user.as_deref().map(str::to_owned),
        code: Some(code.as_str()),
        helps: Vec::new(),
    }
}

pub(super) fn explain(site: &Site, ask: &Explain<'_>) -> Vec<u8> {
    written(&explained(site, ask))
}

fn explained(site: &Site, ask: &Explain<'_>) -> Explained {
    let holder = match holder(site, ask) {
        Ok(holder) => holder,
        Err(because) => return denied(ErrorCode::TokenInvalid, because, &Identity::default()),
    };
    let identity = &holder.identity;
    let allowed = |because: String, rule: Option<&Rule>| Explained {
        r#type: "explained",
        allowed: true,
        because,
        rule: rule.map(ToString::to_string),
        user: identity.user.as_deref().map(str::to_owned),
        code: None,
        helps: Vec::new(),
    };
    let settings = site.node.settings();
    let rules = (&settings.namespaces, settings.connect_required);
    let known = ask.token.is_some() || ask.user.is_some();
    let right = Right::parse(&ask.action).expect("the table of verbs has the words of rights");
    match verdict(rules, (&holder, known), &ask.channel, right) {
        Verdict::Refused(code, because) => denied(code, because, identity),
        Verdict::Ruled(ruling, _) if !ruling.admits() => Explained {
            helps: helps(ruling, &ask.channel, right),
            ..denied(ErrorCode::PermissionDenied, ruling.to_string(), identity)
        },
        Verdict::Ruled(ruling, rule) => allowed(ruling.to_string(), rule),
        Verdict::Entered => allowed(Verdict::ENTERED.to_owned(), None),
    }
}

/// Who it is. Whoever has a key of the API is told why a token is refused; whoever sent that token is not.
fn holder(site: &Site, ask: &Explain<'_>) -> Result<Holder, String> {
    let Some(token) = &ask.token else {
        let user = ask.user.as_deref().map(Into::into);
        return Ok(Holder { identity: Identity { user, ..Identity::default() }, only: None });
    };
    let Some(tokens) = site.keyring.tokens() else {
        return Err("the token is refused: this server has no keys for tokens".to_owned());
    };
    Holder::of(&tokens, token, site.clock.now()).map_err(|fault| format!("the token is refused: {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use everwire_proto::api::{Kind, Verb};

    #[test]
    fn the_words_of_the_table_are_those_of_rights() {
        let Some(Kind::Word(words)) = Verb::Explain.spec().field("action").map(|field| field.kind) else {
            panic!("explain has no action");
        };
        assert_eq!(words, Right::ALL.map(Right::as_str));
    }
}
