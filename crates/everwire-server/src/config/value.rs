//! What was written, wherever it was: one tree out of the file, the environment and the flags.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file, or nowhere.
    File,
    /// In this line of the file, counted from 1.
    Line(usize),
    /// In the environment, under this name.
    Env(String),
    /// Behind `--set`, for this key.
    Flag(String),
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) what: What,
    pub(super) place: Place,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum What {
    Text(String),
    /// `None`: beyond 64 bits.
    Number(Option<i64>),
    Flag(bool),
    List(Vec<Value>),
    Table(Table),
    /// What no setting is; the word is its kind.
    Other(&'static str),
    /// A text of the environment or of a flag, which becomes what the setting wants.
    Raw(String),
}

pub(super) type Table = BTreeMap<String, Value>;

impl Value {
    /// The kind, for a fault.
    pub(super) fn kind(&self) -> &'static str {
        match self.what {
            What::Text(_) | What::Raw(_) => "string",
            What::Number(_) => "integer",
            What::Flag(_) => "boolean",
            What::List(_) => "array",
            What::Table(_) => "table",
            What::Other(kind) => kind,
        }
    }

    /// The text, where it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.what {
            What::Text(text) | What::Raw(text) => Some(text),
            _ => None,
        }
    }

    /// What a raw text is in TOML: a number, a list, a table. Anything else stays as it is.
    pub(super) fn cooked(self) -> Self {
        let What::Raw(text) = &self.what else { return self };
        let Ok(read) = DeValue::parse(text) else { return self };
        let place = self.place.clone();
        Self { what: what_of(read.get_ref(), &|_| place.clone()), place }
    }
}

/// The tree of a file's text.
///
/// # Errors
/// The line and the reason, where it is no TOML.
pub(super) fn read_file(text: &str) -> Result<Table, (usize, String)> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        (line, error.message().to_owned())
    })?;
    Ok(table_of(table.get_ref(), &|at| Place::Line(line_of(text, at))))
}

fn table_of(table: &DeTable<'_>, place: &dyn Fn(usize) -> Place) -> Table {
    let value = |value: &Spanned<DeValue<'_>>| Value {
        what: what_of(value.get_ref(), place),
        place: place(value.span().start),
    };
    table.iter().map(|(key, inner)| (key.get_ref().to_string(), value(inner))).collect()
}

fn what_of(value: &DeValue<'_>, place: &dyn Fn(usize) -> Place) -> What {
    match value {
        DeValue::String(text) => What::Text(text.to_string()),
        DeValue::Integer(n) => What::Number(i64::from_str_radix(n.as_str(), n.radix()).ok()),
        DeValue::Boolean(flag) => What::Flag(*flag),
        DeValue::Array(items) => {
            let item = |item: &Spanned<DeValue<'_>>| Value {
                what: what_of(item.get_ref(), place),
                place: place(item.span().start),
            };
            What::List(items.iter().map(item).collect())
        }
        DeValue::Table(table) => What::Table(table_of(table, place)),
        other => What::Other(other.type_str()),
    }
}

/// Puts a raw text under a dotted path, over what is there.
///
/// # Errors
/// The part of the path that is there and is no table.
pub(super) fn put(table: &mut Table, path: &[String], text: &str, place: &Place) -> Result<(), String> {
    let (last, above) = path.split_last().expect("a path has a last part");
    let mut table = table;
    for (depth, part) in above.iter().enumerate() {
        let empty = || Value { what: What::Table(Table::new()), place: place.clone() };
        let inner = table.entry(part.clone()).or_insert_with(empty);
        let What::Table(next) = &mut inner.what else { return Err(above[..=depth].join(".")) };
        table = next;
    }
    table.insert(last.clone(), Value { what: What::Raw(text.to_owned()), place: place.clone() });
    Ok(())
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1
}
