//! The table at the end of a run, for a person at a terminal.

use std::fmt::Write as _;

use super::outcome::{Latency, Outcome};
use super::plan::Kind;

/// The run in some lines.
pub fn render(outcome: &Outcome) -> String {
    let mut table = Table(String::new());
    head(outcome, &mut table);
    let counted = outcome.counted.as_str();
    if outcome.plan.scenario != Kind::Idle {
        let rate = format!("{}/s", count(outcome.rate));
        table.row(counted, &format!("{:<12} {rate}", count(outcome.received as f64)));
        table.row("latency", &outcome.latency.as_ref().map_or_else(|| "nothing came".to_owned(), latency));
        table.row("lost", &count(outcome.loss as f64));
        table.row("duplicates", &count(outcome.duplicates as f64));
        if outcome.reordered > 0 {
            table.row("out of order", &count(outcome.reordered as f64));
        }
    }
    table.row("errors", &count(outcome.errors as f64));
    if let Some(words) = &outcome.first_error {
        table.row("", &format!("first: {words}"));
    }
    for part in &outcome.parts {
        let words = format!("{} in all; {}", count(part.latency.count as f64), latency(&part.latency));
        table.row(&format!("  {}", part.name), &words);
    }
    server(outcome, &mut table);
    let loader = &outcome.loader;
    let busy = loader.busy * 100.0;
    let mut words = format!("{busy:.0} % of its core, {:.2} system calls for each", loader.calls_per_message);
    if outcome.plan.rate > 0.0 {
        let _ = write!(words, "; sends late by {} (p99)", millis(loader.late_p99));
    }
    table.row("load tool", &words);
    for warning in &outcome.warnings {
        table.line(&format!("! {warning}"));
    }
    for verdict in &outcome.asserts {
        let word = if verdict.held { "holds" } else { "FAILS" };
        table.line(&format!("{word}: {} ({})", verdict.expression, verdict.figure));
    }
    table.0
}

fn head(outcome: &Outcome, table: &mut Table) {
    let plan = &outcome.plan;
    table.line(&format!("{}  {}  {}", plan.scenario.name(), plan.url, plan.protocol));
    table.line(&conditions(outcome));
    if outcome.stopped {
        table.line("stopped before its time; what follows is what there was");
    }
    table.0.push('\n');
}

/// Under which conditions it ran, in a line.
pub fn conditions(outcome: &Outcome) -> String {
    let plan = &outcome.plan;
    let mut words = match plan.scenario {
        Kind::Connect | Kind::Churn => format!("at most {} at a time", count(plan.conns as f64)),
        _ => format!(
            "{} of {} connections",
            count(outcome.open as f64),
            count((plan.conns + plan.publishers) as f64)
        ),
    };
    if plan.publishers > 0 {
        let _ = write!(words, " ({} of them publish)", plan.publishers);
    }
    if plan.channels > 0 {
        let _ = write!(
            words,
            ", {} channel{}",
            count(plan.channels as f64),
            if plan.channels == 1 { "" } else { "s" }
        );
        if plan.zipf > 0.0 {
            let _ = write!(words, " (zipf {})", plan.zipf);
        }
    }
    if plan.missed > 0 {
        let _ = write!(words, ", {} missed", plan.missed);
    }
    if !matches!(plan.scenario, Kind::Idle | Kind::Connect) {
        let _ = write!(words, ", {} bytes", plan.size);
    }
    match (plan.scenario, plan.rate > 0.0) {
        (Kind::Idle, _) => {}
        (_, true) => {
            let _ = write!(words, ", {}/s", count(plan.rate));
        }
        (Kind::Connect | Kind::Churn, false) => words.push_str(", as fast as it goes"),
        (Kind::Recover, false) => words.push_str(", all at once"),
        (_, false) => {
            let _ = write!(words, ", {} in flight", plan.in_flight);
        }
    }
    let _ = write!(words, "; {:.1} s counted", outcome.measured_ms / 1e3);
    if plan.warmup_ms > 0 {
        let _ = write!(words, " after {:.1} s of warm-up", plan.warmup_ms as f64 / 1e3);
    }
    words
}

fn server(outcome: &Outcome, table: &mut Table) {
    let (server, counted) = (&outcome.server, outcome.counted.as_str());
    table.row("server", &server.source);
    if let Some(seconds) = server.cpu_s {
        let cores = seconds / (outcome.measured_ms / 1e3).max(1e-9);
        table.row("  CPU", &format!("{seconds:.2} s, {:.0} % of a core", cores * 100.0));
    }
    if let (Some(each), Some(rate)) = (server.cpu_per_message_us, server.messages_per_cpu_s) {
        table.row("", &format!("{} each; {} {counted} in a CPU-second", micros(each), count(rate)));
    }
    if let Some(each) = server.cpu_per_connection_us {
        table.row("", &format!("{} a second for each connection", micros(each)));
    }
    if let Some(memory) = server.memory_bytes {
        let each = server.memory_per_connection.map_or_else(String::new, |each| {
            format!(", {} more for each connection (the kernel's socket buffers are not in it)", bytes(each))
        });
        table.row("  memory", &format!("{} resident{each}", bytes(memory as f64)));
    }
    if outcome.plan.scenario == Kind::Idle || server.cpu_s.is_none() {
        return;
    }
    let calls = match server.calls_per_message {
        Some(calls) => format!("{calls:.2} reads and writes for each"),
        None => "the kernel does not tell: its count leaves out `send` and `recv`".to_owned(),
    };
    table.row("  system calls", &calls);
    if let Some(waits) = server.waits_per_message {
        table.row("", &format!("went to sleep {waits:.3} times for each"));
    }
}

