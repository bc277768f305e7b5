//! A model client: it keeps what the protocol lets a client know, and checks every frame against it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use everwire_proto::ids::Epoch;
use everwire_proto::payload::Format;
use everwire_proto::position::Position;
use everwire_proto::transcode;
use everwire_proto::ws::{Decoder, Event, Inflater, Limits};
use serde_json::{Value, json};

use super::ledger::{Check, Ledger};
use super::pipe::Up;
use super::report::Report;
use super::watch::Watch;
use crate::entry::Form;

/// What a client's checks look at besides itself.
pub(super) struct View<'a> {
    pub(super) ledger: &'a mut Ledger,
    pub(super) report: &'a mut Report,
    /// Offsets are numbered in this process, without holes.
    pub(super) contiguous: bool,
    /// Who is in a channel at this client's node, by the cell itself.
    pub(super) members: &'a dyn Fn(&str) -> BTreeSet<String>,
    /// The connection is open on the server's side too.
    pub(super) open: bool,
}

/// A command that awaits its reply.
#[derive(Clone, Debug)]
enum Asked {
    Connect {
        resume: bool,
    },
    Subscribe {
        channel: String,
        since: Option<Position>,
        rewind: Option<u64>,
        mute: bool,
        watch: bool,
    },
    Unsubscribe {
        channel: String,
    },
    Publish {
        channel: String,
        payload: String,
        volatile: bool,
    },
    History {
        channel: String,
    },
    Presence {
        channel: String,
    },
    State,
    /// A refusal with this code is what is wanted.
    Wrong(&'static str),
    Ping,
}

/// A live subscription, as the client knows it.
#[derive(Debug)]
struct Sub {
    last: Option<Position>,
    top: Option<Position>,
    gap_due: Option<(Position, Position)>,
    lost_due: bool,
    /// Replay that must still come; `None` where a later gap made the number void.
    replay_left: Option<u64>,
    mute: bool,
    watch: Option<Watch>,
    volatile: BTreeSet<String>,
}

/// What bytes turned out to be.
enum Heard {
    Frame(Vec<u8>),
    Ping,
    Close(Option<u16>),
}

/// A publish that may be repeated: it has a message id and no answer came.
#[derive(Clone, Debug)]
pub(super) struct Unsure {
    pub(super) channel: String,
    pub(super) payload: String,
    /// The client id under which it was sent.
    by: Option<String>,
}

/// The client.
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) conn: Option<usize>,
    pub(super) form: Form,
    pub(super) connected: bool,
    /// It reads nothing for now.
    pub(super) slow: bool,
    pub(super) out: VecDeque<Up>,
    pub(super) session: Option<String>,
    pub(super) me: Option<String>,
    pub(super) closed_with: Option<u16>,
    pub(super) unsure: Vec<Unsure>,
    pub(super) known: BTreeMap<String, Position>,
    subs: BTreeMap<String, Sub>,
    asked: BTreeMap<u64, Asked>,
    next_id: u64,
    published: u64,
    last_payload: String,
    decoder: Decoder,
    inflater: Inflater,
}

/// The longest frame a server sends here.
const LIMITS: Limits = Limits { message_bytes: 1 << 24 };

impl Sub {
    /// Where a subscription begins, and the gap that is due first, by what `subscribed` answered.
    fn begin(
        &mut self,
        channel: &str,
        since: Option<Position>,
        rewind: Option<u64>,
        frame: &Value,
        view: &View<'_>,
    ) -> Check {
        let recovered = frame["recovered"].as_bool();
        let replaying = frame["replaying"].as_u64();
        match (&self.top, &since, recovered) {
            (None, Some(_), Some(false)) => self.lost_due = true,
            (None, None, None) => {}
            (Some(top), Some(since), Some(true)) => {
                if since.epoch != top.epoch || since.offset > top.offset {
                    return Err("recovered from a place that is not in this stream".to_owned());
                }
                if view.contiguous && replaying != Some(top.offset - since.offset) {
                    return Err(format!("replaying must be {}", top.offset - since.offset));
                }
                self.last = Some(since.clone());
            }
            (Some(top), Some(since), Some(false)) => {
                if since == top {
                    return Err("the top itself is always recovered".to_owned());
                }
                self.gap_due = Some((since.clone(), top.clone()));
                self.last = Some(since.clone());
            }
            (Some(top), _, None) if rewind.is_some() || since.is_none() => {
                let count = replaying.unwrap_or(0);
                if rewind.is_none() != replaying.is_none() || count > rewind.unwrap_or(0) {
                    return Err("a rewind gives at most what was asked".to_owned());
                }
                let begin = view.ledger.back(channel, top, count);
                if let Some(since) = since {
                    self.gap_due = Some((since.clone(), begin));
                    self.last = Some(since);
                } else {
                    self.last = Some(begin);
                }
            }
            _ => return Err(format!("no such answer to since {since:?}, rewind {rewind:?}")),
        }
        Ok(())
    }
}

