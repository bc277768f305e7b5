//! What a run takes, of the server and of the load tool: in all, and in slices of time.

use std::io;

use super::gauge::{Gauge, Reading};
use super::outcome::{Slot, ms};
use super::plan::Plan;
use super::tally::Tally;
use crate::clock::now_ns;
use crate::watched::Watched;

/// Reads it.
#[derive(Debug)]
pub struct Meter {
    /// What the server takes.
    pub gauge: Gauge,
    /// What the spans that count have taken.
    pub spans: Spans,
    /// The slices so far.
    pub series: Vec<Slot>,
    own: Watched,
    /// When the first slice began, ns.
    epoch_ns: u64,
    slice: Slice,
}

/// Time that counts, and what it took. Most scenarios have one span, a storm one for each return.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spans {
    /// Their length, ns.
    pub wall_ns: u64,
    /// What the server took; absent when unknown.
    pub server: Reading,
    /// CPU time of the load tool, ns.
    pub own_ns: u64,
    /// Its reads and writes.
    pub own_calls: u64,
    since: Option<Moment>,
}

/// The readings when a span began.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at_ns: u64,
    server: Reading,
    own_ns: u64,
    own_calls: u64,
}

/// When the slice began, and the readings then.
#[derive(Clone, Copy, Debug)]
struct Slice {
    length_ns: u64,
    since_ns: u64,
    server: Reading,
    own_ns: u64,
}

impl Meter {
    /// For a run of this length.
    ///
    /// # Errors
    /// This process can't be watched.
    pub fn new(gauge: Gauge, plan: &Plan) -> io::Result<Self> {
        let total_ms = plan.warmup_ms + plan.duration_ms;
        // Short runs have slices to see something by, long ones no more than a page can show.
        let length_ms = (total_ms / 60).clamp(50, 1_000).max(total_ms / 240);
        let slice =
            Slice { length_ns: length_ms * 1_000_000, since_ns: 0, server: Reading::default(), own_ns: 0 };
        let own = Watched::new(std::process::id())?;
        let spans = Spans::default();
        Ok(Self { gauge, spans, series: Vec::new(), own, epoch_ns: now_ns(), slice })
    }

    /// CPU time of the load tool so far, ns.
    fn own_ns(&self) -> u64 {
        self.own.cpu_ns().unwrap_or(0)
    }

    /// From here on it counts. `own_calls` are those of the swarm so far.
    pub fn open_span(&mut self, own_calls: u64) {
        let server = self.gauge.read(true);
        self.spans.since = Some(Moment { at_ns: now_ns(), server, own_ns: self.own_ns(), own_calls });
    }

    /// Up to here it counts.
    pub fn close_span(&mut self, own_calls: u64) {
        let Some(before) = self.spans.since.take() else { return };
        let (now, own_ns, after) = (now_ns(), self.own_ns(), self.gauge.read(true));
        let sum = &mut self.spans;
        sum.wall_ns += now.saturating_sub(before.at_ns);
        sum.own_ns += own_ns.saturating_sub(before.own_ns);
        sum.own_calls += own_calls - before.own_calls;
        let add = |sum: Option<u64>, before: Option<u64>, after: Option<u64>| {
            Some(sum.unwrap_or(0) + after?.saturating_sub(before?))
        };
        let server = before.server;
        sum.server = Reading {
            cpu_ns: add(sum.server.cpu_ns, server.cpu_ns, after.cpu_ns),
            calls: add(sum.server.calls, server.calls, after.calls),
            waits: add(sum.server.waits, server.waits, after.waits),
            resident_bytes: after.resident_bytes,
        };
    }

    /// The time of the series begins, and its first slice.
    pub fn begin_series(&mut self, tally: &mut Tally) {
        self.epoch_ns = now_ns();
        self.slice.since_ns = self.epoch_ns;
        self.slice.server = self.gauge.read(false);
        self.slice.own_ns = self.own_ns();
        tally.close_slice(|_| ());
    }

