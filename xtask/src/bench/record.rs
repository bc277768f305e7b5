//! `docs/benchmarks.json`: what was measured, when, where and with which command.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::page;
use crate::call::Call;

/// Where the figures are kept.
pub const FILE: &str = "docs/benchmarks.json";
/// Where people read them.
pub const PAGE: &str = "docs/benchmarks.md";

/// Goes up when a field changes its meaning.
const SCHEMA: u32 = 1;

/// All that is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    /// Of the file.
    pub schema: u32,
    /// By the goal's name.
    pub goals: BTreeMap<String, Measured>,
    /// Other servers, by name.
    #[serde(default)]
    pub rivals: BTreeMap<String, Rival>,
}

impl Default for Book {
    fn default() -> Self {
        Self { schema: SCHEMA, goals: BTreeMap::new(), rivals: BTreeMap::new() }
    }
}

/// Where and how something was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// The day, as 2026-01-31.
    pub date: String,
    /// What to type for the same.
    pub command: String,
    /// Processor, cores and kernel.
    pub machine: String,
    /// The compiler.
    pub rustc: String,
    /// What was measured; `None`: something that is not committed.
    pub commit: Option<String>,
}

/// One goal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Where and how.
    pub conditions: Conditions,
    /// Blocks that counted, of so many milliseconds; `None`: it was counted, not timed.
    pub blocks: Option<(usize, u64)>,
    /// What came of it.
    pub findings: Vec<Finding>,
}

/// What one measurement says: as `everwire bench goals --json` prints it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Its goal.
    pub goal: String,
    /// What was measured.
    pub what: String,
    /// The floor with its unit; empty where there is none.
    pub floor: String,
    /// The figure with its unit.
    pub figure: String,
    /// What is held against the limit. `None`: no number, which meets nothing.
    pub value: Option<f64>,
    /// The limit.
    pub limit: f64,
    /// Whether more is better.
    pub more_is_better: bool,
    /// Spreads and conditions.
    pub note: String,
}

/// Another server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rival {
    /// Where and how.
    pub conditions: Conditions,
    /// Its own.
    pub version: String,
    /// What runs it, with its version.
    pub runtime: String,
    /// How it was set.
    pub settings: String,
    /// Blocks that counted, of so many milliseconds.
    pub blocks: (usize, u64),
    /// What came of it.
    pub standings: Vec<Standing>,
    /// Why it could not be measured.
    pub refused: Option<String>,
}

/// One figure of all three: as `everwire bench rival` prints it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// What was measured.
    pub what: String,
    /// Of the figures.
    pub unit: String,
    /// The floor's, where there is one.
    pub floor: Option<f64>,
    /// Everwire's.
    pub ours: f64,
    /// The other server's.
    pub rival: f64,
    /// Everwire's to the floor's.
    pub ours_ratio: Option<f64>,
    /// The other server's to the floor's.
    pub rival_ratio: Option<f64>,
    /// Spreads and conditions.
    pub note: String,
}

/// What a finding is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The goal is met.
    Met,
    /// The machine was not quiet enough to say.
    Void,
    /// The goal is missed.
    Missed,
}

impl Finding {
    /// Whether the goal is met. A void run is not, whatever its figure.
    pub fn verdict(&self) -> Verdict {
        let held = |value: f64| if self.more_is_better { value >= self.limit } else { value <= self.limit };
        match self.value {
            _ if is_void(&self.note) => Verdict::Void,
            Some(value) if held(value) => Verdict::Met,
            _ => Verdict::Missed,
        }
    }
}

/// Whether a note says that the run is void.
pub(super) fn is_void(note: &str) -> bool {
    note.contains("VOID")
}

impl Book {
    /// What is known so far; nothing, where there is no file.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        Self::parse(&fs::read_to_string(&path).context(FILE)?)
    }

    /// The file's text.
    pub fn parse(text: &str) -> Result<Self> {
        let book: Self = serde_json::from_str(text).context(FILE)?;
        ensure!(book.schema == SCHEMA, "{FILE} has the schema {}, and this is {SCHEMA}", book.schema);
        Ok(book)
    }

    /// Writes the file and the page.
    pub fn write(&self, root: &Path) -> Result<()> {
        fs::write(root.join(FILE), serde_json::to_string_pretty(self)? + "\n").context(FILE)?;
        fs::write(root.join(PAGE), page::render(self)).context(PAGE)
    }
}

impl Conditions {
    /// Today, with this commit, if nothing but the report itself differs from it.
    pub fn now(root: &Path, command: &str, machine: &str) -> Result<Self> {
        let ask = |words: &str| Call::new(root, words).answer().with_context(|| words.to_owned());
        Ok(Self {
            date: ask("date -u +%F")?,
            command: command.to_owned(),
            machine: machine.to_owned(),
            rustc: ask("rustc --version")?,
            commit: commit(root),
        })
    }
}

/// The commit that is measured; `None` where the tree has changes or is no repository.
pub(super) fn commit(root: &Path) -> Option<String> {
    let status = "git status --porcelain -- . :(exclude)docs/benchmarks.json :(exclude)docs/benchmarks.md";
    let clean = Call::new(root, status).answer()?.is_empty();
    if clean { Call::new(root, "git rev-parse --short=12 HEAD").answer() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(value: Option<f64>, more_is_better: bool, note: &str) -> Finding {
        let text = String::new;
        let (goal, what, floor, figure, note) = (text(), text(), text(), text(), note.to_owned());
        Finding { goal, what, floor, figure, value, limit: 1.0, more_is_better, note }
    }

    #[test]
    fn a_void_run_and_no_number_meet_nothing() {
        let of = |value, more, note| finding(value, more, note).verdict();
        assert_eq!(of(Some(1.0), true, ""), Verdict::Met);
        assert_eq!(of(Some(0.9), true, ""), Verdict::Missed);
        assert_eq!(of(Some(0.9), false, ""), Verdict::Met);
        assert_eq!(of(Some(1.1), false, ""), Verdict::Missed);
        assert_eq!(of(None, false, ""), Verdict::Missed);
        assert_eq!(of(Some(0.5), false, "VOID, the floor was unsteady: x"), Verdict::Void);
    }

    #[test]
    fn another_schema_is_refused() {
        assert!(Book::parse(r#"{"schema":2,"goals":{}}"#).unwrap_err().to_string().contains("schema 2"));
        assert!(Book::parse(r#"{"schema":1,"goals":{},"more":1}"#).is_err());
    }
}
