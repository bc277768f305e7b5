//! Tokens that are accepted no more, though their time is not over. A server that has a folder for its data writes them
//! there before a revocation is answered, and knows them after a restart; without one they end with the process.

mod file;

use std::collections::hash_map::Entry as Place;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use everwire_engine::limits::LEEWAY_MS;
use everwire_engine::time::Now;
use rustc_hash::FxHashMap;

pub use self::file::RevokedError;

use self::file::{Entry, Journal};
use super::Claims;

/// So many ids and users together are remembered, unless the config says otherwise.
pub const REVOCATIONS: usize = 100_000;

/// Why a revocation is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum RevokeFault {
    /// More is to be remembered than there is room for; nothing was revoked.
    #[error(
        "{0} revocations are remembered, which is the limit (tokens.revocations); give `expires_at`, so that one can be \
         forgotten when the tokens have ended anyway"
    )]
    TooMany(usize),
    /// It holds, and the next start would not know of it.
    #[error(
        "the revocation holds, and could not be written, so that a restart would forget it ({0}); send it again"
    )]
    NotKept(#[from] io::Error),
}

/// Ends are ms since 1970 UTC, [`u64::MAX`] for ever.
#[derive(Debug, Default)]
struct Entries {
    /// By id: until when it must be remembered.
    tokens: FxHashMap<Box<str>, u64>,
    /// By user: what was made by the first time is refused; until when that must be remembered.
    users: FxHashMap<Box<str>, (u64, u64)>,
}

/// What was revoked.
pub struct Revoked {
    entries: RwLock<Entries>,
    most: AtomicUsize,
    journal: Option<Mutex<Journal>>,
}

impl Default for Revoked {
    /// Of a server that has no folder.
    fn default() -> Self {
        Self { entries: RwLock::default(), most: REVOCATIONS.into(), journal: None }
    }
}

impl std::fmt::Debug for Revoked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revoked").finish_non_exhaustive()
    }
}

/// Whether something that ends then must still be remembered: a token is good for a while longer, as clocks differ.
fn lasts(until: u64, now: Now) -> bool {
    until.saturating_add(LEEWAY_MS) > now.unix_ms
}

/// The later of two ends, as they are written.
fn later(one: u64, other: Option<u64>) -> u64 {
    one.max(other.unwrap_or(u64::MAX))
}

fn written(until: u64) -> Option<u64> {
    (until < u64::MAX).then_some(until)
}

impl Entries {
    fn count(&self) -> usize {
        self.tokens.len() + self.users.len()
    }

    fn knows(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Token(id, _) => self.tokens.contains_key(id),
            Entry::User(user, ..) => self.users.contains_key(user),
        }
    }

    /// What is known already is not less afterwards.
    fn enter(&mut self, entry: &Entry) {
        match entry {
            Entry::Token(id, until) => {
                let known = self.tokens.entry(id.clone()).or_default();
                *known = later(*known, *until);
            }
            Entry::User(user, since, until) => match self.users.entry(user.clone()) {
                Place::Vacant(place) => drop(place.insert((*since, later(0, *until)))),
                Place::Occupied(mut place) => {
                    let (known_since, known_until) = place.get_mut();
                    *known_since = (*known_since).max(*since);
                    *known_until = later(*known_until, *until);
                }
            },
        }
    }

    fn forget_ended(&mut self, now: Now) {
        self.tokens.retain(|_, until| lasts(*until, now));
        self.users.retain(|_, (_, until)| lasts(*until, now));
    }

    fn all(&self) -> Vec<Entry> {
        let tokens = self.tokens.iter().map(|(id, until)| Entry::Token(id.clone(), written(*until)));
        let users = self.users.iter();
        let users = users.map(|(user, (since, until))| Entry::User(user.clone(), *since, written(*until)));
        tokens.chain(users).collect()
    }
}

impl Revoked {
    /// What was revoked before, and is kept in this folder. It need not be there until something is revoked.
    ///
    /// # Errors
    /// [`RevokedError`].
    pub fn kept_in(folder: &Path, now: Now) -> Result<Self, RevokedError> {
        let journal = Journal::of(folder);
        let mut entries = Entries::default();
        journal.read()?.iter().for_each(|entry| entries.enter(entry));
        entries.forget_ended(now);
        Ok(Self { entries: RwLock::new(entries), journal: Some(journal.into()), ..Self::default() })
    }

