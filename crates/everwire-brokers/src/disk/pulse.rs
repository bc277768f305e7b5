//! What the store tells of itself while it runs: whether it can be written, how long the medium takes, how much there is.
//! The writer's thread alone writes it, others read.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper bounds of the buckets of waits for the medium, µs; what is longer stands in one more.
pub const SYNC_BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000];

/// A writer looks around once a second. One that has not for so long waits for a medium that hangs, or is gone.
const HUNG_MS: u64 = 10_000;

/// Why publishes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Trouble {
    /// The medium has no room.
    Full = 1,
    /// It may not be written.
    ReadOnly = 2,
    /// Anything else that the operating system says.
    Failing = 3,
    /// The store has its `max_bytes`.
    AtLimit = 4,
    /// The writer has ended.
    Closed = 5,
}

const ALL: [Trouble; 5] =
    [Trouble::Full, Trouble::ReadOnly, Trouble::Failing, Trouble::AtLimit, Trouble::Closed];

impl Trouble {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Failing,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Full => "the medium is full: publishes to channels with history are refused",
            Self::ReadOnly => "the medium is read-only: publishes to channels with history are refused",
            Self::Failing => {
                "the medium fails: publishes to channels with history are refused; the log says why"
            }
            Self::AtLimit => "the store has its max_bytes: publishes to channels with history are refused",
            Self::Closed => "the store is closed",
        }
    }
}

/// What a store holds and does, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Asks that wait for the writer.
    pub waiting: u64,
    /// Batches that were written.
    pub batches: u64,
    /// How often the medium took so long: one for each of [`SYNC_BOUNDS_US`], and the longer ones.
    pub syncs: [u64; SYNC_BOUNDS_US.len() + 1],
    /// All waits for the medium together, ns.
    pub sync_ns: u64,
    /// Whether publishes are refused.
    pub refuses: bool,
    /// Message ids that are remembered.
    pub message_ids: u64,
    /// Channels without messages that were given up for others.
    pub given_up: u64,
}

/// The cells.
#[derive(Debug)]
pub(super) struct Pulse {
    begun: Instant,
    looked_ms: AtomicU64,
    trouble: AtomicU8,
    bytes: AtomicU64,
    segments: AtomicU64,
    batches: AtomicU64,
    syncs: [AtomicU64; SYNC_BOUNDS_US.len() + 1],
    sync_ns: AtomicU64,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            looked_ms: 0.into(),
            trouble: 0.into(),
            bytes: 0.into(),
            segments: 0.into(),
            batches: 0.into(),
            syncs: Default::default(),
            sync_ns: 0.into(),
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The writer is here.
    pub(super) fn beat(&self) {
        self.looked_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// The medium took so long.
    pub(super) fn synced(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = SYNC_BOUNDS_US.iter().position(|bound| ns <= bound * 1_000);
        self.syncs[bucket.unwrap_or(SYNC_BOUNDS_US.len())].fetch_add(1, Ordering::Relaxed);
        self.sync_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn has_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn has_segments(&self, segments: usize) {
        self.segments.store(segments as u64, Ordering::Relaxed);
    }

    pub(super) fn set_trouble(&self, trouble: Option<Trouble>) {
        self.trouble.store(trouble.map_or(0, |trouble| trouble as u8), Ordering::Relaxed);
    }

    fn trouble(&self) -> Option<Trouble> {
        let number = self.trouble.load(Ordering::Relaxed);
        ALL.into_iter().find(|trouble| *trouble as u8 == number)
    }

    /// Why messages can't be stored; `None`: they can.
    pub(super) fn words(&self) -> Option<String> {
        if let Some(trouble) = self.trouble() {
            return Some(trouble.words().to_owned());
        }
        let ms = self.elapsed_ms().saturating_sub(self.looked_ms.load(Ordering::Relaxed));
        (ms > HUNG_MS).then(|| format!("the writer of the store has done nothing for {ms} ms"))
    }

    pub(super) fn figures(&self, waiting: usize) -> Figures {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Figures {
            bytes: load(&self.bytes),
            segments: load(&self.segments),
            waiting: waiting as u64,
            batches: load(&self.batches),
            syncs: std::array::from_fn(|at| load(&self.syncs[at])),
            sync_ns: load(&self.sync_ns),
            refuses: self.trouble().is_some(),
            ..Figures::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_has_words_and_goes_again() {
        let pulse = Pulse::new();
        pulse.beat();
        for trouble in ALL {
            pulse.set_trouble(Some(trouble));
            assert_eq!(pulse.words().as_deref(), Some(trouble.words()));
            assert!(pulse.figures(0).refuses);
        }
        pulse.set_trouble(None);
        assert_eq!((pulse.words(), pulse.figures(3).waiting), (None, 3));
    }

    #[test]
    fn a_wait_for_the_medium_is_counted_where_it_belongs() {
        let pulse = Pulse::new();
        for us in [1, 100, 101, 2_500_000, 2_500_001] {
            pulse.synced(Duration::from_micros(us));
        }
        let figures = pulse.figures(0);
        assert_eq!((figures.syncs[0], figures.syncs[1]), (2, 1));
        assert_eq!((figures.syncs[11], figures.syncs[12]), (1, 1));
        assert_eq!(figures.sync_ns, 5_000_203_000);
    }
}
