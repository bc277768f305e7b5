//! The JSON format: one object per text frame, RFC 8259.

mod plain;
mod write;

use std::borrow::Cow;

use crate::codes::ErrorCode;
use crate::command::{Command, Refusal, Request};
use crate::encode;
use crate::fields::{self, Field, Value};
use crate::payload::{DEPTH, Format, MOST_DEPTH};
use crate::reply::Outgoing;
use crate::text::Scanner;

/// Reads one command from the text of a frame, which is UTF-8 already: whoever decodes frames has checked it, and what is
/// published is not looked at again for that.
///
/// # Errors
/// A [`Refusal`] with the command's id where it could be read.
pub fn decode(frame: &[u8]) -> Result<Request<'_>, Refusal> {
    decode_within(frame, DEPTH)
}

/// The same, with values that may be so deep; at most [`MOST_DEPTH`].
///
/// # Errors
/// As above.
pub fn decode_within(frame: &[u8], deepest: usize) -> Result<Request<'_>, Refusal> {
    if let Some(request) = plain::publish(frame, deepest) {
        return Ok(request);
    }
    fields::request_in(read_within(frame, deepest).map_err(bad)?, Format::Json, read)
}

/// Reads the fields of command `verb` from a JSON body, as the HTTP API takes them.
///
/// # Errors
/// A [`Refusal`] without an id.
pub fn decode_verb<'a>(verb: &str, body: &'a [u8]) -> Result<Command<'a>, Refusal> {
    fields::verb_request(verb, read_body(body, DEPTH).map_err(bad)?, Format::Json, read)
}

/// The fields of a body, which may be any bytes.
pub(crate) fn read_body(body: &[u8], deepest: usize) -> Result<Vec<Field<'_>>, String> {
    if let Err(e) = std::str::from_utf8(body) {
        return Err(format!("the body is not UTF-8 at byte {}", e.valid_up_to()));
    }
    read_within(body, deepest)
}

/// Appends one object, without a line end. Where its first payload begins in `out`, if it has one.
pub fn encode(id: Option<u64>, what: &Outgoing<'_>, out: &mut Vec<u8>) -> Option<usize> {
    let mut writer = write::JsonWriter::new(out);
    encode::outgoing(&mut writer, id, what);
    writer.payload_at()
}

fn bad(message: String) -> Refusal {
    Refusal { id: None, code: ErrorCode::BadRequest, message }
}

/// The fields of an object that was part of a whole, and checked with it.
pub(crate) fn read(text: &[u8]) -> Result<Vec<Field<'_>>, String> {
    read_within(text, MOST_DEPTH)
}

fn read_within(text: &[u8], deepest: usize) -> Result<Vec<Field<'_>>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "not JSON: the text is not UTF-8".to_owned())?;
    let mut scanner = Scanner::of_text(text).within(deepest);
    let mut list = Vec::with_capacity(6);
    scanner.object(|key, value, raw, newlines| {
        let raw = if newlines { Cow::Owned(without_newlines(raw)) } else { Cow::Borrowed(raw) };
        list.push(Field { key, value, raw });
    })?;
    Ok(list)
}

/// The bytes of each element of a list.
pub(crate) fn array<'a>(text: &'a [u8], element: impl FnMut(&'a [u8])) -> Result<(), String> {
    Scanner::new(text).within(MOST_DEPTH).array(element)
}

/// A value that stands alone, decoded as far as commands need it.
pub(crate) fn value(text: &[u8]) -> Result<Value<'_>, String> {
    Scanner::new(text).value()
}

/// CR and LF can stand only between tokens: inside strings they are escaped.
fn without_newlines(raw: &[u8]) -> Vec<u8> {
    raw.iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::{plain_publish, request_in};

    /// The line ends count that stand inside the data.
    #[test]
    fn a_plain_publish_may_have_space_between_its_tokens() {
        for (text, is_plain) in [
            ("\n{ \"type\" : \"publish\",\r\n\"channel\":\"a\" , \"data\" : [1, 2]\t}\n", true),
            ("{\"type\":\"publish\",\"channel\":\"\u{e4}\",\"data\":\"\u{1f980}\"}", true),
            ("{\"type\":\"publish\",\"channel\":\"a\",\"data\":[1,\n2]}", false),
            ("{\"type\":\"publish\",\"channel\":\"a\",\"data\":1}1", false),
            ("{\"type\":\"publish\",\"channel\":\"a\",\"data\":1,}", false),
            ("{\"type\":\"publish\",\"channel\":\"a\"\"data\":1}", false),
            ("{\"type\":\"publish\",\"channel\":\"a\",\"data\":1", false),
            ("{\"type\":\"publish\",\"channel\":\"a\",\"data\":01}", false),
        ] {
            let plain = plain::publish(text.as_bytes(), DEPTH);
            assert_eq!(plain.is_some(), is_plain, "{text}");
            if let Some(plain) = plain {
                assert_eq!(
                    request_in(read(text.as_bytes()).unwrap(), Format::Json, read),
                    Ok(plain),
                    "{text}"
                );
            }
        }
    }

    /// The short way says what the long one says, and says nothing where that one refuses.
    #[test]
    fn a_plain_publish_is_read_as_any_command() {
        let values = [
            "1",
            "0",
            "9007199254740992",
            "null",
            "\"publish\"",
            "\"ping\"",
            "\"a\\u0062\"",
            "{\"x\":[1]}",
            "\"\\ud800\"",
        ];
        let keys = ["id", "type", "channel", "data", "volatile", "data"];
        let mut plain = 0;
        // Every value under every key of three, beside a publish that lacks it, with and without a further key.
        for left_out in 0..4 {
            for value in values {
                for further in [None, Some(3), Some(4), Some(5)] {
                    let whole = ["1", "\"publish\"", "\"news\"", "7"];
                    let mut parts: Vec<String> = (0..4)
                        .filter(|at| *at != left_out)
                        .map(|at| format!("{:?}:{}", keys[at], whole[at]))
                        .collect();
                    parts.push(format!("{:?}:{value}", keys[left_out]));
                    parts.extend(further.map(|at| format!("{:?}:{value}", keys[at])));
                    let text = format!("{{{}}}", parts.join(","));
                    let mut list = read(text.as_bytes()).unwrap();
                    let long = request_in(list.clone(), Format::Json, read);
                    let short =
                        [plain_publish(&mut list, Format::Json), plain::publish(text.as_bytes(), DEPTH)];
                    for request in short.into_iter().flatten() {
                        assert_eq!(Ok(request), long, "{text}");
                        plain += 1;
                    }
                }
            }
        }
        assert!(plain > 20, "{plain} were plain");
    }
}
