//! The house rules that a machine can check. They run as a test of this crate and as `cargo xtask tidy`.
//!
//! Each rule is a file; its tests plant a violation and see it caught. A fault says where, what, and what to do.

pub mod banned;
pub mod codes;
pub mod floors;
pub mod honest;
pub mod life;
pub mod names;
pub mod pure;
pub mod sizes;

use std::fmt;

use crate::tree::Tree;

/// Something that breaks a rule, or will soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From the root.
    pub path: String,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what to do about it.
    pub words: String,
    /// Only told, not refused.
    pub warning: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "warning: " } else { "" };
        write!(f, "{}:{}: {kind}{}", self.path, self.line, self.words)
    }
}

/// What the rules found.
#[derive(Debug, Default)]
pub struct Faults {
    /// In the order in which they were found.
    pub list: Vec<Fault>,
}

impl Faults {
    fn refuse(&mut self, path: &str, line: usize, words: impl Into<String>) {
        self.list.push(Fault { path: path.to_owned(), line, words: words.into(), warning: false });
    }

    fn warn(&mut self, path: &str, line: usize, words: impl Into<String>) {
        self.list.push(Fault { path: path.to_owned(), line, words: words.into(), warning: true });
    }

    /// How many of them are refused.
    pub fn refused(&self) -> usize {
        self.list.iter().filter(|fault| !fault.warning).count()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.iter().try_for_each(|fault| writeln!(f, "{fault}"))
    }
}

/// All rules, in the order in which their faults are told.
const RULES: [fn(&Tree, &mut Faults); 10] = [
    unreadable,
    floors::between_crates,
    floors::inside_crates,
    pure::check,
    sizes::check,
    life::check,
    names::check,
    codes::check,
    honest::check,
    banned::check,
];

/// Holds every rule against the repository.
pub fn check(tree: &Tree) -> Faults {
    let mut faults = Faults::default();
    for rule in RULES {
        rule(tree, &mut faults);
    }
    faults.list.sort_by_key(|fault| (fault.warning, fault.path.clone(), fault.line));
    faults
}

/// A file that can't be read would be passed over by every other rule.
fn unreadable(tree: &Tree, faults: &mut Faults) {
    for file in &tree.files {
        if let Some(Err(reason)) = &file.rust {
            faults.refuse(&file.path, 1, format!("can't be read as Rust (line {reason}): mend it"));
        }
    }
}

/// What a rule says of these files, for its tests.
#[cfg(test)]
fn told(rule: fn(&Tree, &mut Faults), files: &[(&str, &str)]) -> Vec<String> {
    let mut faults = Faults::default();
    rule(&Tree::of(files), &mut faults);
    faults.list.iter().map(Fault::to_string).collect()
}

/// Expects one fault that begins with `start`.
#[cfg(test)]
#[track_caller]
fn caught(rule: fn(&Tree, &mut Faults), files: &[(&str, &str)], start: &str) {
    let told = told(rule, files);
    assert!(told.len() == 1 && told[0].starts_with(start), "{start}: {told:#?}");
}

/// Expects no fault.
#[cfg(test)]
#[track_caller]
fn passes(rule: fn(&Tree, &mut Faults), files: &[(&str, &str)]) {
    assert_eq!(told(rule, files), Vec::<String>::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_that_can_not_be_read_is_told() {
        caught(unreadable, &[("crates/a/src/lib.rs", "fn f() {")], "crates/a/src/lib.rs:1: can't be read");
    }

    #[test]
    fn faults_come_before_warnings() {
        let long = "// x\n".repeat(600);
        let faults = check(&Tree::of(&[
            ("crates/everwire-proto/src/a.rs", &long),
            ("crates/everwire-proto/src/utils.rs", "fn f() {"),
        ]));
        let refused = faults.refused();
        assert!(refused > 0 && refused < faults.list.len());
        assert!(faults.list[..refused].iter().all(|fault| !fault.warning));
    }
}
