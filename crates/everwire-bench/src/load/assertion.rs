//! What a run must hold to: `p99<20ms`.

use std::str::FromStr;

use super::outcome::{Outcome, Verdict};
use super::table::{bytes, count, micros, millis};

/// A figure that can be asserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    P50,
    P90,
    P99,
    P999,
    Max,
    Rate,
    Loss,
    Duplicates,
    Errors,
    CpuPerMessage,
    MemoryPerConnection,
}

/// The names, and what each takes as units; the first is meant where none is written.
const FIGURES: [(&str, Figure, Units); 11] = [
    ("p50", Figure::P50, MILLIS),
    ("p90", Figure::P90, MILLIS),
    ("p99", Figure::P99, MILLIS),
    ("p999", Figure::P999, MILLIS),
    ("max", Figure::Max, MILLIS),
    ("rate", Figure::Rate, COUNT),
    ("loss", Figure::Loss, COUNT),
    ("duplicates", Figure::Duplicates, COUNT),
    ("errors", Figure::Errors, COUNT),
    ("cpu_per_message", Figure::CpuPerMessage, MICROS),
    ("memory_per_connection", Figure::MemoryPerConnection, BYTES),
];

/// Units, each with what it is worth.
type Units = &'static [(&'static str, f64)];

const MILLIS: Units = &[("ms", 1.0), ("us", 1e-3), ("µs", 1e-3), ("ns", 1e-6), ("s", 1e3)];
const MICROS: Units = &[("us", 1.0), ("µs", 1.0), ("ns", 1e-3), ("ms", 1e3)];
const COUNT: Units = &[("", 1.0), ("k", 1e3), ("M", 1e6)];
const BYTES: Units = &[("B", 1.0), ("KB", 1e3), ("MB", 1e6), ("KiB", 1_024.0), ("MiB", 1_024.0 * 1_024.0)];

/// How a figure is held against its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

/// The longer ones first: `<=` begins with `<`.
const SIGNS: [(&str, Sign); 5] = [
    ("<=", Sign::AtMost),
    (">=", Sign::AtLeast),
    ("==", Sign::Equal),
    ("<", Sign::Below),
    (">", Sign::Above),
];

/// One assertion.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    text: String,
    figure: Figure,
    sign: Sign,
    limit: f64,
}

impl FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<_> = FIGURES.iter().map(|(name, ..)| *name).collect();
        let names = names.join(", ");
        let found = SIGNS.iter().find_map(|(word, sign)| Some((text.split_once(word)?, *sign)));
        let Some(((name, limit), sign)) = found else {
            return Err(format!(
                "write such as 'p99<20ms': one of {names}; then <, <=, >, >= or ==; then a number"
            ));
        };
        let (name, limit) = (name.trim(), limit.trim());
        let Some((_, figure, units)) = FIGURES.iter().find(|(known, ..)| *known == name) else {
            return Err(format!("there is no figure {name:?}; there are {names}"));
        };
        let digits = limit.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(limit.len());
        let (number, unit) = (&limit[..digits], limit[digits..].trim());
        let Ok(number) = number.parse::<f64>() else {
            return Err(format!("{limit:?} is no number, such as 20 or 1.5"));
        };
        let factor = units.iter().find(|(known, _)| *known == unit || unit.is_empty());
        let Some((_, factor)) = factor else {
            let known: Vec<_> = units.iter().map(|(unit, _)| *unit).filter(|unit| !unit.is_empty()).collect();
            return Err(format!("{name} has no unit {unit:?}; it takes {}", known.join(", ")));
        };
        Ok(Self { text: text.to_owned(), figure: *figure, sign, limit: number * factor })
    }
}