impl Client {
    pub(super) fn new(number: usize, form: Form) -> Self {
        Self {
            number,
            conn: None,
            form,
            connected: false,
            slow: false,
            out: VecDeque::new(),
            session: None,
            me: None,
            closed_with: None,
            unsure: Vec::new(),
            known: BTreeMap::new(),
            subs: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_id: 1,
            published: 0,
            last_payload: String::new(),
            decoder: Decoder::client(LIMITS, false),
            inflater: Inflater::new(),
        }
    }

    /// A connection is open; the session goes on if the client has one and wants to.
    pub(super) fn open(&mut self, conn: usize, resume: bool) {
        let deflate = matches!(self.form, Form::JsonDeflated | Form::MsgPackDeflated);
        self.decoder = Decoder::client(LIMITS, deflate);
        self.conn = Some(conn);
        self.closed_with = None;
        let resume = self.session.clone().filter(|_| resume);
        let asked = Asked::Connect { resume: resume.is_some() };
        let (token, heartbeat) = (self.user(), self.number.is_multiple_of(3));
        self.ask(asked, json!({"type": "connect", "token": token, "resume": resume, "heartbeat": heartbeat}));
    }

    /// Its user; every second client is anonymous, and two share each user.
    fn user(&self) -> Option<String> {
        self.number.is_multiple_of(2).then(|| format!("user{}", self.number / 4))
    }

    /// The connection is gone, as this side sees it.
    pub(super) fn lose(&mut self) {
        self.conn = None;
        let by = self.me.clone().filter(|_| std::mem::take(&mut self.connected));
        self.slow = false;
        self.out.clear();
        for (channel, sub) in std::mem::take(&mut self.subs) {
            if let Some(last) = sub.last {
                self.known.insert(channel, last);
            }
        }
        for (_, asked) in std::mem::take(&mut self.asked) {
            if let Asked::Publish { channel, payload, volatile: false } = asked
                && payload.ends_with('k')
            {
                self.unsure.push(Unsure { channel, payload, by: by.clone() });
            }
        }
    }

    pub(super) fn channels(&self) -> Vec<String> {
        self.subs.keys().cloned().collect()
    }

    pub(super) fn is_subscribed(&self, channel: &str) -> bool {
        self.subs.contains_key(channel)
    }

    /// What it published last.
    pub(super) fn last_payload(&self) -> String {
        self.last_payload.clone()
    }

    /// Whether it got this volatile message.
    pub(super) fn has_volatile(&self, channel: &str, payload: &str) -> bool {
        self.subs.get(channel).is_some_and(|sub| sub.volatile.contains(payload))
    }

    /// Where it is in a channel; `None` without history or subscription.
    pub(super) fn position(&self, channel: &str) -> Option<&Position> {
        self.subs.get(channel)?.last.as_ref()
    }

    pub(super) fn watched(&self, channel: &str) -> Option<&Watch> {
        self.subs.get(channel)?.watch.as_ref()
    }

    /// Whether a subscribe or unsubscribe of this channel awaits its reply.
    pub(super) fn is_moving(&self, channel: &str) -> bool {
        self.asked.values().any(|asked| match asked {
            Asked::Subscribe { channel: c, .. } | Asked::Unsubscribe { channel: c } => c == channel,
            _ => false,
        })
    }

    /// Whether every command was answered.
    pub(super) fn is_settled(&self) -> bool {
        self.asked.is_empty()
    }

