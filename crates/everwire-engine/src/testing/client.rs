//! A model client: it keeps what the protocol lets a client know, and checks every frame against it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use everwire_proto::ids::Epoch;
use everwire_proto::payload::Format;
use everwire_proto::position::Position;
use everwire_proto::reply::PresenceSummary;
use everwire_proto::transcode;
use everwire_proto::ws::{Decoder, Event, Inflater, Limits};
use serde_json::{Value, json};

use super::ledger::Ledger;
use super::pipe::{Lane, Up};
use super::report::Report;
use super::shape;
use super::watch::Watch;
use crate::entry::Form;
use crate::limits::ConnectionLimits;

mod hear;

/// What a client's checks look at besides itself.
pub(super) struct View<'a> {
    pub(super) ledger: &'a mut Ledger,
    pub(super) report: &'a mut Report,
    /// Offsets are numbered in this process, without holes.
    pub(super) contiguous: bool,
    /// Who is in a channel at this client's node, by the cell itself.
    pub(super) members: &'a dyn Fn(&str) -> BTreeSet<String>,
    /// The numbers of the same.
    pub(super) summary: &'a dyn Fn(&str) -> PresenceSummary,
    /// What a connection may.
    pub(super) limits: &'a ConnectionLimits,
    pub(super) now_ms: u64,
    /// Its node's broker has refused nothing yet.
    pub(super) untroubled: bool,
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
        /// At most so many channels were there when this was asked.
        crowd: usize,
        /// The position is one that it had, and this was asked then.
        genuine_ms: Option<u64>,
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
        ask: Pages,
    },
    Presence {
        channel: String,
        walk: Walk,
    },
    State,
    /// A refusal with this code is what is wanted.
    Wrong(&'static str),
    Ping,
}

/// Which page of a history.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    pub(super) limit: u64,
    pub(super) reverse: bool,
    pub(super) since: Option<Position>,
    pub(super) before: Option<Position>,
}

/// The pages of a presence so far.
#[derive(Clone, Debug)]
struct Walk {
    limit: u64,
    first_version: Option<u64>,
    stale: bool,
    seen: Vec<String>,
    users: BTreeSet<String>,
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
    /// When it began, and when it was last told that volatile messages are missing.
    since_tick: u64,
    lost_tick: u64,
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
    /// It did so on this connection.
    pub(super) was_slow: bool,
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
    /// What it published and was refused.
    refused: BTreeSet<String>,
    /// A `connect` without id, or none at all, that awaits its `connected`.
    connecting: Option<Asked>,
    pub(super) bye: bool,
    /// When it last did something.
    pub(super) now_ms: u64,
    /// Commands without id, whose failures come without one.
    pub(super) unasked: u64,
    /// When each command that can't be read was sent on this connection, and how many refusals came.
    bad_sent_ms: Vec<u64>,
    bad_heard: usize,
    stammered: usize,
    decoder: Decoder,
    inflater: Inflater,
}

/// How a client opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// By a `connect`.
    Asked,
    /// By one without id.
    Unasked,
    /// By whatever comes first.
    Implicit,
}

/// The longest frame a server sends here.
const LIMITS: Limits = Limits { message_bytes: 1 << 24 };

impl Client {
    pub(super) fn new(number: usize, form: Form) -> Self {
        Self {
            number,
            conn: None,
            form,
            connected: false,
            slow: false,
            was_slow: false,
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
            refused: BTreeSet::new(),
            connecting: None,
            bye: false,
            now_ms: 0,
            unasked: 0,
            bad_sent_ms: Vec::new(),
            bad_heard: 0,
            stammered: 0,
            decoder: Decoder::client(LIMITS, false),
            inflater: Inflater::new(),
        }
    }

    /// A connection is open; the session goes on if the client has one and wants to.
    pub(super) fn open(&mut self, conn: usize, resume: bool, opening: Opening) {
        let deflate = matches!(self.form, Form::JsonDeflated | Form::MsgPackDeflated);
        self.decoder = Decoder::client(LIMITS, deflate);
        self.conn = Some(conn);
        self.closed_with = None;
        (self.bye, self.was_slow, self.unasked, self.connecting) = (false, false, 0, None);
        self.bad_sent_ms.clear();
        (self.bad_heard, self.stammered) = (0, 0);
        let resume = self.session.clone().filter(|_| resume);
        let asked = Asked::Connect { resume: resume.is_some() };
        let (token, heartbeat) = (self.user(), self.number.is_multiple_of(3));
        let mut command =
            json!({"type": "connect", "token": token, "resume": resume, "heartbeat": heartbeat});
        match opening {
            Opening::Asked => self.ask(asked, command),
            // An implicit one has no token and resumes nothing.
            Opening::Implicit if token.is_none() && resume.is_none() => {
                self.connecting = Some(asked);
                self.ping();
            }
            Opening::Implicit | Opening::Unasked => {
                self.connecting = Some(asked);
                command["name"] = json!("simulated");
                self.send(&command);
            }
        }
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
            // Before the gap that was due it is where it asked to be, which may be nowhere.
            if let Some(last) = sub.last.filter(|_| sub.gap_due.is_none()) {
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

    /// Volatile messages of its channels that it neither got nor was told to have missed.
    pub(super) fn missed(&self, ledger: &Ledger) -> Option<String> {
        self.subs.iter().find_map(|(channel, sub)| {
            let sent = ledger.volatile_since(channel, sub.since_tick, self.number);
            let mut missed =
                sent.iter().filter(|(p, tick)| *tick > sub.lost_tick && !sub.volatile.contains(*p));
            missed.next().map(|(payload, _)| format!("{payload:?} of {channel}"))
        })
    }

    /// Whether this publish of its was refused.
    pub(super) fn was_refused(&self, payload: &str) -> bool {
        self.refused.contains(payload)
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
        self.asked.is_empty() && self.connecting.is_none()
    }

    /// How many channels it has at most, once every command was answered.
    fn crowd(&self) -> usize {
        let joining = self.asked.values().filter(|asked| matches!(asked, Asked::Subscribe { .. }));
        self.subs.len() + joining.count()
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
                shape::with_bytes(&packed)
            }
        };
        let lane = match command["type"].as_str() {
            Some("subscribe" | "unsubscribe") => Lane::Subscribes,
            Some("pong") => Lane::Free,
            _ => Lane::Commands,
        };
        self.out.push_back(Up::Message(message, lane));
    }

