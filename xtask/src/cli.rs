//! The command line of `cargo xtask`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::bench::{self, Measure};
use crate::groups::{self, Group};
use crate::tree::{self, Tree};
use crate::{counts, long, tidy};

/// Tasks of the Everwire repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// All tests, or those of some groups; installs what they need
    Test {
        /// Groups to run; all of them without one
        groups: Vec<Group>,
    },
    /// The house rules: floors, sizes, names, codes (also a part of the tests)
    Tidy,
    /// The engine's simulator, for more seeds than the tests take
    Sim {
        /// How many seeds
        #[arg(long, value_name = "N")]
        seeds: Option<u64>,
        /// The first seed; with `--seeds 1` it plays one that failed once more
        #[arg(long, value_name = "SEED")]
        from: Option<u64>,
        /// Steps of each seed
        #[arg(long, value_name = "N")]
        steps: Option<u64>,
    },
    /// kill -9 at random moments, more often than the tests do it
    Crash {
        /// How often
        #[arg(long, value_name = "N", default_value_t = 1_000)]
        times: u64,
    },
    /// Measures a release build: against its goals, against other servers, or as `everwire bench` with any other words
    #[command(subcommand, disable_help_subcommand = true)]
    Bench(Measure),
    /// Writes the documents that are made of the settings: the config's template, schema and reference
    Docs,
    /// Instructions and allocations of the engine's operations, against the committed figures
    Counts {
        /// Write the figures anew instead
        #[arg(long)]
        renew: bool,
    },
    /// What an operation of the engine costs among 10 to a million channels; a minute, and 10 GB of memory
    Growth {
        /// The most channels and connections
        #[arg(long, value_name = "N", default_value_t = 1_000_000)]
        most: u32,
    },
    /// The public Autobahn suite against a release build, if a folder brings it
    Conformance {
        /// The folder, with its `run.sh URL OUT`
        dir: Option<PathBuf>,
    },
}

/// Does what the command line says.
pub fn run(cli: Cli) -> ExitCode {
    match cli.task.map(perform) {
        None => {
            println!("{}", Cli::command().render_help());
            ExitCode::SUCCESS
        }
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    let root = tree::root()?;
    match task {
        Task::Test { groups } => groups::run(&root, &groups),
        Task::Tidy => {
            let faults = tidy::check(&Tree::read(&root)?);
            print!("{faults}");
            match faults.refused() {
                0 => Ok(()),
                1 => anyhow::bail!("one fault"),
                count => anyhow::bail!("{count} faults"),
            }
        }
        Task::Sim { seeds, from, steps } => long::simulate(&root, seeds, from, steps),
        Task::Crash { times } => long::crash(&root, times),
        Task::Bench(measure) => bench::run(&root, &measure),
        Task::Docs => long::docs(&root),
        Task::Counts { renew } => counts::run(&root, renew),
        Task::Growth { most } => long::growth(&root, most),
        Task::Conformance { dir } => long::conformance(&root, dir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Blocks;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_tasks_are_read() {
        assert!(parse("xtask").unwrap().task.is_none());
        let Some(Task::Test { groups }) = parse("xtask test browser lint").unwrap().task else {
            panic!("no test")
        };
        assert_eq!(groups, [Group::Browser, Group::Lint]);
        let Some(Task::Sim { seeds, from, steps }) = parse("xtask sim --seeds 5000 --from 7").unwrap().task
        else {
            panic!("no sim")
        };
        assert_eq!((seeds, from, steps), (Some(5000), Some(7), None));
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_measured_is_read_and_other_words_are_passed_on() {
        let measure = |line: &str| match parse(line).unwrap().task {
            Some(Task::Bench(measure)) => measure,
            other => panic!("{other:?}"),
        };
        let Measure::Report { names, blocks } = measure("xtask bench report S1 S5 --resume --rounds 3")
        else {
            panic!("no report")
        };
        assert_eq!((names.len(), blocks), (2, Blocks { rounds: 3, block_ms: 2_000, resume: true }));
        let Measure::Pass(words) = measure("xtask bench goals S1 --json --rounds 1") else {
            panic!("kept back")
        };
        assert_eq!(words.join(" "), "goals S1 --json --rounds 1");
        assert!(parse("xtask bench").is_err() && parse("xtask bench report --round 3").is_err());
    }

    #[test]
    fn a_slip_of_the_hand_is_told_what_was_meant() {
        let told = |line: &str| parse(line).unwrap_err().to_string();
        assert!(told("xtask tset").contains("'test'"), "{}", told("xtask tset"));
        assert!(told("xtask test browsr").contains("'browser'"), "{}", told("xtask test browsr"));
        assert!(
            told("xtask sim --seeds many").contains("invalid digit"),
            "{}",
            told("xtask sim --seeds many")
        );
    }

    #[test]
    fn the_help_names_every_task() {
        let help = Cli::command().render_help().to_string();
        for task in ["test", "tidy", "sim", "crash", "bench", "counts", "growth", "conformance"] {
            assert!(help.contains(&format!("\n  {task} ")), "{help}");
        }
    }
}
