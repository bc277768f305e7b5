//! What each golden frame of a client means.

use everwire_proto::command::{Command, Connect, History, Publish, Request, Since, Subscribe};
use everwire_proto::payload::Data;

/// `call` has no frame: no server answers it yet.
pub(crate) const KINDS: [&str; 10] = [
    "connect",
    "refresh",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_update",
    "history",
    "ping",
    "pong",
];

const LOBBY: &str = "chat:lobby";
const KEY: &str = "only-Ann-knows-this--A";

type Case = (&'static str, Request<'static>);

pub(crate) fn kind(command: &Command<'_>) -> &'static str {
    match command {
        Command::Connect(_) => "connect",
        Command::Refresh { .. } => "refresh",
        Command::Subscribe(_) => "subscribe",
        Command::Unsubscribe { .. } => "unsubscribe",
        Command::Publish(_) => "publish",
        Command::Presence { .. } => "presence",
        Command::PresenceUpdate { .. } => "presence_update",
        Command::History(_) => "history",
        Command::Call { .. } => "call",
        Command::Ping => "ping",
        Command::Pong => "pong",
    }
}

pub(crate) fn all() -> Vec<Case> {
    let mut all = vec![
        case("ping", 2, Command::Ping),
        case("pong", None, Command::Pong),
        case("unsubscribe", 3, Command::Unsubscribe { channel: LOBBY.into() }),
    ];
    for part in [connect(), subscribe(), publish(), presence(), history()] {
        all.extend(part);
    }
    all
}

fn case(name: &'static str, id: impl Into<Option<u64>>, command: Command<'static>) -> Case {
    (name, Request { id: id.into(), command })
}

fn since(offset: u64) -> Since<'static> {
    Since { epoch: "e1".into(), offset }
}

fn connect() -> Vec<Case> {
    let visible = Connect { heartbeat: true, ..Connect::default() };
    let named = Connect { token: Some("a.b.c".into()), name: Some("my-shop".into()), ..visible.clone() };
    let all = Connect {
        version: Some("1.2.3".into()),
        heartbeat: false,
        resume: Some(KEY.into()),
        since: vec![("news".into(), since(7))],
        ..named.clone()
    };
    vec![
        case("connect", 1, Command::Connect(visible.clone())),
        case("connect.named", 1, Command::Connect(named)),
        case("connect.resume", 2, Command::Connect(Connect { resume: Some(KEY.into()), ..visible })),
        case("connect.typed", None, Command::Connect(Connect::default())),
        case("connect.all", (1 << 53) - 1, Command::Connect(all)),
        case("refresh", 3, Command::Refresh { token: "a.b.d".into() }),
    ]
}

fn subscribe() -> Vec<Case> {
    let plain = Subscribe { channel: LOBBY.into(), ..Subscribe::default() };
    let quiet = Subscribe { echo: Some(false), token: Some("d.e.f".into()), ..plain.clone() };
    let rate = Subscribe { channel: "prices".into(), max_rate: Some(5), ..Subscribe::default() };
    let rewind = Subscribe { rewind: Some(100), presence: true, ..plain.clone() };
    vec![
        case("subscribe", 2, Command::Subscribe(plain.clone())),
        case("subscribe.since", 4, Command::Subscribe(Subscribe { since: Some(since(7)), ..plain })),
        case("subscribe.rewind", 2, Command::Subscribe(rewind)),
        case("subscribe.quiet", 2, Command::Subscribe(quiet)),
        case("subscribe.rate", None, Command::Subscribe(rate)),
    ]
}

fn publish() -> Vec<Case> {
    let json = |text: &'static str| Data::Json(text.as_bytes().into());
    let stored = Publish {
        channel: LOBBY.into(),
        data: json(r#"{"text":"hello"}"#),
        message_id: Some("m-1".into()),
        tags: Vec::new(),
        volatile: false,
    };
    let tags = vec![("lang".into(), "de".into()), ("kind".into(), "note".into())];
    let tagged = Publish { data: json("null"), tags, ..stored.clone() };
    let binary = Publish { data: Data::Binary(vec![0, 255, 16].into()), ..stored.clone() };
    let volatile = Publish {
        channel: "cursor:map".into(),
        data: json("[3,4]"),
        message_id: None,
        volatile: true,
        ..stored.clone()
    };
    let typed = Publish { data: json(r#""hello""#), message_id: None, ..stored.clone() };
    vec![
        case("publish", 2, Command::Publish(stored)),
        case("publish.tags", 2, Command::Publish(tagged)),
        case("publish.binary", 2, Command::Publish(binary)),
        case("publish.volatile", 2, Command::Publish(volatile)),
        case("publish.typed", None, Command::Publish(typed)),
    ]
}

fn presence() -> Vec<Case> {
    let ask = |limit, after: Option<&'static str>| Command::Presence {
        channel: LOBBY.into(),
        limit,
        after: after.map(Into::into),
    };
    let update = |state: Option<&'static str>| Command::PresenceUpdate {
        channel: LOBBY.into(),
        state: state.map(|text| Data::Json(text.as_bytes().into())),
    };
    vec![
        case("presence.ask", 3, ask(None, None)),
        case("presence.next", 4, ask(None, Some("Ann-on-her-phone-12"))),
        case("presence.limit", 3, ask(Some(10), None)),
        case("presence_update", 3, update(Some(r#"{"typing":true}"#))),
        case("presence_update.clear", 3, update(None)),
    ]
}

fn history() -> Vec<Case> {
    let plain = History { channel: LOBBY.into(), ..History::default() };
    let behind = History { limit: Some(2), since: Some(since(7)), ..plain.clone() };
    let before = History { before: Some(since(7)), reverse: true, ..plain.clone() };
    vec![
        case("history.ask", 2, Command::History(plain)),
        case("history.since", 2, Command::History(behind)),
        case("history.before", 2, Command::History(before)),
    ]
}
