//! Reading a request: the table says of what kind each field is, and how much.

use std::borrow::Cow;

use super::shape::Kind;
use super::{Broadcast, Call, Explain, MOST_ITEMS, Paging, Revoke, Verb, Which, Whom};
use crate::codes::ErrorCode;
use crate::command::{Command, Publish, Refusal};
use crate::fields::{self, Fields, Value};
use crate::ids::ClientId;
use crate::json;
use crate::payload::{DEPTH, Format};

type Bad = String;

/// Reads a JSON body.
///
/// # Errors
/// A [`Refusal`] without an id.
pub fn decode(verb: Verb, body: &[u8]) -> Result<Call<'_>, Refusal> {
    decode_within(verb, body, DEPTH)
}

/// The same, with values that may be so deep; at most [`MOST_DEPTH`](crate::payload::MOST_DEPTH).
///
/// # Errors
/// As above.
pub fn decode_within(verb: Verb, body: &[u8], deepest: usize) -> Result<Call<'_>, Refusal> {
    let read = || {
        let list = json::read_body(body, deepest)?;
        let fields = Fields::new(list, Format::Json, json::read);
        if let Some(twice) = fields.doubled() {
            return Err(format!("the key {} stands twice", fields::shown(twice)));
        }
        Reader { verb, fields }.call()
    };
    read().map_err(|message| Refusal { id: None, code: ErrorCode::BadRequest, message })
}

/// The fields of a request, and the verb whose row of the table says what they may be.
struct Reader<'a> {
    verb: Verb,
    fields: Fields<'a>,
}

