//! `revoke`.

use everwire_engine::inbox::{Expelled, Expulsion};
use everwire_engine::session::Deny;
use everwire_proto::api::Revoke;
use everwire_proto::codes::{CloseCode, ErrorCode};

use crate::site::Site;

pub(super) fn revoke(site: &Site, which: &Revoke<'_>) -> Result<Vec<u8>, Deny> {
    let Some(tokens) = site.keyring.tokens() else {
        return Err(Deny::new(
            ErrorCode::NotAvailable,
            "this server has no keys for tokens, so there is none to revoke",
        ));
    };
    let now = site.clock.now();
    // First for those who come, then for those who are here: nobody slips in between.
    let (entered, whom) = match which {
        Revoke::User(user) => (tokens.revoked.user(user, now), Expelled::User(Box::from(&**user))),
        Revoke::Token { id, expires_at } => {
            (tokens.revoked.token(id, *expires_at, now), Expelled::Token(Box::from(&**id)))
        }
    };
    entered.map_err(|full| Deny::new(ErrorCode::LimitExceeded, full.to_string()))?;
    let (code, reason) = (CloseCode::Unauthorized.code(), "the token was revoked".into());
    site.node.expel(Expulsion { whom, code, reason });
    Ok(br#"{"type":"revoked"}"#.to_vec())
}
