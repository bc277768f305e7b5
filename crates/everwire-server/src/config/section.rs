//! Reading a TOML table key by key: every fault is kept with its line, and what nobody asked for is a fault too.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One fault of a config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1; `None` where there is no file that could have lines.
    pub line: Option<usize>,
    /// The key, dotted; empty where the file itself is broken.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub words: String,
}

/// All faults of a config file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults {
    /// The file.
    pub file: String,
    /// At least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            let colon = if fault.key.is_empty() { "" } else { ": " };
            let line = fault.line.map_or_else(String::new, |line| format!("{line}:"));
            write!(f, "{newline}{}:{line} {}{colon}{}", self.file, fault.key, fault.words)?;
        }
        Ok(())
    }
}

/// An element of a list that takes both.
pub(super) enum Item<'a> {
    Text(String),
    Table(Section<'a>),
}

/// One table on its way to be read.
pub(super) struct Section<'a> {
    text: &'a str,
    path: String,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
    pub(super) faults: Vec<Fault>,
}

impl<'a> Section<'a> {
    pub(super) fn new(text: &'a str, path: &str, table: &'a DeTable<'a>) -> Self {
        Self { text, path: path.to_owned(), table, known: Vec::new(), faults: Vec::new() }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a fault at a value of this table.
    pub(super) fn fault(&mut self, key: &str, at: usize, words: impl Into<String>) {
        let fault = Fault { line: Some(line_of(self.text, at)), key: self.key(key), words: words.into() };
        self.faults.push(fault);
    }

    pub(super) fn find(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn expected(&mut self, key: &str, value: &Spanned<DeValue<'_>>, what: &str) {
        let words = format!("expected {what}, found {}", value.get_ref().type_str());
        self.fault(key, value.span().start, words);
    }

    /// A whole number within limits, into `into`.
    pub(super) fn number<T: TryFrom<u64> + Copy>(
        &mut self,
        key: &'static str,
        into: &mut T,
        least: u64,
        most: u64,
    ) {
        let Some(value) = self.find(key) else { return };
        let Some(integer) = value.get_ref().as_integer() else {
            return self.expected(key, value, "a whole number");
        };
        let read = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let read = read.and_then(|n| u64::try_from(n).ok()).filter(|n| (least..=most).contains(n));
        match read.and_then(|n| T::try_from(n).ok()) {
            Some(number) => *into = number,
            None => self.fault(key, value.span().start, format!("must be from {least} to {most}")),
        }
    }

    pub(super) fn flag(&mut self, key: &'static str, into: &mut bool) {
        let Some(value) = self.find(key) else { return };
        match value.get_ref().as_bool() {
            Some(flag) => *into = flag,
            None => self.expected(key, value, "true or false"),
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, into: &mut T, words: &[(&str, T)]) {
        let Some(value) = self.find(key) else { return };
        let list = || words.iter().map(|(w, _)| format!("{w:?}")).collect::<Vec<_>>().join(", ");
        let Some(text) = value.get_ref().as_str() else {
            return self.expected(key, value, &format!("one of {}", list()));
        };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meant)) => *into = *meant,
            None => self.fault(key, value.span().start, format!("{text:?} is none of {}", list())),
        }
    }

    /// A list of texts, each with the place where it stands.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<(String, usize)> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.expected(key, value, "a list of strings");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_str() {
                Some(text) => texts.push((text.to_owned(), item.span().start)),
                None => self.expected(key, item, "a string"),
            }
        }
        texts
    }

    /// A list of texts and tables, each with the place where it begins.
    pub(super) fn items(&mut self, key: &'static str) -> Vec<(Item<'a>, usize)> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.expected(key, value, "a list of strings or tables");
            return Vec::new();
        };
        let mut items = Vec::new();
        for item in array.iter() {
            let at = item.span().start;
            match (item.get_ref().as_str(), item.get_ref().as_table()) {
                (Some(text), _) => items.push((Item::Text(text.to_owned()), at)),
                (None, Some(table)) => {
                    items.push((Item::Table(Section::new(self.text, &self.key(key), table)), at));
                }
                (None, None) => self.expected(key, item, "a string or a table"),
            }
        }
        items
    }

    /// Whether there is such a key, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A text, with the place where it stands.
    pub(super) fn text(&mut self, key: &'static str) -> Option<(String, usize)> {
        let value = self.find(key)?;
        match value.get_ref().as_str() {
            Some(text) if !text.is_empty() => Some((text.to_owned(), value.span().start)),
            _ => {
                self.expected(key, value, "a string that is not empty");
                None
            }
        }
    }

    /// Every table of a list inside this one, with the place where it begins.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<(Section<'a>, usize)> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.expected(key, value, "a list of tables");
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => {
                    let inner = Section::new(self.text, &self.key(key), table);
                    tables.push((inner, item.span().start));
                }
                None => self.expected(key, item, "a table"),
            }
        }
        tables
    }

    /// A table inside this one. Give its faults back with [`Section::join`].
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let value = self.find(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(self.text, &self.key(key), table)),
            None => {
                self.expected(key, value, "a table");
                None
            }
        }
    }

    /// Every table inside this one, by its own name.
    pub(super) fn sections(&mut self) -> Vec<(String, Section<'a>)> {
        let mut sections = Vec::new();
        for (name, value) in self.table {
            match value.get_ref().as_table() {
                Some(table) => {
                    let inner = Section::new(self.text, &self.key(name.get_ref()), table);
                    sections.push((name.get_ref().to_string(), inner));
                }
                None => self.expected(name.get_ref(), value, "a table"),
            }
        }
        sections
    }

    /// Takes over the faults of a table inside this one.
    pub(super) fn join(&mut self, faults: Vec<Fault>) {
        self.faults.extend(faults);
    }

    /// All keys were asked for: what is left is unknown.
    pub(super) fn end(mut self) -> Vec<Fault> {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let nearest = self.known.iter().min_by_key(|k| distance(k, name)).copied();
            let words = match nearest.filter(|k| distance(k, name) <= 3) {
                Some(nearest) => format!("unknown key; did you mean {nearest:?}?"),
                None => format!("unknown key; known here: {}", self.known.join(", ")),
            };
            let at = key.span().start;
            let fault = Fault { line: Some(line_of(self.text, at)), key: self.key(name), words };
            self.faults.push(fault);
        }
        self.faults
    }
}

/// The line of a byte, counted from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1
}

/// Letters to insert, delete or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distances() {
        for (a, b, d) in [("", "", 0), ("channels", "channls", 1), ("kitten", "sitting", 3), ("", "abc", 3)] {
            assert_eq!((distance(a, b), distance(b, a)), (d, d), "{a} {b}");
        }
    }
}
