//! Nanoseconds since the load tool began: what messages carry, and what latencies are measured with.

use std::sync::OnceLock;
use std::time::Instant;

/// Now, ns since the first call.
pub fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed().as_nanos();
    u64::try_from(since).unwrap_or(u64::MAX)
}
