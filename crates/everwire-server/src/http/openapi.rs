//! `/api/openapi.json`: the table of verbs as an OpenAPI 3.1 document.
//!
//! It is made of the same rows that requests are read by, so it can't promise what is not there. The log's level has no row,
//! and stands here.

use std::collections::BTreeMap;

use everwire_proto::api::{Choice, ERROR, FIELDS_OF_A_PUBLICATION, Field, Kind, Spec, Verb};
use everwire_proto::codes::ErrorCode;
use everwire_proto::position::MAX_INTEGER;
use serde_json::{Map, Value, json};

use crate::config::Config;

/// What every request may be refused with, whatever its verb; a status that is not the code's own stands before it.
const OF_ALL: [(Option<u16>, ErrorCode); 6] = [
    (None, ErrorCode::BadRequest),
    (None, ErrorCode::Unauthorized),
    (None, ErrorCode::PermissionDenied),
    (None, ErrorCode::TooLarge),
    (Some(408), ErrorCode::BadRequest),
    (Some(415), ErrorCode::BadRequest),
];

/// The document.
pub(super) fn document(config: &Config) -> Vec<u8> {
    let schemas = Schemas { items: config.api_limits.items };
    let mut paths = Map::new();
    let mut components = Map::new();
    for spec in Verb::ALL.iter().map(|verb| verb.spec()) {
        paths.insert(format!("/api/{}", spec.name), json!({ "post": operation(spec) }));
        components.insert(format!("{}_request", spec.name), schemas.request(spec.fields, spec.choice));
        components.insert(format!("{}_answer", spec.name), schemas.answer(spec.answer, spec.tells));
    }
    // Of the server itself, and none of the table's.
    paths.insert("/api/log_level".into(), json!({ "post": log_level() }));
    let publication = Verb::Publish.spec();
    components.insert("publication".into(), schemas.request(FIELDS_OF_A_PUBLICATION, publication.choice));
    components.insert("error".into(), schemas.answer("error", ERROR));
    components.insert("position".into(), position());
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Everwire HTTP API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "For the application's backend. Lengths of strings are bytes of UTF-8. Fields that nobody knows are ignored; null is absent, but for `data`.",
        },
        "security": [{ "bearer": [] }, { "key": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
            },
            "schemas": components,
        },
    });
    document.to_string().into_bytes()
}

fn operation(spec: &Spec) -> Value {
    let content = |kind: &str| {
        let schema = json!({ "$ref": format!("#/components/schemas/{}_{kind}", spec.name) });
        json!({ "application/json": { "schema": schema } })
    };
    let mut responses = Map::new();
    responses.insert("200".into(), json!({ "description": "Done.", "content": content("answer") }));
    for (status, codes) in refusals(spec) {
        responses.insert(status.to_string(), refusal(&codes));
    }
    json!({
        "operationId": spec.name,
        "summary": spec.doc,
        "description": format!("The key needs the right `{}`.", spec.grant.as_str()),
        "requestBody": { "required": true, "content": content("request") },
        "responses": responses,
    })
}

/// `POST /api/log_level`; its body is small, so that it is never too large but unreadable.
fn log_level() -> Value {
    let level = json!({ "type": "string", "description": "off, error, warn, info, debug or trace, or such as \"info,everwire_server::front=debug\"." });
    let content = |schema: Value| json!({ "application/json": { "schema": schema } });
    let request = json!({ "type": "object", "properties": { "level": level }, "required": ["level"] });
    let answer = json!({
        "type": "object",
        "properties": { "type": { "const": "log_level" }, "level": level },
        "required": ["type", "level"],
        "additionalProperties": false,
    });
    let mut responses = Map::new();
    responses.insert("200".into(), json!({ "description": "Done.", "content": content(answer) }));
    let [bad, without, not_granted] =
        [ErrorCode::BadRequest, ErrorCode::Unauthorized, ErrorCode::PermissionDenied];
    let own = [(408, bad), (415, bad), (ErrorCode::NotAvailable.http_status(), ErrorCode::NotAvailable)];
    for (status, code) in
        [bad, without, not_granted].map(|code| (code.http_status(), code)).into_iter().chain(own)
    {
        responses.insert(status.to_string(), refusal(&[code.as_str()]));
    }
    json!({
        "operationId": "log_level",
        "summary": "Changes how much the server logs, until its next start.",
        "description": "The key needs the right `log_level`.",
        "requestBody": { "required": true, "content": content(request) },
        "responses": responses,
    })
}

