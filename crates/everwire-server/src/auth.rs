//! Tokens: who a connection is, and what it may do. JSON Web Tokens (RFC 7519) in the compact form of RFC 7515, signed
//! by the application's backend.
//!
//! Everybody who is refused reads one and the same text. Why, is for the operator: `everwire token check`, and a
//! constant word in the log at `debug`. No token, secret or payload stands in a log or in a `Debug` print.

mod claims;
mod fault;
mod key;
mod parts;
mod revoked;
mod sign;
mod tickets;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod keys_of_tests;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use everwire_engine::permit::Permit;
use everwire_engine::ports::{Authority, Entrance, Identity, NoTokens};
use everwire_engine::time::Now;
use everwire_proto::codes::ErrorCode;
use rustc_hash::FxHashSet;

pub use self::claims::Claims;
pub use self::fault::Fault;
pub use self::key::{Algorithm, Key, KeyFault};
pub use self::revoked::{REVOCATIONS, RevokeFault, Revoked, RevokedError};
pub use self::sign::{Wanted, sign};
pub use self::tickets::{AllOut, TICKET_MS, Tickets};

/// A token longer than this is not looked at.
pub const TOKEN_BYTES: usize = 8 * 1024;
/// So many shared permits are kept before those that nobody has are looked for.
const PERMITS: usize = 1_024;

/// What is asked of every token.
#[derive(Clone, Debug)]
pub struct Demands {
    /// One of these must be in `aud`; none: `aud` is not looked at.
    pub audience: Vec<String>,
    /// `iss` must be this.
    pub issuer: Option<String>,
    /// A token without an end is refused.
    pub exp_required: bool,
}

impl Default for Demands {
    fn default() -> Self {
        Self { audience: Vec::new(), issuer: None, exp_required: true }
    }
}

/// The authority of a server that has keys.
#[derive(Debug)]
pub struct Tokens {
    keys: Arc<[Key]>,
    /// Of each key: what connections remember of the one that let them in.
    numbers: Box<[u32]>,
    demands: Demands,
    /// Tokens that are accepted no more.
    revoked: Arc<Revoked>,
    permits: Mutex<(FxHashSet<Arc<Permit>>, usize)>,
}

impl Tokens {
    /// An authority with these keys, all of which are accepted.
    pub fn new(keys: Vec<Key>, demands: Demands) -> Self {
        let numbers = (1..).take(keys.len()).collect();
        let permits = Mutex::new((FxHashSet::default(), PERMITS));
        Self { keys: keys.into(), numbers, demands, revoked: Arc::default(), permits }
    }

    /// The same in a ring that knows what was revoked, and numbers keys by what was there `before`: one that stays keeps
    /// its number, whatever its id is now, and a new one gets a number that none had.
    fn in_ring(&self, revoked: &Arc<Revoked>, before: Option<&Self>, newest: &AtomicU32) -> Self {
        let number_of = |key: &Key| {
            let known = before.and_then(|old| old.keys.iter().zip(&old.numbers).find(|(old, _)| old.is(key)));
            known.map_or_else(|| newest.fetch_add(1, Ordering::Relaxed) + 1, |(_, number)| *number)
        };
        Self {
            keys: self.keys.clone(),
            numbers: self.keys.iter().map(number_of).collect(),
            demands: self.demands.clone(),
            revoked: revoked.clone(),
            permits: Mutex::new((FxHashSet::default(), PERMITS)),
        }
    }

    /// The keys.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// What is asked of every token.
    pub fn demands(&self) -> &Demands {
        &self.demands
    }

    /// What a token says, if it is good.
    ///
    /// # Errors
    /// Why it is not. Whoever sent the token is not to be told.
    pub fn read(&self, token: &str, now: Now) -> Result<Claims, Fault> {
        let (at, payload) = parts::verified(token, &self.keys)?;
        let claims = Claims::read(&payload)?;
        claims.check(&self.demands, now)?;
        if self.revoked.has(&claims, now) {
            return Err(Fault::Revoked);
        }
        Ok(claims.signed_by(self.numbers[at]))
    }

