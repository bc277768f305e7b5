//! Fields of a command, whatever format they came in, and what they mean.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::codes::ErrorCode;
use crate::command::{Command, Connect, History, Publish, Refusal, Request, Since, Subscribe};
use crate::ids::is_wire_id;
use crate::payload::{Data, Format};
use crate::position::MAX_INTEGER;
use crate::secret::Secret;

/// Fields of one object of a command. Each costs some hundred bytes while the command is read, however short it is.
pub(crate) const MAX_FIELDS: usize = 1024;
/// `info` and `state`, bytes.
const STATE_BYTES: usize = 1024;

/// One of 32 bits for a key; the common ones of a command have different ones.
fn bit_of(key: &str) -> u32 {
    let first = key.as_bytes().first().map_or(0, |b| u32::from(*b));
    let len = u32::try_from(key.len()).unwrap_or(u32::MAX);
    1 << ((first ^ len.wrapping_mul(3)) & 31)
}

/// A value of a field: decoded as far as commands need it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// A non-negative integer.
    Int(u64),
    /// Any other number.
    Number,
    Str(Cow<'a, str>),
    /// Text that is no Unicode string: a lone surrogate.
    BrokenStr,
    Bin(&'a [u8]),
    Array,
    Map,
}

impl Value<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Number => "a number that is no integer from 0 up",
            Self::Str(_) => "a string",
            Self::BrokenStr => "a string with half a surrogate pair",
            Self::Bin(_) => "bytes",
            Self::Array => "an array",
            Self::Map => "an object",
        }
    }
}

/// A field and the bytes of its value.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) value: Value<'a>,
    pub(crate) raw: Cow<'a, [u8]>,
}

/// Reads the fields of one object: what the two formats do differently.
pub(crate) type ReadFields = for<'a> fn(&'a [u8]) -> Result<Vec<Field<'a>>, String>;

/// The fields of one object.
pub(crate) struct Fields<'a> {
    list: Vec<Field<'a>>,
    /// The bits of its keys: one whose bit is missing need not be looked for.
    bits: u32,
    /// Two keys have one bit; only then can a key stand twice.
    met: bool,
    format: Format,
    read: ReadFields,
}

type Bad = String;
type Tags<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

impl<'a> Fields<'a> {
    pub(crate) fn new(list: Vec<Field<'a>>, format: Format, read: ReadFields) -> Self {
        let (mut bits, mut met) = (0, false);
        for field in &list {
            let bit = bit_of(&field.key);
            met |= bits & bit != 0;
            bits |= bit;
        }
        Self { list, bits, met, format, read }
    }

    /// A key that stands twice.
    pub(crate) fn doubled(&self) -> Option<&str> {
        if !self.met {
            return None;
        }
        if self.list.len() <= 16 {
            let twice = |(i, f): &(usize, &Field<'_>)| self.list[..*i].iter().any(|e| e.key == f.key);
            return self.list.iter().enumerate().find(twice).map(|(_, f)| &*f.key);
        }
        // Comparing each with each would let a client buy much time with few bytes.
        let mut keys: Vec<&str> = self.list.iter().map(|f| &*f.key).collect();
        keys.sort_unstable();
        keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }

    /// Takes a field that is there and not null.
    fn take(&mut self, key: &str) -> Option<Field<'a>> {
        if self.bits & bit_of(key) == 0 {
            return None;
        }
        let at = self.list.iter().position(|f| f.key == key && f.value != Value::Null)?;
        Some(self.list.swap_remove(at))
    }

