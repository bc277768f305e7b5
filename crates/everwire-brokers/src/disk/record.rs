//! What stands in the log: records, each with all that is needed to understand it alone.
//!
//! A record is `length u32, kind u8, body`; numbers are little-endian, texts and bytes have a length before them. Every
//! record of a channel begins with the same head, so that a start reads heads and passes over payloads.

use std::sync::Arc;

use bytes::Bytes;
use everwire_engine::channel::{Draft, Publisher};
use everwire_engine::entry::{Publication, Sender};
use everwire_proto::ids::ClientId;
use everwire_proto::payload::Payload;

/// A record is never longer: a message has at most 16 MiB.
pub(super) const MOST_BYTES: usize = 32 << 20;

const MESSAGE: u8 = 1;
const TOP: u8 = 2;
const ID: u8 = 3;
const OPENED: u8 = 4;
const CLOSED: u8 = 5;
const RENEWED: u8 = 6;

/// What every record of a channel begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// The channel.
    pub(super) name: &'a str,
    /// The random bits of its epoch.
    pub(super) epoch: u64,
    /// The offset that it speaks of.
    pub(super) offset: u64,
    /// When it was published, ms since 1970 UTC.
    pub(super) time: u64,
}

/// An idempotency key as it is kept.
pub(super) type IdKey = (Publisher, Box<str>);

