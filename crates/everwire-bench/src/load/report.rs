//! The page of a run: one file that needs nothing from elsewhere, to be kept beside a change or sent to a colleague.

mod plot;

use std::fmt::Write as _;

use self::plot::{Line, Plot};
use super::outcome::{Latency, Outcome, Slot};
use super::plan::Kind;
use super::table::{bytes, conditions, count, micros, millis};

const STYLE: &str = include_str!("report/page.css");

/// The page.
pub fn render(outcome: &Outcome) -> String {
    let plan = &outcome.plan;
    let title = format!("{} · {}", plan.scenario.name(), plan.url);
    let mut out = String::with_capacity(64 * 1024);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{}</title>\n<style>\n{STYLE}</style></head>\n<body><main>\n\
         <header><p class=\"kind\">everwire bench</p><h1>{}</h1><p class=\"url\">{}</p><p class=\"quiet\">{}</p></header>\n",
        escape(&title),
        plan.scenario.name(),
        escape(&plan.url),
        escape(&conditions(outcome)),
    );
    verdicts(outcome, &mut out);
    cards(outcome, &mut out);
    out.push_str("<section class=\"plots\">\n");
    plots(outcome, &mut out);
    out.push_str("</section>\n");
    tables(outcome, &mut out);
    out.push_str("</main></body></html>\n");
    out
}

/// Text that can stand anywhere in HTML, in an attribute too.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\n', "&#10;")
}

fn verdicts(outcome: &Outcome, out: &mut String) {
    let mut notes: Vec<(&str, String)> = Vec::new();
    if let Some(words) = &outcome.broken {
        notes.push(("bad", words.clone()));
    }
    if outcome.stopped {
        notes.push(("warn", "stopped before its time".to_owned()));
    }
    for verdict in &outcome.asserts {
        let (class, word) = if verdict.held { ("good", "holds") } else { ("bad", "fails") };
        notes.push((class, format!("{word}: {} ({})", verdict.expression, verdict.figure)));
    }
    if let Some(words) = &outcome.first_error {
        notes.push(("warn", format!("{} errors, the first: {words}", count(outcome.errors as f64))));
    }
    notes.extend(outcome.warnings.iter().map(|words| ("warn", words.clone())));
    if notes.is_empty() {
        return;
    }
    out.push_str("<ul class=\"notes\">");
    for (class, words) in notes {
        let _ = write!(out, "<li class=\"{class}\">{}</li>", escape(&words));
    }
    out.push_str("</ul>\n");
}

fn cards(outcome: &Outcome, out: &mut String) {
    let server = &outcome.server;
    let mut list: Vec<(&str, String, String, &str)> = Vec::new();
    if let Some(latency) = &outcome.latency {
        let all = format!("{} in all", count(outcome.received as f64));
        list.push((outcome.counted.as_str(), format!("{}/s", count(outcome.rate)), all, ""));
        list.push(("median latency", millis(latency.p50), format!("p90 {}", millis(latency.p90)), ""));
        let rest = format!("p99.9 {}, max {}", millis(latency.p999), millis(latency.max));
        list.push(("99th percentile", millis(latency.p99), rest, ""));
        let class = if outcome.loss + outcome.duplicates > 0 { "bad" } else { "" };
        let twice = format!("{} came twice", count(outcome.duplicates as f64));
        list.push(("lost", count(outcome.loss as f64), twice, class));
    }
    if let (Some(each), Some(rate)) = (server.cpu_per_message_us, server.messages_per_cpu_s) {
        let below = format!("{} in a CPU-second", count(rate));
        list.push(("server CPU for each", micros(each), below, ""));
    }
    if let Some(each) = server.cpu_per_connection_us {
        let below = "for each connection".to_owned();
        list.push(("server CPU while idle", format!("{}/s", micros(each)), below, ""));
    }
    if let Some(memory) = server.memory_bytes {
        let each = server.memory_per_connection;
        let below = each.map_or_else(String::new, |each| format!("{} more a connection", bytes(each)));
        list.push(("server memory", bytes(memory as f64), below, ""));
    }
    out.push_str("<dl class=\"cards\">");
    for (name, value, below, class) in list {
        let (name, value, below) = (escape(name), escape(&value), escape(&below));
        let _ = write!(
            out,
            "<div class=\"{class}\"><dt>{name}</dt><dd>{value}</dd><dd class=\"quiet\">{below}</dd></div>"
        );
    }
    out.push_str("</dl>\n");
}