    /// When the slice has its length, ns.
    pub fn slice_end_ns(&self) -> u64 {
        self.slice.since_ns + self.slice.length_ns
    }

    /// How long the slice has lasted, s.
    pub fn slice_age_s(&self) -> f64 {
        now_ns().saturating_sub(self.slice.since_ns) as f64 / 1e9
    }

    /// Ends a slice of time and begins the next; one that has hardly begun is left out.
    pub fn close_slice(&mut self, tally: &mut Tally) {
        let (now, server, own_ns) = (now_ns(), self.gauge.read(false), self.own_ns());
        let length_ns = now.saturating_sub(self.slice.since_ns).max(1);
        let cores = |ns: u64| ns as f64 / length_ns as f64;
        let used = server.cpu_ns.zip(self.slice.server.cpu_ns).map(|(now, then)| now.saturating_sub(then));
        let middle_ns = self.slice.since_ns + length_ns / 2;
        let counts = (tally.window.0..tally.window.1).contains(&middle_ns);
        let loader_cores = cores(own_ns.saturating_sub(self.slice.own_ns));
        let at_ms = ms(now.saturating_sub(self.epoch_ns));
        let slot = tally.close_slice(|slice| {
            let some = |quantile| ms(slice.latency.value_at_quantile(quantile));
            let at = |quantile| (!slice.latency.is_empty()).then(|| some(quantile));
            Slot {
                at_ms,
                length_ms: ms(length_ns),
                counts,
                sent: slice.sent,
                received: slice.received,
                errors: slice.errors,
                p50: at(0.5),
                p99: at(0.99),
                max: at(1.0),
                server_cores: used.map(cores),
                server_memory: server.resident_bytes,
                loader_cores,
            }
        });
        // A sliver between a slice and the end of a phase would have rates and loads of no meaning.
        if length_ns * 20 > self.slice.length_ns || slot.received > 0 {
            self.series.push(slot);
        }
        (self.slice.since_ns, self.slice.server, self.slice.own_ns) = (now, server, own_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::gauge::Door;
    use crate::load::plan::{Kind, sample};
    use std::net::SocketAddr;

    fn meter(gauge: Gauge) -> Meter {
        Meter::new(gauge, &sample(Kind::Fanout)).unwrap()
    }

    #[test]
    fn spans_add_up_and_what_is_unknown_stays_so() {
        let own = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut known = meter(Gauge::find(Door::plain(own, "localhost"), &[std::process::id()]));
        for calls in [0, 100] {
            known.open_span(calls);
            known.close_span(calls + 7);
        }
        assert_eq!(known.spans.own_calls, 14);
        assert!(known.spans.server.cpu_ns.is_some() && known.spans.server.resident_bytes.is_some());
        known.close_span(1_000);
        assert_eq!(known.spans.own_calls, 14, "a span that is not open is not closed");
        let mut unknown = meter(Gauge::find(Door::plain(own, "localhost"), &[u32::MAX]));
        unknown.open_span(0);
        unknown.close_span(0);
        assert_eq!(unknown.spans.server, Reading::default());
    }

    #[test]
    fn slices_count_where_their_middle_is_in_the_window() {
        let mut meter =
            meter(Gauge::find(Door::plain(SocketAddr::from(([127, 0, 0, 1], 1)), "localhost"), &[u32::MAX]));
        let mut tally = Tally::new();
        meter.begin_series(&mut tally);
        tally.received(0, 1);
        meter.close_slice(&mut tally);
        tally.window = (0, u64::MAX);
        tally.received(0, 1);
        tally.received(0, 1);
        meter.close_slice(&mut tally);
        meter.close_slice(&mut tally);
        let told: Vec<_> = meter.series.iter().map(|slot| (slot.counts, slot.received)).collect();
        assert_eq!(told, [(false, 1), (true, 2)], "the sliver is left out");
    }
}