    /// Whether a field is there; null is a value of `data` alone.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.list.iter().any(|f| f.key == key && (key == "data" || f.value != Value::Null))
    }

    /// The bytes of a list.
    pub(crate) fn list(&mut self, key: &str) -> Result<Option<Cow<'a, [u8]>>, Bad> {
        match self.take(key) {
            None => Ok(None),
            Some(field) if field.value == Value::Array => Ok(Some(field.raw)),
            Some(field) => Err(wrong(key, "a list", &field.value)),
        }
    }

    pub(crate) fn text(&mut self, key: &str) -> Result<Option<Cow<'a, str>>, Bad> {
        match self.take(key).map(|f| f.value) {
            None => Ok(None),
            Some(Value::Str(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(key, "a string", &other)),
        }
    }

    fn must_text(&mut self, key: &str) -> Result<Cow<'a, str>, Bad> {
        self.text(key)?.ok_or_else(|| format!("`{key}` is missing; it must be a string"))
    }

    /// A string of at most `limit` bytes.
    pub(crate) fn short_text(&mut self, key: &str, limit: usize) -> Result<Option<Cow<'a, str>>, Bad> {
        let text = self.text(key)?;
        match &text {
            Some(t) if t.len() > limit => {
                Err(format!("`{key}` has {} bytes; at most {limit} are allowed", t.len()))
            }
            _ => Ok(text),
        }
    }

    pub(crate) fn flag(&mut self, key: &str) -> Result<Option<bool>, Bad> {
        match self.take(key).map(|f| f.value) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong(key, "true or false", &other)),
        }
    }

    pub(crate) fn integer(&mut self, key: &str) -> Result<Option<u64>, Bad> {
        match self.take(key).map(|f| f.value) {
            None => Ok(None),
            Some(Value::Int(n)) if n <= MAX_INTEGER => Ok(Some(n)),
            Some(Value::Int(n)) => Err(format!("`{key}` is {n}; the largest integer is 2^53-1")),
            Some(other) => Err(wrong(key, "an integer, written without point or exponent", &other)),
        }
    }

    fn map(&mut self, key: &str) -> Result<Option<Field<'a>>, Bad> {
        match self.take(key) {
            None => Ok(None),
            Some(field) if field.value == Value::Map => Ok(Some(field)),
            Some(field) => Err(wrong(key, "an object", &field.value)),
        }
    }

    pub(crate) fn since(&mut self, key: &str) -> Result<Option<Since<'a>>, Bad> {
        let Some(field) = self.map(key)? else { return Ok(None) };
        since_of(&field.raw, || key.to_owned(), self.format, self.read).map(Some)
    }

    pub(crate) fn channel(&mut self) -> Result<Cow<'a, str>, Bad> {
        self.must_text("channel")
    }

    /// `data` or `binary`, exactly one of them.
    fn data(&mut self) -> Result<Data<'a>, Bad> {
        let at = self.list.iter().position(|f| f.key == "data");
        let data = at.map(|at| self.list.swap_remove(at));
        match (data, self.take("binary")) {
            (Some(_), Some(_)) => Err("`data` and `binary` exclude each other; send one of them".to_owned()),
            (None, None) => Err("`data` is missing; it may be any value, null included".to_owned()),
            (Some(field), None) => self.value(field),
            (None, Some(field)) => binary(field.value, self.format),
        }
    }

    fn value(&self, field: Field<'a>) -> Result<Data<'a>, Bad> {
        if let Value::Bin(_) = field.value {
            return Err(format!("`{}` is bytes; bytes stand in `binary`", field.key));
        }
        Ok(match self.format {
            Format::Json => Data::Json(field.raw),
            Format::MsgPack => Data::MsgPack(field.raw),
        })
    }

    fn state(&mut self, key: &str) -> Result<Option<Data<'a>>, Bad> {
        let Some(field) = self.take(key) else { return Ok(None) };
        if field.raw.len() > STATE_BYTES {
            return Err(format!("`{key}` has {} bytes; at most {STATE_BYTES} are allowed", field.raw.len()));
        }
        self.value(field).map(Some)
    }

    fn tags(&mut self) -> Result<Tags<'a>, Bad> {
        let Some(field) = self.map("tags")? else { return Ok(Vec::new()) };
        let fields = (self.read)(&field.raw).map(|list| Fields::new(list, self.format, self.read))?;
        if let Some(key) = fields.doubled() {
            return Err(format!("`tags` has the key {} twice", shown(key)));
        }
        let list: Vec<_> = fields.list.into_iter().filter(|f| f.value != Value::Null).collect();
        if list.len() > 16 {
            return Err(format!("`tags` has {} entries; at most 16 are allowed", list.len()));
        }
        let mut tags = Vec::with_capacity(list.len());
        for Field { key, value, .. } in list {
            let Value::Str(value) = value else {
                return Err(wrong(&format!("tags.{}", clipped(&key)), "a string", &value));
            };
            if key.len() > 64 || value.len() > 256 {
                return Err(format!(
                    "the tag {} is too long; 64 bytes of key and 256 of value are allowed",
                    shown(&key)
                ));
            }
            // The raw bytes of `tags` may be a copy, so these are copies too; tags are rare and small.
            tags.push((Cow::Owned(key.into_owned()), Cow::Owned(value.into_owned())));
        }
        Ok(tags)
    }

    fn since_map(&mut self) -> Result<Vec<(Cow<'a, str>, Since<'a>)>, Bad> {
        let Some(field) = self.map("since")? else { return Ok(Vec::new()) };
        let fields = (self.read)(&field.raw).map(|list| Fields::new(list, self.format, self.read))?;
        if let Some(key) = fields.doubled() {
            return Err(format!("`since` has the key {} twice", shown(key)));
        }
        let mut all = Vec::with_capacity(fields.list.len());
        for Field { key, value, raw } in fields.list {
            let name = || format!("since.{}", clipped(&key));
            match value {
                Value::Null => continue,
                Value::Map => {}
                _ => return Err(wrong(&name(), "a position {epoch, offset}", &value)),
            }
            let since = since_of(&raw, name, self.format, self.read)?;
            all.push((Cow::Owned(key.into_owned()), since));
        }
        Ok(all)
    }
}