/// The plots over time, and the percentile curve.
fn plots(outcome: &Outcome, out: &mut String) {
    let time = Time::of(&outcome.series);
    let line = |name, colour, get: fn(&Slot) -> Option<f64>| Line {
        name,
        colour,
        values: outcome.series.iter().map(get).collect(),
    };
    let latencies = vec![
        line("max", "c", |slot| slot.max),
        line("p99", "b", |slot| slot.p99),
        line("p50", "a", |slot| slot.p50),
    ];
    time.plot("Latency over time", latencies, true, millis).render(out);
    curve(outcome, out);
    let mut rates = vec![line("received", "a", |slot| Some(slot.received as f64 / slot.length_ms * 1e3))];
    if outcome.errors > 0 {
        rates.push(line("errors", "b", |slot| Some(slot.errors as f64 / slot.length_ms * 1e3)));
    }
    if outcome.plan.scenario != Kind::Idle {
        let title = format!("{} a second", capital(&outcome.counted));
        time.plot(&title, rates, false, count).render(out);
    }
    let cores = vec![
        line("server", "a", |slot| Some(slot.server_cores? * 100.0)),
        line("load tool", "c", |slot| Some(slot.loader_cores * 100.0)),
    ];
    time.plot("CPU, % of a core", cores, false, |value| format!("{value:.0} %")).render(out);
    let memory = vec![line("resident", "a", |slot| Some(slot.server_memory? as f64))];
    let most = outcome.series.iter().filter_map(|slot| slot.server_memory).max().unwrap_or(0);
    let mut memory = time.plot("Server memory", memory, false, bytes);
    memory.unit = if most >= 1 << 30 { (1_u64 << 30) as f64 } else { (1_u64 << 20) as f64 };
    memory.render(out);
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

/// What all plots over time share.
struct Time {
    places: Vec<f64>,
    names: Vec<String>,
    below: Vec<(f64, String)>,
    shades: Vec<(f64, f64)>,
}

impl Time {
    fn of(series: &[Slot]) -> Self {
        let end = series.last().map_or(1.0, |slot| slot.at_ms).max(1.0);
        let place = |ms: f64| (ms / end).clamp(0.0, 1.0);
        let middle = |slot: &Slot| slot.at_ms - slot.length_ms / 2.0;
        let name = |slot: &Slot| {
            let word = if slot.counts { "" } else { " (does not count)" };
            format!("{:.1} s{word}", slot.at_ms / 1e3)
        };
        let shades = series.iter().filter(|slot| !slot.counts);
        Self {
            places: series.iter().map(|slot| place(middle(slot))).collect(),
            names: series.iter().map(name).collect(),
            below: (0..=4)
                .map(|n| (f64::from(n) / 4.0, format!("{:.1} s", end / 4e3 * f64::from(n))))
                .collect(),
            shades: shades.map(|slot| (place(slot.at_ms - slot.length_ms), place(slot.at_ms))).collect(),
        }
    }

    fn plot<'a>(
        &self,
        title: &'a str,
        lines: Vec<Line>,
        logarithmic: bool,
        words: fn(f64) -> String,
    ) -> Plot<'a> {
        Plot {
            title,
            places: self.places.clone(),
            below: self.below.clone(),
            names: self.names.clone(),
            lines,
            shades: self.shades.clone(),
            logarithmic,
            unit: 1.0,
            words,
        }
    }
}

/// Each nine of the percentile takes as much room as the one before.
fn curve(outcome: &Outcome, out: &mut String) {
    let Some(latency) = &outcome.latency else { return };
    let nines = (latency.count as f64).log10().max(1.0);
    let place = |q: f64| if q >= 1.0 { 1.0 } else { (-(1.0 - q).log10() / nines).min(1.0) };
    let name = |q: f64| format!("p{}", (q * 1e6).round() / 1e4);
    let marks = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
    let plot = Plot {
        title: "Latency by percentile",
        places: outcome.curve.iter().map(|(q, _)| place(*q)).collect(),
        below: marks.iter().filter(|q| place(**q) < 0.97).map(|q| (place(*q), name(*q))).collect(),
        names: outcome
            .curve
            .iter()
            .map(|(q, _)| if *q >= 1.0 { "max".to_owned() } else { name(*q) })
            .collect(),
        lines: vec![Line {
            name: "latency",
            colour: "a",
            values: outcome.curve.iter().map(|(_, ms)| Some(*ms)).collect(),
        }],
        shades: Vec::new(),
        logarithmic: true,
        unit: 1.0,
        words: millis,
    };
    plot.render(out);
}

