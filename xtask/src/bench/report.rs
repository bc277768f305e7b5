//! `cargo xtask bench report`: the goals, one after the other, each kept as soon as it is there.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::goals::{self, GOALS, Goal};
use super::record::{Book, Conditions, Finding, Measured, PAGE, Verdict, commit};
use super::{Blocks, bounded};
use crate::call::Call;
use crate::counts::{self, Promise};
use crate::server;

/// What `everwire bench goals --json` prints.
#[derive(Debug, Deserialize)]
struct Document {
    machine: String,
    rounds: usize,
    block_ms: u64,
    findings: Vec<Finding>,
}

/// Measures these goals, or all.
pub(super) fn run(root: &Path, names: &[String], blocks: Blocks) -> Result<()> {
    let mut book = Book::read(root)?;
    let wanted = left(&book, &chosen(names)?, blocks.resume, commit(root).as_deref())?;
    let timed = wanted.iter().any(|goal| goal.name != "S4" && goal.name != "S11");
    let binary = if timed { Some(server::build(root, true)?) } else { None };
    let expected: u64 = wanted.iter().map(|goal| usual(goal, blocks).as_secs()).sum();
    println!("\n{} goals, about {} min on a quiet machine", wanted.len(), expected.div_ceil(60));
    let mut failed = Vec::new();
    for goal in wanted {
        let usual = usual(goal, blocks);
        println!("\n== {}: {}; about {} s", goal.name, goal.title, usual.as_secs());
        let measured = match (goal.name, &binary) {
            ("S4", _) => counted(root),
            ("S11", _) => grown(root, usual * 5),
            (_, Some(binary)) => timed_goal(root, binary, goal, blocks, usual),
            (_, None) => bail!("nothing was built"),
        };
        match measured {
            Ok(measured) => {
                tell(&measured);
                book.goals.insert(goal.name.to_owned(), measured);
                book.write(root)?;
            }
            // The others are worth having all the same.
            Err(error) => {
                println!("FAILED: {error:#}");
                failed.push(goal.name);
            }
        }
    }
    println!("\n{PAGE} is written");
    if !failed.is_empty() {
        bail!("{} could not be measured; what was kept of them before stands as it was", failed.join(", "));
    }
    Ok(())
}

/// The goals of these names, in the page's order.
fn chosen(names: &[String]) -> Result<Vec<&'static Goal>> {
    if let Some(name) = names.iter().find(|name| goals::named(name).is_none()) {
        let all: Vec<_> = GOALS.iter().map(|goal| goal.name).collect();
        bail!("there is no goal {name:?}: the names are {}", all.join(" "));
    }
    Ok(GOALS.iter().filter(|goal| names.is_empty() || names.iter().any(|name| name == goal.name)).collect())
}

/// Those that are still to be measured.
fn left(
    book: &Book,
    wanted: &[&'static Goal],
    resume: bool,
    commit: Option<&str>,
) -> Result<Vec<&'static Goal>> {
    can_resume(resume, commit)?;
    let is_there = |goal: &Goal| {
        let kept = book.goals.get(goal.name);
        resume && kept.is_some_and(|kept| kept.conditions.commit.as_deref() == commit)
    };
    Ok(wanted.iter().copied().filter(|goal| !is_there(goal)).collect())
}

/// Whether there is something to go on with.
pub(super) fn can_resume(resume: bool, commit: Option<&str>) -> Result<()> {
    if resume && commit.is_none() {
        bail!("--resume goes on at the commit that was measured, and the tree has uncommitted changes");
    }
    Ok(())
}

fn usual(goal: &Goal, blocks: Blocks) -> Duration {
    scaled(goal.usual_s, blocks)
}

/// So many seconds with the usual blocks, which are nearly all of the time of most: how long with these.
pub(super) fn scaled(usual_s: u64, blocks: Blocks) -> Duration {
    let usual_ms = (5 + 1) * 2_000;
    let asked_ms = (blocks.rounds as u64 + 1) * blocks.block_ms;
    Duration::from_secs(10 + usual_s * asked_ms.max(usual_ms / 2) / usual_ms)
}

