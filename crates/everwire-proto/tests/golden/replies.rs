//! The typed value of each golden frame of the server.

use bytes::Bytes;
use everwire_proto::codes::ErrorCode;
use everwire_proto::ids::{ClientId, Epoch, SessionKey};
use everwire_proto::payload::Payload;
use everwire_proto::position::Position;
use everwire_proto::reply::{
    Connected, From, GapReason, HistoryPage, Member, MemberEvent, Message, Outgoing, PresencePage,
    PresenceSummary, Subscribed, UnsubscribeReason, WireLimits,
};

pub(crate) const KINDS: [&str; 19] = [
    "connected",
    "refreshed",
    "subscribed",
    "unsubscribed",
    "published",
    "presence",
    "presence_updated",
    "history",
    "pong",
    "message",
    "join",
    "leave",
    "presence_state",
    "presence_count",
    "presence_reset",
    "gap",
    "ping",
    "bye",
    "error",
];

const LOBBY: &str = "chat:lobby";
const NEXT: &str = "Ann-on-her-phone-12";
const TIME: u64 = 1_767_225_600_000;

type Case = (&'static str, (Option<u64>, Outgoing<'static>));

pub(crate) fn all() -> Vec<Case> {
    let mut all = Vec::new();
    for part in [connected(), subscribed(), published(), presence(), members(), messages(), gaps(), life()] {
        all.extend(part);
    }
    all.extend(errors());
    all
}

fn case(name: &'static str, id: impl Into<Option<u64>>, what: Outgoing<'static>) -> Case {
    (name, (id.into(), what))
}

/// Kept until the process ends: replies borrow what they say.
fn keep<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn at(epoch: &str, offset: u64) -> &'static Position {
    keep(Position { epoch: Epoch::parse(epoch).unwrap(), offset })
}

fn json(text: &'static str) -> &'static Payload {
    keep(Payload::Json(Bytes::from_static(text.as_bytes())))
}

fn bytes() -> &'static Payload {
    keep(Payload::Binary(Bytes::from_static(&[0, 255, 16])))
}

fn ann() -> ClientId {
    ClientId::parse("Ann-on-her-phone").unwrap()
}

fn bob() -> ClientId {
    ClientId::parse("Bob-at-his-table").unwrap()
}

fn connected() -> Vec<Case> {
    let first = Connected {
        client: ann(),
        session: SessionKey::parse("only-Ann-knows-this--A").unwrap(),
        resumed: None,
        node: "n1",
        user: None,
        heartbeat_ms: 25_000,
        expires_at: None,
        limits: WireLimits { message_bytes: 65_536, channels: 256, commands_per_second: 50 },
        subscriptions: &[],
        reconnect_spread_ms: 3_000,
    };
    let own = Subscribed {
        channel: "user:ann",
        position: Some(at("e1", 9)),
        recovered: Some(true),
        replaying: Some(2),
        presence: None,
        expires_at: None,
    };
    let news =
        Subscribed { channel: "news", position: None, recovered: None, replaying: None, ..own.clone() };
    let told = Connected { user: Some("ann"), subscriptions: keep([own, news]), ..first.clone() };
    let user = Connected { user: Some("ann"), expires_at: Some(1_800_000_000_000), ..first.clone() };
    let resumed = Connected { resumed: Some(true), node: "n2", ..first.clone() };
    let fresh = Connected { client: bob(), resumed: Some(false), reconnect_spread_ms: 0, ..resumed.clone() };
    vec![
        case("connected", 1, Outgoing::Connected(first.clone())),
        case("connected.user", 1, Outgoing::Connected(user)),
        case("connected.subscribed", 1, Outgoing::Connected(told)),
        case("connected.resumed", 2, Outgoing::Connected(resumed)),
        case("connected.fresh", 2, Outgoing::Connected(fresh)),
        case("connected.push", None, Outgoing::Connected(first)),
        case("refreshed", 3, Outgoing::Refreshed { expires_at: Some(1_800_000_300_000) }),
        case("refreshed.for_ever", 3, Outgoing::Refreshed { expires_at: None }),
    ]
}

