//! All connections of one user: how many there are, and one bucket for what all of them send.
//!
//! A connection finds its party once, and holds its part of it until it ends. With the last part the party is forgotten,
//! so the table has never more entries than there are connections.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hashes::NamedMap;
use crate::time::SharedBucket;

/// A table that was larger keeps the room of so many entries.
const KEPT: usize = 1_024;

#[derive(Debug, Default)]
struct Party {
    connections: u32,
    commands: Arc<SharedBucket>,
}

/// All parties, by user.
#[derive(Debug, Default)]
pub struct Parties(Mutex<NamedMap<Arc<str>, Party>>);

/// A party has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded {
    /// The limit.
    pub most: u32,
}

/// One connection's part.
pub struct Part {
    user: Arc<str>,
    of: Arc<Parties>,
    commands: Arc<SharedBucket>,
}

impl Parties {
    /// One more connection.
    ///
    /// # Errors
    /// [`Crowded`]: there are `most` already.
    pub fn join(self: &Arc<Self>, user: &Arc<str>, most: u32) -> Result<Part, Crowded> {
        let mut parties = self.lock();
        let party = match parties.get_mut(user) {
            Some(party) => party,
            None => parties.entry(user.clone()).or_default(),
        };
        if party.connections >= most {
            // Where not even one is allowed, the look-up has just made it.
            if party.connections == 0 {
                parties.remove(user);
            }
            return Err(Crowded { most });
        }
        party.connections += 1;
        Ok(Part { user: user.clone(), of: self.clone(), commands: party.commands.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, NamedMap<Arc<str>, Party>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parties that have a connection.
    pub fn count(&self) -> usize {
        self.lock().len()
    }
}

impl Part {
    /// The bucket of all connections of the party.
    pub fn commands(&self) -> &Arc<SharedBucket> {
        &self.commands
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut parties = self.of.lock();
        let Some(party) = parties.get_mut(&self.user) else { return };
        party.connections -= 1;
        if party.connections == 0 {
            parties.remove(&self.user);
            if parties.capacity() > KEPT && parties.len() < parties.capacity() / 8 {
                let room = KEPT.max(parties.len() * 2);
                parties.shrink_to(room);
            }
        }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Users stand in no log.
        f.debug_struct("Part").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Now;

    #[test]
    fn a_party_is_bounded_and_goes_with_its_last_part() {
        let parties: Arc<Parties> = Arc::default();
        let (ann, bob) = ("ann".into(), "bob".into());
        let first = parties.join(&ann, 2).unwrap();
        let second = parties.join(&ann, 2).unwrap();
        assert_eq!(parties.join(&ann, 2).unwrap_err(), Crowded { most: 2 });
        assert!(Arc::ptr_eq(first.commands(), second.commands()), "one bucket for both");
        let other = parties.join(&bob, 2).unwrap();
        assert!(!Arc::ptr_eq(first.commands(), other.commands()));
        drop(first);
        let third = parties.join(&ann, 2).unwrap();
        assert_eq!(parties.count(), 2);
        drop((second, third, other));
        assert_eq!(parties.count(), 0);
        assert_eq!(parties.join(&ann, 0).unwrap_err(), Crowded { most: 0 });
        assert_eq!(parties.count(), 0, "who is refused leaves nothing");
    }

    #[test]
    fn the_debt_of_one_is_the_wait_of_the_other() {
        let parties: Arc<Parties> = Arc::default();
        let [first, second] = [0; 2].map(|_| parties.join(&"ann".into(), 10).unwrap());
        let now = Now { mono_ms: 1_000, unix_ms: 0 };
        assert_eq!(first.commands().take(now, 10, 1, 2_000), Ok(0));
        assert_eq!(second.commands().take(now, 10, 1, 2_000), Ok(100));
    }

    #[test]
    fn a_table_that_was_large_gives_its_room_back() {
        let parties: Arc<Parties> = Arc::default();
        let parts: Vec<_> =
            (0..50_000).map(|n: u32| parties.join(&n.to_string().into(), 1).unwrap()).collect();
        assert!(parties.lock().capacity() >= 50_000);
        drop(parts);
        assert!(parties.lock().capacity() < 10 * KEPT);
    }
}
