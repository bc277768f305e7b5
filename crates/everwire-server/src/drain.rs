//! A node's orderly end, in numbers: how long it may take, and when which client is asked to go. Protocol section 6.

/// A client's range is never shorter, ms: within it the new connection is opened, and the old one still serves.
const RANGE_MS: u64 = 1_000;

/// At most so much of the window is kept for the last words, ms: close frames, requests under way, the store.
const TAIL_MS: u64 = 6_000;

/// How a node is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainLimits {
    /// From the signal to the end of the process, ms.
    pub window_ms: u64,
    /// For so long upgrades are told to go elsewhere, ms; after it nobody listens any more.
    pub notice_ms: u64,
    /// Clients that come to other nodes in a second, at most, unless the window is too short for it.
    pub clients_per_second: u32,
}

impl Default for DrainLimits {
    fn default() -> Self {
        Self { window_ms: 60_000, notice_ms: 5_000, clients_per_second: 1_000 }
    }
}

impl DrainLimits {
    /// What is kept of the window for the last words, ms.
    pub fn tail_ms(&self) -> u64 {
        (self.window_ms / 4).min(TAIL_MS)
    }

    /// When so many clients are asked to go, from now on.
    pub fn plan(&self, clients: usize, begun_ms: u64) -> Plan {
        let rate = u64::from(self.clients_per_second.max(1));
        let wanted_ms = (clients as u64).saturating_mul(1_000) / rate;
        let spread_ms = wanted_ms.max(RANGE_MS).min(self.window_ms - self.tail_ms());
        Plan { begun_ms, spread_ms, groups: (spread_ms / RANGE_MS).max(1) }
    }
}

/// When which client is asked to go. Clients are dealt out to groups whose ranges follow each other, so that as many come
/// to other nodes in each second: ranges that overlap would have a peak in their middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The clock that never jumps, ms.
    begun_ms: u64,
    spread_ms: u64,
    /// How many groups.
    pub groups: u64,
}

impl Plan {
    /// The range of a group, on the clock that never jumps.
    pub fn range(&self, group: u64) -> [u64; 2] {
        [group, group + 1].map(|edge| self.begun_ms + self.spread_ms * edge / self.groups)
    }

    /// The first group whose range has not begun; of those that all have, the last one unless it is over.
    pub fn open_group(&self, now_ms: u64) -> Option<u64> {
        let [_, end] = self.range(self.groups - 1);
        let elapsed = now_ms.saturating_sub(self.begun_ms);
        let next = (elapsed * self.groups).div_ceil(self.spread_ms.max(1));
        (now_ms < end).then(|| next.min(self.groups - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(window_ms: u64, clients_per_second: u32) -> DrainLimits {
        DrainLimits { window_ms, notice_ms: 0, clients_per_second }
    }

    #[test]
    fn as_many_go_in_each_second_and_all_within_the_window() {
        for (window_ms, rate, clients, spread_ms, groups) in [
            (60_000, 500, 0, 1_000, 1),
            (60_000, 500, 1, 1_000, 1),
            (60_000, 500, 500, 1_000, 1),
            (60_000, 500, 1_250, 2_500, 2),
            (60_000, 500, 10_000, 20_000, 20),
            (60_000, 500, 1_000_000, 54_000, 54),
            (60_000, 0, usize::MAX, 54_000, 54),
            (1_000, 500, 10_000, 750, 1),
        ] {
            let plan = limits(window_ms, rate).plan(clients, 7_000);
            assert_eq!((plan.spread_ms, plan.groups), (spread_ms, groups), "{clients} at {rate}/s");
            let ranges: Vec<_> = (0..groups).map(|group| plan.range(group)).collect();
            assert_eq!((ranges[0][0], ranges[ranges.len() - 1][1]), (7_000, 7_000 + spread_ms));
            assert!(ranges.windows(2).all(|two| two[0][1] == two[1][0]), "{ranges:?}");
            assert!(ranges.iter().all(|[from, to]| to - from >= RANGE_MS.min(spread_ms)), "{ranges:?}");
        }
    }

    #[test]
    fn who_comes_late_goes_with_the_next_group() {
        let plan = limits(60_000, 100).plan(300, 1_000);
        for (now_ms, group) in
            [(1_000, Some(0)), (1_001, Some(1)), (2_000, Some(1)), (3_999, Some(2)), (4_000, None)]
        {
            assert_eq!(plan.open_group(now_ms), group, "at {now_ms}");
        }
    }
}
