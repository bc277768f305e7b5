//! What every reply and push consists of, whatever format it is written in. Field order is that of the protocol's
//! tables, `type` first and `id` next.

use crate::payload::Payload;
use crate::position::Position;
use crate::reply::{
    Connected, HistoryPage, Member, Message, Outgoing, PresencePage, PresenceSummary, Subscribed,
};

/// What the two formats write differently.
pub(crate) trait Writer {
    /// Begins an object of at most 15 fields; the answer is for [`Writer::close`].
    fn open(&mut self) -> usize;
    /// Ends the object that was begun there.
    fn close(&mut self, mark: usize, fields: u8);
    /// An object of `len` fields that are named elsewhere.
    fn map(&mut self, len: usize, inside: impl FnOnce(&mut Self));
    /// An array of `len` elements; call `element` before each.
    fn array(&mut self, len: usize, inside: impl FnOnce(&mut Self));
    fn element(&mut self);
    /// A key of ours.
    fn key(&mut self, key: Key);
    /// A key of somebody else's.
    fn foreign_key(&mut self, key: &str);
    fn str(&mut self, text: &str);
    /// Text in which nothing needs an escape.
    fn plain(&mut self, text: &str);
    fn u64(&mut self, n: u64);
    fn bool(&mut self, flag: bool);
    fn payload(&mut self, payload: &Payload);
}

/// A key of ours, in which nothing needs an escape: its name, and `,"name":` as JSON writes it behind another field.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) json: &'static str,
}

macro_rules! key {
    ($name:literal) => {
        Key { name: $name, json: concat!(",\"", $name, "\":") }
    };
}

/// An object that is being written; it counts its fields.
struct Object<'w, W> {
    w: &'w mut W,
    fields: u8,
}

