//! What every reply and push consists of, whatever format it is written in. Field order is that of the protocol's
//! tables, `type` first and `id` next.

use crate::payload::Payload;
use crate::position::Position;
use crate::reply::{
    Connected, HistoryPage, Member, Message, Outgoing, PresencePage, PresenceSummary, Subscribed,
};

/// What the two formats write differently.
pub(crate) trait Writer {
    /// An object of `len` fields.
    fn map(&mut self, len: usize, inside: impl FnOnce(&mut Self));
    /// An array of `len` elements; call `element` before each.
    fn array(&mut self, len: usize, inside: impl FnOnce(&mut Self));
    fn element(&mut self);
    fn key(&mut self, key: &str);
    fn str(&mut self, text: &str);
    fn u64(&mut self, n: u64);
    fn bool(&mut self, flag: bool);
    fn payload(&mut self, payload: &Payload);
}

/// One value of a field.
enum Field<'a> {
    Str(&'a str),
    Int(u64),
    Bool(bool),
    Position(&'a Position),
    Payload(&'a Payload),
    Member(Member<'a>),
    From(crate::reply::From<'a>),
    Tags(&'a [(Box<str>, Box<str>)]),
    Members(&'a [Member<'a>]),
    Messages(&'a [Message<'a>]),
    Limits(crate::reply::WireLimits),
    Summary(PresenceSummary),
    Pair([u64; 2]),
}

/// The fields of one object: room for the largest without allocating.
struct List<'a> {
    fields: [Option<(&'static str, Field<'a>)>; 12],
    len: usize,
}

impl<'a> List<'a> {
    fn new() -> Self {
        Self { fields: [const { None }; 12], len: 0 }
    }

    fn add(&mut self, key: &'static str, value: Field<'a>) {
        self.fields[self.len] = Some((key, value));
        self.len += 1;
    }

    fn str(&mut self, key: &'static str, text: &'a str) {
        self.add(key, Field::Str(text));
    }

    fn maybe<T>(&mut self, key: &'static str, value: Option<T>, field: impl FnOnce(T) -> Field<'a>) {
        if let Some(value) = value {
            self.add(key, field(value));
        }
    }

    fn write<W: Writer>(self, w: &mut W) {
        let len = self.len;
        w.map(len, |w| {
            for (key, value) in self.fields.into_iter().flatten() {
                w.key(key);
                value.write(w);
            }
        });
    }
}

impl Field<'_> {
    fn write<W: Writer>(self, w: &mut W) {
        match self {
            Self::Str(text) => w.str(text),
            Self::Int(n) => w.u64(n),
            Self::Bool(flag) => w.bool(flag),
            Self::Position(p) => {
                let mut list = List::new();
                list.str("epoch", p.epoch.as_str());
                list.add("offset", Field::Int(p.offset));
                list.write(w);
            }
            Self::Payload(payload) => w.payload(payload),
            Self::Member(member) => write_member(w, &member),
            Self::From(from) => {
                let member = Member { client: from.client, user: from.user, info: from.info, state: None };
                write_member(w, &member);
            }
            Self::Tags(tags) => w.map(tags.len(), |w| {
                for (key, value) in tags {
                    w.key(key);
                    w.str(value);
                }
            }),
            Self::Members(members) => w.array(members.len(), |w| {
                for member in members {
                    w.element();
                    write_member(w, member);
                }
            }),
            Self::Messages(messages) => w.array(messages.len(), |w| {
                for message in messages {
                    w.element();
                    let mut list = List::new();
                    add_message(&mut list, message);
                    list.write(w);
                }
            }),
            Self::Limits(limits) => {
                let mut list = List::new();
                list.add("message_bytes", Field::Int(limits.message_bytes.into()));
                list.add("channels", Field::Int(limits.channels.into()));
                list.add("commands_per_second", Field::Int(limits.commands_per_second.into()));
                list.write(w);
            }
            Self::Summary(summary) => {
                let mut list = List::new();
                list.add("users", Field::Int(summary.users));
                list.add("clients", Field::Int(summary.clients));
                list.add("version", Field::Int(summary.version));
                list.write(w);
            }
            Self::Pair(pair) => w.array(2, |w| {
                for n in pair {
                    w.element();
                    w.u64(n);
                }
            }),
        }
    }
}

fn write_member<W: Writer>(w: &mut W, member: &Member<'_>) {
    let id = member.client.text();
    let mut list = List::new();
    list.str("client", std::str::from_utf8(&id).expect("base64url is ASCII"));
    list.maybe("user", member.user, Field::Str);
    list.maybe("info", member.info, Field::Payload);
    list.maybe("state", member.state, Field::Payload);
    list.write(w);
}

fn add_message<'a>(list: &mut List<'a>, message: &Message<'a>) {
    list.maybe("offset", message.offset, Field::Int);
    let key = if let Payload::Binary(_) = message.payload { "binary" } else { "data" };
    list.add(key, Field::Payload(message.payload));
    list.maybe("message_id", message.message_id, Field::Str);
    list.maybe("from", message.from, Field::From);
    list.add("time", Field::Int(message.time));
    if !message.tags.is_empty() {
        list.add("tags", Field::Tags(message.tags));
    }
}

