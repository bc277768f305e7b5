//! How handshakes went, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use rustls::ProtocolVersion;

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With new keys, and the certificate's key was used.
    Full,
    /// By a ticket of an earlier one.
    Resumed,
    /// What the peer said was no TLS, or not allowed, or had nothing in common with us.
    Refused,
    /// The peer was gone before its end.
    Cut,
    /// It was not over in its time.
    Late,
    /// The peer spoke plainly.
    Plain,
}

impl Outcome {
    /// Each of them.
    pub const ALL: [Self; 6] = [Self::Full, Self::Resumed, Self::Refused, Self::Cut, Self::Late, Self::Plain];

    /// Its name in the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::Late => "late",
            Self::Plain => "plain",
        }
    }
}

/// All handshakes since the start.
#[derive(Debug, Default)]
pub struct Handshakes {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    versions: [AtomicU64; 2],
}

impl Handshakes {
    /// The versions that there are.
    const VERSIONS: [(&str, ProtocolVersion); 2] =
        [("1.2", ProtocolVersion::TLSv1_2), ("1.3", ProtocolVersion::TLSv1_3)];

    /// One that begins. If nobody says how it ended, its time was over.
    pub(crate) fn begin(&self) -> Begun<'_> {
        Begun { all: self, outcome: Outcome::Late }
    }

    /// How many ended in each way.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.outcomes.iter().map(|count| count.load(Ordering::Relaxed));
        Outcome::ALL.iter().map(|outcome| outcome.as_str()).zip(counts)
    }

    /// How many that were done are of each version.
    pub fn versions(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.versions.iter().map(|count| count.load(Ordering::Relaxed));
        Self::VERSIONS.iter().map(|(name, _)| *name).zip(counts)
    }
}

/// A handshake that is not over.
#[derive(Debug)]
pub(crate) struct Begun<'h> {
    all: &'h Handshakes,
    outcome: Outcome,
}

impl Begun<'_> {
    /// It is over, without a connection.
    pub(crate) fn fails(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// It is done, with this version.
    pub(crate) fn succeeds(mut self, resumed: bool, version: Option<ProtocolVersion>) {
        self.outcome = if resumed { Outcome::Resumed } else { Outcome::Full };
        let known = Handshakes::VERSIONS.iter().position(|(_, known)| Some(*known) == version);
        if let Some(count) = known.and_then(|at| self.all.versions.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let at = Outcome::ALL.iter().position(|outcome| *outcome == self.outcome);
        if let Some(count) = at.and_then(|at| self.all.outcomes.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
