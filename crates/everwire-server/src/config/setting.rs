//! What reading a config yields besides the config: its faults, and a description of every setting.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use super::value::Written;

/// One fault of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where the value stands.
    pub place: Written,
    /// The key, dotted; empty where the file itself is broken.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub words: String,
}

/// All faults of a config: those of its file first, in the order of the lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults {
    /// The file.
    pub file: String,
    /// At least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Fault { place, key, words }) in self.faults.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            let colon = if key.is_empty() { "" } else { ": " };
            match place {
                Written::File => write!(f, "{}: {key}{colon}{words}", self.file)?,
                Written::Line(line) => write!(f, "{}:{line}: {key}{colon}{words}", self.file)?,
                Written::Env(name) => write!(f, "{name}: {key}{colon}{words}")?,
                Written::Flag(path) if path == key => write!(f, "--set {path}: {words}")?,
                Written::Flag(path) => write!(f, "--set {path}: {key}{colon}{words}")?,
            }
        }
        Ok(())
    }
}

/// What a setting takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Number(RangeInclusive<u64>),
    /// A time, ms.
    Time(RangeInclusive<u64>),
    /// A size, bytes.
    Size(RangeInclusive<u64>),
    /// True or false.
    Flag,
    /// One of these.
    Word(Vec<&'static str>),
    /// A text.
    Text,
    /// A list of texts.
    Texts,
    /// A list of texts, or of tables that say more.
    TextsOrTables,
    /// A table that may be left out, with its settings behind it.
    Section,
    /// A table whose absence means something.
    Optional,
    /// A list of tables.
    Tables,
    /// A table of tables with names of the operator's choice.
    Names,
}

/// One setting: what it is, and what it was set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Dotted.
    pub path: String,
    /// What it takes.
    pub kind: Kind,
    /// What it is for, a sentence or two.
    pub doc: &'static str,
    /// As TOML; empty where there is none.
    pub default: String,
    /// As TOML; that of a secret is `"***"`.
    pub value: String,
    /// Where it was set; `None`: nowhere.
    pub place: Option<Written>,
    /// What tells a secret from the one before it.
    pub mark: Option<Mark>,
}

/// Whether two secrets are the same, without either: a hash under a key of this process. Its `Debug` shows nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    /// Of a secret behind those that were marked before.
    pub(super) fn behind(before: Option<Self>, secret: &[u8]) -> Self {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(KEY.hash_one((before.map(|mark| mark.0), secret)))
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark(***)")
    }
}

/// What reading yields besides the config.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) faults: Vec<Fault>,
    pub(super) settings: Vec<Setting>,
    /// Nothing is read: every setting there could be is visited once.
    pub(super) describing: bool,
    /// What nobody should put on the internet is allowed.
    pub(super) insecure: bool,
    /// Names of the environment that settings named.
    pub(super) named_env: Vec<String>,
}
