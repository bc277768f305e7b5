//! When things are meant to happen: fixed beforehand, so that a server which stalls can't slow its own load down.

use std::time::Duration;

/// An even stream of moments, which may begin slowly.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start_ns: u64,
    /// Per second.
    rate: f64,
    /// So long the rate rises in a straight line, s.
    ramp: f64,
    next: u64,
}

impl Schedule {
    /// So many a second from `start_ns` on, after a rise of `ramp`. The rate is above 0.
    pub fn new(start_ns: u64, rate: f64, ramp: Duration) -> Self {
        Self { start_ns, rate, ramp: ramp.as_secs_f64(), next: 0 }
    }

    /// The moment that comes next, ns.
    pub fn due_ns(&self) -> u64 {
        let n = self.next as f64;
        // After t seconds of the rise rate * t² / (2 * ramp) have happened.
        let risen = self.rate * self.ramp / 2.0;
        let seconds = if n < risen {
            (2.0 * self.ramp * n / self.rate).sqrt()
        } else {
            self.ramp + (n - risen) / self.rate
        };
        self.start_ns + (seconds * 1e9) as u64
    }

    /// Which one it is, from 0.
    pub fn number(&self) -> u64 {
        self.next
    }

    /// It has happened.
    pub fn advance(&mut self) {
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(mut schedule: Schedule, count: usize) -> Vec<u64> {
        let mut moments = Vec::new();
        for _ in 0..count {
            moments.push(schedule.due_ns());
            schedule.advance();
        }
        moments
    }

    #[test]
    fn moments_are_even_and_do_not_drift() {
        let moments = first(Schedule::new(7, 1_000.0, Duration::ZERO), 4);
        assert_eq!(moments, [7, 1_000_007, 2_000_007, 3_000_007]);
        let mut third = Schedule::new(0, 3.0, Duration::ZERO);
        (0..3_000_000).for_each(|_| third.advance());
        assert_eq!(third.due_ns(), 1_000_000_000_000_000);
    }

    #[test]
    fn a_rise_brings_half_of_what_its_time_would() {
        let moments = first(Schedule::new(0, 100.0, Duration::from_secs(2)), 201);
        assert_eq!(moments[100], 2_000_000_000);
        assert_eq!(moments[200], 3_000_000_000);
        let gaps: Vec<_> = moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps[..100].is_sorted_by(|a, b| a >= b), "{gaps:?}");
    }
}
