//! Tokens that end, to the millisecond: time is an argument.

use std::sync::Arc;

use everwire_engine::channel::{Access, Namespaces, Options, Shared, Who};
use everwire_engine::entry::Form;
use everwire_engine::inbox::Inbox;
use everwire_engine::limits::{ConnectionLimits, NodeLimits, Times};
use everwire_engine::memory::Memory;
use everwire_engine::node::{Node, Settings};
use everwire_engine::ports::{Authority, Entrance, Identity};
use everwire_engine::testing::Seeded;
use everwire_engine::time::{Entropy, Now};
use everwire_engine::turn::{Carrier, Peer, Sent, Turn};
use everwire_proto::codes::ErrorCode;

const START: Now = Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 };

/// A token is the time from [`START`] at which it ends, ms; for a channel with its name behind.
struct Endings;

impl Authority for Endings {
    fn check(&self, token: &str, _now: Now) -> Result<Identity, (ErrorCode, String)> {
        let at = token.parse::<u64>().map_err(|e| (ErrorCode::TokenInvalid, e.to_string()))?;
        Ok(Identity { expires_at: Some(START.unix_ms + at), ..Identity::default() })
    }
    fn check_entrance(&self, token: &str, _now: Now) -> Result<Entrance, (ErrorCode, String)> {
        let (at, channel) = token.split_once(' ').ok_or((ErrorCode::TokenInvalid, String::new()))?;
        let at = at.parse::<u64>().map_err(|e| (ErrorCode::TokenInvalid, e.to_string()))?;
        Ok(Entrance {
            user: None,
            channel: channel.into(),
            expires_at: Some(START.unix_ms + at),
            token_id: None,
        })
    }
}

/// What one connection was sent.
#[derive(Default)]
struct Socket(String);

impl Carrier for Socket {
    fn send(&mut self, _slot: u32, bytes: &[u8]) -> Sent {
        self.0.push_str(&String::from_utf8_lossy(bytes));
        Sent::Bytes(bytes.len())
    }
}

struct World {
    turn: Turn,
    socket: Socket,
    now: Now,
}

/// One connection on one shard.
fn world() -> World {
    let limits = NodeLimits::default();
    let shared = Arc::new(Shared {
        inboxes: vec![Arc::new(Inbox::new(limits.inbox_bytes))],
        limits,
        history_bytes: 0.into(),
        message_ids: 0.into(),
    });
    let entropy: Arc<dyn Entropy> = Arc::new(Seeded::new(1));
    let by_token = Options { access: Access::all(Who::Token), ..Options::open() };
    let mut namespaces = Namespaces::open();
    namespaces.named.insert("token".into(), Arc::new(by_token));
    let settings = Settings {
        name: "test".into(),
        namespaces,
        limits: ConnectionLimits::default(),
        times: Times::default(),
        connect_required: false,
        base_path: Box::default(),
    };
    let broker = Arc::new(Memory::new(shared.clone(), entropy.clone()));
    let node = Arc::new(Node::new(settings, shared, broker, Arc::new(Endings), entropy));
    let mut turn = Turn::new(node, 0, START);
    turn.open(0, Peer { form: Form::Json, token: None, address: None }, START);
    World { turn, socket: Socket::default(), now: START }
}

impl World {
    /// Lets time pass in steps as short as the shard asks for; the client is not silent.
    fn pass_to(&mut self, ms: u64) {
        while self.now.mono_ms < START.mono_ms + ms {
            let wake = self.turn.next_wake_ms(self.now).clamp(self.now.mono_ms + 1, START.mono_ms + ms);
            let step = wake - self.now.mono_ms;
            self.now = Now { mono_ms: wake, unix_ms: self.now.unix_ms + step };
            self.turn.heard(0, self.now);
            self.turn.run_wheel(self.now);
            while self.turn.flush(&mut self.socket, self.now, 16) {}
        }
    }

    /// Says this, and gives what is sent because of it.
    fn ask(&mut self, command: &str) -> String {
        self.socket.0.clear();
        self.turn.message(0, command.as_bytes(), self.now);
        while self.turn.flush(&mut self.socket, self.now, 16) {}
        std::mem::take(&mut self.socket.0)
    }

