//! Writing JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::encode::{Key, Writer};
use crate::payload::View;
use crate::text::write_string;
use crate::transcode;

pub(super) struct JsonWriter<'o> {
    out: &'o mut Vec<u8>,
    /// Nothing stands yet in the innermost object or array.
    first: bool,
    payload_at: Option<usize>,
}

impl<'o> JsonWriter<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, first: true, payload_at: None }
    }

    /// Where the first payload begins.
    pub(super) fn payload_at(&self) -> Option<usize> {
        self.payload_at
    }

    #[inline(always)]
    fn comma(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
    }

    #[inline(always)]
    fn bracket(&mut self, bracket: u8, first: bool) {
        self.out.push(bracket);
        self.first = first;
    }
}

impl Writer for JsonWriter<'_> {
    #[inline(always)]
    fn open(&mut self) -> usize {
        self.bracket(b'{', true);
        0
    }

    #[inline(always)]
    fn close(&mut self, _mark: usize, _fields: u8) {
        self.bracket(b'}', false);
    }

    fn map(&mut self, _len: usize, inside: impl FnOnce(&mut Self)) {
        self.bracket(b'{', true);
        inside(self);
        self.bracket(b'}', false);
    }

    fn array(&mut self, _len: usize, inside: impl FnOnce(&mut Self)) {
        self.bracket(b'[', true);
        inside(self);
        self.bracket(b']', false);
    }

    fn element(&mut self) {
        self.comma();
    }

    #[inline(always)]
    fn key(&mut self, key: Key) {
        // Either way the length is known to the compiler.
        if std::mem::replace(&mut self.first, false) {
            self.out.extend_from_slice(&key.json.as_bytes()[1..]);
        } else {
            self.out.extend_from_slice(key.json.as_bytes());
        }
    }

    fn foreign_key(&mut self, key: &str) {
        self.comma();
        write_string(key, self.out);
        self.out.push(b':');
    }

    #[inline(always)]
    fn plain(&mut self, text: &[u8]) {
        self.out.push(b'"');
        self.out.extend_from_slice(text);
        self.out.push(b'"');
    }

    #[inline(always)]
    fn str(&mut self, text: &str) {
        write_string(text, self.out);
    }

    #[inline(always)]
    fn u64(&mut self, n: u64) {
        self.out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
    }

    fn bool(&mut self, flag: bool) {
        self.out.extend_from_slice(if flag { b"true" } else { b"false" });
    }

    fn payload(&mut self, payload: View<'_>) {
        self.payload_at.get_or_insert(self.out.len());
        match payload {
            View::Json(bytes) => self.out.extend_from_slice(bytes),
            View::MsgPack(bytes) => transcode::to_json(bytes, self.out),
            View::Binary(bytes) => {
                let text = STANDARD.encode(bytes);
                self.out.push(b'"');
                self.out.extend_from_slice(text.as_bytes());
                self.out.push(b'"');
            }
        }
    }
}
