//! The groups of tests: what `cargo xtask test` runs, and how long each may take on two cores.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::call::Call;
use crate::install::{self, Browser};
use crate::server;

/// A group of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Group {
    /// Formatting, lints, documentation, and that everything builds: 8 minutes.
    Lint,
    /// Unit tests of all crates but the server, the simulation, the model of the inbox, the house rules: 4 minutes.
    Units,
    /// Instructions and allocations of each of the engine's operations, against the committed figures: 2 minutes.
    Counts,
    /// The server over real sockets: 4 minutes.
    Integration,
    /// SDK and pages in Node and Chromium, clients in Python and Node: 4 minutes.
    Browser,
}

impl Group {
    fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Units => "units",
            Self::Counts => "counts",
            Self::Integration => "integration",
            Self::Browser => "browser",
        }
    }

    /// What it may take on two cores, with nothing built before.
    fn budget(self) -> Duration {
        let minutes = match self {
            Self::Lint => 8,
            Self::Counts => 2,
            Self::Units | Self::Integration | Self::Browser => 4,
        };
        Duration::from_secs(60 * minutes)
    }

    /// Its steps; those of the browser are made when the rest is there.
    fn steps(self, root: &Path) -> Vec<Call> {
        let cargo = |words: &str| Call::new(root, &format!("cargo {words}"));
        match self {
            Self::Lint => vec![
                cargo("fmt --all --check"),
                // A workspace of its own; what its programs do is compiled by the tests that play the corpus.
                cargo("fmt --manifest-path fuzz/Cargo.toml --check"),
                cargo("fmt --manifest-path rivals/rust/Cargo.toml --check"),
                // The lock file of fuzz too is its own, and no build here reads it: a new dependency of ours leaves it behind.
                cargo("fetch --locked --manifest-path fuzz/Cargo.toml"),
                cargo("clippy --locked --workspace --all-targets --all-features -- -D warnings"),
                cargo("doc --locked --workspace --all-features --no-deps --document-private-items")
                    .with("RUSTDOCFLAGS", "-D warnings"),
                cargo("build --locked --workspace --all-targets"),
                // What the first command of the README builds.
                cargo("build --locked --release --bin everwire"),
            ],
            Self::Units => vec![
                cargo("test --locked --workspace --exclude everwire-server"),
                // Without the flag this test is empty. Other flags, so a folder of its own: the one for all else stays
                // warm. Not a release build, which takes minutes longer than the model does.
                cargo("test --locked -p everwire-engine --test inbox_model")
                    .with("RUSTFLAGS", "--cfg loom")
                    .with("CARGO_TARGET_DIR", root.join("target/loom")),
            ],
            // A process of its own, as a person would type it.
            Self::Counts => vec![cargo("xtask counts")],
            Self::Integration => vec![cargo("test --locked -p everwire-server")],
            Self::Browser => Vec::new(),
        }
    }
}

/// What became of a group.
struct Outcome {
    name: &'static str,
    took: Duration,
    budget: Option<Duration>,
    passed: usize,
    /// The lines to type again.
    failed: Vec<String>,
}

/// Runs these groups, or all; every step of them, whatever failed before, so that one run tells everything.
pub fn run(root: &Path, groups: &[Group]) -> Result<()> {
    let mut groups = if groups.is_empty() { Group::value_variants().to_vec() } else { groups.to_vec() };
    groups.sort_unstable();
    groups.dedup();
    let mut outcomes = Vec::new();
    // First, so that a machine that lacks something says so at once and not after a quarter of an hour.
    let browser = if groups.contains(&Group::Browser) {
        let begun = Instant::now();
        let browser = install::for_browser(root)?;
        outcomes.push(Outcome {
            name: "install",
            took: begun.elapsed(),
            budget: None,
            passed: 0,
            failed: Vec::new(),
        });
        Some(browser)
    } else {
        None
    };
    for group in groups {
        outcomes.push(run_group(root, group, browser.as_ref()));
    }
    println!("\n{}", table(&outcomes));
    match outcomes.iter().map(|outcome| outcome.failed.len()).sum() {
        0 => Ok(()),
        1 => bail!("one step failed; its output is above"),
        failed => bail!("{failed} steps failed; their output is above"),
    }
}