    fn is_closed(&mut self) -> bool {
        !self.turn.take_finished().is_empty()
    }
}

const CLOSED: &str = "the token ran out and was not refreshed";

#[test]
fn a_connection_lives_until_its_token_has_ended_and_no_5_s_longer() {
    // Sooner than a heartbeat, later than one, and further than the wheel reaches.
    for end in [0, 1, 999, 20_000, 26_000, 600_000, 90_000_123] {
        let mut world = world();
        assert!(world.ask(&format!(r#"{{"type":"connect","id":1,"token":"{end}"}}"#)).contains("connected"));
        world.pass_to(end);
        assert!(!world.is_closed(), "{end}");
        world.pass_to(end + 5_000);
        assert!(world.is_closed() && world.socket.0.contains(CLOSED), "{end}: {}", world.socket.0);
    }
}

#[test]
fn a_refresh_moves_the_end_both_ways() {
    let mut world = world();
    world.ask(r#"{"type":"connect","id":1,"token":"30000"}"#);
    let refreshed = world.ask(r#"{"type":"refresh","id":2,"token":"100000"}"#);
    assert!(refreshed.contains(r#"{"type":"refreshed","id":2,"expires_at":1700000100000}"#), "{refreshed}");
    world.pass_to(90_000);
    assert!(!world.is_closed());
    assert!(world.ask(r#"{"type":"refresh","id":3,"token":"not at all"}"#).contains("token_invalid"));
    world.ask(r#"{"type":"refresh","id":4,"token":"91000"}"#);
    world.pass_to(96_000);
    assert!(world.is_closed() && world.socket.0.contains(CLOSED));
}

#[test]
fn the_wall_clock_may_be_set_while_a_token_lives() {
    let mut world = world();
    world.ask(r#"{"type":"connect","id":1,"token":"3600000"}"#);
    world.pass_to(1_000);
    // An hour ahead: it is seen at the next look, which is a heartbeat away at most.
    world.now.unix_ms += 3_600_000;
    world.pass_to(1_000 + Times::default().heartbeat_ms);
    assert!(world.is_closed() && world.socket.0.contains(CLOSED));
}

#[test]
fn a_subscription_ends_with_its_own_token() {
    let mut world = world();
    world.ask(r#"{"type":"connect","id":1}"#);
    let subscribe = |id: u64, token: &str| {
        format!(r#"{{"type":"subscribe","id":{id},"channel":"token:{id}","token":"{token}"}}"#)
    };
    let out =
        |channel: &str| format!(r#""type":"unsubscribed","channel":"{channel}","code":"token_expired""#);
    assert!(world.ask(&subscribe(2, "40000 token:2")).contains(r#""expires_at":1700000040000"#));
    assert!(world.ask(&subscribe(3, "20000 token:3")).contains("subscribed"));
    assert!(world.ask(&subscribe(4, "20000 token:3")).contains("permission_denied"));
    // Left and entered again: only the later token counts.
    assert!(world.ask(&subscribe(5, "20000 token:5")).contains("subscribed"));
    assert!(world.ask(r#"{"type":"unsubscribe","id":6,"channel":"token:5"}"#).contains("unsubscribed"));
    assert!(world.ask(&subscribe(5, "40000 token:5")).contains("subscribed"));
    world.pass_to(20_000);
    assert!(!world.socket.0.contains("token_expired"));
    world.pass_to(25_000);
    assert!(world.socket.0.contains(&out("token:3")), "{}", world.socket.0);
    for stays in ["token:2", "token:5"] {
        assert!(!world.socket.0.contains(&out(stays)), "{}", world.socket.0);
    }
    world.pass_to(45_000);
    for gone in ["token:2", "token:5"] {
        assert!(world.socket.0.contains(&out(gone)), "{}", world.socket.0);
    }
    assert!(!world.is_closed());
    assert!(world.ask(r#"{"type":"unsubscribe","id":7,"channel":"token:2"}"#).contains("not_subscribed"));
}
