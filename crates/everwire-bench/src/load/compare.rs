//! Two runs side by side: what changed, and whether that is more than either run moved by itself.

use std::fmt::Write as _;

use super::outcome::{Outcome, Slot};
use super::table::{bytes, count, micros, millis};

/// One figure of both runs.
struct Row {
    name: &'static str,
    words: fn(f64) -> String,
    values: (f64, f64),
    /// How far the slices of either run lie from its middle, as a part of it: half of the middle 50 %, the larger one.
    spread: Option<f64>,
}

/// The table.
///
/// # Errors
/// The runs are not of one kind; in words.
pub fn compare(a: &Outcome, b: &Outcome) -> Result<String, String> {
    let differences = a.plan.differences(&b.plan);
    if !differences.is_empty() {
        return Err(format!(
            "these runs can't be compared, since their figures mean different things: {}",
            differences.join("; ")
        ));
    }
    let mut out = String::new();
    for (name, run) in [("a", a), ("b", b)] {
        let _ = writeln!(
            out,
            "{name}: {} {} ({}), {:.1} s{}",
            run.plan.scenario.name(),
            run.plan.url,
            run.plan.protocol,
            run.measured_ms / 1e3,
            if run.stopped || run.broken.is_some() { ", not to its end" } else { "" }
        );
    }
    let _ = writeln!(out, "\n{:<24} {:>12} {:>12} {:>9}   spread within a run", "", "a", "b", "change");
    for row in rows(a, b) {
        let (before, after) = row.values;
        let change = change(before, after);
        let _ = writeln!(
            out,
            "{:<24} {:>12} {:>12} {change:>9}   {}",
            row.name,
            (row.words)(before),
            (row.words)(after),
            judgement(&row)
        );
    }
    let _ = writeln!(
        out,
        "\nOne run each: what lies within the spread says nothing. Repeat both in turns before you believe the rest."
    );
    if a.machine != b.machine {
        let _ = writeln!(
            out,
            "Different machines: {} and {}. Only costs per message may be compared.",
            a.machine, b.machine
        );
    }
    Ok(out)
}

fn rows(a: &Outcome, b: &Outcome) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name, words, values: (Option<f64>, Option<f64>), spread| {
        if let (Some(before), Some(after)) = values {
            rows.push(Row { name, words, values: (before, after), spread });
        }
    };
    let plain: fn(f64) -> String = count;
    let both = |get: fn(&Outcome) -> Option<f64>| (get(a), get(b));
    let slices =
        |get: fn(&Slot) -> Option<f64>| spread(a, get).zip(spread(b, get)).map(|(a, b): (f64, f64)| a.max(b));
    if a.latency.is_some() && b.latency.is_some() {
        let rate = slices(|slot| (slot.received > 0).then(|| slot.received as f64 / slot.length_ms));
        row("rate, 1/s", plain, both(|o| Some(o.rate)), rate);
    }
    row("p50", millis, both(|o| o.latency.map(|l| l.p50)), slices(|slot| slot.p50));
    row("p90", millis, both(|o| o.latency.map(|l| l.p90)), None);
    row("p99", millis, both(|o| o.latency.map(|l| l.p99)), slices(|slot| slot.p99));
    row("p99.9", millis, both(|o| o.latency.map(|l| l.p999)), None);
    row("max", millis, both(|o| o.latency.map(|l| l.max)), slices(|slot| slot.max));
    row("lost", plain, both(|o| Some(o.loss as f64)), None);
    row("duplicates", plain, both(|o| Some(o.duplicates as f64)), None);
    row("errors", plain, both(|o| Some(o.errors as f64)), None);
    let each = slices(|slot| {
        let used = slot.server_cores? * slot.length_ms;
        (slot.received > 0).then(|| used / slot.received as f64)
    });
    row("server CPU for each", micros, both(|o| o.server.cpu_per_message_us), each);
    row("server CPU/s a connection", micros, both(|o| o.server.cpu_per_connection_us), None);
    let memory = slices(|slot| Some(slot.server_memory? as f64));
    row("server memory", bytes, both(|o| o.server.memory_bytes.map(|bytes| bytes as f64)), memory);
    row("memory a connection", bytes, both(|o| o.server.memory_per_connection), None);
    row("load tool, % of a core", plain, both(|o| Some((o.loader.busy * 100.0).round())), None);
    rows
}

