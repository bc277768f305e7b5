//! Payloads: bytes that are checked once and never looked into again.

use std::borrow::Cow;

use bytes::Bytes;

/// How deep arrays and objects of a value may stand in each other, unless somebody allows another depth.
pub const DEPTH: usize = 64;
/// More than so deep nobody may allow: values are read, and brought from one format to the other, by functions that call
/// themselves.
pub const MOST_DEPTH: usize = 256;

/// The two wire formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON in text frames: `everwire.v1`.
    Json,
    /// MessagePack in binary frames: `everwire.v1.msgpack`.
    MsgPack,
}

/// A payload borrowed from a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// One well-formed JSON value without CR and LF between its tokens.
    Json(Cow<'a, [u8]>),
    /// One well-formed MessagePack value of the allowed kinds.
    MsgPack(Cow<'a, [u8]>),
    /// Bytes that stood in `binary` (decoded already where they came as base64).
    Binary(Cow<'a, [u8]>),
}

/// A payload that is kept: as published, in the publisher's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// One well-formed JSON value.
    Json(Bytes),
    /// One well-formed MessagePack value.
    MsgPack(Bytes),
    /// Bytes: `bin` in MessagePack, base64 text in JSON.
    Binary(Bytes),
}

impl Data<'_> {
    /// A copy that outlives the frame.
    pub fn to_payload(&self) -> Payload {
        match self {
            Data::Json(b) => Payload::Json(Bytes::copy_from_slice(b)),
            Data::MsgPack(b) => Payload::MsgPack(Bytes::copy_from_slice(b)),
            Data::Binary(b) => Payload::Binary(Bytes::copy_from_slice(b)),
        }
    }
    /// The same, borrowed from this one.
    pub fn borrowed(&self) -> Data<'_> {
        match self {
            Data::Json(b) => Data::Json(Cow::Borrowed(b)),
            Data::MsgPack(b) => Data::MsgPack(Cow::Borrowed(b)),
            Data::Binary(b) => Data::Binary(Cow::Borrowed(b)),
        }
    }
    /// The same, borrowed from nobody.
    pub fn into_owned(self) -> Data<'static> {
        match self {
            Data::Json(b) => Data::Json(Cow::Owned(b.into_owned())),
            Data::MsgPack(b) => Data::MsgPack(Cow::Owned(b.into_owned())),
            Data::Binary(b) => Data::Binary(Cow::Owned(b.into_owned())),
        }
    }
    /// Bytes of the payload as it came.
    pub fn len(&self) -> usize {
        match self {
            Data::Json(b) | Data::MsgPack(b) | Data::Binary(b) => b.len(),
        }
    }
    /// Whether it has no bytes; only `binary` can.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Payload {
    /// Bytes of the payload as it was published.
    pub fn len(&self) -> usize {
        match self {
            Payload::Json(b) | Payload::MsgPack(b) | Payload::Binary(b) => b.len(),
        }
    }
    /// Whether it has no bytes; only `binary` can.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
