//! `refresh`: a new token for a living session.

use everwire_proto::codes::ErrorCode;

use super::{Deny, Session};
use crate::ports::{Authority, Identity};
use crate::time::Now;

impl Session {
    /// Checks a `refresh`. Whatever is wrong with the token, the old one stands until its end.
    pub fn ask_refresh(&self, token: &str, authority: &dyn Authority, now: Now) -> Result<Identity, Deny> {
        let fresh =
            authority.check(token, now).map_err(|(_, text)| Deny::new(ErrorCode::TokenInvalid, text))?;
        if fresh.user != self.identity.user {
            let text = format!("this connection is that of {}, and the token is not", self.who());
            return Err(Deny::new(ErrorCode::PermissionDenied, text));
        }
        Ok(fresh)
    }

    /// Goes on with a new token. What others know of this session stays as it was when it connected.
    pub fn refresh(&mut self, fresh: Identity) {
        let Identity { expires_at, permit, token_id, signed_by, .. } = fresh;
        let before = std::mem::take(&mut self.identity);
        self.identity = Identity { expires_at, permit, token_id, signed_by, ..before };
    }
}