fn since_of<'a>(
    raw: &[u8],
    name: impl Fn() -> String,
    format: Format,
    read: ReadFields,
) -> Result<Since<'a>, Bad> {
    let mut fields = Fields::new(read(raw)?, format, read);
    if let Some(twice) = fields.doubled() {
        return Err(format!("`{}` has the key {} twice", name(), shown(twice)));
    }
    let epoch = fields.text("epoch")?.filter(|e| is_wire_id(e));
    let epoch =
        epoch.ok_or_else(|| format!("`{}.epoch` must be 1..64 characters of [A-Za-z0-9_-]", name()))?;
    let offset = fields.integer("offset")?.ok_or_else(|| format!("`{}.offset` is missing", name()))?;
    Ok(Since { epoch: Cow::Owned(epoch.into_owned()), offset })
}

fn binary(value: Value<'_>, format: Format) -> Result<Data<'_>, Bad> {
    match (value, format) {
        (Value::Bin(bytes), _) => Ok(Data::Binary(Cow::Borrowed(bytes))),
        (Value::Str(text), Format::Json) => STANDARD
            .decode(&*text)
            .map(|bytes| Data::Binary(Cow::Owned(bytes)))
            .map_err(|e| format!("`binary` is not base64 with padding (RFC 4648 section 4): {e}")),
        (other, Format::Json) => Err(wrong("binary", "bytes as base64 text", &other)),
        (other, Format::MsgPack) => Err(wrong("binary", "bytes", &other)),
    }
}

pub(crate) fn wrong(key: &str, wanted: &str, got: &Value<'_>) -> Bad {
    format!("`{key}` is {}; it must be {wanted}", got.name())
}

/// The beginning of what a client wrote, for an answer: what it can make us say stays small.
fn clipped(text: &str) -> String {
    match text.char_indices().nth(40) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

pub(crate) fn shown(text: &str) -> String {
    format!("{:?}", clipped(text))
}

/// Every command, for `unknown_type` and for `decode`.
pub(crate) const COMMANDS: [&str; 11] = [
    "connect",
    "refresh",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_update",
    "history",
    "call",
    "ping",
    "pong",
];

/// The commonest command at its plainest: `publish` with `id`, `channel`, `data` and nothing else, each once and as it
/// should be. Everything else is `None`, and the way below says what is wrong with it.
pub(crate) fn plain_publish<'a>(list: &mut [Field<'a>], format: Format) -> Option<Request<'a>> {
    let [mut id, mut channel, mut data, mut verb] = [usize::MAX; 4];
    for (at, field) in list.iter().enumerate() {
        let place = match &*field.key {
            "id" => &mut id,
            "channel" => &mut channel,
            "data" => &mut data,
            "type" if matches!(&field.value, Value::Str(verb) if verb == "publish") => &mut verb,
            _ => return None,
        };
        if *place != usize::MAX {
            return None;
        }
        *place = at;
    }
    list.get(verb)?;
    let id = match list.get(id).map(|field| &field.value) {
        Some(Value::Int(id @ 1..=MAX_INTEGER)) => Some(*id),
        None => None,
        Some(_) => return None,
    };
    if matches!(list.get(data)?.value, Value::Bin(_)) {
        return None;
    }
    let channel = match &mut list.get_mut(channel)?.value {
        Value::Str(channel) => std::mem::take(channel),
        _ => return None,
    };
    let raw = std::mem::take(&mut list[data].raw);
    let data = match format {
        Format::Json => Data::Json(raw),
        Format::MsgPack => Data::MsgPack(raw),
    };
    let publish = Publish { channel, data, message_id: None, tags: Vec::new(), volatile: false };
    Some(Request { id, command: Command::Publish(publish) })
}

/// The command in these fields.
pub(crate) fn request<'a>(
    mut list: Vec<Field<'a>>,
    format: Format,
    read: ReadFields,
) -> Result<Request<'a>, Refusal> {
    if let Some(request) = plain_publish(&mut list, format) {
        return Ok(request);
    }
    request_in(list, format, read)
}

