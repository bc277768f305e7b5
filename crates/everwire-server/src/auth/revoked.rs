//! Tokens that are accepted no more, though their time is not over.

use std::sync::{PoisonError, RwLock};

use everwire_engine::time::Now;
use rustc_hash::FxHashMap;

use super::Claims;

/// So many ids and users together are remembered.
const ENTRIES: usize = 100_000;

/// More is to be remembered than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{ENTRIES} revocations are remembered, which is the limit; give `expires_at` with a token's id, so that it can be forgotten"
)]
pub struct TooMany;

#[derive(Debug, Default)]
struct Entries {
    /// By id: until when it must be remembered, ms since 1970 UTC.
    tokens: FxHashMap<Box<str>, u64>,
    /// By user: what was made by then is refused, ms since 1970 UTC.
    users: FxHashMap<Box<str>, u64>,
}

/// What was revoked since the start of this process.
#[derive(Default)]
pub struct Revoked {
    entries: RwLock<Entries>,
}

impl std::fmt::Debug for Revoked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revoked").finish_non_exhaustive()
    }
}

impl Revoked {
    /// A token by its id; `expires_at` is when it ends anyway, and `None` remembers it for ever.
    ///
    /// # Errors
    /// [`TooMany`]
    pub fn token(&self, id: &str, expires_at: Option<u64>, now: Now) -> Result<(), TooMany> {
        self.enter(now, |entries| {
            // One that is not accepted any more for its end needs its leeway here too.
            entries.tokens.insert(id.into(), expires_at.unwrap_or(u64::MAX));
        })
    }

    /// Every token of a user that was made up to now. One without `iat` may have been.
    ///
    /// # Errors
    /// [`TooMany`]
    pub fn user(&self, user: &str, now: Now) -> Result<(), TooMany> {
        self.enter(now, |entries| {
            entries.users.insert(user.into(), now.unix_ms);
        })
    }

    fn enter(&self, now: Now, enter: impl FnOnce(&mut Entries)) -> Result<(), TooMany> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.tokens.len() + entries.users.len() >= ENTRIES {
            let leeway = everwire_engine::limits::LEEWAY_MS;
            entries.tokens.retain(|_, until| until.saturating_add(leeway) > now.unix_ms);
        }
        if entries.tokens.len() + entries.users.len() >= ENTRIES {
            return Err(TooMany);
        }
        enter(&mut entries);
        Ok(())
    }

    /// Whether a token was revoked.
    pub(super) fn has(&self, claims: &Claims) -> bool {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let by_id = claims.token_id().is_some_and(|id| entries.tokens.contains_key(id));
        let since = claims.user().and_then(|user| entries.users.get(user));
        // `iat` counts seconds: what was made in the same one is taken for older.
        by_id || since.is_some_and(|since| claims.issued_at().is_none_or(|made| made <= *since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_remembered_is_bounded_and_what_need_not_be_is_forgotten() {
        let revoked = Revoked::default();
        let at = |unix_ms| Now { mono_ms: 0, unix_ms };
        for n in 0..ENTRIES - 1 {
            revoked.token(&n.to_string(), Some(10_000), at(1_000)).unwrap();
        }
        revoked.user("ann", at(1_000)).unwrap();
        assert_eq!(revoked.token("one more", None, at(11_999)), Err(TooMany), "they may still be sent");
        assert_eq!(revoked.user("bob", at(12_000)), Ok(()));
        let entries = revoked.entries.read().unwrap();
        assert_eq!((entries.tokens.len(), entries.users.len()), (0, 2));
    }
}