fn timed_goal(root: &Path, binary: &Path, goal: &Goal, blocks: Blocks, usual: Duration) -> Result<Measured> {
    let Blocks { rounds, block_ms, .. } = blocks;
    let words = format!("goals {} --json --rounds {rounds} --block-ms {block_ms}", goal.name);
    let call = words.split_whitespace().fold(Call::new(root, "").arg(binary).arg("bench"), Call::arg);
    // An unsteady floor is measured three times; a busy machine takes longer for all else.
    let said = bounded::output(&call, usual * 5)?;
    let document: Document = serde_json::from_str(&said).context("it printed no findings")?;
    let command = format!("cargo xtask bench report {}{}", goal.name, options(blocks));
    Ok(Measured {
        conditions: Conditions::now(root, &command, &document.machine)?,
        blocks: Some((document.rounds, document.block_ms)),
        findings: document.findings,
    })
}

/// The options that differ from the usual ones, as they are typed.
pub(super) fn options(blocks: Blocks) -> String {
    match (blocks.rounds, blocks.block_ms) {
        (5, 2_000) => String::new(),
        (rounds, block_ms) => format!(" --rounds {rounds} --block-ms {block_ms}"),
    }
}

/// The counts that are committed: `cargo xtask counts` holds every change against them.
fn counted(root: &Path) -> Result<Measured> {
    let (built, promises) = counts::promises(root)?;
    let finding = |promise: Promise| Finding {
        goal: "S4".to_owned(),
        what: format!("instructions of a delivery, `{}`", promise.job),
        floor: String::new(),
        figure: format!("{:.1} instructions", promise.instructions),
        value: Some(promise.instructions),
        limit: promise.most,
        more_is_better: false,
        note: format!("{} blocks and {} bytes allocated for each", promise.blocks, promise.bytes),
    };
    Ok(Measured {
        conditions: Conditions::now(root, "cargo xtask counts", &format!("counted with {built}"))?,
        blocks: None,
        findings: promises.into_iter().map(finding).collect(),
    })
}

/// Runs `cargo xtask growth` and reads its tables.
fn grown(root: &Path, limit: Duration) -> Result<Measured> {
    let words =
        "cargo run --quiet --locked --release -p everwire-engine --features counts --bin everwire-growth";
    // The build is not a part of the measurement.
    Call::new(root, &words.replacen("run", "build", 1)).run()?;
    let said = bounded::output(&Call::new(root, words), limit)?;
    print!("{said}");
    let findings = growth(&said);
    if findings.is_empty() {
        bail!("it printed no table");
    }
    Ok(Measured {
        conditions: Conditions::now(root, "cargo xtask growth", &machine())?,
        blocks: None,
        findings,
    })
}

/// Rows such as `publish to nobody     83   85   90   x 1.08  met`, below a line of sizes. What begins with "a bare" is no
/// operation of ours, and has no verdict: it stands in the notes of the rows below it.
fn growth(said: &str) -> Vec<Finding> {
    /// A row begins with a name of so many characters.
    const NAME: usize = 20;
    let (mut about, mut bare, mut sizes, mut findings) = ("", String::new(), Vec::new(), Vec::new());
    for line in said.lines() {
        let Some((name, rest)) = line.split_at_checked(NAME) else { continue };
        let words: Vec<_> = rest.split_whitespace().collect();
        if name.trim().is_empty() {
            (sizes, bare) = (
                words.iter().take_while(|word| word.parse::<f64>().is_ok()).copied().collect(),
                String::new(),
            );
            continue;
        }
        let numbers = |row: &[&str]| !row.is_empty() && row.iter().all(|word| word.parse::<f64>().is_ok());
        let split = words.split_at_checked(sizes.len()).filter(|(row, _)| numbers(row));
        let Some((row, verdict)) = split else {
            if let Some((head, _)) = line.split_once([':', ';']) {
                about = if head.starts_with("what grows") { "all of them" } else { head };
            }
            continue;
        };
        let times = verdict.contains(&"x");
        if name.starts_with("a bare") {
            let exponent = verdict.first().map_or(String::new(), |exponent| format!(", exponent {exponent}"));
            bare = format!("; {}: {}{exponent}", name.trim(), row.join(", "));
        } else if let [.., value, "met" | "MISSED"] = verdict
            && let Ok(value) = value.parse()
        {
            let each = if times { "ns" } else { "ns for each" };
            let at = |place: Option<(&&str, &&str)>| {
                place.map_or(String::new(), |(ns, size)| format!("{ns} {each} among {size}"))
            };
            findings.push(Finding {
                goal: "S11".to_owned(),
                what: format!("{}, {about}", name.trim()),
                floor: at(row.first().zip(sizes.first())),
                figure: at(row.last().zip(sizes.last())),
                value: Some(value),
                limit: if times { 1.3 } else { 1.05 },
                more_is_better: false,
                note: format!(
                    "{}; all: {}{bare}",
                    if times { "largest growth over three decades" } else { "exponent of n" },
                    row.join(", ")
                ),
            });
        }
    }
    findings
}

