//! What published data must look like: a JSON Schema for each namespace that wants one, read and compiled at the start.
//!
//! Patterns are matched in a time that grows with the text alone, and nothing is fetched from anywhere.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use everwire_engine::channel::{DataCheck, Schema};
use everwire_proto::payload::Data;
use everwire_proto::transcode;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

/// A schema is no longer than this.
const SCHEMA_BYTES: u64 = 1 << 20;
/// A client is told so many characters of where and why its data does not fit.
const TOLD: usize = 200;

/// Why a schema can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaFault {
    /// It can't be read.
    #[error("{} can't be read: {error}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is too long.
    #[error("{} is over 1 MiB", .0.display())]
    TooLarge(PathBuf),
    /// It is no JSON.
    #[error("{} is no JSON: {error}", .file.display())]
    NoJson {
        /// The file.
        file: PathBuf,
        /// Where and why.
        error: serde_json::Error,
    },
    /// It is JSON, and no schema that could be held against data here.
    #[error("{} is no JSON Schema that can be used: {words}", .file.display())]
    NoSchema {
        /// The file.
        file: PathBuf,
        /// Where and why.
        words: String,
    },
}

/// Reads a schema.
///
/// # Errors
/// [`SchemaFault`], for the operator.
pub(crate) fn load(file: &Path) -> Result<Schema, SchemaFault> {
    let mut text = Vec::new();
    let read = File::open(file).and_then(|open| open.take(SCHEMA_BYTES + 1).read_to_end(&mut text));
    let read = read.map_err(|error| SchemaFault::Read { file: file.to_owned(), error })?;
    if read as u64 > SCHEMA_BYTES {
        return Err(SchemaFault::TooLarge(file.to_owned()));
    }
    let schema: Value = serde_json::from_slice(&text)
        .map_err(|error| SchemaFault::NoJson { file: file.to_owned(), error })?;
    let compiled = Compiled::new(&schema);
    compiled
        .map(|compiled| Schema(Arc::new(compiled)))
        .map_err(|words| SchemaFault::NoSchema { file: file.to_owned(), words })
}

struct Compiled(Validator);

impl Compiled {
    fn new(schema: &Value) -> Result<Self, String> {
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
        options.build(schema).map(Self).map_err(|error| shown(&error, &error))
    }
}

impl DataCheck for Compiled {
    fn check(&self, data: &Data<'_>) -> Result<(), String> {
        let mut transcoded = Vec::new();
        let json = match data {
            Data::Json(json) => &json[..],
            Data::MsgPack(packed) => {
                transcode::to_json(packed, &mut transcoded);
                &transcoded[..]
            }
            Data::Binary(_) => return Err("its schema wants `data`, and this is `binary`".to_owned()),
        };
        // Well-formed already; what may be left is half a surrogate pair.
        let value: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        // Masked: the value itself may be long, and its sender knows it.
        self.0.validate(&value).map_err(|error| shown(&error, &error.masked()))
    }
}

/// Where, and why.
fn shown(error: &ValidationError<'_>, why: &dyn std::fmt::Display) -> String {
    let at = error.instance_path().to_string();
    let at = if at.is_empty() { "at its root".to_owned() } else { format!("at {at}") };
    let words = format!("{at}: {why}");
    match words.char_indices().nth(TOLD) {
        None => words,
        Some((end, _)) => format!("{}...", &words[..end]),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::json;

    use super::*;

    fn told(schema: &Value, data: &str) -> String {
        let compiled = Compiled::new(schema).unwrap();
        compiled.check(&Data::Json(Cow::Borrowed(data.as_bytes()))).err().unwrap_or_default()
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place() {
        let schema = json!({
            "type": "object",
            "required": ["text"],
            "properties": { "text": { "type": "string", "maxLength": 5, "pattern": "^[a-z]*$" },
                            "at": { "type": "object", "properties": { "x": { "type": "integer" } } } },
            "additionalProperties": false
        });
        for (data, place) in [
            (r#"{"text":"hello"}"#, ""),
            (r#"{"text":"hello","at":{"x":1}}"#, ""),
            (r#""hello""#, "at its root: "),
            ("{}", "at its root: "),
            (r#"{"text":"longer"}"#, "at /text: "),
            (r#"{"text":"HELLO"}"#, "at /text: "),
            (r#"{"text":"a","at":{"x":"secret"}}"#, "at /at/x: "),
            (r#"{"text":"a","more":1}"#, "at its root: "),
        ] {
            let words = told(&schema, data);
            assert_eq!(words.is_empty(), place.is_empty(), "{data}: {words}");
            assert!(words.starts_with(place) && !words.contains("secret"), "{data}: {words}");
        }
        let long = told(&schema, &format!(r#"{{"text":"a","{}":1}}"#, "k".repeat(5_000)));
        assert!(!long.is_empty() && long.len() < 4 * TOLD + 8, "{}", long.len());
    }

    #[test]
    fn the_same_schema_holds_for_both_formats_and_never_for_bytes() {
        let compiled = Compiled::new(&json!({ "type": "integer" })).unwrap();
        assert_eq!(compiled.check(&Data::MsgPack(Cow::Borrowed(&[7]))), Ok(()));
        assert!(compiled.check(&Data::MsgPack(Cow::Borrowed(&[0xc3]))).unwrap_err().contains("at its root"));
        assert!(compiled.check(&Data::Binary(Cow::Borrowed(&[7]))).unwrap_err().contains("`binary`"));
    }

    #[test]
    fn what_is_no_schema_is_refused_at_the_start() {
        for schema in [
            json!({ "type": "nothing" }),
            json!({ "pattern": "(" }),
            json!({ "$ref": "https://example.com/schema.json" }),
            json!({ "$ref": "file:///etc/passwd" }),
            // A look around can take a time that has no bound.
            json!({ "pattern": "(?=a)b" }),
        ] {
            assert!(Compiled::new(&schema).is_err(), "{schema}");
        }
        let words = |file: &str| load(Path::new(file)).unwrap_err().to_string();
        assert!(words("/nonexistent.json").contains("can't be read"));
        assert!(words(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).contains("is no JSON: "));
    }

    /// What a pattern costs grows with the text alone: this one takes a backtracking matcher for ever.
    #[test]
    fn no_text_is_too_hard_for_a_pattern() {
        let schema = json!({ "pattern": "^(a+)+$" });
        assert!(told(&schema, &format!("\"{}!\"", "a".repeat(50_000))).starts_with("at its root: "));
    }
}
