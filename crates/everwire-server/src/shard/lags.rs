//! How long publishes and deliveries took, for those who read it from other threads. The engine counts in milliseconds;
//! what took none was over within a turn, and counts as long as that turn was.

use std::sync::atomic::{AtomicU64, Ordering};

use everwire_engine::lags::{BOUNDS_MS, Lags};

/// Buckets below a millisecond.
const BELOW: usize = 3;

/// Upper bounds of the buckets, µs; what is longer stands in one more. From the fourth on they are those of the engine.
pub const LAG_BOUNDS_US: [u64; BELOW + BOUNDS_MS.len()] = {
    let mut bounds = [100, 250, 500, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut at = 0;
    while at < BOUNDS_MS.len() {
        bounds[BELOW + at] = BOUNDS_MS[at] * 1_000;
        at += 1;
    }
    bounds
};

/// The cells of one shard, which alone writes them.
#[derive(Debug, Default)]
pub(super) struct LagCells {
    /// Of those that took no millisecond: how many were seen, by the length of their turn, and all together, ns.
    seen: AtomicU64,
    quick: [AtomicU64; LAG_BOUNDS_US.len() + 1],
    quick_ns: AtomicU64,
    late: [AtomicU64; BOUNDS_MS.len() + 1],
    late_ms: AtomicU64,
}

/// What was read of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LagReading {
    /// One for each of [`LAG_BOUNDS_US`], and the longer ones.
    pub buckets: [u64; LAG_BOUNDS_US.len() + 1],
    /// All together, ns.
    pub sum_ns: u64,
}

impl LagCells {
    /// Takes over what was counted by the end of a turn that took so long.
    pub(super) fn take(&self, lags: &Lags, turn_ns: u64) {
        // Nobody else writes, so a load and a store add up.
        let set = |cell: &AtomicU64, value: u64| cell.store(value, Ordering::Relaxed);
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let fresh = lags.at_once.saturating_sub(get(&self.seen));
        if fresh > 0 {
            set(&self.seen, lags.at_once);
            let bucket = LAG_BOUNDS_US.iter().position(|bound| turn_ns <= bound * 1_000);
            let cell = &self.quick[bucket.unwrap_or(LAG_BOUNDS_US.len())];
            set(cell, get(cell) + fresh);
            set(&self.quick_ns, get(&self.quick_ns) + fresh * turn_ns);
        }
        if lags.late_ms != get(&self.late_ms) {
            set(&self.late_ms, lags.late_ms);
            for (cell, count) in self.late.iter().zip(lags.late) {
                set(cell, count);
            }
        }
    }

    pub(super) fn add_to(&self, all: &mut LagReading) {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        for (sum, own) in all.buckets.iter_mut().zip(&self.quick) {
            *sum += get(own);
        }
        for (sum, own) in all.buckets[BELOW..].iter_mut().zip(&self.late) {
            *sum += get(own);
        }
        all.sum_ns += get(&self.quick_ns) + get(&self.late_ms) * 1_000_000;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_ones_are_as_long_as_their_turn_and_late_ones_as_they_were() {
        let (cells, mut lags) = (LagCells::default(), Lags::default());
        let read = || {
            let mut reading = LagReading::default();
            cells.add_to(&mut reading);
            reading
        };
        (0..5).for_each(|_| lags.count(0));
        cells.take(&lags, 200_000);
        cells.take(&lags, 9_000_000);
        assert_eq!((read().buckets[1], read().sum_ns), (5, 1_000_000), "a turn without any adds none");
        lags.count(0);
        lags.count(1);
        lags.count(20_000);
        cells.take(&lags, 3_000_000);
        let reading = read();
        assert_eq!((reading.buckets[3], reading.buckets[5], reading.buckets[14]), (1, 1, 1));
        assert_eq!(reading.buckets.iter().sum::<u64>(), 8);
        assert_eq!(reading.sum_ns, 1_000_000 + 3_000_000 + 20_001_000_000);
        assert!(LAG_BOUNDS_US.windows(2).all(|two| two[0] < two[1]), "{LAG_BOUNDS_US:?}");
    }
}