fn tables(outcome: &Outcome, out: &mut String) {
    let plan = &outcome.plan;
    if !outcome.parts.is_empty() {
        out.push_str("<section><h2>Kinds</h2><div class=\"wide\"><table><tr><th>what</th><th>count</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>");
        for part in &outcome.parts {
            let Latency { count: all, p50, p90, p99, p999, max, .. } = part.latency;
            let _ = write!(out, "<tr><th>{}</th><td>{}</td>", escape(&part.name), count(all as f64));
            for value in [p50, p90, p99, p999, max] {
                let _ = write!(out, "<td>{}</td>", millis(value));
            }
            out.push_str("</tr>");
        }
        out.push_str("</table></div></section>\n");
    }
    let loader = &outcome.loader;
    let told =
        |value: Option<f64>| value.map_or_else(|| "not known".to_owned(), |value| format!("{value:.3}"));
    let rows = [
        ("command", outcome.command.clone()),
        ("began", began(outcome.started_ms)),
        ("machine", outcome.machine.clone()),
        ("load tool", format!("everwire {}, schema {}", outcome.version, outcome.schema)),
        ("protocol", plan.protocol.clone()),
        ("a latency is", plan.scenario.words().1.to_owned()),
        ("server's figures from", outcome.server.source.clone()),
        ("reads and writes of the server for each", told(outcome.server.calls_per_message)),
        ("sleeps of the server for each", told(outcome.server.waits_per_message)),
        (
            "load tool's own",
            format!(
                "{:.0} % of its core, {:.2} system calls for each, 99 of 100 sends at most {} late",
                loader.busy * 100.0,
                loader.calls_per_message,
                millis(loader.late_p99)
            ),
        ),
        ("out of order", count(outcome.reordered as f64)),
    ];
    out.push_str("<section><h2>How it was measured</h2><table class=\"facts\">");
    for (name, value) in rows {
        let _ = write!(out, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
    }
    out.push_str("</table></section>\n");
    series(outcome, out);
}

fn series(outcome: &Outcome, out: &mut String) {
    out.push_str("<section><details><summary>Every slice of time</summary><div class=\"wide\"><table><tr><th>until</th><th>received</th><th>sent</th><th>errors</th><th>p50</th><th>p99</th><th>max</th><th>server CPU</th><th>memory</th></tr>");
    let told = |value: Option<f64>, words: fn(f64) -> String| value.map_or_else(|| "–".to_owned(), words);
    for slot in &outcome.series {
        let class = if slot.counts { "" } else { " class=\"quiet\"" };
        let _ = write!(
            out,
            "<tr{class}><th>{:.2} s</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            slot.at_ms / 1e3,
            count(slot.received as f64),
            count(slot.sent as f64),
            count(slot.errors as f64),
            told(slot.p50, millis),
            told(slot.p99, millis),
            told(slot.max, millis),
            told(slot.server_cores.map(|cores| cores * 100.0), |value| format!("{value:.0} %")),
            told(slot.server_memory.map(|bytes| bytes as f64), bytes),
        );
    }
    out.push_str("</table></div></details></section>\n");
}

/// A moment in UTC. Days since 1970 to a date, by Howard Hinnant's `civil_from_days`.
fn began(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::{Verdict, sample};

    #[test]
    fn the_page_stands_alone_and_trusts_no_text() {
        let mut outcome = sample(Kind::Fanout);
        outcome.command = "everwire bench fanout --first '<script>alert(1)</script>'".to_owned();
        outcome.first_error = Some("the server refused: \"<img src=x>\"".to_owned());
        outcome.asserts.push(Verdict {
            expression: "p99<20ms".to_owned(),
            figure: "it is 4.00 ms".to_owned(),
            held: false,
        });
        let page = render(&outcome);
        for not in ["<script", "<img", " src=\"", " href=\"", "http://", "https://", "@import", "url("] {
            assert!(!page.contains(not), "{not}");
        }
        assert!(page.contains("fails: p99&lt;20ms (it is 4.00 ms)"));
        for title in [
            "Latency over time",
            "Latency by percentile",
            "Deliveries a second",
            "CPU, % of a core",
            "Server memory",
        ] {
            assert!(page.contains(&format!("<figcaption>{title}")), "{title}");
        }
        assert_eq!(page.matches("<figure>").count(), page.matches("</figure>").count());
        outcome.latency = None;
        outcome.series.clear();
        assert!(!render(&outcome).contains("<figure>"), "a run without a figure has no plot");
    }

    #[test]
    fn moments_are_dates() {
        for (ms, words) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399_000, "2000-02-28 23:59:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_700_000_000_000, "2023-11-14 22:13:20 UTC"),
        ] {
            assert_eq!(began(ms), words);
        }
    }
}
