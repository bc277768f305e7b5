//! How long things took that are counted by the engine's clock, which is read once a turn and knows milliseconds.

/// Upper bounds of the buckets, ms; what is longer stands in one more.
pub const BOUNDS_MS: [u64; 11] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 10_000];

/// Counts by length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lags {
    /// Those that took no millisecond: they were over within the turn in which they began, or in the one after it.
    pub at_once: u64,
    /// Those that took longer: one for each of [`BOUNDS_MS`], and the longer ones.
    pub late: [u64; BOUNDS_MS.len() + 1],
    /// How long the late ones took together, ms.
    pub late_ms: u64,
}

impl Lags {
    /// Counts one.
    pub fn count(&mut self, ms: u64) {
        if ms == 0 {
            self.at_once += 1;
            return;
        }
        let bucket = BOUNDS_MS.iter().position(|bound| ms <= *bound);
        self.late[bucket.unwrap_or(BOUNDS_MS.len())] += 1;
        self.late_ms += ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_in_the_bucket_of_its_length() {
        let mut lags = Lags::default();
        for ms in [0, 1, 2, 3, 10_000, 10_001] {
            lags.count(ms);
        }
        assert_eq!((lags.at_once, lags.late_ms), (1, 20_007));
        assert_eq!((lags.late[0], lags.late[1], lags.late[2]), (1, 1, 1));
        assert_eq!((lags.late[10], lags.late[11]), (1, 1));
    }
}
