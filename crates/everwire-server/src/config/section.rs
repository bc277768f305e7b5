//! Reading a table key by key. Every fault is kept with its place, what nobody asked for is a fault too, and every
//! setting is described by the same line that reads it: template, schema and reference come from there.

use std::ops::RangeInclusive;

use super::setting::{Book, Fault, Kind, Mark, Setting};
use super::units;
use super::value::{Table, Value, What, Written};

/// One table on its way to be read.
pub(super) struct Section {
    path: String,
    table: Table,
    place: Written,
    known: Vec<&'static str>,
    book: Book,
}

impl Section {
    /// The whole, whose parts have no path before them.
    pub(super) fn root(table: Table, book: Book) -> Self {
        Self { path: String::new(), table, place: Written::File, known: Vec::new(), book }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Where this table begins.
    pub(super) fn place(&self) -> Written {
        self.place.clone()
    }

    /// Whether only the settings are wanted, and what is read means nothing.
    pub(super) fn is_describing(&self) -> bool {
        self.book.describing
    }

    /// Whether what nobody should put on the internet is allowed.
    pub(super) fn is_insecure(&self) -> bool {
        self.book.insecure
    }

    /// A setting named this name of the environment, which so is no unknown setting.
    pub(super) fn names_env(&mut self, name: &str) {
        self.book.named_env.push(name.to_owned());
    }

    /// Notes a fault at a value of this table.
    pub(super) fn fault(&mut self, key: &str, place: Written, words: impl Into<String>) {
        let fault = Fault { place, key: self.key(key), words: words.into() };
        self.book.faults.push(fault);
    }

    /// Says the newest fault in other words.
    pub(super) fn reword(&mut self, words: &str) {
        if let Some(fault) = self.book.faults.last_mut() {
            words.clone_into(&mut fault.words);
        }
    }

    fn expected(&mut self, key: &str, value: &Value, what: &str) {
        let words = format!("expected {what}, found {}", value.kind());
        self.fault(key, value.place.clone(), words);
    }

    /// Takes a value out; what is left at the end was unknown.
    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// Whether there is such a key, whatever its value, and not yet read.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The text of a key that is not yet read, where it is one.
    pub(super) fn peek(&self, key: &str) -> Option<&str> {
        self.table.get(key)?.text()
    }

    /// Notes a setting; the value is told later.
    fn note(&mut self, key: &str, kind: Kind, doc: &'static str, default: String, place: Option<Written>) {
        let path = self.key(key);
        let value = default.clone();
        self.book.settings.push(Setting { path, kind, doc, value, default, place, mark: None });
    }

    fn told(&mut self, value: String) {
        self.book.settings.last_mut().expect("it was noted").value = value;
    }

    /// Marks a setting of this table with what is behind it and is not shown.
    pub(super) fn mark(&mut self, key: &str, secret: &[u8]) {
        let path = self.key(key);
        if let Some(setting) = self.book.settings.iter_mut().rev().find(|setting| setting.path == path) {
            setting.mark = Some(Mark::behind(setting.mark, secret));
        }
    }

    /// A whole number within limits, into `into`; where it stands, if it does.
    pub(super) fn number<T: Copy + TryFrom<u64> + TryInto<u64>>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        into: &mut T,
        range: RangeInclusive<u64>,
    ) -> Option<Written> {
        let value = self.take(key);
        let default = (*into).try_into().ok().map_or_else(String::new, underscored);
        self.note(key, Kind::Number(range.clone()), doc, default, value.as_ref().map(|v| v.place.clone()));
        let value = value?.cooked();
        match value.what {
            What::Number(number) => {
                let number = number.and_then(|n| u64::try_from(n).ok());
                match number.filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok()) {
                    Some(number) => {
                        *into = number;
                        self.told(number.try_into().ok().map_or_else(String::new, underscored));
                    }
                    None => {
                        let words = format!("must be from {} to {}", range.start(), range.end());
                        self.fault(key, value.place.clone(), words);
                    }
                }
            }
            _ => self.expected(key, &value, "a whole number"),
        }
        Some(value.place)
    }

    /// A time such as `10s`, in ms into `into`.
    pub(super) fn time(
        &mut self,
        key: &'static str,
        doc: &'static str,
        into: &mut u64,
        range: RangeInclusive<u64>,
    ) {
        let value = self.take(key);
        let place = value.as_ref().map(|v| v.place.clone());
        self.note(key, Kind::Time(range.clone()), doc, quoted(&units::write_time(*into)), place);
        let Some(value) = value else { return };
        let Some(text) = value.text() else {
            return self.expected(key, &value, "a time such as \"10s\"");
        };
        match units::read_time(text) {
            Ok(ms) if range.contains(&ms) => {
                *into = ms;
                self.told(quoted(&units::write_time(ms)));
            }
            Ok(_) => {
                let [least, most] = [range.start(), range.end()].map(|ms| units::write_time(*ms));
                self.fault(key, value.place, format!("must be from {least} to {most}"));
            }
            Err(words) => self.fault(key, value.place, words),
        }
    }

    /// A size such as `64KiB`, or a number of bytes, into `into`.
    pub(super) fn size<T: Copy + TryFrom<u64> + TryInto<u64>>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        into: &mut T,
        range: RangeInclusive<u64>,
    ) {
        let value = self.take(key);
        let written =
            |bytes: T| bytes.try_into().ok().map_or_else(String::new, |n| quoted(&units::write_size(n)));
        let place = value.as_ref().map(|v| v.place.clone());
        self.note(key, Kind::Size(range.clone()), doc, written(*into), place);
        let Some(value) = value else { return };
        let bytes = match (&value.what, value.text()) {
            (What::Number(number), _) => Ok(number.and_then(|n| u64::try_from(n).ok())),
            (_, Some(text)) => units::read_size(text).map(Some),
            _ => return self.expected(key, &value, "a size such as \"64KiB\""),
        };
        match bytes {
            Ok(bytes) => match bytes.filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok()) {
                Some(bytes) => {
                    *into = bytes;
                    self.told(written(bytes));
                }
                None => {
                    let [least, most] = [range.start(), range.end()].map(|n| units::write_size(*n));
                    self.fault(key, value.place, format!("must be from {least} to {most}"));
                }
            },
            Err(words) => self.fault(key, value.place, words),
        }
    }

    pub(super) fn flag(&mut self, key: &'static str, doc: &'static str, into: &mut bool) -> Option<Written> {
        let value = self.take(key);
        self.note(key, Kind::Flag, doc, into.to_string(), value.as_ref().map(|v| v.place.clone()));
        let value = value?.cooked();
        match value.what {
            What::Flag(flag) => {
                *into = flag;
                self.told(flag.to_string());
            }
            _ => self.expected(key, &value, "true or false"),
        }
        Some(value.place)
    }

    /// One of a few words; where it stands, if it does.
    pub(super) fn word<T: Copy + PartialEq>(
        &mut self,
        key: &'static str,
        doc: &'static str,
        into: &mut T,
        words: &[(&'static str, T)],
    ) -> Option<Written> {
        let value = self.take(key);
        let default =
            words.iter().find(|(_, meant)| meant == into).map_or_else(String::new, |(word, _)| quoted(word));
        let kind = Kind::Word(words.iter().map(|(word, _)| *word).collect());
        self.note(key, kind, doc, default, value.as_ref().map(|v| v.place.clone()));
        let value = value?;
        let list = words.iter().map(|(w, _)| quoted(w)).collect::<Vec<_>>().join(", ");
        match value.text() {
            None => self.expected(key, &value, &format!("one of {list}")),
            Some(text) => match words.iter().find(|(word, _)| *word == text) {
                Some((word, meant)) => {
                    *into = *meant;
                    self.told(quoted(word));
                }
                None => self.fault(key, value.place.clone(), format!("{text:?} is none of {list}")),
            },
        }
        Some(value.place)
    }

    /// A list of texts, each with the place where it stands. `default` is shown as TOML. In the environment they are
    /// parted by commas.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        doc: &'static str,
        default: &str,
    ) -> Vec<(String, Written)> {
        let value = self.take(key);
        self.note(key, Kind::Texts, doc, default.to_owned(), value.as_ref().map(|v| v.place.clone()));
        let Some(value) = value else { return Vec::new() };
        let texts = self.list(key, value);
        let shown: Vec<_> = texts.iter().map(|(text, _)| quoted(text)).collect();
        self.told(format!("[{}]", shown.join(", ")));
        texts
    }

    /// A list of secrets and tables: `read` is given a text with its place, and this table; or none, and the table.
    pub(super) fn secrets_or_tables(
        &mut self,
        key: &'static str,
        doc: &'static str,
        mut read: impl FnMut(&mut Self, Option<(String, Written)>),
    ) {
        let value = self.take(key);
        let place = value.as_ref().map(|v| v.place.clone());
        self.note(key, Kind::TextsOrTables, doc, "[]".to_owned(), place);
        let Some(value) = value else { return };
        if !matches!(&value.what, What::List(none) if none.is_empty()) {
            self.told("\"***\"".to_owned());
        }
        if let What::Raw(text) = &value.what
            && !text.trim_start().starts_with('[')
        {
            for (text, place) in self.list(key, value) {
                read(self, Some((text, place)));
            }
            return;
        }
        let value = value.cooked();
        let What::List(items) = value.what else {
            return self.expected(key, &value, "a list of strings or tables");
        };
        for item in items {
            match item.what {
                What::Text(text) => read(self, Some((text, item.place))),
                What::Table(table) => self.inner(self.key(key), table, item.place, |inner| read(inner, None)),
                _ => self.expected(key, &item, "a string or a table"),
            }
        }
    }

    fn list(&mut self, key: &str, value: Value) -> Vec<(String, Written)> {
        if let What::Raw(text) = &value.what
            && !text.trim_start().starts_with('[')
        {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            return parts.map(|part| (part.to_owned(), value.place.clone())).collect();
        }
        let value = value.cooked();
        let What::List(items) = value.what else {
            self.expected(key, &value, "a list of strings");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match item.text() {
                Some(text) => texts.push((text.to_owned(), item.place)),
                None => self.expected(key, &item, "a string"),
            }
        }
        texts
    }

    /// A text, with the place where it stands. `default` is shown as TOML.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        doc: &'static str,
        default: &str,
    ) -> Option<(String, Written)> {
        let value = self.take(key);
        self.note(key, Kind::Text, doc, default.to_owned(), value.as_ref().map(|v| v.place.clone()));
        let value = value?;
        match value.text() {
            Some(text) if !text.is_empty() => {
                self.told(quoted(text));
                Some((text.to_owned(), value.place))
            }
            _ => {
                self.expected(key, &value, "a string that is not empty");
                None
            }
        }
    }

    /// The same, of what nobody may see.
    pub(super) fn secret(&mut self, key: &'static str, doc: &'static str) -> Option<(String, Written)> {
        let text = self.text(key, doc, "");
        if let Some((text, _)) = &text {
            self.told("\"***\"".to_owned());
            self.mark(key, text.as_bytes());
        }
        text
    }

    fn inner(&mut self, path: String, table: Table, place: Written, read: impl FnOnce(&mut Self)) {
        let book = std::mem::take(&mut self.book);
        let mut inner = Self { path, table, place, known: Vec::new(), book };
        read(&mut inner);
        self.book = inner.end();
    }

    fn table(&mut self, key: &str, value: Value) -> Option<(Table, Written)> {
        let value = value.cooked();
        match value.what {
            What::Table(table) => Some((table, value.place)),
            _ => {
                self.expected(key, &value, "a table");
                None
            }
        }
    }

    /// A table inside this one; one that is left out is read as an empty one.
    pub(super) fn section(&mut self, key: &'static str, doc: &'static str, read: impl FnOnce(&mut Self)) {
        let value = self.take(key);
        self.note(key, Kind::Section, doc, String::new(), value.as_ref().map(|v| v.place.clone()));
        let found = match value {
            Some(value) => self.table(key, value),
            None => Some((Table::new(), self.place.clone())),
        };
        if let Some((table, place)) = found {
            self.inner(self.key(key), table, place, read);
        }
    }

    /// A table inside this one whose presence means something.
    pub(super) fn optional(&mut self, key: &'static str, doc: &'static str, read: impl FnOnce(&mut Self)) {
        let value = self.take(key);
        self.note(key, Kind::Optional, doc, String::new(), value.as_ref().map(|v| v.place.clone()));
        let found = match value {
            Some(value) => self.table(key, value),
            None => self.book.describing.then(|| (Table::new(), self.place.clone())),
        };
        if let Some((table, place)) = found {
            self.inner(self.key(key), table, place, read);
        }
    }

    /// Every table of a list inside this one.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        doc: &'static str,
        mut read: impl FnMut(&mut Self),
    ) -> usize {
        let value = self.take(key);
        self.note(key, Kind::Tables, doc, String::new(), value.as_ref().map(|v| v.place.clone()));
        let path = format!("{}[]", self.key(key));
        let Some(value) = value else {
            if self.book.describing {
                self.inner(path, Table::new(), self.place.clone(), read);
            }
            return 0;
        };
        let value = value.cooked();
        let What::List(items) = value.what else {
            self.expected(key, &value, "a list of tables");
            return 0;
        };
        let many = items.len();
        for item in items {
            match item.what {
                What::Table(table) => self.inner(self.key(key), table, item.place, &mut read),
                _ => self.expected(key, &item, "a table"),
            }
        }
        many
    }

    /// Every table of a table inside this one, by its name; `<name>` stands for all of them in what is described.
    pub(super) fn names(
        &mut self,
        key: &'static str,
        doc: &'static str,
        mut read: impl FnMut(&str, &mut Self),
    ) {
        let value = self.take(key);
        self.note(key, Kind::Names, doc, String::new(), value.as_ref().map(|v| v.place.clone()));
        let all = value.and_then(|value| self.table(key, value)).map_or_else(Table::new, |(table, _)| table);
        if self.book.describing {
            let path = format!("{}.<name>", self.key(key));
            return self.inner(path, Table::new(), self.place.clone(), |inner| read("<name>", inner));
        }
        for (name, value) in all {
            let path = format!("{}.{name}", self.key(key));
            if let Some((table, place)) = self.table(&format!("{key}.{name}"), value) {
                self.inner(path, table, place, |inner| read(&name, inner));
            }
        }
    }

    /// All keys were asked for: what is left is unknown.
    pub(super) fn end(mut self) -> Book {
        for (name, value) in std::mem::take(&mut self.table) {
            let nearest = self.known.iter().min_by_key(|k| distance(k, &name)).copied();
            let words = match nearest.filter(|k| distance(k, &name) <= 3) {
                Some(nearest) => format!("unknown key; did you mean {nearest:?}?"),
                None => format!("unknown key; known here: {}", self.known.join(", ")),
            };
            self.fault(&name, value.place, words);
        }
        self.book
    }
}

/// A number as people read it: `1_000_000`.
fn underscored(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// A text as TOML.
fn quoted(text: &str) -> String {
    // JSON's escapes are TOML's too, but for what no config has.
    serde_json::Value::from(text).to_string()
}

/// Letters to insert, delete or replace (Levenshtein).
pub(super) fn distance(a: &str, b: &str) -> usize {
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
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [("", "", 0), ("channels", "channls", 1), ("kitten", "sitting", 3), ("", "abc", 3)] {
            assert_eq!((distance(a, b), distance(b, a)), (d, d), "{a} {b}");
        }
    }

    #[test]
    fn numbers_are_parted() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1_000"), (1_048_576, "1_048_576")] {
            assert_eq!(underscored(number), text);
        }
    }
}
