//! Time and randomness, as arguments.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::plant::{Bug, planted};

/// One reading of both clocks. The shell reads them once a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// A clock that never jumps, ms since some start.
    pub mono_ms: u64,
    /// The wall clock, ms since 1970 UTC.
    pub unix_ms: u64,
}

/// Where random bits come from: the operating system in the server, a seed in the simulator. Session keys are made
/// of it, so outside of tests it must be unpredictable.
pub trait Entropy: Send + Sync {
    /// 128 fresh random bits.
    fn bits(&self) -> u128;
}

/// A rate as a single time stamp (the generic cell rate algorithm, ITU-T I.371): `full_at_us` is the moment at which
/// the bucket is full again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    full_at_us: u64,
}

impl Bucket {
    /// Takes one token of a bucket of `burst` that fills at `per_second`. An empty bucket goes into debt, for at most
    /// `debt_ms`: `Ok(wait_ms)` tells when the debt is paid. Beyond that `Err(wait_ms)`: nothing was taken.
    ///
    /// A token that is only promised must be charged all the same: one given for nothing would double the rate.
    pub fn take(&mut self, now: Now, per_second: u32, burst: u32, debt_ms: u64) -> Result<u64, u64> {
        let (full_at_us, wait_ms) = charged(self.full_at_us, now, per_second, burst, debt_ms)?;
        if wait_ms == 0 || !planted(Bug::FreeToken) {
            self.full_at_us = full_at_us;
        }
        Ok(wait_ms)
    }

    /// Whether it has all its tokens, as a fresh one has.
    pub fn is_full(&self, now: Now) -> bool {
        self.full_at_us <= now.mono_ms * 1_000
    }
}

/// When a bucket is full again that gives one more token, and how long that one has to wait; the error is too long a
/// wait.
#[inline]
fn charged(full_at_us: u64, now: Now, per_second: u32, burst: u32, debt_ms: u64) -> Result<(u64, u64), u64> {
    let now_us = now.mono_ms * 1_000;
    let cost_us = 1_000_000 / u64::from(per_second.max(1));
    let full_at = full_at_us.max(now_us) + cost_us;
    let room_us = cost_us * u64::from(burst.max(1));
    if full_at <= now_us + room_us {
        return Ok((full_at, 0));
    }
    let wait_ms = (full_at - (now_us + room_us)).div_ceil(1_000);
    if wait_ms > debt_ms { Err(wait_ms) } else { Ok((full_at, wait_ms)) }
}

/// A [`Bucket`] that many threads take from: the time stamp is one atomic, so nobody waits for it.
#[derive(Debug, Default)]
pub struct SharedBucket {
    full_at_us: AtomicU64,
}

impl SharedBucket {
    /// As [`Bucket::take`].
    #[inline]
    pub fn take(&self, now: Now, per_second: u32, burst: u32, debt_ms: u64) -> Result<u64, u64> {
        // Relaxed: it guards nothing but itself.
        let mut seen = self.full_at_us.load(Ordering::Relaxed);
        loop {
            let (full_at_us, wait_ms) = charged(seen, now, per_second, burst, debt_ms)?;
            let order = Ordering::Relaxed;
            match self.full_at_us.compare_exchange_weak(seen, full_at_us, order, order) {
                Ok(_) => return Ok(wait_ms),
                Err(newer) => seen = newer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let mut bucket = Bucket::default();
        for _ in 0..100 {
            assert_eq!(bucket.take(at(1_000), 50, 100, 0), Ok(0));
        }
        assert_eq!(bucket.take(at(1_000), 50, 100, 0), Err(20));
        assert_eq!(bucket.take(at(1_019), 50, 100, 0), Err(1));
        assert_eq!(bucket.take(at(1_020), 50, 100, 0), Ok(0));
        assert_eq!(bucket.take(at(1_020), 50, 100, 0), Err(20));
        assert!(!bucket.is_full(at(3_019)) && bucket.is_full(at(3_020)));
    }

    #[test]
    fn a_debt_is_charged_and_bounded() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(at(1_000), 10, 1, 200), Ok(0));
        assert_eq!(bucket.take(at(1_000), 10, 1, 200), Ok(100));
        assert_eq!(bucket.take(at(1_000), 10, 1, 200), Ok(200));
        assert_eq!(bucket.take(at(1_000), 10, 1, 200), Err(300));
        assert_eq!(bucket.take(at(1_200), 10, 1, 200), Ok(100), "the debt is paid, and nothing more");
    }

    #[test]
    fn many_take_from_one_bucket_what_one_alone_would() {
        let bucket = SharedBucket::default();
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for ms in 1_000..2_000 {
                        while bucket.take(at(ms), 1_000, 50, 0).is_ok() {
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 50 + 999, "a burst, and one each ms");
        assert_eq!(bucket.take(at(1_999), 1_000, 50, 5), Ok(1), "and a debt like any other");
        assert_eq!(bucket.take(at(1_999), 1_000, 50, 1), Err(2));
    }
}