/// Every status that can come, with its codes.
fn refusals(spec: &Spec) -> BTreeMap<u16, Vec<&'static str>> {
    let own = spec.refusals.iter().map(|code| (None, *code));
    let mut all: BTreeMap<u16, Vec<_>> = BTreeMap::new();
    for (status, code) in OF_ALL.into_iter().chain(own) {
        let codes = all.entry(status.unwrap_or(code.http_status())).or_default();
        if !codes.contains(&code.as_str()) {
            codes.push(code.as_str());
        }
    }
    all
}

fn refusal(codes: &[&str]) -> Value {
    let error = json!({ "$ref": "#/components/schemas/error" });
    let schema = json!({ "allOf": [error, { "properties": { "code": { "enum": codes } } }] });
    json!({
        "description": format!("Refused: {}.", codes.join(", ")),
        "content": { "application/json": { "schema": schema } },
    })
}

fn position() -> Value {
    json!({
        "type": "object",
        "description": "A place in a channel's stream.",
        "properties": {
            "epoch": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
            "offset": { "type": "integer", "minimum": 0, "maximum": MAX_INTEGER },
        },
        "required": ["epoch", "offset"],
    })
}

/// How fields become schemas.
struct Schemas {
    /// Elements of a list.
    items: u32,
}

impl Schemas {
    fn properties(&self, fields: &[Field]) -> (Map<String, Value>, Vec<&'static str>) {
        let mut properties = Map::new();
        for field in fields {
            let mut schema = self.of(field.kind);
            if let Some(schema) = schema.as_object_mut().filter(|schema| !schema.contains_key("$ref")) {
                schema.insert("description".into(), field.doc.into());
            }
            properties.insert(field.name.into(), schema);
        }
        (properties, fields.iter().filter(|field| field.must).map(|field| field.name).collect())
    }

    /// What is taken: fields that nobody knows are ignored.
    fn request(&self, fields: &[Field], choice: Option<Choice>) -> Value {
        let (properties, required) = self.properties(fields);
        let mut schema = json!({ "type": "object", "properties": properties, "required": required });
        let one = |name: &&str| json!({ "required": [name] });
        match choice {
            Some(choice) if choice.must => {
                schema["oneOf"] = choice.of.iter().map(one).collect();
            }
            Some(choice) => schema["not"] = json!({ "required": choice.of }),
            None => {}
        }
        schema
    }

    /// What is told: these fields and no others.
    fn answer(&self, kind: &str, fields: &[Field]) -> Value {
        let (mut properties, mut required) = self.properties(fields);
        properties.insert("type".into(), json!({ "const": kind }));
        required.insert(0, "type");
        let closed = json!({ "type": "object", "properties": properties, "required": required });
        self.closed(closed)
    }

    fn closed(&self, mut schema: Value) -> Value {
        schema["additionalProperties"] = false.into();
        schema
    }

    fn inner(&self, fields: &[Field]) -> Value {
        let (properties, required) = self.properties(fields);
        self.closed(json!({ "type": "object", "properties": properties, "required": required }))
    }

    fn list(&self, items: &Value) -> Value {
        json!({ "type": "array", "minItems": 1, "maxItems": self.items, "items": items })
    }

