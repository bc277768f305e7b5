//! What a channel's listeners are sent: entries of its stream and notes of its presence, each encoded once per node.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use everwire_proto::ids::ClientId;
use everwire_proto::payload::{Format, Payload};
use everwire_proto::position::Position;
use everwire_proto::reply::{From, GapReason, Member, MemberEvent, Message, Outgoing};
use everwire_proto::ws::{self, Deflater, Opcode};
use everwire_proto::{json, msgpack};

use crate::name::ChannelName;

/// The forms in which one and the same frame can stand on a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON in a text frame.
    Json,
    /// The same, deflated from [`DEFLATE_FROM`] bytes up.
    JsonDeflated,
    /// MessagePack in a binary frame.
    MsgPack,
    /// The same, deflated from [`DEFLATE_FROM`] bytes up.
    MsgPackDeflated,
}

/// Shorter messages are not worth compressing: house law "Encode once".
pub const DEFLATE_FROM: usize = 256;

impl Form {
    /// The number of forms.
    pub const COUNT: usize = 4;

    /// The form for a format, compressed or not.
    pub fn new(format: Format, deflated: bool) -> Self {
        match (format, deflated) {
            (Format::Json, false) => Self::Json,
            (Format::Json, true) => Self::JsonDeflated,
            (Format::MsgPack, false) => Self::MsgPack,
            (Format::MsgPack, true) => Self::MsgPackDeflated,
        }
    }
    /// The format inside.
    pub fn format(self) -> Format {
        match self {
            Self::Json | Self::JsonDeflated => Format::Json,
            Self::MsgPack | Self::MsgPackDeflated => Format::MsgPack,
        }
    }
    fn plain(self) -> Self {
        Self::new(self.format(), false)
    }
    /// Its place in an array of [`Form::COUNT`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Encodes one object and appends it as one whole frame. In JSON, how many bytes before the frame's end its first
/// payload begins.
pub fn write_frame(form: Form, id: Option<u64>, what: &Outgoing<'_>, out: &mut Vec<u8>) -> Option<usize> {
    let mut from_end = None;
    ws::write_frame_with(out, opcode(form), |out| match form.format() {
        Format::Json => from_end = json::encode(id, what, out).map(|at| out.len() - at),
        Format::MsgPack => msgpack::encode(id, what, out),
    });
    from_end
}

/// One object in all its forms, each made on first need and then shared. Most are needed in JSON alone, and a history
/// has many: the other forms have no room before they are wanted.
#[derive(Debug, Default)]
pub struct Frames {
    json: OnceLock<Bytes>,
    others: OnceLock<Box<[OnceLock<Bytes>; Form::COUNT - 1]>>,
}

impl Frames {
    /// The ready frame. `deflater` belongs to the shard.
    pub fn get<'a>(
        &self,
        form: Form,
        deflater: &mut Deflater,
        what: impl FnOnce() -> Outgoing<'a>,
    ) -> &Bytes {
        let slot = self.slot(form);
        if let Some(ready) = slot.get() {
            return ready;
        }
        let plain = self.slot(form.plain()).get_or_init(|| encode(form.plain(), &what()).0);
        slot.get_or_init(|| deflated(form, plain, deflater))
    }

    fn slot(&self, form: Form) -> &OnceLock<Bytes> {
        match form {
            Form::Json => &self.json,
            _ => &self.others.get_or_init(Box::default)[form.index() - 1],
        }
    }

    /// A frame that was made before.
    fn ready(&self, form: Form) -> Option<&Bytes> {
        match form {
            Form::Json => self.json.get(),
            _ => self.others.get()?[form.index() - 1].get(),
        }
    }
}

/// A scratch buffer above this is given back after use, bytes.
const KEPT_BYTES: usize = 64 * 1024;

/// The frame, and in JSON how many bytes before its end the first payload begins.
fn encode(form: Form, what: &Outgoing<'_>) -> (Bytes, Option<usize>) {
    // Written where there is room already, so that what is kept is one allocation of exactly its size.
    thread_local!(static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    SCRATCH.with_borrow_mut(|out| {
        out.clear();
        let from_end = write_frame(form, None, what, out);
        let frame = Bytes::copy_from_slice(out);
        if out.capacity() > KEPT_BYTES {
            *out = Vec::new();
        }
        (frame, from_end)
    })
}

fn deflated(form: Form, plain: &Bytes, deflater: &mut Deflater) -> Bytes {
    let payload = ws::frame_payload(plain);
    if payload.len() < DEFLATE_FROM {
        return plain.clone();
    }
    let mut out = Vec::with_capacity(plain.len());
    deflater.write_frame(&mut out, opcode(form), payload);
    out.into()
}

fn opcode(form: Form) -> Opcode {
    match form.format() {
        Format::Json => Opcode::Text,
        Format::MsgPack => Opcode::Binary,
    }
}

/// The sender of a publication, kept with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its connection.
    pub client: ClientId,
    /// Its user, unless anonymous.
    pub user: Option<Arc<str>>,
    /// What its token says of it.
    pub info: Option<Arc<Payload>>,
}

/// A publication: what was sent, by whom, when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The payload as published.
    pub payload: Payload,
    /// The idempotency key.
    pub message_id: Option<Box<str>>,
    /// The sender; `None`: the backend.
    pub from: Option<Arc<Sender>>,
    /// When it was taken, ms since 1970 UTC.
    pub time: u64,
    /// Tags.
    pub tags: Box<[(Box<str>, Box<str>)]>,
}

