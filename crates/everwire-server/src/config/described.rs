//! What is written of the settings: template, schema, reference, names in the environment, differences. All of it
//! comes from the lines that read them.

mod template;
mod schema;
mod reference;

use std::fmt::Write as _;

pub use self::reference::reference;
pub use self::schema::schema;
pub use self::template::template;

use super::setting::{Kind, Mark, Setting};
use super::sources::ENV;
use super::units::{write_size, write_time};

impl Setting {
    /// The name in the environment.
    pub fn env(&self) -> String {
        format!("{ENV}{}", self.path.trim_end_matches("[]").replace('.', "__").to_ascii_uppercase())
    }

    /// Whether it has a value of its own, and no table of others.
    pub fn is_value(&self) -> bool {
        !matches!(self.kind, Kind::Section | Kind::Optional | Kind::Tables | Kind::Names)
    }

    /// Whether the environment can name it: it is in no list of tables.
    pub fn has_env(&self) -> bool {
        (self.is_value() || self.kind == Kind::Tables) && !self.path.contains("[]")
    }

    /// What it takes, in words.
    pub fn takes(&self) -> String {
        match &self.kind {
            Kind::Number(range) => format!("{} to {}", range.start(), range.end()),
            Kind::Time(range) => format!("{} to {}", write_time(*range.start()), write_time(*range.end())),
            Kind::Size(range) => format!("{} to {}", write_size(*range.start()), write_size(*range.end())),
            Kind::Flag => "true or false".to_owned(),
            Kind::Word(words) => words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", "),
            Kind::Text => "a string".to_owned(),
            Kind::Texts => "a list of strings".to_owned(),
            Kind::TextsOrTables => "a list of strings or tables".to_owned(),
            Kind::Section | Kind::Optional => "a table".to_owned(),
            Kind::Tables => "a list of tables".to_owned(),
            Kind::Names => "tables by name".to_owned(),
        }
    }
}

/// Every name that the environment may have, a line each, with its default and what it takes.
pub fn env_names(settings: &[Setting]) -> String {
    let mut text = String::new();
    for setting in settings.iter().filter(|setting| setting.has_env()) {
        let default = if setting.default.is_empty() { "" } else { " = " };
        let _ = writeln!(text, "{}{default}{}   # {}", setting.env(), setting.default, setting.takes());
    }
    text
}

/// All that a path was set to: in a list of tables each has its own.
fn values_of<'a>(settings: &'a [Setting], path: &str) -> Vec<(&'a str, Option<Mark>)> {
    let own = settings.iter().filter(|setting| setting.path == path);
    own.filter(|setting| !setting.value.is_empty() || setting.mark.is_some())
        .map(|setting| (setting.value.as_str(), setting.mark))
        .collect()
}

/// Paths of settings that are not the same; of secrets too, though they are shown alike.
pub(crate) fn differing<'a>(this: &'a [Setting], that: &'a [Setting]) -> Vec<&'a str> {
    let mut paths: Vec<&str> = Vec::new();
    for setting in this.iter().chain(that).filter(|setting| setting.is_value()) {
        if !paths.contains(&setting.path.as_str()) {
            paths.push(&setting.path);
        }
    }
    paths.retain(|path| values_of(this, path) != values_of(that, path));
    paths
}

/// What differs, a line each: `key: this -> that`; of a secret that it does.
pub fn difference(this: &[Setting], that: &[Setting]) -> String {
    let shown = |settings: &[Setting], path: &str| {
        let all: Vec<_> = values_of(settings, path).into_iter().map(|(value, _)| value.to_owned()).collect();
        let all = all.join(", ");
        if all.is_empty() { "(unset)".to_owned() } else { all }
    };
    let mut text = String::new();
    for path in differing(this, that) {
        let (before, after) = (shown(this, path), shown(that, path));
        let _ = if before == after {
            writeln!(text, "{path}: changed, and not shown")
        } else {
            writeln!(text, "{path}: {before} -> {after}")
        };
    }
    text
}

/// Broken into lines of at most so many characters, each with `before` in front.
fn wrapped(text: &str, before: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut line = before.to_owned();
    for word in text.split_whitespace() {
        if line.len() > before.len() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = before.to_owned();
        }
        if line.len() > before.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push_str(line.trim_end());
    lines.push('\n');
    lines
}