fn subscribed() -> Vec<Case> {
    let one = |position, recovered, replaying| {
        let (presence, expires_at) = (None, None);
        Outgoing::Subscribed(Subscribed {
            channel: LOBBY,
            position,
            recovered,
            replaying,
            presence,
            expires_at,
        })
    };
    let live = Subscribed {
        channel: "cursor:map",
        position: None,
        recovered: None,
        replaying: None,
        presence: None,
        expires_at: None,
    };
    let rewound = Subscribed {
        channel: LOBBY,
        position: Some(at("e1", 9)),
        replaying: Some(3),
        presence: Some(PresenceSummary { users: 2, clients: 3, version: 12 }),
        ..live.clone()
    };
    let until = Subscribed { channel: LOBBY, expires_at: Some(1_800_000_000_000), ..live.clone() };
    let ended = |code, message, resubscribe| Outgoing::Unsubscribed {
        channel: LOBBY,
        because: Some(UnsubscribeReason { code, message, resubscribe }),
    };
    let out = "you may not listen to chat:lobby any more";
    vec![
        case("subscribed", 2, one(Some(at("e1", 0)), None, None)),
        case("subscribed.live", 2, Outgoing::Subscribed(live)),
        case("subscribed.until", 2, Outgoing::Subscribed(until)),
        case("subscribed.recovered", 4, one(Some(at("e1", 9)), Some(true), Some(2))),
        case("subscribed.current", 4, one(Some(at("e1", 7)), Some(true), Some(0))),
        case("subscribed.lost", 4, one(Some(at("e2", 4)), Some(false), Some(0))),
        case("subscribed.rewound", 2, Outgoing::Subscribed(rewound)),
        case("unsubscribed", 3, Outgoing::Unsubscribed { channel: LOBBY, because: None }),
        case("unsubscribed.out", None, ended("permission_denied", out, false)),
        case("unsubscribed.again", None, ended("overloaded", "the channel moves to another node", true)),
    ]
}

fn published() -> Vec<Case> {
    let place = Some(at("e1", 8));
    vec![
        case("published", 2, Outgoing::Published { position: place, duplicate: false }),
        case("published.duplicate", 2, Outgoing::Published { position: place, duplicate: true }),
        case("published.volatile", 2, Outgoing::Published { position: None, duplicate: false }),
    ]
}