    /// So many are remembered from now on; what is known already stays.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// How many are remembered.
    pub fn count(&self) -> usize {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).count()
    }

    /// A token by its id; `expires_at` is when it ends anyway, ms since 1970 UTC, and `None` remembers it for ever. It
    /// is refused from now on; [`Revoked::keep`] is still to be done.
    ///
    /// # Errors
    /// [`RevokeFault::TooMany`]
    pub fn token(&self, id: &str, expires_at: Option<u64>, now: Now) -> Result<Kept, RevokeFault> {
        self.enter(Entry::Token(id.into(), expires_at), now)
    }

    /// Every token of a user that was made up to now, of which the last ends at `expires_at`. One without `iat` may have
    /// been. [`Revoked::keep`] is still to be done.
    ///
    /// # Errors
    /// [`RevokeFault::TooMany`]
    pub fn user(&self, user: &str, expires_at: Option<u64>, now: Now) -> Result<Kept, RevokeFault> {
        self.enter(Entry::User(user.into(), now.unix_ms, expires_at), now)
    }

    fn enter(&self, entry: Entry, now: Now) -> Result<Kept, RevokeFault> {
        let most = self.most.load(Ordering::Relaxed);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.count() >= most && !entries.knows(&entry) {
            entries.forget_ended(now);
            if entries.count() >= most {
                return Err(RevokeFault::TooMany(most));
            }
        }
        entries.enter(&entry);
        Ok(Kept(entry))
    }

    /// Writes a revocation, which survives the process when this returns. It waits for the medium.
    ///
    /// # Errors
    /// [`RevokeFault::NotKept`]: it holds as long as the process.
    pub fn keep(&self, Kept(entry): &Kept, now: Now) -> Result<(), RevokeFault> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        if journal.is_due(self.count()) {
            self.write_all(&mut journal, now)?
        } else {
            journal.add(entry)?
        }
        Ok(())
    }

    /// Makes the file anew: what has ended is not in it, nor what a crash left unfinished.
    fn write_all(&self, journal: &mut Journal, now: Now) -> io::Result<()> {
        let _claimed = journal.claim()?;
        // A server that was here before this one may have written more since this one has read.
        let more = journal.read().map_err(io::Error::other)?;
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        more.iter().for_each(|entry| entries.enter(entry));
        entries.forget_ended(now);
        let all = entries.all();
        // Whoever shows a token does not wait for the medium.
        drop(entries);
        journal.begin(&all)
    }

    /// Whether a token was revoked.
    pub(super) fn has(&self, claims: &Claims, now: Now) -> bool {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let by_id = claims.token_id().and_then(|id| entries.tokens.get(id));
        let by_user = claims.user().and_then(|user| entries.users.get(user));
        // `iat` counts seconds: what was made in the same one is taken for older.
        let is_older = |since: u64| claims.issued_at().is_none_or(|made| made <= since);
        by_id.is_some_and(|until| lasts(*until, now))
            || by_user.is_some_and(|(since, until)| is_older(*since) && lasts(*until, now))
    }
}

