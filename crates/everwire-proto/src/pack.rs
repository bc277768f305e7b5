//! MessagePack tokens: a strict scanner that checks lengths against what is there before anything is believed; and the
//! writing of tokens.

use std::borrow::Cow;

use crate::fields::{MAX_FIELDS, Value};
use crate::payload::{DEPTH, MOST_DEPTH};

pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How deep a value may be.
    deepest: usize,
}

/// One token: a scalar whole, a collection's head.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    Str(&'a str),
    Bin(&'a [u8]),
    Array(usize),
    Map(usize),
}

type Fault = String;

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, deepest: DEPTH }
    }

    /// The same, whose values may be so deep, and no deeper than anybody's.
    pub(crate) fn within(self, deepest: usize) -> Self {
        Self { deepest: deepest.min(MOST_DEPTH), ..self }
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn fault<T>(at: usize, what: &str) -> Result<T, Fault> {
        Err(format!("not MessagePack for us: {what}, at byte {at}"))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let Some(bytes) = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end)) else {
            return Self::fault(self.at, "the value goes on behind the end of the frame");
        };
        self.at += len;
        Ok(bytes)
    }

    fn uint(&mut self, len: usize) -> Result<u64, Fault> {
        Ok(self.take(len)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn length(&mut self, len: usize) -> Result<usize, Fault> {
        let n = self.uint(len)?;
        Ok(usize::try_from(n).unwrap_or(usize::MAX))
    }

    fn signed(&mut self, len: usize) -> Result<Token<'a>, Fault> {
        let shift = 64 - 8 * len;
        // Sign-extends: the cast reinterprets 64 bits.
        let n = ((self.uint(len)? << shift) as i64) >> shift;
        Ok(u64::try_from(n).map_or(Token::Negative(n), Token::Unsigned))
    }

    fn str(&mut self, len: usize) -> Result<Token<'a>, Fault> {
        let start = self.at;
        match std::str::from_utf8(self.take(len)?) {
            Ok(text) => Ok(Token::Str(text)),
            Err(_) => Self::fault(start, "a string is not UTF-8"),
        }
    }

    fn float(&mut self, n: f64, at: usize) -> Result<Token<'a>, Fault> {
        if n.is_finite() {
            Ok(Token::Float(n))
        } else {
            Self::fault(at, "NaN and infinities have no JSON form")
        }
    }

    /// The next token.
    pub(crate) fn token(&mut self) -> Result<Token<'a>, Fault> {
        let at = self.at;
        let tag = self.take(1)?[0];
        Ok(match tag {
            0x00..=0x7f => Token::Unsigned(tag.into()),
            0x80..=0x8f => Token::Map(usize::from(tag & 0x0f)),
            0x90..=0x9f => Token::Array(usize::from(tag & 0x0f)),
            0xa0..=0xbf => self.str(usize::from(tag & 0x1f))?,
            0xc0 => Token::Null,
            0xc2 | 0xc3 => Token::Bool(tag == 0xc3),
            0xc4..=0xc6 => {
                let len = self.length(1 << (tag - 0xc4))?;
                Token::Bin(self.take(len)?)
            }
            0xca => {
                let bits = u32::try_from(self.uint(4)?).unwrap_or(0);
                self.float(f32::from_bits(bits).into(), at)?
            }
            0xcb => {
                let bits = self.uint(8)?;
                self.float(f64::from_bits(bits), at)?
            }
            0xcc..=0xcf => Token::Unsigned(self.uint(1 << (tag - 0xcc))?),
            0xd0..=0xd3 => self.signed(1 << (tag - 0xd0))?,
            0xd9..=0xdb => {
                let len = self.length(1 << (tag - 0xd9))?;
                self.str(len)?
            }
            0xdc | 0xdd => Token::Array(self.length(2 << (tag - 0xdc))?),
            0xde | 0xdf => Token::Map(self.length(2 << (tag - 0xde))?),
            0xe0..=0xff => Token::Negative(i64::from(tag.cast_signed())),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return Self::fault(at, "extension types are not known here"),
        })
    }

    fn key(&mut self) -> Result<&'a str, Fault> {
        let at = self.at;
        match self.token()? {
            Token::Str(key) => Ok(key),
            _ => Self::fault(at, "a key must be a string"),
        }
    }

    /// The whole input as one map: each field is given with its raw bytes.
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&'a str, Value<'a>, &'a [u8]),
    ) -> Result<(), Fault> {
        let Token::Map(len) = self.token()? else { return Self::fault(0, "a command is one map") };
        if len > MAX_FIELDS {
            return Err(format!("an object of a command has at most {MAX_FIELDS} fields"));
        }
        for _ in 0..len {
            let key = self.key()?;
            let start = self.at;
            let token = self.token()?;
            let value = match &token {
                Token::Null => Value::Null,
                Token::Bool(flag) => Value::Bool(*flag),
                Token::Unsigned(n) => Value::Int(*n),
                Token::Negative(_) | Token::Float(_) => Value::Number,
                Token::Str(text) => Value::Str(Cow::Borrowed(text)),
                Token::Bin(bytes) => Value::Bin(bytes),
                Token::Array(_) => Value::Array,
                Token::Map(_) => Value::Map,
            };
            self.rest(&token, 1)?;
            field(key, value, &self.bytes[start..self.at]);
        }
        if self.at == self.bytes.len() { Ok(()) } else { Self::fault(self.at, "bytes follow the command") }
    }

    /// Goes behind what a token began.
    fn rest(&mut self, token: &Token<'a>, depth: usize) -> Result<(), Fault> {
        let (len, is_map) = match token {
            Token::Array(len) => (*len, false),
            Token::Map(len) => (*len, true),
            _ => return Ok(()),
        };
        if depth > self.deepest {
            return Err(format!("the value is nested deeper than {}, at byte {}", self.deepest, self.at));
        }
        for _ in 0..len {
            if is_map {
                self.key()?;
            }
            let at = self.at;
            let token = self.token()?;
            if let Token::Bin(_) = token {
                return Self::fault(at, "bytes stand in `binary`, not inside `data`");
            }
            self.rest(&token, depth + 1)?;
        }
        Ok(())
    }
}