/// Half the range of the middle half of the slices that count, as a part of their median; `None`: too few slices.
fn spread(run: &Outcome, get: fn(&Slot) -> Option<f64>) -> Option<f64> {
    let mut values: Vec<_> = run.series.iter().filter(|slot| slot.counts).filter_map(get).collect();
    values.sort_by(f64::total_cmp);
    let at = |part: f64| values[((values.len() - 1) as f64 * part).round() as usize];
    (values.len() >= 5 && at(0.5) > 0.0).then(|| (at(0.75) - at(0.25)) / 2.0 / at(0.5))
}

fn change(before: f64, after: f64) -> String {
    if (before - after).abs() < f64::EPSILON {
        return "=".to_owned();
    }
    if before == 0.0 {
        return "new".to_owned();
    }
    format!("{:+.1} %", (after / before - 1.0) * 100.0)
}

fn judgement(row: &Row) -> String {
    let (before, after) = row.values;
    match row.spread {
        None => "not known".to_owned(),
        Some(spread) => {
            let beyond = before > 0.0 && (after / before - 1.0).abs() > 2.0 * spread;
            let word = if (before - after).abs() < f64::EPSILON || !beyond { ", within it" } else { "" };
            format!("± {:.1} %{word}", spread * 100.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::sample;
    use crate::load::plan::Kind;

    #[test]
    fn a_change_is_told_with_the_spread_beside_it() {
        let a = sample(Kind::Fanout);
        let mut b = a.clone();
        b.rate = 30_000.0;
        b.loss = 0;
        b.duplicates = 2;
        b.latency.as_mut().unwrap().p50 = 1.0;
        b.latency.as_mut().unwrap().p99 = 4.05;
        let table = compare(&a, &b).unwrap();
        let line = |name: &str| {
            let line = table
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap_or_else(|| panic!("{name}: {table}"));
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("rate, 1/s"), "rate, 1/s 20 000 30 000 +50.0 % ± 0.5 %");
        assert_eq!(line("p50"), "p50 1.00 ms 1.00 ms = ± 0.0 %, within it");
        assert_eq!(line("p99 "), "p99 4.00 ms 4.05 ms +1.2 % ± 2.4 %, within it");
        assert_eq!(line("lost"), "lost 3 0 -100.0 % not known");
        assert_eq!(line("duplicates"), "duplicates 2 2 = not known");
        assert!(table.contains("Repeat both in turns") && !table.contains("Different machines"));
    }

    #[test]
    fn runs_of_different_kind_are_refused_with_what_differs() {
        let a = sample(Kind::Fanout);
        assert!(compare(&a, &sample(Kind::Echo)).unwrap_err().contains("scenario fanout and echo"));
        let mut b = a.clone();
        (b.plan.conns, b.plan.size) = (5_000, 64);
        let words = compare(&a, &b).unwrap_err();
        assert!(words.ends_with("connections 1000 and 5000; size 128 and 64"), "{words}");
        // The same load on another server is what it is for.
        b = a.clone();
        (b.plan.url, b.plan.protocol) = ("ws://other/".to_owned(), "templates".to_owned());
        b.machine = "another".to_owned();
        assert!(compare(&a, &b).unwrap().contains("Different machines"));
    }

    #[test]
    fn few_slices_have_no_spread() {
        let mut a = sample(Kind::Fanout);
        a.series.truncate(5);
        assert_eq!(spread(&a, |slot| slot.p50), None);
        let b = a.clone();
        assert!(compare(&a, &b).unwrap().contains("not known"));
    }
}
