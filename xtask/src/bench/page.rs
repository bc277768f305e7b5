//! `docs/benchmarks.md`, from the figures that are kept: nothing stands there that is not in `docs/benchmarks.json`.

use std::fmt::Write as _;

use super::goals::{EVERYWHERE, GOALS, Goal};
use super::record::{Book, Conditions, Finding, Measured, Standing, Verdict, is_void};

const HEAD: &str = "\
# Benchmarks\n\n\
<!-- Written by `cargo xtask bench report` and `cargo xtask bench rivals` from docs/benchmarks.json, never by hand. -->\n\n\
Every figure here is a ratio to something measured in the same run, or a cost of each message or connection: a single time \
on a shared machine says nothing. The tool is `everwire bench` ([bench.md](bench.md)); type the commands to see your own.\n\n";

const OTHERS: &str = "\n## Other servers\n\n\
Small servers at the settings that their documentation recommends (`rivals/`), each beside Everwire and the floor in blocks of \
one run, on the same core, by the same load tool. Compare the ratios, and a server with what Everwire did in the same run; \
figures of different runs are those of different moments. Each server sends its own envelope around the same payload of 128 \
bytes; at the echo all three send the same bytes. A broadcast with 1 publish waiting is sent the next one when the last has \
reached everybody; of 16 in one write each server merges what it likes. Everwire numbers, stores (1 000 messages of history) and \
can replay what it broadcasts, with presence on; of the others only Centrifugo is a server of channels, here without history.\n";

/// The page.
pub fn render(book: &Book) -> String {
    let mut out = HEAD.to_owned();
    conditions(&mut out);
    glance(&mut out, book);
    for goal in &GOALS {
        section(&mut out, goal, book.goals.get(goal.name));
    }
    rivals(&mut out, book);
    out
}

fn conditions(out: &mut String) {
    out.push_str("## Conditions\n\n");
    out.push_str(EVERYWHERE);
}

/// One line for each goal: the finding that is furthest from it.
fn glance(out: &mut String, book: &Book) {
    out.push_str(
        "\n## Goals at a glance\n\nOf several measurements the one that is furthest from its goal.\n\n",
    );
    table(out, &["goal", "what", "worst", "goal", "", "date", "command"]);
    for goal in &GOALS {
        let Some(measured) = book.goals.get(goal.name) else {
            row(out, &[goal.name, goal.title, "", "", "not measured yet", "", ""]);
            continue;
        };
        let Some(worst) = measured.findings.iter().max_by(|a, b| distance(a).total_cmp(&distance(b))) else {
            continue;
        };
        let verdict = measured.findings.iter().map(Finding::verdict).max().map_or("", word);
        let Conditions { date, command, .. } = &measured.conditions;
        let command = format!("`{command}`");
        row(out, &[goal.name, goal.title, &value(worst), &limit(worst), verdict, date, &command]);
    }
}

/// How far from its goal: above 1 it is missed.
fn distance(finding: &Finding) -> f64 {
    let Some(value) = finding.value else { return f64::INFINITY };
    if finding.more_is_better { finding.limit / value } else { value / finding.limit }
}

fn section(out: &mut String, goal: &Goal, measured: Option<&Measured>) {
    // Writing to a string can't fail.
    let _ = write!(out, "\n## {}: {}\n\n{}\n", goal.name, goal.title, goal.conditions);
    let Some(measured) = measured else {
        let _ = write!(out, "\nNot measured yet: `cargo xtask bench report {}`.\n", goal.name);
        return;
    };
    out.push('\n');
    circumstances(out, &measured.conditions, measured.blocks);
    table(out, &["what", "floor", "figure", "ratio or value", "goal", "", "how far to trust it"]);
    for finding in &measured.findings {
        let Finding { what, floor, figure, note, .. } = finding;
        row(out, &[what, floor, figure, &value(finding), &limit(finding), word(finding.verdict()), note]);
    }
}

