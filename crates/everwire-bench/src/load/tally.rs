//! What is counted while a run goes on.

use hdrhistogram::Histogram;

/// Latencies are told apart from so much on, and up to so much, ns.
const LATENCY_NS: (u64, u64) = (100, 3_600_000_000_000);

/// An empty histogram of latencies, ns, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_NS.0, LATENCY_NS.1, 3).expect("these bounds are fixed and good")
}

/// One kind of deed among several, with its own latencies.
#[derive(Debug)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// From intended to done, ns.
    pub latency: Histogram<u64>,
}

/// Since the last slice of time was closed.
#[derive(Debug)]
pub struct Slice {
    /// Latencies of what came.
    pub latency: Histogram<u64>,
    /// What came.
    pub received: u64,
    /// What went.
    pub sent: u64,
    /// What went wrong.
    pub errors: u64,
}

impl Slice {
    fn new() -> Self {
        Self { latency: histogram(), received: 0, sent: 0, errors: 0 }
    }

    fn clear(&mut self) {
        self.latency.reset();
        (self.received, self.sent, self.errors) = (0, 0, 0);
    }
}

/// The counts. A latency belongs to the window by the time that was intended, a rate by the time it came.
#[derive(Debug)]
pub struct Tally {
    /// What counts, ns: from, and up to without.
    pub window: (u64, u64),
    /// From intended to done, ns.
    pub latency: Histogram<u64>,
    /// From intended to sent, ns: the load tool's own delay.
    pub lateness: Histogram<u64>,
    /// Sent in the window.
    pub sent: u64,
    /// Received in the window.
    pub received: u64,
    /// Received at all.
    pub received_ever: u64,
    /// Never came; known at the end.
    pub loss: u64,
    /// Came twice.
    pub duplicates: u64,
    /// Came behind a later one.
    pub reordered: u64,
    /// Refusals, connections that ended or never opened.
    pub errors: u64,
    /// The first of them, in words.
    pub first_error: Option<String>,
    /// Kinds of deeds.
    pub parts: Vec<Part>,
    /// The time since the last slice.
    pub slice: Slice,
}

impl Tally {
    /// Nothing yet, and nothing counts until there is a window.
    pub fn new() -> Self {
        Self {
            window: (u64::MAX, u64::MAX),
            latency: histogram(),
            lateness: histogram(),
            sent: 0,
            received: 0,
            received_ever: 0,
            loss: 0,
            duplicates: 0,
            reordered: 0,
            errors: 0,
            first_error: None,
            parts: Vec::new(),
            slice: Slice::new(),
        }
    }

    fn counts(&self, at_ns: u64) -> bool {
        (self.window.0..self.window.1).contains(&at_ns)
    }

    /// Something went out that was due at `due_ns`.
    pub fn sent(&mut self, due_ns: u64, now_ns: u64) {
        self.slice.sent += 1;
        if self.counts(now_ns) {
            self.sent += 1;
            self.lateness.saturating_record(now_ns.saturating_sub(due_ns));
        }
    }

    /// Something came that was due at `due_ns`.
    pub fn received(&mut self, due_ns: u64, now_ns: u64) {
        self.received_ever += 1;
        self.slice.received += 1;
        self.slice.latency.saturating_record(now_ns.saturating_sub(due_ns));
        self.received += u64::from(self.counts(now_ns));
        if self.counts(due_ns) {
            self.latency.saturating_record(now_ns.saturating_sub(due_ns));
        }
    }

    /// A deed of this kind is done.
    pub fn part(&mut self, name: &'static str, due_ns: u64, now_ns: u64) {
        let at = self.parts.iter().position(|part| part.name == name).unwrap_or_else(|| {
            self.parts.push(Part { name, latency: histogram() });
            self.parts.len() - 1
        });
        self.parts[at].latency.saturating_record(now_ns.saturating_sub(due_ns));
    }

    /// Something went wrong.
    pub fn error(&mut self, words: impl FnOnce() -> String) {
        self.errors += 1;
        self.slice.errors += 1;
        if self.first_error.is_none() {
            self.first_error = Some(words());
        }
    }

    /// Takes the slice's figures and begins the next one.
    pub fn close_slice<T>(&mut self, read: impl FnOnce(&Slice) -> T) -> T {
        let read = read(&self.slice);
        self.slice.clear();
        read
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::schedule::Schedule;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_stall_shows_in_the_percentiles() {
        // 100 a second for 10 s; the server answers at once, but stands still from second 4 to 6. A closed loop would
        // see one slow answer; here the 200 that were due meanwhile are slow, each by what it waited.
        let mut schedule = Schedule::new(0, 100.0, Duration::ZERO);
        let mut tally = Tally::new();
        tally.window = (0, 10 * SECOND);
        while schedule.due_ns() < 10 * SECOND {
            let due_ns = schedule.due_ns();
            let stalled = (4 * SECOND..6 * SECOND).contains(&due_ns);
            tally.received(due_ns, if stalled { 6 * SECOND } else { due_ns + 1_000_000 });
            schedule.advance();
        }
        let at = |q: f64| tally.latency.value_at_quantile(q) / 1_000_000;
        assert_eq!((tally.latency.len(), tally.received), (1_000, 1_000));
        assert_eq!(at(0.5), 1);
        assert!((990..=1_010).contains(&at(0.9)), "{}", at(0.9));
        assert!((1_980..=2_002).contains(&at(0.999)), "{}", at(0.999));
    }

    #[test]
    fn the_window_takes_latencies_by_intent_and_rates_by_arrival() {
        let mut tally = Tally::new();
        tally.received(0, 1);
        tally.window = (100, 200);
        tally.received(50, 150);
        tally.received(150, 250);
        tally.sent(150, 160);
        tally.sent(199, 200);
        assert_eq!((tally.received, tally.latency.len(), tally.received_ever), (1, 1, 3));
        assert_eq!((tally.sent, tally.lateness.len(), tally.slice.sent), (1, 1, 2));
    }

    #[test]
    fn the_first_error_is_kept_and_slices_begin_anew() {
        let mut tally = Tally::new();
        tally.error(|| "one".to_owned());
        tally.error(|| "two".to_owned());
        tally.part("ping", 0, 10);
        tally.part("ping", 0, 20);
        assert_eq!((tally.errors, tally.first_error.as_deref()), (2, Some("one")));
        assert_eq!((tally.parts.len(), tally.parts[0].latency.len()), (1, 2));
        assert_eq!(tally.close_slice(|slice| slice.errors), 2);
        assert_eq!(tally.slice.errors, 0);
    }
}