fn latency(latency: &Latency) -> String {
    let Latency { p50, p90, p99, p999, max, .. } = *latency;
    let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(millis);
    format!("p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}  max {max}")
}

struct Table(String);

impl Table {
    fn row(&mut self, name: &str, words: &str) {
        let _ = writeln!(self.0, "  {name:<14} {words}");
    }

    fn line(&mut self, words: &str) {
        let _ = writeln!(self.0, "{words}");
    }
}

/// A number with a space between thousands.
pub fn count(value: f64) -> String {
    if value < 100.0 && value.fract() > 1e-9 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut words = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && !words.ends_with('-') {
            words.push(' ');
        }
        words.push(digit);
    }
    words
}

/// A time of so many ms.
pub fn millis(ms: f64) -> String {
    micros(ms * 1e3)
}

/// A time of so many µs.
pub fn micros(us: f64) -> String {
    let (value, unit) = match us {
        us if us >= 999_500.0 => (us / 1e6, "s"),
        us if us >= 999.5 => (us / 1e3, "ms"),
        us if us >= 0.995 || us == 0.0 => (us, "µs"),
        us => (us * 1e3, "ns"),
    };
    format!("{} {unit}", three(value))
}

/// So many bytes.
pub fn bytes(value: f64) -> String {
    let size = value.abs();
    let (value, unit) = match size {
        _ if size >= 1024.0 * 1024.0 * 1024.0 => (value / 1024.0 / 1024.0 / 1024.0, "GiB"),
        _ if size >= 1024.0 * 1024.0 => (value / 1024.0 / 1024.0, "MiB"),
        _ if size >= 1024.0 => (value / 1024.0, "KiB"),
        _ => (value, "B"),
    };
    format!("{} {unit}", three(value))
}

/// Three digits.
fn three(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 || size == 0.0 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::{Verdict, sample};

    #[test]
    fn figures_are_short_and_have_units() {
        for (value, words) in [
            (0.0, "0"),
            (12.5, "12.5"),
            (999.0, "999"),
            (1_000.0, "1 000"),
            (1_234_567.0, "1 234 567"),
            (-1_234.0, "-1 234"),
        ] {
            assert_eq!(count(value), words);
        }
        for (value, words) in [
            (0.0, "0 µs"),
            (0.0124, "12.4 µs"),
            (0.9999, "1.00 ms"),
            (1.5, "1.50 ms"),
            (2_000.0, "2.00 s"),
            (0.000_2, "200 ns"),
        ] {
            assert_eq!(millis(value), words);
        }
        for (value, words) in [(10.0, "10.0 B"), (1536.0, "1.50 KiB"), (5.0 * 1024.0 * 1024.0, "5.00 MiB")] {
            assert_eq!(bytes(value), words);
        }
    }

    #[test]
    fn the_table_says_what_was_measured() {
        let mut outcome = sample(Kind::Fanout);
        let verdict =
            Verdict { expression: "p99<20ms".to_owned(), figure: "p99 is 4.00 ms".to_owned(), held: true };
        outcome.asserts.push(verdict);
        outcome.warnings.push("the load tool was slow".to_owned());
        let table = render(&outcome);
        for part in [
            "fanout  ws://localhost:8765/ws  everwire\n",
            "1 000 of 1 001 connections (1 of them publish), 1 channel, 128 bytes, 20/s; 10.0 s counted after 1.0 s of warm-up\n",
            "deliveries     200 000      20 000/s\n",
            "p50 1.00 ms  p90 2.00 ms  p99 4.00 ms  p99.9 8.00 ms  max 9.00 ms\n",
            "lost           3\n",
            "duplicates     2\n",
            "first: the server refused: x\n",
            "server         process 7\n",
            "1.00 s, 10 % of a core\n",
            "5.00 µs each; 200 000 deliveries in a CPU-second\n",
            "64.0 MiB resident, 2.00 KiB more for each connection",
            "the kernel does not tell",
            "! the load tool was slow\n",
            "holds: p99<20ms (p99 is 4.00 ms)\n",
        ] {
            assert!(table.contains(part), "{part}\n---\n{table}");
        }
        outcome.server =
            crate::load::outcome::Server { source: "unknown: why".to_owned(), ..Default::default() };
        outcome.stopped = true;
        let table = render(&outcome);
        assert!(table.contains("server         unknown: why\n") && !table.contains("CPU-second"), "{table}");
        assert!(table.contains("stopped before its time"), "{table}");
        assert!(!render(&sample(Kind::Idle)).contains("latency"));
    }
}
