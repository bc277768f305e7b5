//! The JSON Schema of a config file, for editors.

use serde_json::{Map, Value, json};

use super::super::setting::{Kind, Setting};

/// The schema (JSON Schema 2020-12).
pub fn schema(settings: &[Setting]) -> Value {
    let mut root = object("The config of everwire serve.");
    for setting in settings {
        let mut place = &mut root;
        let parts: Vec<&str> = setting.path.split('.').collect();
        let (key, above) = parts.split_last().expect("a path has a last part");
        for part in above {
            place = inside(place, part);
        }
        let leaf = leaf(setting);
        if *key == "<name>" {
            place["additionalProperties"] = leaf;
        } else {
            place["properties"][*key] = leaf;
        }
    }
    // The one table that a word may stand for.
    let tls = root["properties"]["tls"].take();
    root["properties"]["tls"] = json!({ "anyOf": [{ "const": "proxy" }, tls] });
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Everwire");
    root
}

/// The schema of a table's part.
fn inside<'a>(table: &'a mut Value, part: &str) -> &'a mut Value {
    if part == "<name>" {
        return &mut table["additionalProperties"];
    }
    match part.strip_suffix("[]") {
        Some(list) => match &mut table["properties"][list]["items"] {
            // A text, or a table.
            either if either["anyOf"].is_array() => &mut either["anyOf"][1],
            items => items,
        },
        None => &mut table["properties"][part],
    }
}

fn object(doc: &str) -> Value {
    json!({ "type": "object", "description": doc, "properties": {}, "additionalProperties": false })
}

fn leaf(setting: &Setting) -> Value {
    let number = |range: &std::ops::RangeInclusive<u64>| json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() });
    let mut leaf = match &setting.kind {
        Kind::Number(range) => number(range),
        Kind::Time(_) => json!({ "type": "string", "pattern": "^[0-9_]+ *(ms|s|m|h|d)$" }),
        Kind::Size(range) => {
            let text = json!({ "type": "string", "pattern": "^[0-9_]+ *(B|KiB|MiB|GiB|TiB)?$" });
            json!({ "anyOf": [number(range), text] })
        }
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Text => json!({ "type": "string", "minLength": 1 }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::TextsOrTables => {
            let table = object("What it is and what it allows.");
            json!({ "type": "array", "items": { "anyOf": [{ "type": "string" }, table] } })
        }
        Kind::Section | Kind::Optional => object(setting.doc),
        Kind::Tables => json!({ "type": "array", "items": object(setting.doc) }),
        Kind::Names => {
            json!({ "type": "object", "additionalProperties": object(setting.doc) })
        }
    };
    let about = leaf.as_object_mut().expect("every kind is an object");
    about.insert("description".to_owned(), json!(setting.doc));
    if let Some(default) = default(setting) {
        about.insert("default".to_owned(), default);
    }
    leaf
}

/// The default as JSON: what TOML and JSON write alike, but for the underscores of numbers.
fn default(setting: &Setting) -> Option<Value> {
    let text = match setting.kind {
        Kind::Number(_) => setting.default.replace('_', ""),
        _ => setting.default.clone(),
    };
    serde_json::from_str(&text).ok().filter(|value: &Value| *value != Value::Object(Map::new()))
}
