//! `revoke`.

use everwire_engine::inbox::{Expelled, Expulsion};
use everwire_engine::session::Deny;
use everwire_proto::api::Revoke;
use everwire_proto::codes::{CloseCode, ErrorCode};

use crate::site::Site;

pub(super) fn revoke(site: &Site, which: &Revoke<'_>) -> Result<Vec<u8>, Deny> {
    if site.keyring.tokens().is_none() {
        return Err(Deny::new(
            ErrorCode::NotAvailable,
            "this server has no keys for tokens, so there is none to revoke",
        ));
    }
    let (revoked, now) = (site.keyring.revoked(), site.clock.now());
    // First for those who come, then for those who are here: nobody slips in between.
    let (entered, whom) = match which {
        Revoke::User { user, expires_at } => {
            (revoked.user(user, *expires_at, now), Expelled::User(Box::from(&**user)))
        }
        Revoke::Token { id, expires_at } => {
            (revoked.token(id, *expires_at, now), Expelled::Token(Box::from(&**id)))
        }
    };
    let held = entered.map_err(|full| Deny::new(ErrorCode::LimitExceeded, full.to_string()))?;
    let (code, reason) = (CloseCode::Unauthorized.code(), "the token was revoked".into());
    site.node.expel(Expulsion { whom, code, reason });
    // The answer waits for the medium, what was revoked does not.
    tokio::task::block_in_place(|| revoked.keep(&held, now)).map_err(|fault| {
        tracing::error!(%fault, "a revocation is not kept");
        Deny::new(ErrorCode::Overloaded, fault.to_string())
    })?;
    Ok(br#"{"type":"revoked"}"#.to_vec())
}
