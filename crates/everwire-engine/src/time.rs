//! Time and randomness, as arguments.

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

/// A rate as a single time stamp (the generic cell rate algorithm, ITU-T I.371): `spent_ms` is the moment at which
/// the bucket is full again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    full_at_us: u64,
}

impl Bucket {
    /// Takes one token of a bucket of `burst` that fills at `per_second`. `Err(wait_ms)`: how long until the next
    /// token is there; nothing was taken.
    pub fn take(&mut self, now: Now, per_second: u32, burst: u32) -> Result<(), u64> {
        let now_us = now.mono_ms * 1_000;
        let cost_us = 1_000_000 / u64::from(per_second.max(1));
        let full_at = self.full_at_us.max(now_us) + cost_us;
        let room_us = cost_us * u64::from(burst.max(1));
        if full_at > now_us + room_us {
            return Err((full_at - now_us - room_us).div_ceil(1_000));
        }
        self.full_at_us = full_at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let at = |mono_ms| Now { mono_ms, unix_ms: 0 };
        let mut bucket = Bucket::default();
        for _ in 0..100 {
            assert_eq!(bucket.take(at(1_000), 50, 100), Ok(()));
        }
        assert_eq!(bucket.take(at(1_000), 50, 100), Err(20));
        assert_eq!(bucket.take(at(1_019), 50, 100), Err(1));
        assert_eq!(bucket.take(at(1_020), 50, 100), Ok(()));
        assert_eq!(bucket.take(at(1_020), 50, 100), Err(20));
    }
}
