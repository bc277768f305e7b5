//! Deadlines of sockets that have no session: echoes, and those that are being cut. One wheel a shard, no timer per
//! connection.

/// The width of a bucket, ms. A deadline fires up to this much late.
const TICK_MS: u64 = 250;
const BUCKETS: usize = 256;

/// Slots by the tick at which they want to be looked at.
#[derive(Debug)]
pub(super) struct Wheel {
    buckets: Vec<Vec<(u32, u64)>>,
    tick: u64,
    /// The first tick after it that has slots; `u64::MAX`: none has. Every turn asks, and most buckets are empty.
    next: u64,
}

impl Wheel {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { buckets: vec![Vec::new(); BUCKETS], tick: now_ms / TICK_MS, next: u64::MAX }
    }

    /// Puts a slot where `due_ms` falls, or as far ahead as the wheel reaches. The answer is the entry's mark: the
    /// owner keeps the newest one and ignores a look that comes with another.
    pub(super) fn put(&mut self, slot: u32, due_ms: u64) -> u64 {
        let due = due_ms / TICK_MS + 1;
        let tick = due.clamp(self.tick + 1, self.tick + BUCKETS as u64 - 1);
        self.buckets[place(tick)].push((slot, tick));
        self.next = self.next.min(tick);
        tick
    }

    /// When the next entry is due, ms.
    pub(super) fn next_ms(&self) -> Option<u64> {
        (self.next < u64::MAX).then(|| self.next * TICK_MS)
    }

    /// Moves what is due into `due`: (slot, mark).
    pub(super) fn run(&mut self, now_ms: u64, due: &mut Vec<(u32, u64)>) {
        // After a long stop of the machine one round sees everything.
        let last = now_ms / TICK_MS;
        self.tick = self.tick.max(last.saturating_sub(BUCKETS as u64));
        while self.tick < last {
            self.tick += 1;
            due.append(&mut self.buckets[place(self.tick)]);
        }
        if self.next <= self.tick {
            let mut ticks = self.tick + 1..self.tick + BUCKETS as u64;
            self.next = ticks.find(|t| !self.buckets[place(*t)].is_empty()).unwrap_or(u64::MAX);
        }
    }
}

fn place(tick: u64) -> usize {
    usize::try_from(tick % BUCKETS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_fires_once_and_never_early() {
        let mut wheel = Wheel::new(0);
        let mut due = Vec::new();
        let mark = wheel.put(7, 1_000);
        assert_eq!(wheel.next_ms(), Some(1_250));
        wheel.run(1_249, &mut due);
        assert!(due.is_empty());
        wheel.run(1_250, &mut due);
        assert_eq!(due, [(7, mark)]);
        wheel.run(100_000, &mut due);
        assert_eq!((due.len(), wheel.next_ms()), (1, None));
        let (late, soon) = (wheel.put(1, 103_000), wheel.put(2, 101_000));
        assert_eq!(wheel.next_ms(), Some(soon * TICK_MS), "the earlier one, whichever came first");
        wheel.run(102_000, &mut due);
        assert_eq!((due.len(), wheel.next_ms()), (2, Some(late * TICK_MS)));
    }

    #[test]
    fn a_far_deadline_is_looked_at_again() {
        let mut wheel = Wheel::new(0);
        let mut due = Vec::new();
        wheel.put(1, 10_000_000);
        wheel.run(64_000, &mut due);
        assert_eq!(due.len(), 1);
    }
}
