//! Tickets: for clients that can set no header. Whoever has a token gets one, and it may stand in a URL once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use everwire_engine::time::Now;
use everwire_proto::ids::SessionKey;
use everwire_proto::secret::Secret;
use rustc_hash::FxHashMap;

/// How long one is good.
pub const TICKET_MS: u64 = 30_000;
/// So many are out at once.
const TICKETS: usize = 20_000;

/// So many are out already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllOut;

#[derive(Default)]
struct Out {
    tokens: FxHashMap<SessionKey, Secret<Box<str>>>,
    /// In the order of their ends.
    ends: VecDeque<(u64, SessionKey)>,
}

/// The tickets that are out.
#[derive(Default)]
pub struct Tickets(Mutex<Out>);

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(***)")
    }
}

impl Tickets {
    /// A ticket for this token. `bits` must be unpredictable.
    ///
    /// # Errors
    /// [`AllOut`]
    pub fn give(&self, token: &str, bits: u128, now: Now) -> Result<String, AllOut> {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.forget(now);
        // Those that were used stand among the ends until their time.
        if out.ends.len() >= TICKETS {
            return Err(AllOut);
        }
        let ticket = SessionKey(bits.to_le_bytes());
        out.tokens.insert(ticket, token.into());
        out.ends.push_back((now.mono_ms + TICKET_MS, ticket));
        Ok(String::from_utf8_lossy(&ticket.text()).into_owned())
    }

    /// Whether there is such a ticket; it stays one.
    pub fn look_at(&self, ticket: &str, now: Now) -> Option<()> {
        let ticket = SessionKey::parse(ticket)?;
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.forget(now);
        out.tokens.contains_key(&ticket).then_some(())
    }

    /// The token of a ticket, once.
    pub fn take(&self, ticket: &str, now: Now) -> Option<Secret<Box<str>>> {
        let ticket = SessionKey::parse(ticket)?;
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.forget(now);
        out.tokens.remove(&ticket)
    }
}

impl Out {
    fn forget(&mut self, now: Now) {
        while let Some((end, ticket)) = self.ends.front()
            && *end <= now.mono_ms
        {
            self.tokens.remove(ticket);
            self.ends.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once_and_for_its_time() {
        let at = |mono_ms| Now { mono_ms, unix_ms: 0 };
        let tickets = Tickets::default();
        let first = tickets.give("a.b.c", 1, at(0)).unwrap();
        let second = tickets.give("a.b.c", 2, at(1)).unwrap();
        assert_eq!(tickets.look_at(&first, at(TICKET_MS - 1)), Some(()));
        assert_eq!(tickets.take(&first, at(TICKET_MS - 1)), Some("a.b.c".into()));
        assert_eq!(tickets.take(&first, at(TICKET_MS - 1)), None);
        assert_eq!(tickets.look_at(&first, at(TICKET_MS - 1)), None);
        assert_eq!(tickets.look_at(&second, at(TICKET_MS + 1)), None);
        assert_eq!(tickets.take(&second, at(TICKET_MS + 1)), None);
        for bad in ["", "x", "AAAAAAAAAAAAAAAAAAAAAA", &second[1..]] {
            assert_eq!(tickets.take(bad, at(2)), None, "{bad}");
        }
        for n in 0..TICKETS {
            tickets.give("t", n as u128, at(100_000)).unwrap();
        }
        assert_eq!(tickets.give("t", 0, at(100_000)), Err(AllOut));
        assert!(tickets.give("t", 0, at(100_000 + TICKET_MS)).is_ok());
    }
}