    fn ask(&mut self, asked: Asked, mut command: Value) {
        let id = self.next_id;
        self.next_id += 1;
        command["id"] = json!(id);
        self.asked.insert(id, asked);
        self.send(&command);
    }

    fn send(&mut self, command: &Value) {
        let text = command.to_string().into_bytes();
        let mut packed = Vec::new();
        let message = match self.form.format() {
            Format::Json => text,
            Format::MsgPack => {
                transcode::to_msgpack(&text, &mut packed);
                packed
            }
        };
        self.out.push_back(Up::Message(message));
    }

    pub(super) fn subscribe(
        &mut self,
        channel: &str,
        since: Option<Position>,
        rewind: Option<u64>,
        mute: bool,
        watch: bool,
    ) {
        let position = since.as_ref().map(|p| json!({"epoch": p.epoch.as_str(), "offset": p.offset}));
        let command = json!({
            "type": "subscribe", "channel": channel, "since": position, "rewind": rewind,
            "echo": !mute, "presence": watch,
        });
        let channel = channel.to_owned();
        self.ask(Asked::Subscribe { channel, since, rewind, mute, watch }, command);
    }

    pub(super) fn unsubscribe(&mut self, channel: &str) {
        let asked = Asked::Unsubscribe { channel: channel.to_owned() };
        self.ask(asked, json!({"type": "unsubscribe", "channel": channel}));
    }

    /// A command that must be refused with this code.
    pub(super) fn blunder(&mut self, command: Value, code: &'static str) {
        self.ask(Asked::Wrong(code), command);
    }

    /// Publishes something new; `keyed`: with a message id. `size` pads the payload.
    pub(super) fn publish(
        &mut self,
        ledger: &mut Ledger,
        channel: &str,
        keyed: bool,
        volatile: bool,
        size: usize,
    ) {
        self.published += 1;
        let mark = if keyed { "k" } else { "u" };
        let payload = format!("{}.{}.{}{mark}", self.number, self.published, "x".repeat(size));
        self.send_publish(ledger, channel, &payload, volatile);
        self.last_payload = payload;
    }

    /// Publishes something again whose answer never came.
    pub(super) fn publish_again(&mut self, ledger: &mut Ledger, unsure: &Unsure) {
        // An anonymous client's message ids are its session's: in a new one it would be another message.
        let same = self.connected && unsure.by == self.me;
        if self.user().is_some() || same {
            self.send_publish(ledger, &unsure.channel, &unsure.payload, false);
        }
    }

    fn send_publish(&mut self, ledger: &mut Ledger, channel: &str, payload: &str, volatile: bool) {
        let Some(conn) = self.conn else { return };
        let keyed = payload.ends_with('k') && !volatile;
        let number = payload.split('.').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
        ledger.sent(channel, payload, (conn, number), volatile);
        let mut command =
            json!({"type": "publish", "channel": channel, "data": payload, "volatile": volatile});
        if keyed {
            // Short: the number says which it is.
            command["message_id"] = json!(format!("{}.{number}", self.number));
        }
        let asked = Asked::Publish { channel: channel.to_owned(), payload: payload.to_owned(), volatile };
        self.ask(asked, command);
    }

    pub(super) fn history(&mut self, channel: &str, limit: u64, reverse: bool) {
        let asked = Asked::History { channel: channel.to_owned() };
        self.ask(asked, json!({"type": "history", "channel": channel, "limit": limit, "reverse": reverse}));
    }

    pub(super) fn presence(&mut self, channel: &str) {
        let asked = Asked::Presence { channel: channel.to_owned() };
        self.ask(asked, json!({"type": "presence", "channel": channel, "limit": 1_000}));
    }

    pub(super) fn set_state(&mut self, channel: &str, state: u64) {
        let asked = Asked::State;
        self.ask(asked, json!({"type": "presence_update", "channel": channel, "state": state}));
    }

    pub(super) fn ping(&mut self) {
        self.ask(Asked::Ping, json!({"type": "ping"}));
    }

