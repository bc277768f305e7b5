//! JSON text, RFC 8259: a strict scanner that finds where values end and that they are well-formed, in one pass; and
//! the writing of strings.

use std::borrow::Cow;

use crate::fields::{MAX_FIELDS, Value};
use crate::payload::{DEPTH, MOST_DEPTH};

/// Bytes that need a look inside a string: the quote, the backslash, control characters.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 0x20 {
        table[i] = true;
        i += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Bytes that the processor looks at together in a long string.
const TOGETHER: usize = 32;

/// How many bytes come before the first special one. Short strings are done in two words; of a long one, stretches without
/// a special byte are skipped many bytes at a time, in a form that compilers make vectors of.
fn plain_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    if bytes.len() >= 2 * TOGETHER {
        at = plain_words(&bytes[..16]);
        if at < 16 {
            return at;
        }
        while let Some(stretch) = bytes[at..].first_chunk::<TOGETHER>()
            && !stretch.iter().fold(false, |any, b| any | (*b < 0x20) | (*b == b'"') | (*b == b'\\'))
        {
            at += TOGETHER;
        }
    }
    at + plain_words(&bytes[at..])
}

/// The same, eight at a time: in a word whose bytes are each set off against one value, the lowest flag is exact (a borrow
/// only runs upward).
fn plain_words(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const FLAGS: u64 = ONES << 7;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let special = (quote | backslash | control) & FLAGS;
        if special != 0 {
            return at * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8 + rest.iter().position(|b| SPECIAL[usize::from(*b)]).unwrap_or(rest.len())
}

pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    /// The same, where it was found to be UTF-8 as a whole: its strings need no check of their own.
    utf8: Option<&'a str>,
    at: usize,
    /// A CR or LF stood between tokens.
    newlines: bool,
    /// How deep a value may be.
    deepest: usize,
}