    /// A command without id: only its failure is told.
    pub(super) fn whisper(&mut self, command: &Value) {
        self.unasked += 1;
        self.send(command);
    }

    /// Something that can't be read, so many times.
    pub(super) fn babble(&mut self, count: usize, which: usize, now_ms: u64) {
        let text =
            [&b"{"[..], b"[]", br#"{"type":"nonsense"}"#, br#"{"type":"ping","type":"ping"}"#][which % 4];
        let bytes = if self.form.format() == Format::Json { text } else { b"\xc1" };
        for _ in 0..count {
            self.bad_sent_ms.push(now_ms);
            self.out.push_back(Up::Message(bytes.to_vec(), Lane::Free));
        }
    }

    /// Whether it said more that can't be read than is borne.
    pub(super) fn babbled(&self, limit: u32) -> bool {
        self.bad_sent_ms.len() + self.stammered > limit as usize
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
        let crowd = self.crowd();
        let genuine = since.as_ref().is_some_and(|since| self.known.get(&channel) == Some(since));
        let genuine_ms = genuine.then_some(self.now_ms);
        self.ask(Asked::Subscribe { channel, since, rewind, mute, watch, crowd, genuine_ms }, command);
    }

    pub(super) fn unsubscribe(&mut self, channel: &str) {
        let asked = Asked::Unsubscribe { channel: channel.to_owned() };
        self.ask(asked, json!({"type": "unsubscribe", "channel": channel}));
    }

    /// A command that must be refused with this code.
    pub(super) fn blunder(&mut self, command: Value, code: &'static str) {
        self.ask(Asked::Wrong(code), command);
    }

    /// A command that lacks something: its id can be read, and it counts with what can't.
    pub(super) fn stammer(&mut self, command: Value) {
        self.stammered += 1;
        self.ask(Asked::Wrong("bad_request"), command);
        if let Some(Up::Message(_, lane)) = self.out.back_mut() {
            *lane = Lane::Free;
        }
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
        let shape = ["", "", "", "B", "T", "BT"][size % 6];
        let payload = shape::text(&self.number.to_string(), self.published, shape, size, keyed);
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
        let number = shape::number_of(payload);
        ledger.sent(channel, payload, (conn, number), volatile);
        let mut command = json!({"type": "publish", "channel": channel, "volatile": volatile});
        shape::fill(&mut command, payload);
        if keyed {
            // Short: the number says which it is.
            command["message_id"] = json!(format!("{}.{number}", self.number));
        }
        let asked = Asked::Publish { channel: channel.to_owned(), payload: payload.to_owned(), volatile };
        self.ask(asked, command);
    }

    /// Publishes without wanting to know.
    pub(super) fn publish_unasked(&mut self, ledger: &mut Ledger, channel: &str, volatile: bool) {
        let Some(conn) = self.conn else { return };
        self.published += 1;
        let payload = shape::text(&self.number.to_string(), self.published, "", 0, false);
        ledger.sent(channel, &payload, (conn, self.published), volatile);
        self.whisper(&json!({"type": "publish", "channel": channel, "data": payload, "volatile": volatile}));
    }

    pub(super) fn history(&mut self, channel: &str, ask: Pages) {
        let place =
            |p: &Option<Position>| p.as_ref().map(|p| json!({"epoch": p.epoch.as_str(), "offset": p.offset}));
        let command = json!({
            "type": "history", "channel": channel, "limit": ask.limit, "reverse": ask.reverse,
            "since": place(&ask.since), "before": place(&ask.before),
        });
        self.ask(Asked::History { channel: channel.to_owned(), ask }, command);
    }

    /// Asks who is there, in pages of so many.
    pub(super) fn presence(&mut self, channel: &str, limit: u64) {
        let (seen, users) = (Vec::new(), BTreeSet::new());
        let walk = Walk { limit, first_version: None, stale: false, seen, users };
        self.presence_page(channel, walk, None);
    }

    fn presence_page(&mut self, channel: &str, walk: Walk, after: Option<&str>) {
        let command = json!({"type": "presence", "channel": channel, "limit": walk.limit, "after": after});
        self.ask(Asked::Presence { channel: channel.to_owned(), walk }, command);
    }

    /// Channels where it is told who comes and goes.
    pub(super) fn watches(&self) -> Vec<String> {
        self.subs.iter().filter(|(_, sub)| sub.watch.is_some()).map(|(channel, _)| channel.clone()).collect()
    }

    pub(super) fn set_state(&mut self, channel: &str, state: &str) {
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
                    transcode::to_json(&shape::with_text(packed), &mut text);
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
