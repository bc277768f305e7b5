//! The committed figures, and what new ones are worth beside them.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

/// More than this above the figure is refused, below it told.
const RATCHET: f64 = 0.05;
/// The same where another compiler or C library counted: their own changes are not ours, but a loop too many still is.
const ELSEWHERE: f64 = 0.25;
/// Figures of a thousandth are not told apart.
const LEAST: f64 = 0.002;

/// Instructions that the project promises not to pass, whatever the ratchet says: a delivery alone, and one of sixteen
/// that go out with one send.
const PROMISED: [(&str, f64); 4] = [
    ("fanout-json", 200.0),
    ("fanout-msgpack", 200.0),
    ("fanout-16-json", 70.0),
    ("fanout-16-msgpack", 70.0),
];

/// Among a crowd of thousands an operation may cost so many times what it costs alone.
const GROWTH: f64 = 1.1;
/// How the jobs of an operation among a crowd are called.
const CROWD: &str = "-crowd";

/// What one operation costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    pub(super) instructions: f64,
    pub(super) blocks: f64,
    pub(super) bytes: f64,
}

impl Cost {
    fn named(self) -> [(&'static str, f64); 3] {
        [("instructions", self.instructions), ("blocks", self.blocks), ("bytes", self.bytes)]
    }
}

/// All jobs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figures {
    /// The compiler, the system and the C library.
    pub(super) built: String,
    pub(super) costs: Vec<(String, Cost)>,
}

/// What came of a comparison.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) told: Vec<String>,
    pub(super) refused: Vec<String>,
}

impl Figures {
    /// The file.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "# What one operation of the engine costs: instructions, allocated blocks, allocated bytes.\n\
             # Written by `cargo xtask counts --renew`, never by hand.\n\nbuilt = {:?}\n",
            self.built
        );
        for (job, cost) in &self.costs {
            let Cost { instructions, blocks, bytes } = cost;
            let _ = write!(
                text,
                "\n[{job}]\ninstructions = {instructions:.1}\nblocks = {blocks:.3}\nbytes = {bytes:.3}\n"
            );
        }
        text
    }

    pub(super) fn read(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let built = table.get("built").and_then(toml::Value::as_str).context("`built` is missing")?;
        let mut costs = Vec::new();
        for (job, value) in table.iter().filter(|(_, value)| value.is_table()) {
            let figure = |name: &str| {
                let value = value.get(name).and_then(toml::Value::as_float);
                value.with_context(|| format!("{job}.{name} is missing or has no point"))
            };
            let (instructions, blocks) = (figure("instructions")?, figure("blocks")?);
            costs.push((job.clone(), Cost { instructions, blocks, bytes: figure("bytes")? }));
        }
        Ok(Self { built: built.to_owned(), costs })
    }

    /// The jobs that something is promised of, with the most instructions that they may cost.
    pub(super) fn promised(&self) -> impl Iterator<Item = (&'static str, Cost, f64)> {
        PROMISED.into_iter().filter_map(|(job, most)| Some((job, self.cost(job)?, most)))
    }

    fn cost(&self, job: &str) -> Option<Cost> {
        self.costs.iter().find(|(name, _)| name == job).map(|(_, cost)| *cost)
    }

    /// Holds new figures against these.
    pub(super) fn judge(&self, new: &Self) -> Verdict {
        let mut verdict = Verdict::default();
        let slack = if self.built == new.built {
            RATCHET
        } else {
            verdict.told.push(format!(
                "the figures are those of {}, and this is {}: up to {:.0} % more is borne until they are renewed here",
                self.built,
                new.built,
                ELSEWHERE * 100.0
            ));
            ELSEWHERE
        };
        for (job, cost) in &new.costs {
            if let Some((_, most)) =
                PROMISED.iter().find(|(name, most)| name == job && cost.instructions > *most)
            {
                let text = format!("{job}: {:.1} instructions, and {most} are promised", cost.instructions);
                verdict.refused.push(text);
            }
            if let Some(alone) = job.contains(CROWD).then(|| new.cost(&job.replace(CROWD, ""))).flatten()
                && cost.instructions > alone.instructions * GROWTH
            {
                verdict.refused.push(format!(
                    "{job}: {:.1} instructions, and {:.1} without the crowd: something grows with the number of \
                     channels or connections",
                    cost.instructions, alone.instructions
                ));
            }
            match self.cost(job) {
                Some(old) => verdict.compare(job, old, *cost, slack),
                None => verdict.refused.push(format!("{job} has no figure yet")),
            }
        }
        let gone = self.costs.iter().filter(|(job, _)| new.cost(job).is_none());
        verdict.refused.extend(gone.map(|(job, _)| format!("{job} has a figure but is no job any more")));
        verdict
    }
}

