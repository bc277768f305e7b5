//! The shell's two clocks, read once a turn and passed down; no floor below reads one.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use everwire_engine::time::Now;

/// A clock that counts from the start of the server.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Reads both clocks, ms. A wall clock before 1970 reads as 0.
    pub fn now(&self) -> Now {
        let mono_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_ms, unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
    }
}