/// Writes tokens, always in the shortest form.
pub(crate) struct Pack<'o>(pub(crate) &'o mut Vec<u8>);

impl Pack<'_> {
    fn be(&mut self, tag: u8, n: u64, len: usize) {
        self.0.push(tag);
        self.0.extend_from_slice(&n.to_be_bytes()[8 - len..]);
    }

    /// A head with a length: `fix` holds lengths below `fix_len`, then come 8 (if there), 16 and 32 bits.
    fn head(&mut self, len: usize, fix: u8, fix_len: usize, tag8: Option<u8>, tag16: u8) {
        let n = len as u64;
        match (n, tag8) {
            // The length is below 32 here.
            (n, _) if n < fix_len as u64 => self.0.push(fix | n as u8),
            (0..=0xff, Some(tag)) => self.be(tag, n, 1),
            (0..=0xffff, _) => self.be(tag16, n, 2),
            _ => self.be(tag16 + 1, n, 4),
        }
    }

    pub(crate) fn map_head(&mut self, len: usize) {
        self.head(len, 0x80, 16, None, 0xde);
    }

    pub(crate) fn array_head(&mut self, len: usize) {
        self.head(len, 0x90, 16, None, 0xdc);
    }

    pub(crate) fn null(&mut self) {
        self.0.push(0xc0);
    }

    pub(crate) fn negative(&mut self, n: i64) {
        // Two's complement in the shortest width that holds it.
        let bits = n.cast_unsigned();
        match n {
            -32..=-1 => self.0.push(bits.to_be_bytes()[7]),
            -128..=-33 => self.be(0xd0, bits, 1),
            -32_768..=-129 => self.be(0xd1, bits, 2),
            -2_147_483_648..=-32_769 => self.be(0xd2, bits, 4),
            _ => self.be(0xd3, bits, 8),
        }
    }

    pub(crate) fn float(&mut self, n: f64) {
        self.be(0xcb, n.to_bits(), 8);
    }

    pub(crate) fn str(&mut self, text: &str) {
        self.head(text.len(), 0xa0, 32, Some(0xd9), 0xda);
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn bin(&mut self, bytes: &[u8]) {
        self.head(bytes.len(), 0, 0, Some(0xc4), 0xc5);
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn u64(&mut self, n: u64) {
        match n {
            0..=0x7f => self.0.push(n as u8),
            0x80..=0xff => self.be(0xcc, n, 1),
            0x100..=0xffff => self.be(0xcd, n, 2),
            0x1_0000..=0xffff_ffff => self.be(0xce, n, 4),
            _ => self.be(0xcf, n, 8),
        }
    }

    pub(crate) fn bool(&mut self, flag: bool) {
        self.0.push(if flag { 0xc3 } else { 0xc2 });
    }
}