    /// Bytes came. Whether the connection goes on.
    pub(super) fn read(&mut self, bytes: &mut [u8], view: &mut View<'_>) -> Result<bool, String> {
        for heard in self.decode(bytes)? {
            let text = match heard {
                Heard::Frame(text) => text,
                Heard::Ping => {
                    self.out.push_back(Up::Life);
                    continue;
                }
                Heard::Close(code) => {
                    self.closed_with = code;
                    return Ok(false);
                }
            };
            let frame: Value =
                serde_json::from_slice(&text).map_err(|e| format!("client {}: no JSON: {e}", self.number))?;
            self.frame(&frame, view).map_err(|e| format!("client {}: {e}, at {frame}", self.number))?;
        }
        Ok(true)
    }

    fn decode(&mut self, bytes: &mut [u8]) -> Result<Vec<Heard>, String> {
        let (mut heard, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let mut input = &mut bytes[at..];
            let before = input.len();
            let event = self.decoder.next(&mut input, &mut self.inflater);
            match event.map_err(|e| format!("client {}: broken frames: {e:?}", self.number))? {
                None => break,
                Some(Event::Text(text)) => heard.push(Heard::Frame(text.to_vec())),
                Some(Event::Binary(packed)) => {
                    let mut text = Vec::new();
                    transcode::to_json(packed, &mut text);
                    heard.push(Heard::Frame(text));
                }
                Some(Event::Ping(_)) => heard.push(Heard::Ping),
                Some(Event::Pong(_)) => {}
                Some(Event::Close(why)) => heard.push(Heard::Close(why.map(|(code, _)| code))),
            }
            at += before - input.len();
        }
        Ok(heard)
    }

    fn frame(&mut self, frame: &Value, view: &mut View<'_>) -> Check {
        let kind = frame["type"].as_str().unwrap_or_default();
        if let Some(id) = frame["id"].as_u64() {
            let asked = self.asked.remove(&id).ok_or("a reply to nothing")?;
            return self.reply(kind, asked, frame, view);
        }
        match kind {
            "message" => self.message(frame, view),
            "gap" => self.gap(frame, view),
            "join" | "leave" | "presence_state" | "presence_reset" => {
                view.report.presence_resets += u64::from(kind == "presence_reset");
                self.presence_event(kind, frame)
            }
            "ping" => {
                self.send(&json!({"type": "pong"}));
                Ok(())
            }
            "bye" => Ok(()),
            _ => Err("an unexpected push".to_owned()),
        }
    }

    fn reply(&mut self, kind: &str, asked: Asked, frame: &Value, view: &mut View<'_>) -> Check {
        if kind == "error" {
            return refused(&asked, frame, view);
        }
        match (kind, asked) {
            ("connected", Asked::Connect { resume }) => {
                let me = frame["client"].as_str().map(str::to_owned);
                let resumed = frame["resumed"].as_bool();
                if resumed.is_some() != resume || (resumed == Some(true) && me != self.me) {
                    return Err("a resumed session keeps its client, and nobody else's".to_owned());
                }
                view.report.resumed += u64::from(resumed == Some(true));
                (self.me, self.connected) = (me, true);
                self.session = frame["session"].as_str().map(str::to_owned);
                Ok(())
            }
            ("subscribed", Asked::Subscribe { channel, since, rewind, mute, watch }) => {
                self.subscribed(channel, since, rewind, (mute, watch), frame, view)
            }
            ("unsubscribed", Asked::Unsubscribe { channel }) => {
                let sub = self.subs.remove(&channel).ok_or("it was not subscribed")?;
                if let Some(last) = sub.last {
                    self.known.insert(channel.clone(), last);
                }
                let mine = self.me.clone().unwrap_or_default();
                // The same id may be in again by a later command of this connection.
                if view.open && !self.is_moving(&channel) && (view.members)(&channel).contains(&mine) {
                    return Err(format!("promise 6: {channel}: still a member after `unsubscribed`"));
                }
                Ok(())
            }
            ("published", Asked::Publish { channel, payload, volatile }) => {
                let duplicate = frame["duplicate"].as_bool().unwrap_or(false);
                view.report.duplicates += u64::from(duplicate);
                match (position_of(&frame["position"]), volatile || has_no_history(&channel)) {
                    (Some(position), false) => view.ledger.acked(&channel, &payload, &position, duplicate),
                    (None, true) => Ok(()),
                    _ => Err("a position stands iff the message is stored".to_owned()),
                }
            }
            ("history", Asked::History { channel }) => self.page(&channel, frame, view),
            ("presence", Asked::Presence { channel }) => {
                if let Some(watch) = self.subs.get_mut(&channel).and_then(|s| s.watch.as_mut()) {
                    watch.snapshot(frame);
                }
                Ok(())
            }
            ("presence_updated", Asked::State) | ("pong", Asked::Ping) => Ok(()),
            (_, asked) => Err(format!("not the reply to {asked:?}")),
        }
    }

