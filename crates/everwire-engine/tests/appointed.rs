//! Subscriptions that a token asks for, on a broker outside whose link comes late or never.

use std::sync::{Arc, Mutex};

use everwire_engine::channel::{Access, Cell, Namespaces, Options, Shared, Who};
use everwire_engine::entry::Form;
use everwire_engine::inbox::{Answer, Inbox};
use everwire_engine::limits::{ConnectionLimits, NodeLimits, Times};
use everwire_engine::name::ChannelName;
use everwire_engine::node::{Node, Settings};
use everwire_engine::permit::Permit;
use everwire_engine::ports::{Ask, Asked, Authority, Broker, Caps, Entrance, Identity, Ticket};
use everwire_engine::testing::Seeded;
use everwire_engine::time::Now;
use everwire_engine::turn::{Carrier, Peer, Sent, Turn};
use everwire_proto::codes::ErrorCode;
use everwire_proto::ids::Epoch;
use everwire_proto::position::Position;

const NOW: Now = Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 };

/// A broker outside whose links wait for the test.
struct Slow {
    shared: Arc<Shared>,
    asked: Arc<Mutex<Vec<Arc<Cell>>>>,
}

impl Broker for Slow {
    fn caps(&self) -> Caps {
        Caps { in_process: false, durable: true }
    }
    fn cell(&self, name: ChannelName, options: Arc<Options>, now: Now) -> Cell {
        Cell::foreign(name, options, self.shared.clone(), now)
    }
    fn ask(&self, _cell: &Arc<Cell>, _ask: Ask, _ticket: Ticket, _now: Now) -> Asked {
        Asked::Now(Answer::Failed(ErrorCode::Overloaded))
    }
    fn attach(&self, cell: &Arc<Cell>, _now: Now) {
        self.asked.lock().expect("no test thread failed").push(cell.clone());
    }
    fn detach(&self, _cell: &Arc<Cell>, _now: Now) {}
}

/// A token is the list of its channels.
struct Lists;

impl Authority for Lists {
    fn check(&self, token: &str, _now: Now) -> Result<Identity, (ErrorCode, String)> {
        let subscriptions = token.split(' ').map(Into::into).collect();
        let permit = Some(Arc::new(Permit { subscriptions, ..Permit::default() }));
        Ok(Identity { permit, ..Identity::default() })
    }
    fn check_entrance(&self, _token: &str, _now: Now) -> Result<Entrance, (ErrorCode, String)> {
        Err((ErrorCode::TokenInvalid, String::new()))
    }
}

/// A node with one shard whose channels are all left to tokens, one connection with a token for `a` and `b`, and the
/// cells whose links were asked for.
fn world() -> (Turn, Arc<Mutex<Vec<Arc<Cell>>>>) {
    let limits = NodeLimits::default();
    let inboxes = vec![Arc::new(Inbox::new(limits.inbox_bytes))];
    let shared = Arc::new(Shared { inboxes, limits, history_bytes: 0.into(), message_ids: 0.into() });
    let asked = Arc::new(Mutex::new(Vec::new()));
    let broker = Arc::new(Slow { shared: shared.clone(), asked: asked.clone() });
    let by_token = Arc::new(Options { access: Access::all(Who::Token), ..Options::open() });
    let settings = Settings {
        name: "test".into(),
        namespaces: Namespaces { default: Some(by_token), ..Namespaces::open() },
        limits: ConnectionLimits::default(),
        times: Times::default(),
        connect_required: false,
        base_path: Box::default(),
    };
    let node = Arc::new(Node::new(settings, shared, broker, Arc::new(Lists), Arc::new(Seeded::new(1))));
    let mut turn = Turn::new(node, 0, NOW);
    turn.open(0, Peer { form: Form::Json, token: None, address: None }, NOW);
    turn.message(0, br#"{"type":"connect","id":1,"token":"a b"}"#, NOW);
    (turn, asked)
}

fn top() -> Position {
    Position { epoch: Epoch::from_random(1), offset: 5 }
}

/// A socket that takes everything.
#[derive(Default)]
struct Heard(String);

impl Carrier for Heard {
    fn send(&mut self, _slot: u32, bytes: &[u8]) -> Sent {
        self.0.push_str(&String::from_utf8_lossy(bytes));
        Sent::Bytes(bytes.len())
    }
}

/// What is sent, without any time passing.
fn told(turn: &mut Turn, now: Now) -> String {
    let mut heard = Heard::default();
    for _ in 0..3 {
        turn.take_inbox(now);
        turn.run_wheel(now);
        turn.flush(&mut heard, now, 512);
    }
    heard.0
}

#[test]
fn a_link_that_comes_late_is_told_late_and_one_that_never_comes_is_told_too() {
    let (mut turn, asked) = world();
    let said = told(&mut turn, NOW);
    assert!(said.contains("\"connected\"") && !said.contains("subscriptions"), "{said}");
    // A command on a channel whose link is awaited waits; a refresh does not ask for it twice.
    turn.message(0, br#"{"type":"subscribe","id":2,"channel":"a"}"#, NOW);
    turn.message(0, br#"{"type":"refresh","id":3,"token":"a b"}"#, NOW);
    let said = told(&mut turn, NOW);
    assert!(said.contains("\"refreshed\"") && !said.contains("\"id\":2"), "{said}");
    let cells = std::mem::take(&mut *asked.lock().expect("no test thread failed"));
    assert_eq!(cells.len(), 2, "each channel's link is asked for once");
    cells[0].attached(top(), NOW);
    let said = told(&mut turn, NOW);
    assert!(said.contains(r#"{"type":"subscribed","channel":"a","position":"#), "{said}");
    assert!(said.contains(r#""id":2,"code":"already_subscribed""#), "{said}");
    let late = Now { mono_ms: NOW.mono_ms + Times::default().ask_ms, ..NOW };
    let said = told(&mut turn, late);
    assert!(said.contains(r#"{"type":"unsubscribed","channel":"b","code":"timeout""#), "{said}");
    assert!(said.contains(r#""resubscribe":true"#) && !said.contains("\"error\""), "{said}");
}

#[test]
fn who_waits_and_may_not_come_in_any_more_does_not() {
    let (mut turn, asked) = world();
    turn.message(0, br#"{"type":"refresh","id":2,"token":"b"}"#, NOW);
    let said = told(&mut turn, NOW);
    let out = r#"{"type":"unsubscribed","channel":"a","code":"permission_denied""#;
    assert!(said.contains(out) && !said.contains(r#""channel":"b""#), "{said}");
    for cell in std::mem::take(&mut *asked.lock().expect("no test thread failed")) {
        cell.attached(top(), NOW);
    }
    let said = told(&mut turn, NOW);
    assert!(said.contains(r#"{"type":"subscribed","channel":"b""#), "{said}");
    assert!(!said.contains(r#""channel":"a""#), "{said}");
}