fn object<W: Writer>(w: &mut W, inside: impl FnOnce(&mut Object<'_, W>)) {
    let mark = w.open();
    let mut object = Object { w, fields: 0 };
    inside(&mut object);
    let fields = object.fields;
    w.close(mark, fields);
}

impl<W: Writer> Object<'_, W> {
    fn key(&mut self, key: Key) -> &mut W {
        self.fields += 1;
        self.w.key(key);
        self.w
    }

    fn str(&mut self, key: Key, text: &str) {
        self.key(key).str(text);
    }

    fn plain(&mut self, key: Key, text: &str) {
        self.key(key).plain(text);
    }

    fn id(&mut self, key: Key, text: &[u8]) {
        self.plain(key, std::str::from_utf8(text).expect("base64url is ASCII"));
    }

    fn int(&mut self, key: Key, n: u64) {
        self.key(key).u64(n);
    }

    fn flag(&mut self, key: Key, flag: bool) {
        self.key(key).bool(flag);
    }

    fn position(&mut self, key: Key, position: &Position) {
        object(self.key(key), |o| {
            o.plain(key!("epoch"), position.epoch.as_str());
            o.int(key!("offset"), position.offset);
        });
    }

    fn member(&mut self, key: Key, member: &Member<'_>) {
        write_member(self.key(key), member);
    }

    /// The field, where it has a value.
    fn maybe<T>(&mut self, key: Key, value: Option<T>, write: impl FnOnce(&mut Self, Key, T)) {
        if let Some(value) = value {
            write(self, key, value);
        }
    }

    fn payload(&mut self, key: Key, payload: &Payload) {
        self.key(key).payload(payload);
    }

    fn message(&mut self, message: &Message<'_>) {
        self.maybe(key!("offset"), message.offset, Self::int);
        self.payload(
            if let Payload::Binary(_) = message.payload { key!("binary") } else { key!("data") },
            message.payload,
        );
        self.maybe(key!("message_id"), message.message_id, Self::str);
        if let Some(from) = &message.from {
            let member = Member { client: from.client, user: from.user, info: from.info, state: None };
            self.member(key!("from"), &member);
        }
        self.int(key!("time"), message.time);
        if !message.tags.is_empty() {
            self.key(key!("tags")).map(message.tags.len(), |w| {
                for (key, value) in message.tags {
                    w.foreign_key(key);
                    w.str(value);
                }
            });
        }
    }

    fn subscribed(&mut self, subscribed: &Subscribed<'_>) {
        self.str(key!("channel"), subscribed.channel);
        self.maybe(key!("position"), subscribed.position, Self::position);
        self.maybe(key!("recovered"), subscribed.recovered, Self::flag);
        self.maybe(key!("replaying"), subscribed.replaying, Self::int);
        if let Some(summary) = &subscribed.presence {
            object(self.key(key!("presence")), |o| o.summary(summary, true));
        }
        self.maybe(key!("expires_at"), subscribed.expires_at, Self::int);
    }

    /// The version stands last, but first in a page.
    fn summary(&mut self, summary: &PresenceSummary, version_last: bool) {
        if !version_last {
            self.int(key!("version"), summary.version);
        }
        self.int(key!("users"), summary.users);
        self.int(key!("clients"), summary.clients);
        if version_last {
            self.int(key!("version"), summary.version);
        }
    }

    fn presence(&mut self, page: &PresencePage<'_>) {
        self.str(key!("channel"), page.channel);
        self.summary(&page.summary, false);
        self.key(key!("members")).array(page.members.len(), |w| {
            for member in &page.members {
                w.element();
                write_member(w, member);
            }
        });
        self.maybe(key!("next"), page.next, Self::str);
        self.maybe(key!("stale"), page.stale.then_some(true), Self::flag);
    }

    fn history(&mut self, page: &HistoryPage<'_>) {
        self.str(key!("channel"), page.channel);
        self.position(key!("position"), page.position);
        self.key(key!("messages")).array(page.messages.len(), |w| {
            for message in &page.messages {
                w.element();
                object(w, |o| o.message(message));
            }
        });
        self.maybe(key!("next"), page.next.as_ref(), Self::position);
    }

    fn connected(&mut self, connected: &Connected<'_>) {
        self.id(key!("client"), &connected.client.text());
        self.id(key!("session"), &connected.session.text());
        self.maybe(key!("resumed"), connected.resumed, Self::flag);
        self.str(key!("node"), connected.node);
        self.maybe(key!("user"), connected.user, Self::str);
        self.int(key!("heartbeat_ms"), connected.heartbeat_ms);
        self.maybe(key!("expires_at"), connected.expires_at, Self::int);
        object(self.key(key!("limits")), |o| {
            o.int(key!("message_bytes"), connected.limits.message_bytes.into());
            o.int(key!("channels"), connected.limits.channels.into());
            o.int(key!("commands_per_second"), connected.limits.commands_per_second.into());
        });
        if !connected.subscriptions.is_empty() {
            self.key(key!("subscriptions")).array(connected.subscriptions.len(), |w| {
                for subscribed in connected.subscriptions {
                    w.element();
                    object(w, |o| o.subscribed(subscribed));
                }
            });
        }
        self.int(key!("reconnect_spread_ms"), connected.reconnect_spread_ms);
    }

    fn body(&mut self, what: &Outgoing<'_>) {
        match what {
            Outgoing::Connected(connected) => self.connected(connected),
            Outgoing::Error { code, message, retry_after_ms, position, base_path } => {
                self.plain(key!("code"), code.as_str());
                self.str(key!("message"), message);
                self.flag(key!("retryable"), code.retryable());
                self.plain(key!("docs"), &format!("{base_path}/docs/errors#{}", code.as_str()));
                self.maybe(key!("retry_after_ms"), *retry_after_ms, Self::int);
                self.maybe(key!("position"), *position, Self::position);
            }
            Outgoing::Refreshed { expires_at } => self.maybe(key!("expires_at"), *expires_at, Self::int),
            Outgoing::Subscribed(subscribed) => self.subscribed(subscribed),
            Outgoing::Unsubscribed { channel, because } => {
                self.str(key!("channel"), channel);
                if let Some(because) = because {
                    self.str(key!("code"), because.code);
                    self.str(key!("message"), because.message);
                    self.flag(key!("resubscribe"), because.resubscribe);
                }
            }
            Outgoing::Published { position, duplicate } => {
                self.maybe(key!("position"), *position, Self::position);
                self.maybe(key!("duplicate"), duplicate.then_some(true), Self::flag);
            }
            Outgoing::Presence(page) => self.presence(page),
            Outgoing::History(page) => self.history(page),
            Outgoing::Message { channel, message } => {
                self.str(key!("channel"), channel);
                self.message(message);
            }
            Outgoing::Member { channel, version, member, .. } => {
                self.str(key!("channel"), channel);
                self.int(key!("version"), *version);
                self.member(key!("member"), member);
            }
            Outgoing::PresenceCount { channel, summary } => {
                self.str(key!("channel"), channel);
                self.summary(summary, false);
            }
            Outgoing::PresenceReset { channel, version } => {
                self.str(key!("channel"), channel);
                self.int(key!("version"), *version);
            }
            Outgoing::Gap { channel, from, to, reason } => {
                self.str(key!("channel"), channel);
                self.maybe(key!("from"), *from, Self::position);
                self.maybe(key!("to"), *to, Self::position);
                self.plain(key!("reason"), reason.as_str());
            }
            Outgoing::Bye { code, message, reconnect, after_ms } => {
                self.str(key!("code"), code);
                self.str(key!("message"), message);
                self.flag(key!("reconnect"), *reconnect);
                self.key(key!("after_ms")).array(2, |w| {
                    for n in after_ms {
                        w.element();
                        w.u64(*n);
                    }
                });
            }
            Outgoing::PresenceUpdated | Outgoing::Pong | Outgoing::Ping => {}
        }
    }
}

fn write_member<W: Writer>(w: &mut W, member: &Member<'_>) {
    object(w, |o| {
        o.id(key!("client"), &member.client.text());
        o.maybe(key!("user"), member.user, Object::str);
        o.maybe(key!("info"), member.info, Object::payload);
        o.maybe(key!("state"), member.state, Object::payload);
    });
}

/// Writes one object.
pub(crate) fn outgoing<W: Writer>(w: &mut W, id: Option<u64>, what: &Outgoing<'_>) {
    object(w, |o| {
        o.plain(key!("type"), what.kind());
        o.maybe(key!("id"), id, Object::int);
        o.body(what);
    });
}