    fn page(&mut self, channel: &str, frame: &Value, view: &mut View<'_>) -> Check {
        let top = position_of(&frame["position"]).ok_or("a page has a position")?;
        let mut last: Option<u64> = None;
        let messages = frame["messages"].as_array().ok_or("a page has messages")?;
        let (first, second) = (messages.first(), messages.get(1));
        let reverse = first.zip(second).is_some_and(|(a, b)| a["offset"].as_u64() > b["offset"].as_u64());
        let in_order: Vec<_> =
            if reverse { messages.iter().rev().collect() } else { messages.iter().collect() };
        for message in in_order {
            let offset = message["offset"].as_u64().ok_or("stored messages have offsets")?;
            let at = Position { epoch: top.epoch.clone(), offset };
            if let Some(last) = last {
                let before = Position { epoch: top.epoch.clone(), offset: last };
                view.ledger.follows(channel, &before, offset, None)?;
            }
            view.ledger.saw(channel, &at, message["data"].as_str().unwrap_or_default())?;
            last = Some(offset);
        }
        Ok(())
    }

    fn subscribed(
        &mut self,
        channel: String,
        since: Option<Position>,
        rewind: Option<u64>,
        (mute, watch): (bool, bool),
        frame: &Value,
        view: &mut View<'_>,
    ) -> Check {
        let top = position_of(&frame["position"]);
        if top.is_some() == has_no_history(&channel) {
            return Err("a position stands iff the channel has history".to_owned());
        }
        let recovered = frame["recovered"].as_bool();
        let replaying = frame["replaying"].as_u64();
        view.report.recovered += u64::from(recovered == Some(true));
        view.report.unrecovered += u64::from(recovered == Some(false));
        let mut sub = Sub {
            last: top.clone(),
            top: top.clone(),
            gap_due: None,
            lost_due: false,
            replay_left: Some(replaying.unwrap_or(0)),
            mute,
            watch: watch.then(Watch::default),
            volatile: BTreeSet::new(),
        };
        sub.begin(&channel, since, rewind, frame, view)?;
        let mine = self.me.clone().unwrap_or_default();
        if view.open
            && !self.is_moving(&channel)
            && has_presence(&channel)
            && !(view.members)(&channel).contains(&mine)
        {
            return Err(format!("promise 6: {channel}: subscribed and no member"));
        }
        if self.subs.insert(channel.clone(), sub).is_some() {
            return Err("subscribed twice".to_owned());
        }
        if watch {
            self.presence(&channel);
        }
        Ok(())
    }