/// A record, payload unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// A publication; what follows its id is read by [`publication`].
    Message { head: Head<'a>, id: Option<IdKey>, rest: &'a [u8] },
    /// A channel whose newest offset this is.
    Top { head: Head<'a> },
    /// The id of a publication that is kept no longer.
    Id { head: Head<'a>, id: IdKey },
    /// A server began to write; `lazy`: it acknowledges before the data is on the medium.
    Opened { boot: &'a str, lazy: bool },
    /// A server ended in order: everything before this is on the medium.
    Closed,
    /// The past of every channel before this may lack its newest messages: their epochs are others from here on.
    Renewed { salt: u64 },
}

/// The epoch that takes the place of another one.
pub(super) fn renewed(epoch: u64, salt: u64) -> u64 {
    // The finisher of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input moves every bit of the output.
    let mut x = epoch ^ salt;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("a frame is far below 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_payload(out: &mut Vec<u8>, payload: &Payload) {
    let (kind, bytes) = match payload {
        Payload::Json(bytes) => (0, bytes),
        Payload::MsgPack(bytes) => (1, bytes),
        Payload::Binary(bytes) => (2, bytes),
    };
    out.push(kind);
    put_bytes(out, bytes);
}

fn put_head(out: &mut Vec<u8>, head: &Head<'_>) {
    for number in [head.epoch, head.offset, head.time] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(u8::try_from(head.name.len()).expect("a channel name has at most 255 bytes"));
    out.extend_from_slice(head.name.as_bytes());
}

fn put_id(out: &mut Vec<u8>, publisher: &Publisher, id: &str) {
    match publisher {
        Publisher::Backend => out.push(1),
        Publisher::User(user) => {
            out.push(2);
            put_bytes(out, user.as_bytes());
        }
        Publisher::Client(client) => {
            out.push(3);
            out.extend_from_slice(&client.0);
        }
    }
    put_bytes(out, id.as_bytes());
}

fn whole(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind]);
    body(out);
    let len = out.len() - start;
    let body = u32::try_from(len - 4).expect("a frame is far below 4 GiB");
    out[start..start + 4].copy_from_slice(&body.to_le_bytes());
    len
}

/// Writes a publication; how many bytes it takes.
pub(super) fn put_message(out: &mut Vec<u8>, head: &Head<'_>, draft: &Draft) -> usize {
    whole(out, MESSAGE, |out| {
        put_head(out, head);
        match &draft.message_id {
            Some(id) => put_id(out, &draft.publisher, id),
            None => out.push(0),
        }
        match &draft.from {
            None => out.push(0),
            Some(sender) => {
                out.push(1);
                out.extend_from_slice(&sender.client.0);
                out.push(u8::from(sender.user.is_some()));
                if let Some(user) = &sender.user {
                    put_bytes(out, user.as_bytes());
                }
                out.push(u8::from(sender.info.is_some()));
                if let Some(info) = &sender.info {
                    put_payload(out, info);
                }
            }
        }
        out.push(u8::try_from(draft.tags.len()).expect("a message has at most 16 tags"));
        for (key, value) in &draft.tags {
            put_bytes(out, key.as_bytes());
            put_bytes(out, value.as_bytes());
        }
        put_payload(out, &draft.payload);
    })
}

/// Writes any record; how many bytes it takes.
pub(super) fn put(out: &mut Vec<u8>, record: &Record<'_>) -> usize {
    match record {
        Record::Message { head, id, rest } => whole(out, MESSAGE, |out| {
            put_head(out, head);
            match id {
                Some((publisher, id)) => put_id(out, publisher, id),
                None => out.push(0),
            }
            out.extend_from_slice(rest);
        }),
        Record::Top { head } => whole(out, TOP, |out| put_head(out, head)),
        Record::Id { head, id } => whole(out, ID, |out| {
            put_head(out, head);
            put_id(out, &id.0, &id.1);
        }),
        Record::Opened { boot, lazy } => whole(out, OPENED, |out| {
            out.push(u8::from(*lazy));
            put_bytes(out, boot.as_bytes());
        }),
        Record::Closed => whole(out, CLOSED, |_| {}),
        Record::Renewed { salt } => whole(out, RENEWED, |out| out.extend_from_slice(&salt.to_le_bytes())),
    }
}

/// What is left to read.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }
    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }
    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
    fn long(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_le_bytes(self.array()?);
        self.bytes(usize::try_from(len).ok()?)
    }
    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.long()?).ok()
    }

    fn head(&mut self) -> Option<Head<'a>> {
        let (epoch, offset, time) = (self.u64()?, self.u64()?, self.u64()?);
        let len = usize::from(self.byte()?);
        let name = std::str::from_utf8(self.bytes(len)?).ok()?;
        Some(Head { name, epoch, offset, time })
    }

    fn id(&mut self) -> Option<Option<IdKey>> {
        let publisher = match self.byte()? {
            0 => return Some(None),
            1 => Publisher::Backend,
            2 => Publisher::User(self.text()?.into()),
            3 => Publisher::Client(ClientId(self.array()?)),
            _ => return None,
        };
        Some(Some((publisher, self.text()?.into())))
    }

    fn payload(&mut self, whole: &Bytes) -> Option<Payload> {
        let kind = self.byte()?;
        let bytes = whole.slice_ref(self.long()?);
        match kind {
            0 => Some(Payload::Json(bytes)),
            1 => Some(Payload::MsgPack(bytes)),
            2 => Some(Payload::Binary(bytes)),
            _ => None,
        }
    }

    fn sender(&mut self, whole: &Bytes) -> Option<Option<Arc<Sender>>> {
        if self.byte()? == 0 {
            return Some(None);
        }
        let client = ClientId(self.array()?);
        let user = if self.byte()? == 0 { None } else { Some(self.text()?.into()) };
        let info = if self.byte()? == 0 { None } else { Some(Arc::new(self.payload(whole)?)) };
        Some(Some(Arc::new(Sender { client, user, info })))
    }
}

/// Reads the first record: how many bytes it takes, and what it says. `None`: this is none of ours.
pub(super) fn read(bytes: &[u8]) -> Option<(usize, Record<'_>)> {
    let mut left = Left(bytes);
    let body = left.long().filter(|body| body.len() < MOST_BYTES)?;
    let len = body.len() + 4;
    let mut left = Left(body);
    let record = match left.byte()? {
        MESSAGE => {
            let (head, id) = (left.head()?, left.id()?);
            Record::Message { head, id, rest: left.0 }
        }
        TOP => Record::Top { head: left.head()? },
        ID => Record::Id { head: left.head()?, id: left.id()?? },
        OPENED => {
            let lazy = left.byte()? != 0;
            Record::Opened { boot: left.text()?, lazy }
        }
        CLOSED => Record::Closed,
        RENEWED => Record::Renewed { salt: left.u64()? },
        _ => return None,
    };
    Some((len, record))
}

