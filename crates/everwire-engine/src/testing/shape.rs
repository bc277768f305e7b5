//! What a payload looks like. Its text says so itself, so that whoever hears it knows what to expect: it stands as
//! `data` or, as the same bytes, as `binary`, with tags or without.

use serde_json::{Map, Value, json};

/// A text like `3.17.BTxxk`: who, which one, its shape and padding, and whether it has a message id.
pub(super) fn text(who: &str, number: u64, shape: &str, pad: usize, keyed: bool) -> String {
    let mark = if keyed { "k" } else { "u" };
    format!("{who}.{number}.{shape}{}{mark}", "x".repeat(pad))
}

/// Its number.
pub(super) fn number_of(text: &str) -> u64 {
    text.split('.').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn shape_of(text: &str) -> (bool, bool) {
    let shape = text.split('.').nth(2).unwrap_or_default();
    (shape.starts_with('B'), shape.trim_start_matches('B').starts_with('T'))
}

/// The tags of a text whose shape has some.
pub(super) fn tags_of(text: &str) -> Vec<(String, String)> {
    if !shape_of(text).1 {
        return Vec::new();
    }
    vec![("number".to_owned(), number_of(text).to_string()), ("käse".to_owned(), "\"\\\n".to_owned())]
}

/// Whether it is published as bytes.
pub(super) fn is_binary(text: &str) -> bool {
    shape_of(text).0
}

/// Puts it into a `publish`.
pub(super) fn fill(command: &mut Value, text: &str) {
    if is_binary(text) {
        command["binary"] = json!(to_base64(text.as_bytes()));
    } else {
        command["data"] = json!(text);
    }
    let tags = tags_of(text);
    if !tags.is_empty() {
        let tags: Map<_, _> = tags.into_iter().map(|(key, value)| (key, json!(value))).collect();
        command["tags"] = Value::Object(tags);
    }
}

/// Reads it out of a message, which must look as its text says.
pub(super) fn read(message: &Value) -> Result<String, String> {
    let (data, binary) = (&message["data"], &message["binary"]);
    let text = match (data.as_str(), binary.as_str()) {
        (Some(text), None) => text.to_owned(),
        (None, Some(binary)) => {
            String::from_utf8(from_base64(binary).ok_or("no base64")?).map_err(|e| e.to_string())?
        }
        _ => return Err("a message has `data` or `binary`".to_owned()),
    };
    if is_binary(&text) != data.is_null() {
        return Err("the payload is of the other kind".to_owned());
    }
    let mut expected = json!({});
    for (key, value) in tags_of(&text) {
        expected[key] = json!(value);
    }
    let tags = message.get("tags").cloned().unwrap_or_else(|| json!({}));
    if tags != expected {
        return Err(format!("the tags must be {expected}"));
    }
    let from = &message["from"]["client"];
    if text.starts_with("backend") != from.is_null() {
        return Err("`from` stands iff a client published".to_owned());
    }
    Ok(text)
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648, section 4.
fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            out.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let digits = chunk.iter().take_while(|c| **c != b'=').count();
        let mut bits = 0_u32;
        for at in 0..4 {
            let digit = chunk.get(at).filter(|c| **c != b'=');
            let value = digit.map_or(Some(0), |c| DIGITS.iter().position(|d| d == c))?;
            bits = bits << 6 | u32::try_from(value).ok()?;
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..digits.checked_sub(1)? + 1]);
    }
    Some(out)
}

const KEY: &[u8] = b"\xa6binary";

/// The same MessagePack object with the base64 text of `binary` as bytes.
pub(super) fn with_bytes(packed: &[u8]) -> Vec<u8> {
    let Some(at) = find(packed) else { return packed.to_vec() };
    let (len, start) = match packed[at] {
        head @ 0xa0..=0xbf => (usize::from(head & 31), at + 1),
        0xd9 => (usize::from(packed[at + 1]), at + 2),
        _ => (usize::from(packed[at + 1]) << 8 | usize::from(packed[at + 2]), at + 3),
    };
    let text = std::str::from_utf8(&packed[start..start + len]).unwrap_or_default();
    let bytes = from_base64(text).unwrap_or_default();
    join(packed, at, 0xc5, &bytes, start + len)
}

/// The same MessagePack object with the bytes of `binary` as base64 text.
pub(super) fn with_text(packed: &[u8]) -> Vec<u8> {
    let mut packed = packed.to_vec();
    let mut from = 0;
    while let Some(at) = find(&packed[from..]).map(|at| at + from) {
        let (len, start) = match packed[at] {
            0xc4 => (usize::from(packed[at + 1]), at + 2),
            0xc5 => (usize::from(packed[at + 1]) << 8 | usize::from(packed[at + 2]), at + 3),
            _ => return packed,
        };
        let text = to_base64(&packed[start..start + len]);
        packed = join(&packed, at, 0xda, text.as_bytes(), start + len);
        from = at;
    }
    packed
}

fn find(packed: &[u8]) -> Option<usize> {
    packed.windows(KEY.len()).position(|w| w == KEY).map(|at| at + KEY.len())
}

fn join(packed: &[u8], at: usize, head: u8, inside: &[u8], end: usize) -> Vec<u8> {
    let len = u16::try_from(inside.len()).expect("payloads of the simulation are small");
    let mut out = packed[..at].to_vec();
    out.push(head);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(inside);
    out.extend_from_slice(&packed[end..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_there_and_back() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(to_base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
    }
}
