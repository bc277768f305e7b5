//! The MessagePack format: the same objects in binary frames. Strings as keys, no extension types.

use std::borrow::Cow;

use crate::codes::ErrorCode;
use crate::command::{Refusal, Request};
use crate::encode::{self, Key, Writer};
use crate::fields::{self, Field};
use crate::pack::{Pack, Scanner};
use crate::payload::{DEPTH, Format, MOST_DEPTH, View};
use crate::reply::Outgoing;
use crate::transcode;

/// Reads one command from a binary frame.
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
    let list = read_within(frame, deepest).map_err(|message| Refusal {
        id: None,
        code: ErrorCode::BadRequest,
        message,
    })?;
    fields::request(list, Format::MsgPack, read)
}

/// Appends one object.
pub fn encode(id: Option<u64>, what: &Outgoing<'_>, out: &mut Vec<u8>) {
    encode::outgoing(&mut PackWriter(Pack(out)), id, what);
}

/// The fields of an object that was part of a whole, and checked with it.
fn read(bytes: &[u8]) -> Result<Vec<Field<'_>>, String> {
    read_within(bytes, MOST_DEPTH)
}

fn read_within(bytes: &[u8], deepest: usize) -> Result<Vec<Field<'_>>, String> {
    let mut list = Vec::with_capacity(6);
    Scanner::new(bytes).within(deepest).object(|key, value, raw| {
        list.push(Field { key: Cow::Borrowed(key), value, raw: Cow::Borrowed(raw) });
    })?;
    Ok(list)
}

struct PackWriter<'o>(Pack<'o>);

impl Writer for PackWriter<'_> {
    fn open(&mut self) -> usize {
        // The number of fields is put in when it is known: up to 15 it stands in this byte.
        self.0.0.push(0x80);
        self.0.0.len() - 1
    }

    fn close(&mut self, mark: usize, fields: u8) {
        debug_assert!(fields < 16, "an object of ours has at most 15 fields");
        self.0.0[mark] |= fields;
    }

    fn map(&mut self, len: usize, inside: impl FnOnce(&mut Self)) {
        self.0.map_head(len);
        inside(self);
    }

    fn array(&mut self, len: usize, inside: impl FnOnce(&mut Self)) {
        self.0.array_head(len);
        inside(self);
    }

    fn element(&mut self) {}

    fn key(&mut self, key: Key) {
        self.0.str(key.name);
    }

    fn foreign_key(&mut self, key: &str) {
        self.0.str(key);
    }

    fn plain(&mut self, text: &[u8]) {
        self.0.utf8(text);
    }

    fn str(&mut self, text: &str) {
        self.0.str(text);
    }

    fn u64(&mut self, n: u64) {
        self.0.u64(n);
    }

    fn bool(&mut self, flag: bool) {
        self.0.bool(flag);
    }

    fn payload(&mut self, payload: View<'_>) {
        match payload {
            View::MsgPack(bytes) => self.0.0.extend_from_slice(bytes),
            View::Json(bytes) => transcode::to_msgpack(bytes, self.0.0),
            View::Binary(bytes) => self.0.bin(bytes),
        }
    }
}
