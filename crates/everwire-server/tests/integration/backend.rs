//! An application's backend: it asks the API, and holds every answer against the document that the server gives of it.

use serde_json::{Map, Value};

use crate::guarded::JSON;
use crate::world::{KEY, World};

pub struct Backend<'w> {
    world: &'w World,
    key: String,
    document: Value,
}

impl<'w> Backend<'w> {
    /// With the key that may do everything.
    pub fn of(world: &'w World) -> Self {
        Self::with_key(world, KEY)
    }

    pub fn with_key(world: &'w World, key: &str) -> Self {
        let (head, document) = world.http("GET", "/api/openapi.json", "", "");
        assert!(head.starts_with("http/1.1 200"), "{head}");
        Self { world, key: key.to_owned(), document: serde_json::from_str(&document).unwrap() }
    }

    /// Every verb of the document.
    pub fn verbs(&self) -> Vec<String> {
        let paths = self.document["paths"].as_object().unwrap();
        paths.keys().map(|path| path.strip_prefix("/api/").unwrap().to_owned()).collect()
    }

    /// Sends a body as it is.
    pub fn send(&self, verb: &str, body: &str) -> (u16, Value) {
        self.send_with(verb, &format!("{JSON}X-API-Key: {}\r\n", self.key), body)
    }

    /// The same with other header lines.
    pub fn send_with(&self, verb: &str, lines: &str, body: &str) -> (u16, Value) {
        let (head, answer) = self.world.http("POST", &format!("/api/{verb}"), lines, body);
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let at = format!("/paths/~1api~1{verb}/post/responses/{status}/content/application~1json/schema");
        let schema = self.document.pointer(&at).unwrap_or_else(|| panic!("{verb} has no {status}: {answer}"));
        if let Err(words) = fits(&self.document, schema, &answer) {
            panic!("{verb} {body}: {answer}\n{words}");
        }
        (status, answer)
    }

    /// What a good request is answered.
    pub fn ask(&self, verb: &str, body: &Value) -> Value {
        let (status, answer) = self.send(verb, &body.to_string());
        assert_eq!(status, 200, "{verb} {body}: {answer}");
        answer
    }

    /// The status and the code of one that is refused.
    pub fn refused(&self, verb: &str, body: &Value) -> (u16, String) {
        let (status, answer) = self.send(verb, &body.to_string());
        assert_eq!(answer["type"], "error", "{verb} {body}");
        (status, answer["code"].as_str().unwrap().to_owned())
    }
}

/// Whether a value is what a schema says, as far as our documents go.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{value} is not {what} of {schema}"));
    if let Some(reference) = schema["$ref"].as_str() {
        let named = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        return fits(document, named, value);
    }
    for all in schema["allOf"].as_array().into_iter().flatten() {
        fits(document, all, value)?;
    }
    if let Some(some) = schema["oneOf"].as_array()
        && some.iter().filter(|one| fits(document, one, value).is_ok()).count() != 1
    {
        return wrong("one");
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return wrong("the const");
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return wrong("in the enum");
    }
    let typed = match schema["type"].as_str() {
        None => true,
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some(other) => panic!("no document of ours says {other}"),
    };
    let len = value.as_str().map_or(0, |text| text.len() as u64);
    let long = schema["maxLength"].as_u64().is_some_and(|most| len > most)
        || schema["minLength"].as_u64().is_some_and(|least| len < least);
    if !typed || long {
        return wrong("of the type");
    }
    for item in value.as_array().into_iter().flatten().filter(|_| schema.get("items").is_some()) {
        fits(document, &schema["items"], item)?;
    }
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    for (key, value) in value.as_object().into_iter().flatten() {
        match (properties.get(key), &schema["additionalProperties"]) {
            (Some(of), _) => fits(document, of, value)?,
            (None, Value::Bool(false)) => return wrong(&format!("without {key:?}")),
            (None, Value::Object(_)) => fits(document, &schema["additionalProperties"], value)?,
            (None, _) => {}
        }
    }
    let missing = |name: &&Value| value.get(name.as_str().unwrap()).is_none();
    if schema["required"].as_array().into_iter().flatten().any(|name| missing(&name)) {
        return wrong("whole, by what is required");
    }
    Ok(())
}

/// What finds no fault in anything proves nothing.
#[test]
fn an_answer_that_is_not_as_the_document_says_is_found() {
    let document =
        serde_json::json!({ "open": { "type": "object", "additionalProperties": { "type": "string" } } });
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "type": { "const": "one" },
            "count": { "type": "integer" },
            "words": { "type": "array", "items": { "enum": ["a", "b"] } },
            "tags": { "$ref": "#/open" },
            "either": { "oneOf": [{ "type": "boolean" }, { "type": "string", "maxLength": 2 }] },
        },
        "required": ["type"],
        "additionalProperties": false,
    });
    for (text, good) in [
        (r#"{"type":"one"}"#, true),
        (r#"{"type":"one","count":7,"words":["a"],"tags":{"k":"v"},"either":"ab"}"#, true),
        (r#"{"type":"two"}"#, false),
        (r#"{"count":7}"#, false),
        (r#"{"type":"one","more":1}"#, false),
        (r#"{"type":"one","count":-7}"#, false),
        (r#"{"type":"one","words":["c"]}"#, false),
        (r#"{"type":"one","tags":{"k":1}}"#, false),
        (r#"{"type":"one","either":"abc"}"#, false),
        ("[]", false),
    ] {
        assert_eq!(fits(&document, &schema, &serde_json::from_str(text).unwrap()).is_ok(), good, "{text}");
    }
}
