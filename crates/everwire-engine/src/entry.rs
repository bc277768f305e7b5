//! What a channel's listeners are sent: entries of its stream and notes of its presence, each encoded once per node.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use everwire_proto::ids::ClientId;
use everwire_proto::payload::{Format, Payload, View};
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

/// An object's forms besides JSON, each made on first need and then shared. Most are needed in JSON alone, and a history has
/// many: the others have no room before they are wanted.
#[derive(Debug, Default)]
struct Others(OnceLock<Box<[OnceLock<Bytes>; Form::COUNT - 1]>>);

impl Others {
    /// The ready frame in a form that is not JSON, whose own frame is `json`. `deflater` belongs to the shard.
    fn get<'f, 'a>(
        &'f self,
        form: Form,
        json: impl FnOnce() -> &'f Bytes,
        deflater: &mut Deflater,
        what: impl FnOnce() -> Outgoing<'a>,
    ) -> &'f Bytes {
        let slots = self.0.get_or_init(Box::default);
        let slot = &slots[form.index() - 1];
        if let Some(ready) = slot.get() {
            return ready;
        }
        let plain = match form.plain() {
            Form::Json => json(),
            plain => slots[plain.index() - 1].get_or_init(|| encode(plain, &what()).0),
        };
        slot.get_or_init(|| deflated(form, plain, deflater))
    }

    /// A frame that was made before.
    fn ready(&self, form: Form) -> Option<&Bytes> {
        self.0.get()?[form.index() - 1].get()
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

impl Sender {
    fn view(&self) -> From<'_> {
        From { client: self.client, user: self.user.as_deref(), info: self.info.as_deref() }
    }
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
            payload: self.payload.view(),
            message_id: self.message_id.as_deref(),
            from: self.from.as_deref().map(Sender::view),
            time: self.time,
            tags: &self.tags,
        }
    }
}

/// What becomes an entry of a stream.
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

/// What an entry is. A history has many: what most of them lack takes no room.
#[derive(Debug)]
enum What {
    Message(Kept),
    Gap { from: Position, reason: GapReason },
}

/// A publication as it is kept beside its JSON frame.
#[derive(Debug)]
struct Kept {
    payload: Place,
    from: Option<Arc<Sender>>,
    time: u64,
    more: Option<Box<More>>,
}

/// Where a payload is.
#[derive(Debug)]
enum Place {
    /// It was published in JSON and stands in the frame: it is in memory once.
    Frame {
        start: u32,
        len: u32,
    },
    Apart(Box<Payload>),
}

/// What few publications have.
#[derive(Debug)]
struct More {
    message_id: Option<Box<str>>,
    tags: Box<[(Box<str>, Box<str>)]>,
}

impl Kept {
    /// `start`: where in the frame the payload begins, iff it stands there as it was published.
    fn new(publication: Publication, start: Option<usize>) -> Self {
        let Publication { payload, message_id, from, time, tags } = publication;
        let place = start.and_then(|start| Some((start.try_into().ok()?, payload.len().try_into().ok()?)));
        let payload = match place {
            Some((start, len)) if matches!(payload, Payload::Json(_)) => Place::Frame { start, len },
            _ => Place::Apart(Box::new(payload)),
        };
        let some = message_id.is_some() || !tags.is_empty();
        Self { payload, from, time, more: some.then(|| Box::new(More { message_id, tags })) }
    }

    fn message<'e>(&'e self, json: &'e Bytes, offset: Option<u64>) -> Message<'e> {
        let payload = match &self.payload {
            Place::Frame { start, len } => View::Json(&json[*start as usize..][..*len as usize]),
            Place::Apart(payload) => payload.view(),
        };
        let (message_id, tags) = match &self.more {
            Some(more) => (more.message_id.as_deref(), &*more.tags),
            None => (None, &[][..]),
        };
        Message {
            offset,
            payload,
            message_id,
            from: self.from.as_deref().map(Sender::view),
            time: self.time,
            tags,
        }
    }
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
    what: What,
    json: Bytes,
    others: Others,
}

/// The object that stands in an entry's frames.
fn gap<'a>(
    channel: &'a ChannelName,
    from: &'a Position,
    to: Option<&'a Position>,
    reason: GapReason,
) -> Outgoing<'a> {
    Outgoing::Gap { channel: channel.as_str(), from: Some(from), to, reason }
}