impl<'a> Reader<'a> {
    fn call(mut self) -> Result<Call<'a>, Bad> {
        self.choose()?;
        Ok(match self.verb {
            Verb::Publish | Verb::History | Verb::Presence => return self.command(),
            Verb::Broadcast => Call::Broadcast(self.broadcast()?),
            Verb::Batch => Call::Batch(self.batch()?),
            Verb::HistoryClear => Call::HistoryClear { channel: self.must("channel")? },
            Verb::PresenceStats => Call::PresenceStats { channel: self.must("channel")? },
            Verb::Channels => {
                Call::Channels { prefix: self.text("prefix")?.unwrap_or_default(), page: self.page()? }
            }
            Verb::Connections => {
                let (user, client) = (self.text("user")?, self.text("client")?);
                let which = Which { user, client, channel: self.text("channel")? };
                Call::Connections { which, page: self.page()? }
            }
            Verb::Subscribe => Call::Subscribe {
                whom: self.whom()?,
                channel: self.must("channel")?,
                since: self.fields.since("since")?,
                rewind: self.int("rewind")?,
            },
            Verb::Unsubscribe => Call::Unsubscribe { whom: self.whom()?, channel: self.must("channel")? },
            Verb::Disconnect => Call::Disconnect {
                whom: self.whom()?,
                code: self.int("code")?.and_then(|code| u16::try_from(code).ok()),
                reason: self.text("reason")?,
            },
            Verb::Revoke => Call::Revoke(self.revoke()?),
            Verb::Refresh => Call::Refresh {
                whom: self.whom()?,
                expires_at: self.int("expires_at")?.ok_or_else(|| missing("expires_at", "an integer"))?,
            },
            Verb::Info => Call::Info,
            Verb::Explain => Call::Explain(self.explain()?),
        })
    }

    /// Of fields that exclude each other one is there.
    fn choose(&self) -> Result<(), Bad> {
        let Some(choice) = self.verb.spec().choice else { return Ok(()) };
        let names: Vec<_> = choice.of.iter().map(|name| format!("`{name}`")).collect();
        match choice.of.iter().filter(|name| self.fields.has(name)).count() {
            0 if choice.must => Err(format!("one of {} must be there", names.join(" and "))),
            0 | 1 => Ok(()),
            _ => Err(format!("{} exclude each other; send one of them", names.join(" and "))),
        }
    }

    fn kind(&self, name: &str) -> Kind {
        self.verb.spec().field(name).expect("the table has every field that is read").kind
    }

    /// A string, of the length or of the words that the table says.
    fn text(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, Bad> {
        let Some(text) = self.fields.text(name)? else { return Ok(None) };
        match self.kind(name) {
            Kind::Text { least, most } if !(least..=most).contains(&text.len()) => {
                let bytes = text.len();
                Err(format!("`{name}` has {bytes} bytes; it must have {least} to {most}"))
            }
            Kind::Client if ClientId::parse(&text).is_none() => {
                Err(format!("`{name}` must be the `client` of a `connected`: 16 characters of [A-Za-z0-9_-]"))
            }
            Kind::Word(words) if !words.contains(&&*text) => {
                Err(format!("`{name}` is {}; it must be one of {}", fields::shown(&text), words.join(", ")))
            }
            _ => Ok(Some(text)),
        }
    }

    fn must(&mut self, name: &str) -> Result<Cow<'a, str>, Bad> {
        self.text(name)?.ok_or_else(|| missing(name, "a string"))
    }

    /// A whole number within what the table says.
    fn int(&mut self, name: &str) -> Result<Option<u64>, Bad> {
        let number = self.fields.integer(name)?;
        match (number, self.kind(name)) {
            (Some(n), Kind::Int { least, most }) if !(least..=most).contains(&n) => {
                Err(format!("`{name}` is {n}; it must be from {least} to {most}"))
            }
            _ => Ok(number),
        }
    }

    fn page(&mut self) -> Result<Paging<'a>, Bad> {
        let limit = self.int("limit")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(100);
        Ok(Paging { limit, after: self.text("after")? })
    }

    fn whom(&mut self) -> Result<Whom<'a>, Bad> {
        match (self.text("user")?, self.text("client")?) {
            (Some(user), _) => Ok(Whom::User(user)),
            (None, Some(client)) => Ok(Whom::Client(client)),
            (None, None) => Err(missing("user", "a string")),
        }
    }

    fn revoke(&mut self) -> Result<Revoke<'a>, Bad> {
        let expires_at = self.int("expires_at")?;
        match (self.text("user")?, self.text("token_id")?) {
            (Some(user), _) => Ok(Revoke::User(user)),
            (None, Some(id)) => Ok(Revoke::Token { id, expires_at }),
            (None, None) => Err(missing("user", "a string")),
        }
    }

    fn explain(&mut self) -> Result<Explain<'a>, Bad> {
        Ok(Explain {
            token: self.text("token")?.map(crate::secret::Secret),
            user: self.text("user")?,
            channel: self.must("channel")?,
            action: self.must("action")?,
        })
    }

    /// Verbs that are commands of a connection too are read as those.
    fn command(mut self) -> Result<Call<'a>, Bad> {
        let verb = self.verb.spec().name;
        // The engine holds to the limits of both; here the table's come first, and say what they are.
        let bounded = matches!(self.verb, Verb::History | Verb::Presence);
        let limit = if bounded { self.int("limit")? } else { None };
        let after = if self.verb == Verb::Presence { self.text("after")? } else { None };
        Ok(match fields::command(verb, self.fields)? {
            Command::Publish(publish) => Call::Publish(publish),
            Command::History(history) => Call::History(crate::command::History { limit, ..history }),
            Command::Presence { channel, .. } => Call::Presence { channel, limit, after },
            other => unreachable!("no verb of the API reads as {other:?}"),
        })
    }

    fn broadcast(mut self) -> Result<Broadcast<'a>, Bad> {
        let mut channels = Vec::new();
        for element in elements("channels", &mut self.fields)? {
            match json::value(&element)? {
                Value::Str(channel) => channels.push(Cow::Owned(channel.into_owned())),
                other => return Err(fields::wrong("channels", "a list of strings", &other)),
            }
        }
        // One that has no channel of its own yet.
        let Publish { data, message_id, tags, volatile, .. } =
            fields::publication(Cow::Borrowed(""), &mut self.fields)?;
        Ok(Broadcast { channels, data, message_id, tags, volatile })
    }

    fn batch(mut self) -> Result<Vec<Publish<'static>>, Bad> {
        let mut publications = Vec::new();
        for (at, element) in elements("publications", &mut self.fields)?.into_iter().enumerate() {
            let read = || {
                let mut fields = Fields::new(json::read(&element)?, Format::Json, json::read);
                if let Some(twice) = fields.doubled() {
                    return Err(format!("the key {} stands twice", fields::shown(twice)));
                }
                let channel = fields.channel()?;
                fields::publication(channel, &mut fields).map(Publish::into_owned)
            };
            publications.push(read().map_err(|words| format!("`publications` at {at}: {words}"))?);
        }
        Ok(publications)
    }
}

fn missing(name: &str, what: &str) -> Bad {
    format!("`{name}` is missing; it must be {what}")
}

/// The elements of a list, which has at least one.
fn elements(name: &str, fields: &mut Fields<'_>) -> Result<Vec<Box<[u8]>>, Bad> {
    let raw = fields.list(name)?.ok_or_else(|| missing(name, "a list"))?;
    let mut all: Vec<Box<[u8]>> = Vec::new();
    let mut many = false;
    json::array(&raw, |element| {
        many = all.len() >= MOST_ITEMS;
        if !many {
            all.push(element.into());
        }
    })?;
    match all.len() {
        0 => Err(format!("`{name}` is empty; it must have one element at least")),
        _ if many => Err(format!("`{name}` has more than {MOST_ITEMS} elements")),
        _ => Ok(all),
    }
}