fn presence() -> Vec<Case> {
    let typing = Some(json(r#"{"typing":true}"#));
    let info = Some(json(r#"{"color":"red"}"#));
    let bob = Member { client: bob(), user: None, info: None, state: None };
    let ann = Member { client: ann(), user: Some("ann"), info: None, state: None };
    let page = |version, members, next, stale| {
        let summary = PresenceSummary { users: 2, clients: 2, version };
        Outgoing::Presence(PresencePage { channel: LOBBY, summary, members, next, stale })
    };
    vec![
        case("presence", 3, page(12, vec![Member { info, state: typing, ..ann }, bob], None, false)),
        case("presence.page", 3, page(12, vec![ann], Some(NEXT), false)),
        case("presence.stale", 4, page(13, vec![bob], None, true)),
        case("presence_updated", 3, Outgoing::PresenceUpdated),
    ]
}

fn members() -> Vec<Case> {
    let of = |event, version, member| Outgoing::Member { event, channel: LOBBY, version, member };
    let bob = Member { client: bob(), user: Some("bob"), info: None, state: None };
    let came = Member { info: Some(json(r#"{"color":"blue"}"#)), ..bob };
    let typing = Some(json(r#"{"typing":true}"#));
    let ann = Member { client: ann(), user: Some("ann"), info: None, state: typing };
    vec![
        case("join", None, of(MemberEvent::Join, 13, came)),
        case("leave", None, of(MemberEvent::Leave, 14, bob)),
        case("presence_state", None, of(MemberEvent::State, 15, ann)),
        case(
            "presence_count",
            None,
            Outgoing::PresenceCount {
                channel: LOBBY,
                summary: PresenceSummary { users: 1_200, clients: 1_500, version: 39 },
            },
        ),
        case("presence_reset", None, Outgoing::PresenceReset { channel: LOBBY, version: 40 }),
    ]
}

fn messages() -> Vec<Case> {
    let tags = keep([("lang".into(), "de".into())]).as_slice();
    let from = |client, user, info| Some(From { client, user, info });
    let backend = Message {
        offset: Some(9),
        payload: json("null"),
        message_id: None,
        from: None,
        time: TIME,
        tags: &[],
    };
    let hello = Message {
        offset: Some(8),
        payload: json(r#"{"text":"hello"}"#),
        message_id: Some("m-1"),
        from: from(ann(), Some("ann"), None),
        ..backend
    };
    let full = Message { from: from(ann(), Some("ann"), Some(json(r#"{"color":"red"}"#))), tags, ..hello };
    let anonymous = from(bob(), None, None);
    let binary = Message { offset: Some(10), payload: bytes(), from: anonymous, ..backend };
    let volatile = Message { offset: None, payload: json("[3,4]"), from: anonymous, ..backend };
    let kept = Message { offset: Some(9), payload: bytes(), time: TIME + 1_000, tags, ..backend };
    let say = |message| Outgoing::Message { channel: LOBBY, message };
    let page = |position, messages, next: Option<&Position>| {
        Outgoing::History(HistoryPage { channel: LOBBY, position, messages, next: next.cloned() })
    };
    vec![
        case("message", None, say(full)),
        case("message.backend", None, say(backend)),
        case("message.binary", None, say(binary)),
        case("message.volatile", None, say(volatile)),
        case("history", 2, page(at("e1", 10), vec![hello, kept], Some(at("e1", 9)))),
        case("history.end", 2, page(at("e1", 7), Vec::new(), None)),
    ]
}

fn gaps() -> Vec<Case> {
    let gap = |from, to, reason| Outgoing::Gap { channel: LOBBY, from, to, reason };
    let (expired, changed) = (GapReason::HistoryExpired, GapReason::EpochChanged);
    vec![
        case("gap.expired", None, gap(Some(at("e1", 3)), Some(at("e1", 7)), expired)),
        case("gap.epoch", None, gap(Some(at("e1", 7)), Some(at("e2", 4)), changed)),
        case("gap.slow", None, gap(None, None, GapReason::SlowConsumer)),
    ]
}

fn life() -> Vec<Case> {
    let bye = |code, message, reconnect, after_ms| Outgoing::Bye { code, message, reconnect, after_ms };
    vec![
        case("ping.push", None, Outgoing::Ping),
        case("pong.reply", 2, Outgoing::Pong),
        case("bye", None, bye("draining", "the server stops", true, [0, 3_000])),
        case("bye.kicked", None, bye("kicked", "you were asked to leave", false, [0, 0])),
    ]
}

fn errors() -> Vec<Case> {
    let mut all = Vec::new();
    for code in ErrorCode::ALL {
        let what = Outgoing::Error {
            code: *code,
            message: "what, which value, what to do",
            retry_after_ms: (*code == ErrorCode::RateLimited).then_some(2_500),
            position: (*code == ErrorCode::UnrecoverablePosition).then(|| at("e2", 4)),
            base_path: "",
        };
        let name: &'static str = keep(format!("error.{}", code.as_str()));
        all.push(case(name, 2, what));
    }
    let push = Outgoing::Error {
        code: ErrorCode::BadRequest,
        message: "`channel` is missing; it must be a string",
        retry_after_ms: None,
        position: None,
        base_path: "",
    };
    all.push(case("error.push", None, push));
    all
}