impl Entry {
    /// A new entry whose JSON frame is made at once: life of a message, stop 6.
    pub fn new(channel: ChannelName, seq: u64, position: Option<Position>, kind: Kind) -> Self {
        // Here, so that no subscriber's turn pays for it.
        let (what, json) = match kind {
            Kind::Message(publication) => {
                let message = publication.message(position.as_ref().map(|p| p.offset));
                let channel = channel.as_str();
                let (json, from_end) = encode(Form::Json, &Outgoing::Message { channel, message });
                let start = from_end.map(|from_end| json.len() - from_end);
                (What::Message(Kept::new(publication, start)), json)
            }
            Kind::Gap { from, reason } => {
                let json = encode(Form::Json, &gap(&channel, &from, position.as_ref(), reason)).0;
                (What::Gap { from, reason }, json)
            }
        };
        Self { channel, seq, position, what, json, others: Others::default() }
    }

    /// The object that stands in its frames.
    pub fn outgoing(&self) -> Outgoing<'_> {
        match &self.what {
            What::Message(kept) => {
                let message = kept.message(&self.json, self.position.as_ref().map(|p| p.offset));
                Outgoing::Message { channel: self.channel.as_str(), message }
            }
            What::Gap { from, reason } => gap(&self.channel, from, self.position.as_ref(), *reason),
        }
    }

    /// Its publication; `None`: it is a gap.
    pub fn message(&self) -> Option<Message<'_>> {
        match self.outgoing() {
            Outgoing::Message { message, .. } => Some(message),
            _ => None,
        }
    }

    /// Whether it is a publication, and no gap.
    pub fn is_message(&self) -> bool {
        matches!(self.what, What::Message(_))
    }

    /// When it was published, ms since 1970 UTC; `None`: it is a gap.
    pub fn time(&self) -> Option<u64> {
        if let What::Message(kept) = &self.what { Some(kept.time) } else { None }
    }

    /// The ready frame in this form.
    pub fn frame(&self, form: Form, deflater: &mut Deflater) -> &Bytes {
        match form {
            Form::Json => &self.json,
            _ => self.others.get(form, || &self.json, deflater, || self.outgoing()),
        }
    }

    /// The frame in a form that [`Entry::frame`] has made before.
    pub fn ready(&self, form: Form) -> &Bytes {
        match form {
            Form::Json => &self.json,
            _ => self.others.ready(form).expect("the caller made this form"),
        }
    }

    /// What it costs to keep, bytes.
    pub fn weight(&self) -> usize {
        let apart = match &self.what {
            What::Message(Kept { payload: Place::Apart(payload), .. }) => payload.len(),
            What::Message(_) | What::Gap { .. } => 0,
        };
        self.json.len() + apart + size_of::<Self>()
    }

    /// The value of a tag of it.
    pub fn tag(&self, name: &str) -> Option<&str> {
        let What::Message(Kept { more: Some(more), .. }) = &self.what else { return None };
        more.tags.iter().find(|(key, _)| **key == *name).map(|(_, value)| &**value)
    }

    /// Whether this connection published it.
    pub fn is_from(&self, client: ClientId) -> bool {
        matches!(&self.what, What::Message(Kept { from: Some(sender), .. }) if sender.client == client)
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
    json: OnceLock<Bytes>,
    others: Others,
}

impl MemberNote {
    /// A new note.
    pub fn new(channel: ChannelName, event: MemberEvent, version: u64, member: MemberCard) -> Self {
        let (json, others) = (OnceLock::new(), Others::default());
        Self { channel, event, version, member, json, others }
    }

    /// The ready frame in this form.
    pub fn frame(&self, form: Form, deflater: &mut Deflater) -> &Bytes {
        let what = || Outgoing::Member {
            event: self.event,
            channel: self.channel.as_str(),
            version: self.version,
            member: self.member.view(),
        };
        let json = || self.json.get_or_init(|| encode(Form::Json, &what()).0);
        match form {
            Form::Json => json(),
            _ => self.others.get(form, json, deflater, what),
        }
    }
}