/// The publication of a whole message record, which it goes on sharing.
pub(super) fn publication(whole: &Bytes) -> Option<Publication> {
    let (_, record) = read(whole)?;
    let Record::Message { head, id, rest } = record else { return None };
    let mut left = Left(rest);
    let from = left.sender(whole)?;
    let count = left.byte()?;
    let tag = |left: &mut Left<'_>| Some((left.text()?.into(), left.text()?.into()));
    let tags = (0..count).map(|_| tag(&mut left)).collect::<Option<Vec<_>>>()?;
    let payload = left.payload(whole)?;
    Some(Publication {
        payload,
        message_id: id.map(|(_, id)| id),
        from,
        time: head.time,
        tags: tags.into_boxed_slice(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafts() -> Vec<Draft> {
        let client = ClientId([7; 12]);
        let info = Some(Arc::new(Payload::MsgPack(Bytes::from_static(b"\x01"))));
        let plain = Draft {
            payload: Payload::Json(Bytes::from_static(b"{\"a\":1}")),
            message_id: None,
            publisher: Publisher::Backend,
            from: None,
            tags: Box::default(),
            volatile: false,
        };
        let user: Arc<str> = "änn".into();
        vec![
            plain.clone(),
            Draft { message_id: Some("m".into()), ..plain.clone() },
            Draft {
                payload: Payload::Binary(Bytes::new()),
                message_id: Some("m".into()),
                publisher: Publisher::User(user.clone()),
                from: Some(Arc::new(Sender { client, user: Some(user), info })),
                tags: Box::new([("k".into(), "v".into()), ("".into(), "ü".into())]),
                ..plain.clone()
            },
            Draft {
                payload: Payload::MsgPack(Bytes::from_static(b"\xc0")),
                message_id: Some("x".repeat(64).into()),
                publisher: Publisher::Client(client),
                from: Some(Arc::new(Sender { client, user: None, info: None })),
                ..plain
            },
        ]
    }

    #[test]
    fn a_publication_comes_back_as_it_was() {
        let head = Head { name: "room:ünï", epoch: u64::MAX, offset: 7, time: 1_700_000_000_000 };
        for draft in drafts() {
            let mut out = Vec::new();
            let len = put_message(&mut out, &head, &draft);
            assert_eq!(len, out.len());
            let whole = Bytes::from(out);
            let (read_len, record) = read(&whole).unwrap();
            let Record::Message { head: found, id, rest } = record.clone() else { panic!("{record:?}") };
            assert_eq!((read_len, found), (len, head));
            assert_eq!(id, draft.message_id.clone().map(|id| (draft.publisher.clone(), id)));
            let found = publication(&whole).unwrap();
            let Draft { payload, message_id, from, tags, .. } = draft;
            assert_eq!(found, Publication { payload, message_id, from, time: head.time, tags });
            // Moved to another segment it is the same.
            let mut moved = Vec::new();
            put(&mut moved, &Record::Message { head, id, rest });
            assert_eq!(moved, whole);
            for cut in 0..whole.len() {
                assert_eq!(read(&whole[..cut]), None, "cut at {cut}");
            }
        }
    }

    #[test]
    fn all_other_records_come_back() {
        let head = Head { name: "a", epoch: 1, offset: 0, time: 2 };
        let all = [
            Record::Top { head },
            Record::Id { head, id: (Publisher::User("u".into()), "i".into()) },
            Record::Opened { boot: "5f0a", lazy: true },
            Record::Closed,
            Record::Renewed { salt: 9 },
        ];
        for record in all {
            let mut out = Vec::new();
            let len = put(&mut out, &record);
            assert_eq!(read(&out), Some((len, record)));
        }
        assert_eq!(read(&[1, 0, 0, 0, 99]), None, "an unknown kind is not ours");
        assert_eq!(read(&[255; 16]), None);
    }

    #[test]
    fn a_renewed_epoch_is_another_one() {
        assert_ne!(renewed(1, 2) << 16, 1 << 16);
        assert_ne!(renewed(1, 2) << 16, renewed(3, 2) << 16);
    }
}