impl Publication {
    /// As a message with this offset.
    pub fn message(&self, offset: Option<u64>) -> Message<'_> {
        Message {
            offset,
            payload: &self.payload,
            message_id: self.message_id.as_deref(),
            from: self.from.as_deref().map(|s| From {
                client: s.client,
                user: s.user.as_deref(),
                info: s.info.as_deref(),
            }),
            time: self.time,
            tags: &self.tags,
        }
    }
}

/// What an entry of a stream is.
#[derive(Debug)]
pub enum Kind {
    /// A publication.
    Message(Publication),
    /// Something that this node will never get: told to every subscriber, in its place.
    Gap {
        /// The position before it.
        from: Position,
        /// Why.
        reason: GapReason,
    },
}

/// One entry of a channel, immutable and shared by all shards.
#[derive(Debug)]
pub struct Entry {
    /// The channel.
    pub channel: ChannelName,
    /// Its number in this node's life of the channel: contiguous over epochs and holes, which is what cursors count.
    /// 0 for volatile entries, which have no place.
    pub seq: u64,
    /// The position after it; `None` for volatile entries.
    pub position: Option<Position>,
    /// What it is.
    pub kind: Kind,
    frames: Frames,
}

impl Entry {
    /// A new entry whose JSON frame is made at once: life of a message, stop 6.
    pub fn new(channel: ChannelName, seq: u64, position: Option<Position>, kind: Kind) -> Self {
        let mut entry = Self { channel, seq, position, kind, frames: Frames::default() };
        // Filled here so that no subscriber's turn pays for it.
        let (json, from_end) = encode(Form::Json, &entry.outgoing());
        if let (Kind::Message(publication), Some(from_end)) = (&mut entry.kind, from_end)
            && let Payload::Json(payload) = &mut publication.payload
        {
            // From now on it is in memory once.
            let start = json.len() - from_end;
            *payload = json.slice(start..start + payload.len());
        }
        entry.frames.json = json.into();
        entry
    }

    /// The object that stands in its frames.
    pub fn outgoing(&self) -> Outgoing<'_> {
        match &self.kind {
            Kind::Message(publication) => Outgoing::Message {
                channel: self.channel.as_str(),
                message: publication.message(self.position.as_ref().map(|p| p.offset)),
            },
            Kind::Gap { from, reason } => Outgoing::Gap {
                channel: self.channel.as_str(),
                from: Some(from),
                to: self.position.as_ref(),
                reason: *reason,
            },
        }
    }

    /// The ready frame in this form.
    pub fn frame(&self, form: Form, deflater: &mut Deflater) -> &Bytes {
        self.frames.get(form, deflater, || self.outgoing())
    }

    /// The frame in a form that [`Entry::frame`] has made before.
    pub fn ready(&self, form: Form) -> &Bytes {
        self.frames.ready(form).expect("the caller made this form")
    }

    /// What it costs to keep, bytes.
    pub fn weight(&self) -> usize {
        let frame = self.frames.json.get().map_or(0, Bytes::len);
        let payload = match &self.kind {
            // It stands in the frame.
            Kind::Message(Publication { payload: Payload::Json(_), .. }) | Kind::Gap { .. } => 0,
            Kind::Message(p) => p.payload.len(),
        };
        frame + payload + size_of::<Self>()
    }

    /// The value of a tag of it.
    pub fn tag(&self, name: &str) -> Option<&str> {
        let Kind::Message(publication) = &self.kind else { return None };
        publication.tags.iter().find(|(key, _)| **key == *name).map(|(_, value)| &**value)
    }

    /// Whether this connection published it.
    pub fn is_from(&self, client: ClientId) -> bool {
        matches!(&self.kind, Kind::Message(Publication { from: Some(sender), .. }) if sender.client == client)
    }
}

/// What is known of a member of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberCard {
    /// Its connection.
    pub client: ClientId,
    /// Its user, unless anonymous.
    pub user: Option<Arc<str>>,
    /// What its token says of it.
    pub info: Option<Arc<Payload>>,
    /// What it says of itself.
    pub state: Option<Arc<Payload>>,
}

impl MemberCard {
    /// Borrowed for the wire.
    pub fn view(&self) -> Member<'_> {
        Member {
            client: self.client,
            user: self.user.as_deref(),
            info: self.info.as_deref(),
            state: self.state.as_deref(),
        }
    }
}

/// A presence event, shared by all shards.
#[derive(Debug)]
pub struct MemberNote {
    /// The channel.
    pub channel: ChannelName,
    /// What happened.
    pub event: MemberEvent,
    /// The presence version after it.
    pub version: u64,
    /// Who.
    pub member: MemberCard,
    frames: Frames,
}

impl MemberNote {
    /// A new note.
    pub fn new(channel: ChannelName, event: MemberEvent, version: u64, member: MemberCard) -> Self {
        Self { channel, event, version, member, frames: Frames::default() }
    }

    /// The ready frame in this form.
    pub fn frame(&self, form: Form, deflater: &mut Deflater) -> &Bytes {
        self.frames.get(form, deflater, || Outgoing::Member {
            event: self.event,
            channel: self.channel.as_str(),
            version: self.version,
            member: self.member.view(),
        })
    }
}
