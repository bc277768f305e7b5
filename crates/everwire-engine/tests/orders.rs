//! Lists that the application's backend asks for: whole over their pages, and none of them holds anybody up for long.

use std::collections::BTreeSet;
use std::sync::Arc;

use everwire_engine::channel::Options;
use everwire_engine::entry::Form;
use everwire_engine::inbox::{Inbox, Item, Listing, Order, ReplyTo, Report};
use everwire_engine::node::ChannelCursor;
use everwire_engine::testing::OneShard;
use everwire_engine::time::Now;
use everwire_engine::turn::{Carrier, Peer, Sent, Turn};

const NOW: Now = Now { mono_ms: 1_000, unix_ms: 1_700_000_000_000 };
/// More than one report looks at.
const CROWD: u32 = 40_000;

/// Sockets that take everything.
struct Anywhere;

impl Carrier for Anywhere {
    fn send(&mut self, _slot: u32, bytes: &[u8]) -> Sent {
        Sent::Bytes(bytes.len())
    }
}

fn report(turn: &mut Turn, listing: Listing) -> Report {
    let desk = Arc::new(Inbox::new(usize::MAX));
    let reply = ReplyTo { inbox: desk.clone(), number: 7 };
    turn.node().clone().order(0, Arc::new(Order::List(listing)), reply);
    turn.take_inbox(NOW);
    let mut items = Vec::new();
    desk.take(&mut items);
    match items.pop() {
        Some(Item::Report(7, report)) => *report,
        other => panic!("{other:?} instead of a report"),
    }
}

#[test]
fn a_list_of_connections_looks_at_some_of_them_at_a_time() {
    let mut turn = OneShard::default().turn(NOW);
    for slot in 0..CROWD {
        turn.open(slot, Peer { form: Form::Json, token: None, address: None }, NOW);
        // Every other one says something.
        if slot % 2 == 0 {
            turn.message(slot, br#"{"type":"ping"}"#, NOW);
        }
    }
    let last = CROWD - 2;
    turn.message(last, br#"{"type":"subscribe","channel":"rare"}"#, NOW);
    while turn.flush(&mut Anywhere, NOW, 512) {}
    let (mut seen, mut from, mut pages) = (BTreeSet::new(), Some(0), 0);
    while let Some(at) = from {
        let page = report(&mut turn, Listing { from: at, most: 1_000, ..Listing::default() });
        assert!(page.seen.len() <= 1_000);
        seen.extend(page.seen.iter().map(|one| one.client));
        (from, pages) = (page.next, pages + 1);
    }
    assert_eq!((seen.len(), pages), (CROWD as usize / 2, 20));
    // Where nearly nobody is meant, a page is empty before it is long.
    let rare = |from| Listing { from, most: 1_000, channel: Some("rare".into()), ..Listing::default() };
    let first = report(&mut turn, rare(0));
    let on = first.next.expect("the crowd is not looked at in one go");
    assert!(first.seen.is_empty() && on < CROWD / 2, "{on}");
    let second = report(&mut turn, rare(on));
    let third = report(&mut turn, rare(second.next.expect("nor in two")));
    assert_eq!((third.seen.len(), third.next), (1, None));
    assert_eq!(third.seen[0].channels, 1);
    for made_up in [CROWD, u32::MAX] {
        assert_eq!(report(&mut turn, rare(made_up)), Report::default());
    }
}

#[test]
fn a_list_of_channels_looks_at_some_of_them_at_a_time() {
    let turn = OneShard::default().turn(NOW);
    let (node, options) = (turn.node(), Arc::new(Options::open()));
    for number in 0..120_000 {
        node.cell(&format!("c{number}"), &options, NOW).expect("there is room");
    }
    let (page, next) = node.channels(&ChannelCursor::default(), 10, |name| name == "nowhere");
    assert!(page.is_empty());
    let next = next.expect("not all are looked at in one go");
    let (page, next) = node.channels(&next, 10, |name| name == "nowhere");
    assert!(page.is_empty() && next.is_none());
}