impl Assertion {
    /// Holds it against a run.
    pub fn judge(&self, outcome: &Outcome) -> Verdict {
        let value = self.figure.of(outcome);
        let held = value.is_some_and(|value| match self.sign {
            Sign::Below => value < self.limit,
            Sign::AtMost => value <= self.limit,
            Sign::Above => value > self.limit,
            Sign::AtLeast => value >= self.limit,
            Sign::Equal => (value - self.limit).abs() < 1e-9,
        });
        let figure = match value {
            Some(value) => format!("it is {}", self.figure.words(value)),
            None => "it is not known".to_owned(),
        };
        Verdict { expression: self.text.clone(), figure, held }
    }
}

impl Figure {
    fn of(self, outcome: &Outcome) -> Option<f64> {
        let latency = outcome.latency.as_ref();
        match self {
            Self::P50 => latency.map(|l| l.p50),
            Self::P90 => latency.map(|l| l.p90),
            Self::P99 => latency.map(|l| l.p99),
            Self::P999 => latency.map(|l| l.p999),
            Self::Max => latency.map(|l| l.max),
            Self::Rate => Some(outcome.rate),
            Self::Loss => Some(outcome.loss as f64),
            Self::Duplicates => Some(outcome.duplicates as f64),
            Self::Errors => Some(outcome.errors as f64),
            Self::CpuPerMessage => outcome.server.cpu_per_message_us,
            Self::MemoryPerConnection => outcome.server.memory_per_connection,
        }
    }

    fn words(self, value: f64) -> String {
        match self {
            Self::P50 | Self::P90 | Self::P99 | Self::P999 | Self::Max => millis(value),
            Self::Rate => format!("{}/s", count(value)),
            Self::Loss | Self::Duplicates | Self::Errors => count(value),
            Self::CpuPerMessage => micros(value),
            Self::MemoryPerConnection => bytes(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::{Server, sample};
    use crate::load::plan::Kind;

    fn judge(text: &str) -> (bool, String) {
        let verdict = text.parse::<Assertion>().unwrap().judge(&sample(Kind::Fanout));
        (verdict.held, verdict.figure)
    }

    #[test]
    fn figures_are_held_against_their_limits() {
        // p99 is 4 ms, 20 000 a second, 3 lost, 2 doubles, 1 error, 5 µs each, 2 KiB a connection.
        for (text, held) in [
            ("p99<20ms", true),
            ("p99 < 4", false),
            ("p99<=4ms", true),
            ("p99<3900us", false),
            ("p99<0.005s", true),
            ("p50==1", true),
            ("p90>1.9", true),
            ("p999>=8ms", true),
            ("max<9", false),
            ("rate>19.9k", true),
            ("rate>0.1M", false),
            ("loss==3", true),
            ("loss<=2", false),
            ("duplicates<3", true),
            ("errors==0", false),
            ("cpu_per_message<5.1us", true),
            ("cpu_per_message<4900ns", false),
            ("memory_per_connection<=2KiB", true),
            ("memory_per_connection<2KB", false),
        ] {
            assert_eq!(judge(text).0, held, "{text}: {}", judge(text).1);
        }
        assert_eq!(judge("p99<1ms").1, "it is 4.00 ms");
    }

    #[test]
    fn what_is_not_known_does_not_hold() {
        let mut outcome = sample(Kind::Fanout);
        outcome.server = Server::default();
        let verdict = "cpu_per_message>0".parse::<Assertion>().unwrap().judge(&outcome);
        assert_eq!((verdict.held, verdict.figure.as_str()), (false, "it is not known"));
    }

    #[test]
    fn a_wrong_one_says_what_there_is() {
        for (text, words) in [
            (
                "p98<1",
                "p50, p90, p99, p999, max, rate, loss, duplicates, errors, cpu_per_message, memory_per_connection",
            ),
            ("p99", "write such as"),
            ("", "write such as"),
            ("p99<x", "no number"),
            ("p99<", "no number"),
            ("p99<1.2.3", "no number"),
            ("p99<1h", "it takes ms, us"),
            ("loss<1ms", "no unit"),
        ] {
            let error = text.parse::<Assertion>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