/// Writes one object.
pub(crate) fn outgoing<W: Writer>(w: &mut W, id: Option<u64>, what: &Outgoing<'_>) {
    let mut list = List::new();
    list.str("type", what.kind());
    list.maybe("id", id, Field::Int);
    match what {
        Outgoing::Connected(connected) => return write_connected(w, list, connected),
        Outgoing::Error { code, message, retry_after_ms, position } => {
            let docs = format!("/docs/errors#{}", code.as_str());
            list.str("code", code.as_str());
            list.str("message", message);
            list.add("retryable", Field::Bool(code.retryable()));
            list.str("docs", &docs);
            list.maybe("retry_after_ms", *retry_after_ms, Field::Int);
            list.maybe("position", *position, Field::Position);
            return list.write(w);
        }
        Outgoing::Refreshed { expires_at } => list.add("expires_at", Field::Int(*expires_at)),
        Outgoing::Subscribed(subscribed) => add_subscribed(&mut list, subscribed),
        Outgoing::Unsubscribed { channel, because } => {
            list.str("channel", channel);
            if let Some(because) = because {
                list.str("code", because.code);
                list.str("message", because.message);
                list.add("resubscribe", Field::Bool(because.resubscribe));
            }
        }
        Outgoing::Published { position, duplicate } => {
            list.maybe("position", *position, Field::Position);
            list.maybe("duplicate", duplicate.then_some(true), Field::Bool);
        }
        Outgoing::Presence(page) => add_presence(&mut list, page),
        Outgoing::History(page) => add_history(&mut list, page),
        Outgoing::Message { channel, message } => {
            list.str("channel", channel);
            add_message(&mut list, message);
        }
        Outgoing::Member { channel, version, member, .. } => {
            list.str("channel", channel);
            list.add("version", Field::Int(*version));
            list.add("member", Field::Member(*member));
        }
        Outgoing::PresenceReset { channel, version } => {
            list.str("channel", channel);
            list.add("version", Field::Int(*version));
        }
        Outgoing::Gap { channel, from, to, reason } => {
            list.str("channel", channel);
            list.maybe("from", *from, Field::Position);
            list.maybe("to", *to, Field::Position);
            list.str("reason", reason.as_str());
        }
        Outgoing::Bye { code, message, reconnect, after_ms } => {
            list.str("code", code);
            list.str("message", message);
            list.add("reconnect", Field::Bool(*reconnect));
            list.add("after_ms", Field::Pair(*after_ms));
        }
        Outgoing::PresenceUpdated | Outgoing::Pong | Outgoing::Ping => {}
    }
    list.write(w);
}

fn add_subscribed<'a>(list: &mut List<'a>, subscribed: &Subscribed<'a>) {
    list.str("channel", subscribed.channel);
    list.maybe("position", subscribed.position, Field::Position);
    list.maybe("recovered", subscribed.recovered, Field::Bool);
    list.maybe("replaying", subscribed.replaying, Field::Int);
    list.maybe("presence", subscribed.presence, Field::Summary);
}

fn add_presence<'a>(list: &mut List<'a>, page: &'a PresencePage<'a>) {
    list.str("channel", page.channel);
    list.add("version", Field::Int(page.summary.version));
    list.add("users", Field::Int(page.summary.users));
    list.add("clients", Field::Int(page.summary.clients));
    list.add("members", Field::Members(&page.members));
    list.maybe("next", page.next, Field::Str);
    list.maybe("stale", page.stale.then_some(true), Field::Bool);
}

fn add_history<'a>(list: &mut List<'a>, page: &'a HistoryPage<'a>) {
    list.str("channel", page.channel);
    list.add("position", Field::Position(page.position));
    list.add("messages", Field::Messages(&page.messages));
    list.maybe("next", page.next.as_ref(), Field::Position);
}

fn write_connected<'a, W: Writer>(w: &mut W, mut list: List<'a>, connected: &'a Connected<'a>) {
    let (client, session) = (connected.client.text(), connected.session.text());
    let mut list = {
        // The ids live only here, so the list goes on in this scope.
        let mut inner: List<'_> = List::new();
        std::mem::swap(&mut inner.fields, &mut list.fields);
        inner.len = list.len;
        inner
    };
    list.str("client", std::str::from_utf8(&client).expect("base64url is ASCII"));
    list.str("session", std::str::from_utf8(&session).expect("base64url is ASCII"));
    list.maybe("resumed", connected.resumed, Field::Bool);
    list.str("node", connected.node);
    list.maybe("user", connected.user, Field::Str);
    list.add("heartbeat_ms", Field::Int(connected.heartbeat_ms));
    list.maybe("expires_at", connected.expires_at, Field::Int);
    list.add("limits", Field::Limits(connected.limits));
    list.add("reconnect_spread_ms", Field::Int(connected.reconnect_spread_ms));
    list.write(w);
}