    /// Who a token for connecting speaks of.
    ///
    /// # Errors
    /// As [`Tokens::read`].
    pub fn identity(&self, token: &str, now: Now) -> Result<Identity, Fault> {
        let mut identity = self.read(token, now)?.identity()?;
        identity.permit = identity.permit.map(|permit| self.shared(permit));
        Ok(identity)
    }

    /// Where a token for one channel lets in.
    ///
    /// # Errors
    /// As [`Tokens::read`].
    pub fn entrance(&self, token: &str, now: Now) -> Result<Entrance, Fault> {
        self.read(token, now)?.entrance()
    }

    /// Equal permits are one: a million users have a handful of roles.
    fn shared(&self, permit: Arc<Permit>) -> Arc<Permit> {
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, most) = &mut *permits;
        if let Some(known) = known.get(&permit) {
            return known.clone();
        }
        if known.len() >= *most {
            known.retain(|permit| Arc::strong_count(permit) > 1);
            *most = PERMITS.max(known.len() * 2);
        }
        known.insert(permit.clone());
        permit
    }
}

/// What whoever sent the token is told.
fn told(fault: &Fault) -> (ErrorCode, String) {
    tracing::debug!(reason = fault.word(), "a token was refused");
    match fault {
        Fault::Expired => {
            let text = "the token has ended; fetch a new one from your backend";
            (ErrorCode::TokenExpired, text.to_owned())
        }
        _ => {
            let text = "the token is not accepted; fetch a new one from your backend";
            (ErrorCode::TokenInvalid, text.to_owned())
        }
    }
}

/// The tokens of a server, which may be others tomorrow, and what was revoked, which stays so.
#[derive(Debug, Default)]
pub struct Keyring {
    tokens: RwLock<Option<Arc<Tokens>>>,
    revoked: Arc<Revoked>,
    /// The number of the newest key there ever was.
    newest: AtomicU32,
}

impl Keyring {
    /// A ring with these, of which those are accepted no more; with none no token is accepted.
    pub fn new(tokens: Option<&Tokens>, revoked: Revoked) -> Self {
        let ring = Self { revoked: Arc::new(revoked), ..Self::default() };
        ring.change(tokens);
        ring
    }

    /// Those that hold now.
    pub fn tokens(&self) -> Option<Arc<Tokens>> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was revoked, under whatever keys.
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// Others hold from now on. The numbers of keys that are there no more: nobody comes in by them, and who is in by one
    /// is to be told.
    pub fn change(&self, tokens: Option<&Tokens>) -> Vec<u32> {
        let mut held = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = tokens.map(|tokens| tokens.in_ring(&self.revoked, held.as_deref(), &self.newest));
        let stays = |number: &u32| fresh.iter().any(|fresh| fresh.numbers.contains(number));
        let before = held.iter().flat_map(|old| old.numbers.iter().copied());
        let gone = before.filter(|number| !stays(number)).collect();
        *held = fresh.map(Arc::new);
        gone
    }
}

impl Authority for Keyring {
    fn check(&self, token: &str, now: Now) -> Result<Identity, (ErrorCode, String)> {
        self.tokens().map_or_else(|| NoTokens.check(token, now), |tokens| tokens.check(token, now))
    }
    fn check_entrance(&self, token: &str, now: Now) -> Result<Entrance, (ErrorCode, String)> {
        let tokens = self.tokens();
        tokens.map_or_else(|| NoTokens.check_entrance(token, now), |tokens| tokens.check_entrance(token, now))
    }
}

impl Authority for Tokens {
    fn check(&self, token: &str, now: Now) -> Result<Identity, (ErrorCode, String)> {
        self.identity(token, now).map_err(|fault| told(&fault))
    }
    fn check_entrance(&self, token: &str, now: Now) -> Result<Entrance, (ErrorCode, String)> {
        self.entrance(token, now).map_err(|fault| told(&fault))
    }
}