/// The same, whatever the command.
pub(crate) fn request_in<'a>(
    list: Vec<Field<'a>>,
    format: Format,
    read: ReadFields,
) -> Result<Request<'a>, Refusal> {
    let mut fields = Fields::new(list, format, read);
    let bad = |id, message| Refusal { id, code: ErrorCode::BadRequest, message };
    let doubled = fields.doubled().map(|key| format!("the key {} stands twice", shown(key)));
    if doubled.is_some() && fields.list.iter().filter(|f| f.key == "id").count() > 1 {
        // Which of them would the client know its command by?
        return Err(bad(None, "the key \"id\" stands twice".to_owned()));
    }
    let id = match fields.integer("id") {
        Ok(Some(0)) => return Err(bad(None, "`id` is 0; it must be an integer from 1 to 2^53-1".to_owned())),
        Ok(id) => id,
        Err(message) => return Err(bad(None, message)),
    };
    if let Some(message) = doubled {
        return Err(bad(id, message));
    }
    let verb = fields.must_text("type").map_err(|message| bad(id, message))?;
    if !COMMANDS.contains(&&*verb) {
        return Err(Refusal { id, code: ErrorCode::UnknownType, message: unknown(&verb) });
    }
    let command = command(&verb, fields).map_err(|message| bad(id, message))?;
    Ok(Request { id, command })
}

/// The command `verb` with these fields and no `type`, as the HTTP API sends it.
pub(crate) fn verb_request<'a>(
    verb: &str,
    list: Vec<Field<'a>>,
    format: Format,
    read: ReadFields,
) -> Result<Command<'a>, Refusal> {
    let fields = Fields::new(list, format, read);
    let bad = |message| Refusal { id: None, code: ErrorCode::BadRequest, message };
    if let Some(key) = fields.doubled() {
        return Err(bad(format!("the key {} stands twice", shown(key))));
    }
    if !COMMANDS.contains(&verb) {
        return Err(Refusal { id: None, code: ErrorCode::UnknownType, message: unknown(verb) });
    }
    command(verb, fields).map_err(bad)
}

pub(crate) fn command<'a>(verb: &str, mut f: Fields<'a>) -> Result<Command<'a>, Bad> {
    Ok(match verb {
        "connect" => Command::Connect(Connect {
            token: f.text("token")?.map(Secret),
            name: f.short_text("name", 64)?,
            version: f.short_text("version", 64)?,
            heartbeat: f.flag("heartbeat")?.unwrap_or(false),
            resume: f.text("resume")?.map(Secret),
            since: f.since_map()?,
        }),
        "refresh" => Command::Refresh { token: Secret(f.must_text("token")?) },
        "subscribe" => Command::Subscribe(Subscribe {
            channel: f.channel()?,
            token: f.text("token")?.map(Secret),
            since: f.since("since")?,
            rewind: f.integer("rewind")?,
            presence: f.flag("presence")?.unwrap_or(false),
            echo: f.flag("echo")?,
            max_rate: f.integer("max_rate")?,
        }),
        "unsubscribe" => Command::Unsubscribe { channel: f.channel()? },
        "publish" => Command::Publish(publication(f.channel()?, &mut f)?),
        "presence" => {
            Command::Presence { channel: f.channel()?, limit: f.integer("limit")?, after: f.text("after")? }
        }
        "presence_update" => Command::PresenceUpdate { channel: f.channel()?, state: f.state("state")? },
        "history" => Command::History(History {
            channel: f.channel()?,
            limit: f.integer("limit")?,
            since: f.since("since")?,
            before: f.since("before")?,
            reverse: f.flag("reverse")?.unwrap_or(false),
        }),
        "call" => Command::Call { method: f.must_text("method")?, data: f.data()? },
        "ping" => Command::Ping,
        _ => Command::Pong,
    })
}

/// What is published to this channel.
#[inline]
pub(crate) fn publication<'a>(channel: Cow<'a, str>, f: &mut Fields<'a>) -> Result<Publish<'a>, Bad> {
    Ok(Publish {
        channel,
        message_id: message_id(f)?,
        tags: f.tags()?,
        volatile: f.flag("volatile")?.unwrap_or(false),
        data: f.data()?,
    })
}

fn message_id<'a>(f: &mut Fields<'a>) -> Result<Option<Cow<'a, str>>, Bad> {
    match f.short_text("message_id", 64)? {
        Some(id) if id.is_empty() => Err("`message_id` is empty; it must have 1 to 64 bytes".to_owned()),
        id => Ok(id),
    }
}

fn unknown(verb: &str) -> String {
    let (verb, shown) = (clipped(verb), shown(verb));
    let near = COMMANDS.iter().map(|c| (distance(c, &verb), c)).min().filter(|(d, _)| *d <= 2);
    match near {
        Some((_, command)) => format!("there is no command {shown}; did you mean \"{command}\"?"),
        None => format!("there is no command {shown}; the commands are {}", COMMANDS.join(", ")),
    }
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = before + usize::from(ca != *cb);
            before = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}