    fn of(&self, kind: Kind) -> Value {
        let channel = || {
            // No control characters, no white space.
            let pattern = "^[^\\s\\u0000-\\u001f\\u007f-\\u009f]+$";
            json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": pattern })
        };
        match kind {
            Kind::Text { least, most } => json!({ "type": "string", "minLength": least, "maxLength": most }),
            Kind::Word(words) => json!({ "enum": words }),
            Kind::Client => json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{16}$" }),
            Kind::Channel => channel(),
            Kind::Channels => self.list(&channel()),
            Kind::Int { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Kind::Flag => json!({ "type": "boolean" }),
            Kind::Any => json!({}),
            Kind::Base64 => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Position => json!({ "$ref": "#/components/schemas/position" }),
            Kind::Tags => json!({
                "type": "object",
                "maxProperties": 16,
                "additionalProperties": { "type": "string", "maxLength": 256 },
            }),
            Kind::Object(fields) => self.inner(fields),
            Kind::Objects(fields) => json!({ "type": "array", "items": self.inner(fields) }),
            Kind::Sentences => json!({ "type": "array", "items": { "type": "string" } }),
            Kind::Publications => self.list(&json!({ "$ref": "#/components/schemas/publication" })),
            Kind::Results => {
                let one = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
                self.list(&json!({ "oneOf": [one("publish_answer"), one("error")] }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Value {
        serde_json::from_slice(&document(&Config::dev())).unwrap()
    }

    /// A verb as the protocol's section 8 shows it.
    fn row(spec: &Spec) -> String {
        let (name, answer, grant) = (spec.name, spec.answer, spec.grant.as_str());
        let tells = if spec.tells.is_empty() { String::new() } else { format!("{{{}}}", list(spec.tells)) };
        format!("| `{name}` | {} | `{answer}{tells}` | `{grant}` |", taken(spec))
    }

    fn taken(spec: &Spec) -> String {
        let mut parts = Vec::new();
        for field in spec.fields {
            match spec.choice.filter(|choice| choice.must && choice.of.contains(&field.name)) {
                Some(choice) if choice.of[0] == field.name => {
                    let all: Vec<_> = choice.of.iter().map(|name| format!("`{name}`")).collect();
                    parts.push(all.join(" or "));
                }
                Some(_) => {}
                None => parts.push(format!("`{}`", shown(field))),
            }
        }
        parts.join(", ")
    }

    fn list(fields: &[Field]) -> String {
        fields.iter().map(shown).collect::<Vec<_>>().join(", ")
    }

    fn shown(field: &Field) -> String {
        let inside = match field.kind {
            Kind::Channels | Kind::Publications | Kind::Results | Kind::Sentences => "[]".to_owned(),
            // As `history` and `presence` of section 2.
            Kind::Objects(_) if matches!(field.name, "messages" | "members") => "[]".to_owned(),
            Kind::Objects(fields) => format!("[]{{{}}}", list(fields)),
            Kind::Object(fields) => format!("{{{}}}", list(fields)),
            _ => String::new(),
        };
        format!("{}{inside}{}", field.name, if field.must { "" } else { "?" })
    }

    #[test]
    fn the_protocol_shows_the_same_table() {
        let protocol = include_str!("../../../../docs/protocol.md");
        let rows: Vec<_> = Verb::ALL.iter().map(|verb| row(verb.spec())).collect();
        let table = rows.join("\n");
        assert!(protocol.contains(&table), "section 8 is to have this table:\n{table}");
    }

    /// Every `$ref` of a value.
    fn references<'v>(value: &'v Value, into: &mut Vec<&'v str>) {
        match value {
            Value::Object(fields) => {
                into.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, into));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }

    #[test]
    fn every_verb_is_there_and_every_reference_leads_somewhere() {
        let whole = whole();
        let paths = whole["paths"].as_object().unwrap();
        assert_eq!(paths.len(), Verb::ALL.len() + 1);
        assert!(paths.contains_key("/api/log_level"));
        let mut all = Vec::new();
        references(&whole, &mut all);
        assert!(all.len() > Verb::ALL.len());
        for reference in all {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(whole.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_status_has_its_codes() {
        let whole = whole();
        let codes = |verb: &str, status: &str| {
            let at = format!(
                "/paths/~1api~1{verb}/post/responses/{status}/content/application~1json/schema/allOf/1/properties/code/enum"
            );
            whole.pointer(&at).cloned().unwrap_or_default()
        };
        assert_eq!(codes("publish", "400"), json!(["bad_request", "bad_channel_name"]));
        assert_eq!(codes("publish", "413"), json!(["too_large"]));
        assert_eq!(codes("history", "409"), json!(["not_available", "unrecoverable_position"]));
        assert_eq!(codes("info", "408"), json!(["bad_request"]));
        assert_eq!(codes("info", "503"), Value::Null);
    }
}
