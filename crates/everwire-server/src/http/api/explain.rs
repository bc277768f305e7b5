//! `explain`: who may do what, and which rule says so. Sessions ask the same function.

use everwire_engine::permit::Right;
use everwire_engine::ports::Identity;
use everwire_engine::session::{Ruling, known_channel, rule_on};
use everwire_proto::api::Explain;
use everwire_proto::codes::ErrorCode;
use serde::Serialize;

use super::written;
use crate::site::Site;

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
}

fn denied(code: ErrorCode, because: String, identity: &Identity) -> Explained {
    Explained {
        r#type: "explained",
        allowed: false,
        because,
        rule: None,
        user: identity.user.as_deref().map(str::to_owned),
        code: Some(code.as_str()),
    }
}

pub(super) fn explain(site: &Site, ask: &Explain<'_>) -> Vec<u8> {
    written(&explained(site, ask))
}

fn explained(site: &Site, ask: &Explain<'_>) -> Explained {
    let identity = match identity(site, ask) {
        Ok(identity) => identity,
        Err(because) => return denied(ErrorCode::TokenInvalid, because, &Identity::default()),
    };
    let settings = site.node.settings();
    let options = match known_channel(&ask.channel, &settings.namespaces) {
        Ok(options) => options,
        Err(deny) => return denied(deny.code, deny.message, &identity),
    };
    if settings.connect_required && ask.token.is_none() && ask.user.is_none() {
        let because = "connect_required = true, so without a token nobody gets in".to_owned();
        return denied(ErrorCode::Unauthorized, because, &identity);
    }
    let right = Right::parse(&ask.action).expect("the table of verbs has the words of rights");
    let ruling = rule_on(&identity, &ask.channel, options, right);
    if !ruling.admits() {
        return denied(ErrorCode::PermissionDenied, ruling.to_string(), &identity);
    }
    let rule = identity.permit.as_ref().and_then(|permit| permit.rule(&ask.channel, right));
    Explained {
        r#type: "explained",
        allowed: true,
        because: ruling.to_string(),
        rule: rule.filter(|_| ruling == Ruling::ByToken).map(ToString::to_string),
        user: identity.user.as_deref().map(str::to_owned),
        code: None,
    }
}

/// Who it is. Whoever has a key of the API is told why a token is refused; whoever sent that token is not.
fn identity(site: &Site, ask: &Explain<'_>) -> Result<Identity, String> {
    let Some(token) = &ask.token else {
        let user = ask.user.as_deref().map(Into::into);
        return Ok(Identity { user, ..Identity::default() });
    };
    let Some(tokens) = site.keyring.tokens() else {
        return Err("the token is refused: this server has no keys for tokens".to_owned());
    };
    tokens.identity(token, site.clock.now()).map_err(|fault| format!("the token is refused: {fault}"))
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