/// A table for each thing that was measured, a row for each server; and how each was run.
fn rivals(out: &mut String, book: &Book) {
    out.push_str(OTHERS);
    let all = || book.rivals.values().flat_map(|rival| &rival.standings);
    let mut whats: Vec<&str> = Vec::new();
    for standing in all() {
        if !whats.contains(&standing.what.as_str()) {
            whats.push(&standing.what);
        }
    }
    // Those of one kind beside each other.
    whats.sort_by_key(|what| (!what.starts_with("echo"), what.starts_with("memory")));
    for what in whats {
        let unit = all().find(|standing| standing.what == what).map_or("", |standing| &standing.unit);
        let _ = write!(out, "\n### {}: {unit}\n\n", capital(what));
        table(
            out,
            &["server", unit, "of the floor", "Everwire, same run", "of the floor", "how far to trust it"],
        );
        for (name, rival) in &book.rivals {
            for Standing { ours, rival, ours_ratio, rival_ratio, note, .. } in
                rival.standings.iter().filter(|standing| standing.what == what)
            {
                let ratio =
                    |ratio: &Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
                let own = if is_void(note) { "**VOID**".to_owned() } else { ratio(rival_ratio) };
                let (figure, ours, ours_ratio) = (whole(*rival), whole(*ours), ratio(ours_ratio));
                row(out, &[name, &figure, &own, &ours, &ours_ratio, note]);
            }
        }
    }
    out.push_str("\n### How they were run\n\n");
    if book.rivals.is_empty() {
        out.push_str("None was measured yet: `cargo xtask bench rivals`.\n");
    }
    for (name, rival) in &book.rivals {
        let _ = write!(out, "- **{name} {}**: {}.", rival.version, rival.settings);
        match &rival.refused {
            Some(reason) => {
                let _ = writeln!(out, " Not measured ({}): {reason}", rival.conditions.date);
            }
            None => {
                let _ = write!(out, " {}. ", rival.runtime);
                circumstances(out, &rival.conditions, Some(rival.blocks));
                out.truncate(out.trim_end().len());
                out.push('\n');
            }
        }
    }
}

fn capital(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn whole(value: f64) -> String {
    if value < 100.0 { format!("{value:.0}") } else { number(value) }
}

/// When, where and how.
pub(super) fn circumstances(out: &mut String, conditions: &Conditions, blocks: Option<(usize, u64)>) {
    let Conditions { date, command, machine, rustc, commit } = conditions;
    let commit = commit.as_deref().map_or("uncommitted changes".to_owned(), |hash| format!("commit {hash}"));
    let blocks = blocks
        .map_or(String::new(), |(count, ms)| format!("; {count} blocks of {} s a side", ms as f64 / 1e3));
    let _ = write!(out, "{date}, `{command}`; {commit}; {rustc}; {machine}{blocks}\n\n");
}

/// The head of a table.
pub(super) fn table(out: &mut String, heads: &[&str]) {
    row(out, heads);
    row(out, &vec!["---"; heads.len()]);
}

/// One row. What would end a cell is told as what it is.
pub(super) fn row(out: &mut String, cells: &[&str]) {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "**MISSED**",
        Verdict::Void => "**VOID**",
    }
}

fn value(finding: &Finding) -> String {
    finding.value.map_or_else(|| "none".to_owned(), number)
}

fn limit(finding: &Finding) -> String {
    format!("{} {}", if finding.more_is_better { "≥" } else { "≤" }, plain(finding.limit))
}

/// A limit as it was set.
fn plain(limit: f64) -> String {
    if limit >= 1_000.0 { number(limit) } else { limit.to_string() }
}

/// Three digits behind the point of what is small; thousands apart of what is large.
pub(super) fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push('\u{a0}');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::{FILE, PAGE};

    #[test]
    fn a_small_book_is_this_page() {
        let book = Book::parse(include_str!("page/small.json")).unwrap();
        let page = render(&book);
        // The words that stand in every page are left out.
        let mut told: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| S1"))
            .filter(|line| !line.contains("not measured"))
            .take(2)
            .collect();
        for name in ["S1", "S10"] {
            let start = page.find(&format!("\n## {name}: ")).unwrap() + 1;
            let end = page[start..].find("\n## ").unwrap() + start;
            told.extend(page[start..end].lines());
        }
        told.extend(page[page.find("\n### ").unwrap()..].lines());
        let golden: Vec<_> = include_str!("page/small.md").lines().collect();
        assert_eq!(told, golden);
        assert!(
            page.contains("\n| S9 | ") && page.contains("Not measured yet: `cargo xtask bench report S9`.")
        );
    }

    #[test]
    fn the_committed_page_is_what_the_committed_figures_give() {
        let root = crate::tree::root().unwrap();
        let page = std::fs::read_to_string(root.join(PAGE)).unwrap();
        let said = format!("{PAGE} is not what {FILE} gives: `cargo xtask bench page` writes it");
        assert!(page == render(&Book::read(&root).unwrap()), "{said}");
    }

    #[test]
    fn a_cell_stays_a_cell() {
        let mut out = String::new();
        row(&mut out, &["a|b", "c\nd"]);
        assert_eq!(out, "| a\\|b | c d |\n");
        assert_eq!([0.951, 512.4, 1_234_567.0].map(number), ["0.951", "512", "1\u{a0}234\u{a0}567"]);
    }
}