type Fault = String;

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, utf8: None, at: 0, newlines: false, deepest: DEPTH }
    }

    /// A scanner of a whole text.
    pub(crate) fn of_text(text: &'a str) -> Self {
        Self { utf8: Some(text), ..Self::new(text.as_bytes()) }
    }

    /// The same, whose values may be so deep, and no deeper than anybody's.
    pub(crate) fn within(self, deepest: usize) -> Self {
        Self { deepest: deepest.min(MOST_DEPTH), ..self }
    }

    /// How far it has come.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    fn fault<T>(&self, what: &str) -> Result<T, Fault> {
        match self.text.get(self.at) {
            Some(b) => Err(format!("not JSON: {what} at byte {}, found {:?}", self.at, char::from(*b))),
            None => Err(format!("not JSON: {what} at byte {}, where the text ends", self.at)),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b @ (b' ' | b'\t' | b'\r' | b'\n')) = self.peek() {
            self.newlines |= b < b' ' && b != b'\t';
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<(), Fault> {
        if self.peek() != Some(byte) {
            return self.fault(what);
        }
        self.at += 1;
        Ok(())
    }

    /// The whole text as one object: each field is given with its raw bytes and whether these hold line ends.
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(Cow<'a, str>, Value<'a>, &'a [u8], bool),
    ) -> Result<(), Fault> {
        self.space();
        if self.peek() != Some(b'{') {
            return self.fault("a command is one object, `{` expected");
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            for count in 1.. {
                if count > MAX_FIELDS {
                    return Err(format!("an object of a command has at most {MAX_FIELDS} fields"));
                }
                let key = match self.string_value()? {
                    Value::Str(key) => key,
                    _ => return Err("not JSON for us: a key has half a surrogate pair".to_owned()),
                };
                self.space();
                self.expect(b':', "`:` expected after a key")?;
                self.space();
                self.newlines = false;
                let start = self.at;
                let value = self.value()?;
                let newlines = self.newlines;
                field(key, value, &self.text[start..self.at], newlines);
                self.space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => break,
                    _ => return self.fault("`,` or `}` expected"),
                }
                self.space();
            }
            self.at += 1;
        }
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.fault("the end expected after the object") }
    }

    /// The whole text as one array: the raw bytes of each element are given.
    pub(crate) fn array(&mut self, mut element: impl FnMut(&'a [u8])) -> Result<(), Fault> {
        self.space();
        self.expect(b'[', "a list expected")?;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                let start = self.at;
                self.skip(1)?;
                element(&self.text[start..self.at]);
                self.space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b']') => break,
                    _ => return self.fault("`,` or the end of the list expected"),
                }
                self.space();
            }
            self.at += 1;
        }
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.fault("the end expected after the list") }
    }

    /// A value of a field, decoded as far as commands need it.
    pub(crate) fn value(&mut self) -> Result<Value<'a>, Fault> {
        Ok(match self.peek() {
            Some(b'"') => self.string_value()?,
            Some(b'{') => {
                self.skip(1)?;
                Value::Map
            }
            Some(b'[') => {
                self.skip(1)?;
                Value::Array
            }
            Some(b'-' | b'0'..=b'9') => self.number_value()?,
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            _ => return self.fault("a value expected"),
        })
    }

    /// Checks one value at nesting `depth` and goes behind it.
    pub(crate) fn skip(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'{') => self.skip_all(depth, b'}'),
            Some(b'[') => self.skip_all(depth, b']'),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| ()),
            Some(b't') => self.word("true", ()),
            Some(b'f') => self.word("false", ()),
            Some(b'n') => self.word("null", ()),
            _ => self.fault("a value expected"),
        }
    }

    fn skip_all(&mut self, depth: usize, close: u8) -> Result<(), Fault> {
        if depth > self.deepest {
            return Err(format!("the value is nested deeper than {}, at byte {}", self.deepest, self.at));
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            if close == b'}' {
                self.string()?;
                self.space();
                self.expect(b':', "`:` expected after a key")?;
                self.space();
            }
            self.skip(depth + 1)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b) if b == close => break,
                _ => return self.fault("`,` or the end of the object or array expected"),
            }
            self.space();
        }
        self.at += 1;
        Ok(())
    }

    fn word<T>(&mut self, word: &str, value: T) -> Result<T, Fault> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return self.fault("a value expected");
        }
        self.at += word.len();
        Ok(value)
    }

    /// Goes behind a string; gives its inside and whether it has escapes.
    pub(crate) fn string(&mut self) -> Result<(&'a [u8], bool), Fault> {
        self.expect(b'"', "a string expected")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_len(&self.text[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok((&self.text[start..self.at - 1], escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.fault("a control character must be escaped"),
                None => return self.fault("`\"` expected"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let hex = self.text.get(self.at + 1..self.at + 5).unwrap_or_default();
                if hex.len() < 4 || !hex.iter().all(u8::is_ascii_hexdigit) {
                    return self.fault("four hexadecimal digits expected after `\\u`");
                }
                self.at += 5;
            }
            _ => return self.fault("an escape expected"),
        }
        Ok(())
    }

    fn string_value(&mut self) -> Result<Value<'a>, Fault> {
        let (inside, escaped) = self.string()?;
        // Behind the closing quote, so that is where the string ends.
        let end = self.at - 1;
        let text = match self.utf8 {
            Some(text) => text.get(end - inside.len()..end),
            None => std::str::from_utf8(inside).ok(),
        };
        let text = text.ok_or_else(|| "not JSON: the text is not UTF-8".to_owned())?;
        if !escaped {
            return Ok(Value::Str(Cow::Borrowed(text)));
        }
        Ok(unescape(text, None).map_or(Value::BrokenStr, |s| Value::Str(Cow::Owned(s))))
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at > start
    }

    /// Goes behind a number; gives its text and whether it is an integer.
    pub(crate) fn number(&mut self) -> Result<(&'a str, bool), Fault> {
        let start = self.at;
        let mut integer = true;
        self.at += usize::from(self.peek() == Some(b'-'));
        let zero = self.peek() == Some(b'0');
        self.at += usize::from(zero);
        if self.digits() == zero {
            return self.fault("a number without leading zeros expected");
        }
        if self.peek() == Some(b'.') {
            integer = false;
            self.at += 1;
            if !self.digits() {
                return self.fault("a digit expected after `.`");
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            integer = false;
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if !self.digits() {
                return self.fault("a digit expected in the exponent");
            }
        }
        let text = std::str::from_utf8(&self.text[start..self.at]).map_err(|_| "not JSON".to_owned())?;
        Ok((text, integer))
    }

    fn number_value(&mut self) -> Result<Value<'a>, Fault> {
        let (text, integer) = self.number()?;
        if !integer {
            return Ok(Value::Number);
        }
        Ok(text.parse().map_or(Value::Number, Value::Int))
    }
}

/// The string that `text` stands for; half surrogate pairs become `broken`, or make it `None`.
pub(crate) fn unescape(text: &str, broken: Option<char>) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let kind = rest.as_bytes().get(at + 1)?;
        let mut used = at + 2;
        out.push(match kind {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = hex4(rest, used)?;
                used += 4;
                let second = rest[used..].strip_prefix("\\u").and_then(|_| hex4(rest, used + 2));
                let pair = second.and_then(|s| char::decode_utf16([first, s]).next()?.ok());
                match (char::from_u32(u32::from(first)), pair) {
                    (Some(c), _) => c,
                    (None, Some(c)) => {
                        used += 6;
                        c
                    }
                    (None, None) => broken?,
                }
            }
            other => char::from(*other),
        });
        rest = &rest[used..];
    }
    out.push_str(rest);
    Some(out)
}

fn hex4(text: &str, at: usize) -> Option<u16> {
    u16::from_str_radix(text.get(at..at + 4)?, 16).ok()
}

/// Appends `text` as a JSON string, escaping only what must be: RFC 8259 section 7.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let first = plain_len(bytes);
    if first == bytes.len() {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut start = 0;
    for (i, b) in bytes.iter().enumerate() {
        if *b >= 0x20 && *b != b'"' && *b != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[start..i]);
        start = i + 1;
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{b:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_byte_is_found_at_every_place() {
        for len in 0..40 {
            for at in 0..len {
                for byte in 0..=255u8 {
                    // The neighbours are those that a borrow could mislead.
                    for filler in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
                        let mut bytes = vec![filler; len];
                        bytes[at] = byte;
                        let naive = bytes.iter().position(|b| SPECIAL[usize::from(*b)]).unwrap_or(len);
                        assert_eq!(plain_len(&bytes), naive, "{bytes:?}");
                    }
                }
            }
        }
    }
}