impl Verdict {
    fn compare(&mut self, job: &str, old: Cost, new: Cost, slack: f64) {
        for ((name, old), (_, new)) in old.named().into_iter().zip(new.named()) {
            let percent =
                if old > 0.0 { format!(", {:+.1} %", (new / old - 1.0) * 100.0) } else { String::new() };
            let text = format!("{job}: {new:.3} {name}, was {old:.3}{percent}");
            if new > old * (1.0 + slack) + LEAST {
                self.refused.push(text);
            } else if new < old * (1.0 - slack) - LEAST {
                self.told.push(format!("{text}: keep it with `cargo xtask counts --renew`"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(built: &str, jobs: &[(&str, f64, f64)]) -> Figures {
        let cost = |(job, instructions, blocks): &(&str, f64, f64)| {
            ((*job).to_owned(), Cost { instructions: *instructions, blocks: *blocks, bytes: 0.543 })
        };
        Figures { built: built.to_owned(), costs: jobs.iter().map(cost).collect() }
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let written = figures("rustc 1, x, glibc 2", &[("echo-json", 100.5, 0.25), ("ping-json", 7.0, 1.0)]);
        assert_eq!(Figures::read(&written.text()).unwrap(), written);
        assert!(Figures::read("built = 'x'\n[a]\nblocks = 1.0\nbytes = 1.0\n").is_err());
    }

    #[test]
    fn the_ratchet_holds_upwards_and_tells_downwards() {
        let old = figures("a", &[("echo-json", 100.0, 0.0), ("ping-json", 100.0, 2.0)]);
        let judged = |instructions: f64, blocks: f64| {
            let new = figures("a", &[("echo-json", instructions, 0.0), ("ping-json", 100.0, blocks)]);
            let verdict = old.judge(&new);
            (verdict.told.len(), verdict.refused)
        };
        assert_eq!(judged(104.0, 2.0), (0, vec![]));
        assert_eq!(judged(96.0, 2.0), (0, vec![]));
        assert_eq!(judged(106.0, 2.0).1, ["echo-json: 106.000 instructions, was 100.000, +6.0 %"]);
        assert_eq!(judged(100.0, 3.0).1, ["ping-json: 3.000 blocks, was 2.000, +50.0 %"]);
        assert_eq!(judged(90.0, 2.0), (1, vec![]));
    }

    #[test]
    fn an_allocation_where_there_was_none_is_refused() {
        let (old, new) = (figures("a", &[("x", 1.0, 0.0)]), figures("a", &[("x", 1.0, 1.0)]));
        assert_eq!(old.judge(&new).refused, ["x: 1.000 blocks, was 0.000"]);
    }

    #[test]
    fn another_compiler_is_borne_but_not_a_loop_too_many() {
        let old = figures("a", &[("x", 100.0, 1.0)]);
        let verdict = old.judge(&figures("b", &[("x", 120.0, 1.0)]));
        assert_eq!((verdict.told.len(), verdict.refused.len()), (1, 0));
        assert_eq!(old.judge(&figures("b", &[("x", 130.0, 1.0)])).refused.len(), 1);
    }

    #[test]
    fn growth_is_refused() {
        let judged = |crowd: f64| {
            let new = figures("a", &[("nobody-json", 100.0, 0.0), ("nobody-crowd-json", crowd, 0.0)]);
            new.judge(&new).refused.len()
        };
        assert_eq!((judged(109.0), judged(111.0)), (0, 1));
    }

    #[test]
    fn promises_and_unknown_jobs_are_refused() {
        let old = figures("a", &[("fanout-json", 201.0, 0.0), ("gone", 1.0, 0.0)]);
        let new = figures("a", &[("fanout-json", 201.0, 0.0), ("fresh", 1.0, 0.0)]);
        assert_eq!(
            old.judge(&new).refused,
            [
                "fanout-json: 201.0 instructions, and 200 are promised",
                "fresh has no figure yet",
                "gone has a figure but is no job any more",
            ]
        );
    }
}
