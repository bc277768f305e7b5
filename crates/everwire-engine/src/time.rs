//! Time and randomness, as arguments.

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
        let now_us = now.mono_ms * 1_000;
        let cost_us = 1_000_000 / u64::from(per_second.max(1));
        let full_at = self.full_at_us.max(now_us) + cost_us;
        let room_us = cost_us * u64::from(burst.max(1));
        let wait_ms = full_at.saturating_sub(now_us + room_us).div_ceil(1_000);
        if wait_ms > debt_ms {
            return Err(wait_ms);
        }
        if wait_ms == 0 || !planted(Bug::FreeToken) {
            self.full_at_us = full_at;
        }
        Ok(wait_ms)
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
}