fn run_group(root: &Path, group: Group, browser: Option<&Browser>) -> Outcome {
    println!("\n== {}: {} at most on two cores", group.name(), minutes(group.budget()));
    let begun = Instant::now();
    let (mut passed, mut failed) = (0, Vec::new());
    let mut note = |line: String, result: Result<()>| match result {
        Ok(()) => passed += 1,
        Err(error) => {
            println!("FAILED: {error:#}");
            failed.push(line);
        }
    };
    let mut steps = group.steps(root);
    if let Some(browser) = browser.filter(|_| group == Group::Browser) {
        match server::build(root, false) {
            Ok(binary) => steps = browser_steps(root, browser, &binary),
            Err(error) => note("cargo build -p everwire-server".to_owned(), Err(error)),
        }
    }
    for step in steps {
        note(step.line(), step.run_watched());
    }
    Outcome { name: group.name(), took: begun.elapsed(), budget: Some(group.budget()), passed, failed }
}

fn browser_steps(root: &Path, browser: &Browser, binary: &Path) -> Vec<Call> {
    vec![
        Call::new(root, "npm test").within("sdk/js"),
        Call::new(root, "npm run test:browser")
            .within("web/tests")
            .with("EVERWIRE_BIN", binary)
            .with("EVERWIRE_CHROMIUM", &browser.chromium)
            .with("EVERWIRE_PYTHON", &browser.python),
    ]
}

fn minutes(time: Duration) -> String {
    format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
}

/// Times against budgets. A budget that is passed is told, not refused: the machine may be busy with something else.
fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!("{:<12} {:>12} {:>12}\n", "group", "took", "budget");
    for outcome in outcomes {
        let budget = outcome.budget.map(minutes).unwrap_or_default();
        let _ = write!(text, "{:<12} {:>12} {budget:>12}", outcome.name, minutes(outcome.took));
        if outcome.budget.is_some_and(|budget| outcome.took > budget) {
            text.push_str("  warning: over its budget; a busy machine, or something that grew?");
        }
        if !outcome.failed.is_empty() {
            text.push_str("  FAILED");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    let failed: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.failed).collect();
    if !failed.is_empty() {
        text.push_str("\nfailed; to see one alone, type its line:\n");
        for line in &failed {
            let _ = writeln!(text, "    {line}");
        }
    }
    let passed: usize = outcomes.iter().map(|outcome| outcome.passed).sum();
    let _ = write!(text, "\nsteps: {passed} passed, {} failed", failed.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &'static str, seconds: u64, failed: &[&str]) -> Outcome {
        Outcome {
            name,
            took: Duration::from_secs(seconds),
            budget: Some(Duration::from_secs(240)),
            passed: 2,
            failed: failed.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    #[test]
    fn the_table_tells_times_budgets_and_failures() {
        let text = table(&[outcome("units", 65, &[]), outcome("browser", 241, &["npm test"])]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "units          1 min 05 s   4 min 00 s");
        assert!(
            lines[2].starts_with("browser        4 min 01 s   4 min 00 s  warning: over its budget"),
            "{text}"
        );
        assert!(lines[2].ends_with("  FAILED"));
        assert!(lines.contains(&"    npm test"));
        assert_eq!(lines.last(), Some(&"steps: 4 passed, 1 failed"));
    }

    #[test]
    fn every_crate_is_tested_by_some_group() {
        let root = Path::new(".");
        let lines: Vec<_> = Group::value_variants()
            .iter()
            .flat_map(|group| group.steps(root))
            .map(|step| step.line())
            .collect();
        // The workspace but for one crate, and that crate.
        assert!(lines.contains(&"cargo test --locked --workspace --exclude everwire-server".to_owned()));
        assert!(lines.contains(&"cargo test --locked -p everwire-server".to_owned()));
        let model = "cargo test --locked -p everwire-engine --test inbox_model";
        assert!(lines.iter().any(|line| line.contains("--cfg loom") && line.ends_with(model)), "{lines:#?}");
    }
}