/// A revocation that holds, and is still to be written.
#[derive(Debug)]
#[must_use = "a restart forgets it"]
pub struct Kept(Entry);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    const NOW: Now = Now { mono_ms: 0, unix_ms: 1_000 };

    fn at(unix_ms: u64) -> Now {
        Now { mono_ms: 0, unix_ms }
    }

    /// A folder that is gone with the test; it is not made.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let own = format!("everwire-revoked-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(own))
        }

        fn open(&self, now: Now) -> Revoked {
            Revoked::kept_in(&self.0, now).unwrap()
        }

        fn lines(&self) -> usize {
            std::fs::read_to_string(self.0.join("revoked")).unwrap().lines().count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn known(revoked: &Revoked) -> Vec<String> {
        let entries = revoked.entries.read().unwrap();
        let mut all: Vec<_> = entries.all().iter().map(|entry| format!("{entry:?}")).collect();
        all.sort();
        all
    }

    fn token(revoked: &Revoked, id: &str, until: Option<u64>, now: Now) {
        revoked.keep(&revoked.token(id, until, now).unwrap(), now).unwrap();
    }

    fn user(revoked: &Revoked, name: &str, until: Option<u64>, now: Now) {
        revoked.keep(&revoked.user(name, until, now).unwrap(), now).unwrap();
    }

    #[test]
    fn what_must_be_remembered_is_bounded_and_what_need_not_be_is_forgotten() {
        let revoked = Revoked::default();
        revoked.set_most(100);
        for n in 0..49 {
            let _ = revoked.token(&n.to_string(), Some(10_000), NOW).unwrap();
            let _ = revoked.user(&n.to_string(), Some(10_000), NOW).unwrap();
        }
        let _ = revoked.user("ann", None, NOW).unwrap();
        let _ = revoked.token("t", None, NOW).unwrap();
        let full = revoked.token("one more", None, at(11_999)).unwrap_err();
        assert!(full.to_string().contains("tokens.revocations"), "they may still be sent: {full}");
        assert!(revoked.user("ann", None, at(11_999)).is_ok(), "there is no more of one that is known");
        assert!(revoked.user("bob", None, at(12_000)).is_ok());
        assert_eq!(revoked.count(), 3);
    }

    #[test]
    fn a_restart_knows_what_was_revoked() {
        let folder = Folder::new("restart");
        let revoked = folder.open(NOW);
        assert!(!folder.0.exists(), "nothing is written before there is need");
        token(&revoked, "t1", None, NOW);
        token(&revoked, "t2", Some(5_000), NOW);
        user(&revoked, "ann", Some(9_000), at(2_000));
        user(&revoked, "bob", None, at(3_000));
        // Less is not said by saying it again.
        token(&revoked, "t1", Some(1), NOW);
        user(&revoked, "ann", Some(1), at(2_500));
        let mode = |name: &str| std::fs::metadata(folder.0.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("revoked")), (0o700, 0o600));
        drop(revoked);
        let again = folder.open(at(4_000));
        let all = [
            "Token(\"t1\", None)",
            "Token(\"t2\", Some(5000))",
            "User(\"ann\", 2500, Some(9000))",
            "User(\"bob\", 3000, None)",
        ];
        assert_eq!(known(&again), all);
        // Its first line makes the file anew: title, five that last, and none that came twice or has ended.
        token(&again, "t3", None, at(8_000));
        assert_eq!((known(&again).len(), folder.lines()), (4, 5));
        drop(again);
        assert_eq!(known(&folder.open(at(20_000))).len(), 3, "what has ended is forgotten at the start too");
    }

    #[test]
    fn a_tail_that_was_never_finished_is_passed_over_and_damage_is_not() {
        use std::io::Write as _;
        let folder = Folder::new("torn");
        let revoked = folder.open(NOW);
        token(&revoked, "t1", None, NOW);
        token(&revoked, "t2", None, NOW);
        drop(revoked);
        let path = folder.0.join("revoked");
        let whole = std::fs::read_to_string(&path).unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"0123456789abcdef [\"token\",\"t").unwrap();
        let revoked = folder.open(NOW);
        assert_eq!(revoked.count(), 2);
        token(&revoked, "t3", None, NOW);
        drop(revoked);
        assert_eq!(folder.open(NOW).count(), 3, "it is not in the way of the next line");
        std::fs::write(&path, whole.replace("t1", "x1")).unwrap();
        let told = Revoked::kept_in(&folder.0, NOW).unwrap_err().to_string();
        assert!(told.starts_with("line 2 of ") && told.contains("take the line out"), "{told}");
    }

    #[test]
    fn saying_the_same_again_and_again_does_not_fill_the_medium() {
        let folder = Folder::new("again");
        let revoked = folder.open(NOW);
        for n in 0..250 {
            user(&revoked, "ann", None, at(n));
        }
        assert!(folder.lines() <= 110, "{}", folder.lines());
    }

    #[test]
    fn two_servers_do_not_forget_what_the_other_knows() {
        let folder = Folder::new("two");
        let (old, new) = (folder.open(NOW), folder.open(NOW));
        token(&old, "t1", None, NOW);
        let held = new.token("t2", None, NOW).unwrap();
        let refused = new.keep(&held, NOW).unwrap_err().to_string();
        assert!(refused.contains("another server") && refused.contains("send it again"), "{refused}");
        drop(old);
        new.keep(&held, NOW).unwrap();
        assert_eq!((new.count(), folder.open(NOW).count()), (2, 2));
    }

    #[test]
    fn what_could_not_be_written_holds_and_is_written_with_the_next() {
        let folder = Folder::new("full");
        // A file where the folder should be.
        std::fs::write(&folder.0, "").unwrap();
        let revoked = Revoked { journal: Some(Journal::of(&folder.0).into()), ..Revoked::default() };
        let held = revoked.token("t1", None, NOW).unwrap();
        assert!(matches!(revoked.keep(&held, NOW), Err(RevokeFault::NotKept(_))));
        assert_eq!(revoked.count(), 1);
        std::fs::remove_file(&folder.0).unwrap();
        token(&revoked, "t2", None, NOW);
        drop(revoked);
        assert_eq!(folder.open(NOW).count(), 2);
    }
}
