//! From one format to the other, for payloads that were checked when they came in: protocol section 2, "Payloads".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::pack::{Pack, Scanner as PackScanner, Token};
use crate::payload::MOST_DEPTH;
use crate::text::{Scanner as JsonScanner, unescape, write_string};

/// An object of the protocol may wrap a payload of full depth in so many of its own: `history`, its list, a message.
const WRAPPED: usize = MOST_DEPTH + 8;

/// `binary`, as MessagePack writes the key.
const BINARY: &[u8] = b"\xa6binary";

/// Appends a checked MessagePack value as JSON.
pub fn to_json(msgpack: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if pack_value(&mut PackScanner::new(msgpack), 1, false, out).is_err() {
        // Checked when it came in, so this is a bug of ours; the frame stays well-formed all the same.
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// Appends a whole object of the protocol, as a peer sent it, as JSON. Bytes become base64 text, as in `binary`.
///
/// # Errors
/// What is wrong with it; `out` has a part of it then.
pub fn object_to_json(msgpack: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut scanner = PackScanner::new(msgpack);
    pack_value(&mut scanner, 1, true, out)?;
    if scanner.is_at_end() { Ok(()) } else { Err("bytes follow the object".to_owned()) }
}

/// How deep a payload, or a whole object, may be.
fn deepest(whole: bool) -> usize {
    if whole { WRAPPED } else { MOST_DEPTH }
}

/// `whole`: an object of the protocol, in which bytes may stand.
fn pack_value(
    scanner: &mut PackScanner<'_>,
    depth: usize,
    whole: bool,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    match scanner.token()? {
        // An overflow of the stack would be the end of the process, so this is not left to the check alone.
        Token::Array(_) | Token::Map(_) if depth > deepest(whole) => {
            return Err("nested too deep".to_owned());
        }
        Token::Null => out.extend_from_slice(b"null"),
        Token::Bool(flag) => out.extend_from_slice(if flag { b"true" } else { b"false" }),
        Token::Unsigned(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Token::Negative(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Token::Float(n) => out.extend_from_slice(float(n).as_bytes()),
        Token::Str(text) => write_string(text, out),
        Token::Bin(bytes) if whole => write_string(&STANDARD.encode(bytes), out),
        Token::Bin(_) => return Err("bytes inside data".to_owned()),
        Token::Array(len) => {
            out.push(b'[');
            for i in 0..len {
                if i > 0 {
                    out.push(b',');
                }
                pack_value(scanner, depth + 1, whole, out)?;
            }
            out.push(b']');
        }
        Token::Map(len) => {
            out.push(b'{');
            for i in 0..len {
                if i > 0 {
                    out.push(b',');
                }
                pack_key(scanner, out)?;
                out.push(b':');
                pack_value(scanner, depth + 1, whole, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn pack_key(scanner: &mut PackScanner<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let Token::Str(key) = scanner.token()? else { return Err("a key must be a string".to_owned()) };
    write_string(key, out);
    Ok(())
}

/// The shortest decimal that reads back as `n`, always with a point or an exponent, so that it stays a float.
fn float(n: f64) -> String {
    let size = n.abs();
    if size != 0.0 && !(1e-5..1e16).contains(&size) { format!("{n:e}") } else { format!("{n:?}") }
}

/// Appends a checked JSON value as MessagePack.
pub fn to_msgpack(json: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut reader = JsonReader { text: json, at: 0, whole: false };
    if reader.value(1, out).is_none() {
        out.truncate(start);
        Pack(out).null();
    }
}

/// Appends a command that is well-formed JSON as MessagePack; its `binary`, base64 text, becomes bytes. `None`: that
/// text is not base64 with padding.
pub fn command_to_msgpack(json: &[u8], out: &mut Vec<u8>) -> Option<()> {
    JsonReader { text: json, at: 0, whole: true }.value(1, out)
}

/// Walks over JSON that is known to be well-formed.
struct JsonReader<'a> {
    text: &'a [u8],
    at: usize,
    /// It is a command: `binary` in it is bytes.
    whole: bool,
}

impl<'a> JsonReader<'a> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn scan<T>(&mut self, read: impl FnOnce(&mut JsonScanner<'a>) -> Result<T, String>) -> Option<T> {
        let mut scanner = JsonScanner::new(&self.text[self.at..]);
        let read = read(&mut scanner).ok()?;
        self.at += scanner.at();
        Some(read)
    }

    fn value(&mut self, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        match self.peek()? {
            b'"' => self.string(out)?,
            b'{' | b'[' if depth > deepest(self.whole) => return None,
            b'{' => self.all(b'}', depth, out)?,
            b'[' => self.all(b']', depth, out)?,
            b't' => self.word(4, || Pack(out).bool(true)),
            b'f' => self.word(5, || Pack(out).bool(false)),
            b'n' => self.word(4, || Pack(out).null()),
            _ => {
                let (text, integer) = self.scan(JsonScanner::number)?;
                number(text, integer, &mut Pack(out));
            }
        }
        Some(())
    }

    fn word(&mut self, len: usize, write: impl FnOnce()) {
        self.at += len;
        write();
    }

    fn string(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.peek()?;
        let (inside, escaped) = self.scan(JsonScanner::string)?;
        let text = std::str::from_utf8(inside).ok()?;
        if escaped {
            Pack(out).str(&unescape(text, Some('\u{fffd}'))?);
        } else {
            Pack(out).str(text);
        }
        Some(())
    }

    fn bytes(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let (inside, _) = self.scan(JsonScanner::string)?;
        Pack(out).bin(&STANDARD.decode(inside).ok()?);
        Some(())
    }

    /// An object or an array: its head wants the count, so the inside is written first.
    fn all(&mut self, close: u8, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        self.at += 1;
        let (mut inside, mut count) = (Vec::new(), 0);
        while self.peek()? != close {
            if self.peek()? == b',' {
                self.at += 1;
            }
            let key = inside.len();
            if close == b'}' {
                self.string(&mut inside)?;
                self.peek()?;
                self.at += 1;
            }
            if self.whole && depth == 1 && &inside[key..] == BINARY && self.peek()? == b'"' {
                self.bytes(&mut inside)?;
            } else {
                self.value(depth + 1, &mut inside)?;
            }
            count += 1;
        }
        self.at += 1;
        let mut writer = Pack(out);
        if close == b'}' {
            writer.map_head(count)
        } else {
            writer.array_head(count)
        }
        out.extend_from_slice(&inside);
        Some(())
    }
}

/// Integers that fit 64 bits stay integers; all else becomes a float, at most the largest finite one.
fn number(text: &str, integer: bool, writer: &mut Pack<'_>) {
    if integer && let Ok(n) = text.parse::<u64>() {
        return writer.u64(n);
    }
    if integer && let Ok(n) = text.parse::<i64>() {
        // "-0" is the one integer that is not below zero here.
        return if n < 0 { writer.negative(n) } else { writer.u64(0) };
    }
    writer.float(text.parse::<f64>().unwrap_or(0.0).clamp(f64::MIN, f64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_objects_go_both_ways() {
        let json = br#"{"type":"publish","id":7,"binary":"AAH/","tags":{"binary":"AAH/"}}"#;
        let mut packed = Vec::new();
        command_to_msgpack(json, &mut packed).unwrap();
        let bytes = b"\xa6binary\xc4\x03\x00\x01\xff";
        assert!(packed.windows(bytes.len()).any(|w| w == bytes), "{packed:?}");
        assert!(packed.windows(12).any(|w| w == b"\xa6binary\xa4AAH/"), "only the command's own is bytes");
        let mut back = Vec::new();
        object_to_json(&packed, &mut back).unwrap();
        assert_eq!(std::str::from_utf8(&back).unwrap(), std::str::from_utf8(json).unwrap());
        assert!(command_to_msgpack(br#"{"binary":"no base64"}"#, &mut Vec::new()).is_none());
    }

    #[test]
    fn what_a_peer_sends_is_not_believed() {
        let deep = [0x91].repeat(100_000);
        for bad in [&deep[..], b"", b"\x81\x01\x01", b"\x81\xa1a\x01\x00", b"\xdf\xff\xff\xff\xff", b"\xc1"] {
            assert!(object_to_json(bad, &mut Vec::new()).is_err(), "{:?}", &bad[..bad.len().min(8)]);
        }
    }
}