/// As `everwire bench` says it.
pub(super) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{model}, {cores} cores, {} {}", std::env::consts::OS, kernel.trim())
}

fn tell(measured: &Measured) {
    for finding in &measured.findings {
        let word = match finding.verdict() {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::Void => "VOID",
        };
        println!("{word:<7}{}: {} ({})", finding.what, finding.figure, finding.note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "
near: the same 10 channels; ns an operation
                            10       100      1000   per three decades
subscribe                 1003      1010      1100   x 1.10  met
publish to nobody          500       600       700   x 1.40  MISSED

spread: channels all over the node; ns an operation
                            10       100      1000   per three decades
a bare look-up               9        20        74
subscribe                 1003      2010      4100   x 4.09  MISSED

what grows by nature; ns for each of n
                            10       100      1000   exponent of n
a bare walk                  9        10        12   1.10
a reply to each            100       100       101   1.02  met

1 over the goal of x 1.3, or of an exponent of 1.05
";

    #[test]
    fn growth_is_read_from_its_tables() {
        let findings = growth(SAID);
        let told: Vec<_> =
            findings.iter().map(|f| (f.what.as_str(), f.value, f.limit, f.verdict())).collect();
        assert_eq!(
            told,
            [
                ("subscribe, near", Some(1.10), 1.3, Verdict::Met),
                ("publish to nobody, near", Some(1.40), 1.3, Verdict::Missed),
                ("subscribe, spread", Some(4.09), 1.3, Verdict::Missed),
                ("a reply to each, all of them", Some(1.02), 1.05, Verdict::Met),
            ]
        );
        assert_eq!(
            (findings[0].floor.as_str(), findings[0].figure.as_str()),
            ("1003 ns among 10", "1100 ns among 1000")
        );
        assert_eq!(
            findings[2].note,
            "largest growth over three decades; all: 1003, 2010, 4100; a bare look-up: 9, 20, 74"
        );
        assert_eq!(findings[3].figure, "101 ns for each among 1000");
        assert_eq!(
            findings[3].note,
            "exponent of n; all: 100, 100, 101; a bare walk: 9, 10, 12, exponent 1.10"
        );
        assert!(growth("error: killed").is_empty());
    }

    #[test]
    fn goals_are_chosen_by_name_in_the_pages_order() {
        let of = |names: &[&str]| chosen(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        let names: Vec<_> = of(&["S5", "S1"]).unwrap().iter().map(|goal| goal.name).collect();
        assert_eq!(names, ["S1", "S5"]);
        assert_eq!(of(&[]).unwrap().len(), GOALS.len());
        assert!(
            of(&["S99"]).unwrap_err().to_string().starts_with("there is no goal \"S99\": the names are S1 ")
        );
    }

    #[test]
    fn a_run_goes_on_where_it_stopped() {
        let mut book = Book::default();
        let conditions = Conditions {
            date: "2026-01-31".to_owned(),
            command: String::new(),
            machine: String::new(),
            rustc: String::new(),
            commit: Some("abc".to_owned()),
        };
        let measured = Measured { conditions, blocks: None, findings: Vec::new() };
        book.goals.insert("S1".to_owned(), measured);
        let all = chosen(&[]).unwrap();
        let count = |resume, commit| left(&book, &all, resume, commit).map(|goals| goals.len());
        assert_eq!(count(false, Some("abc")).unwrap(), GOALS.len());
        assert_eq!(count(true, Some("abc")).unwrap(), GOALS.len() - 1);
        assert_eq!(count(true, Some("abd")).unwrap(), GOALS.len());
        assert!(count(true, None).is_err());
    }
}