    fn message(&mut self, frame: &Value, view: &mut View<'_>) -> Check {
        let channel = frame["channel"].as_str().unwrap_or_default();
        let sub =
            self.subs.get_mut(channel).ok_or("promise 5: a message of a channel it is not subscribed to")?;
        let payload = frame["data"].as_str().unwrap_or_default();
        view.report.delivered += 1;
        let own = frame["from"]["client"].as_str() == self.me.as_deref();
        if sub.gap_due.is_some() || sub.lost_due {
            return Err("a gap was due first".to_owned());
        }
        let Some(offset) = frame["offset"].as_u64() else {
            if own && sub.mute {
                return Err("its own message, though it subscribed with `echo:false`".to_owned());
            }
            if !sub.volatile.insert(payload.to_owned()) {
                return Err("a volatile message came twice".to_owned());
            }
            return view.ledger.saw_volatile(channel, payload);
        };
        let (Some(last), Some(top)) = (&mut sub.last, &sub.top) else {
            return Err("an offset in a channel without history".to_owned());
        };
        let is_replay = last.epoch == top.epoch && offset <= top.offset;
        if own && sub.mute && !is_replay {
            return Err("its own message, though it subscribed with `echo:false`".to_owned());
        }
        view.ledger.follows(channel, last, offset, sub.mute.then_some(self.number))?;
        last.offset = offset;
        view.ledger.saw(channel, last, payload)?;
        match (&mut sub.replay_left, is_replay) {
            (Some(0), true) => Err("more replay than was announced".to_owned()),
            (Some(left), true) => {
                *left -= 1;
                Ok(())
            }
            (Some(left), false) if *left > 0 => {
                Err("a newer message before the end of the replay".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn gap(&mut self, frame: &Value, view: &mut View<'_>) -> Check {
        let channel = frame["channel"].as_str().unwrap_or_default();
        let sub =
            self.subs.get_mut(channel).ok_or("promise 5: a gap of a channel it is not subscribed to")?;
        view.report.gaps += 1;
        let (from, to) = (position_of(&frame["from"]), position_of(&frame["to"]));
        let (Some(from), Some(to)) = (from, to) else {
            if !(frame["from"].is_null() && frame["to"].is_null()) {
                return Err("a gap has both positions or none".to_owned());
            }
            sub.lost_due = false;
            view.report.volatile_gaps += 1;
            return Ok(());
        };
        let last = sub.last.as_ref().ok_or("a gap with positions in a channel without history")?;
        match sub.gap_due.take() {
            Some(due) if due.0 != from || !view.ledger.is_same(channel, &due.1, &to) => {
                return Err(format!("the gap that was due is {due:?}"));
            }
            Some(_) => {}
            // Eviction overtook the replay: what was announced need not come.
            None => sub.replay_left = None,
        }
        let spared = sub.mute && from.epoch == last.epoch && from.offset > last.offset;
        if spared {
            view.ledger.follows_to(channel, last, from.offset, self.number)?;
        } else if from != *last {
            return Err(format!("the gap does not begin where the client is: {last:?}"));
        }
        sub.last = Some(to);
        Ok(())
    }

    fn presence_event(&mut self, kind: &str, frame: &Value) -> Check {
        let channel = frame["channel"].as_str().unwrap_or_default();
        let sub =
            self.subs.get_mut(channel).ok_or("promise 5: presence of a channel it is not subscribed to")?;
        let watch = sub.watch.as_mut().ok_or("presence that nobody asked for")?;
        if kind == "join" && frame["member"]["client"].as_str() == self.me.as_deref() {
            return Err("its own join".to_owned());
        }
        if watch.event(kind, frame)? {
            let channel = channel.to_owned();
            self.presence(&channel);
        }
        Ok(())
    }
}

/// Namespaces of the simulation: `v:` and `c:` keep no history, `q:` has no presence.
pub(super) fn has_no_history(channel: &str) -> bool {
    channel.starts_with("v:") || channel.starts_with("c:")
}

pub(super) fn has_presence(channel: &str) -> bool {
    !channel.starts_with("q:")
}

fn position_of(value: &Value) -> Option<Position> {
    let epoch = Epoch::parse(value["epoch"].as_str()?)?;
    Some(Position { epoch, offset: value["offset"].as_u64()? })
}

fn refused(asked: &Asked, frame: &Value, view: &mut View<'_>) -> Check {
    let code = frame["code"].as_str().unwrap_or_default();
    view.report.refused += 1;
    let by_broker = !view.contiguous && matches!(code, "timeout" | "overloaded" | "not_available");
    match asked {
        Asked::Wrong(wanted) if code == *wanted => Ok(()),
        Asked::Publish { .. } | Asked::Subscribe { .. } | Asked::History { .. } if by_broker => Ok(()),
        // Every channel that the node may know is in use.
        Asked::Publish { .. } | Asked::Subscribe { .. } | Asked::History { .. } | Asked::Presence { .. }
            if code == "overloaded" =>
        {
            view.report.full += 1;
            Ok(())
        }
        // The subscription ended while the command was on its way.
        Asked::State if code == "not_subscribed" => Ok(()),
        asked => Err(format!("{asked:?} was refused")),
    }
}
