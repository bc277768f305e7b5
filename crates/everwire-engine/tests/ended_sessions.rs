//! How many ended sessions a node keeps: as many as it had at once, for they may all come back; and not one for everybody
//! who ever came by.

use everwire_engine::inbox::ConnKey;
use everwire_engine::limits::NodeLimits;
use everwire_engine::node::{Node, Owner, Seat};
use everwire_engine::testing::OneShard;
use everwire_engine::time::Now;
use everwire_proto::ids::{ClientId, SessionKey};

const NOW: Now = Now { mono_ms: 1_000, unix_ms: 1_000 };

fn key(n: u32) -> SessionKey {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&n.to_le_bytes());
    SessionKey(key)
}

fn at(n: u32) -> ConnKey {
    ConnKey { shard: 0, slot: n, generation: 0 }
}

fn comes(node: &Node, n: u32) {
    let seat =
        Seat { client: ClientId([0; 12]), user: Owner::default(), at: at(n), ended_ms: None, resumed_ms: 0 };
    node.sit(key(n), seat);
}

fn goes(node: &Node, n: u32) {
    node.stand_up(key(n), at(n), false, NOW);
}

#[test]
fn a_crowd_may_come_back_and_passers_by_are_forgotten() {
    let limits = NodeLimits { ended_sessions: 10, ..NodeLimits::default() };
    let turn = OneShard { node: limits, ..OneShard::default() }.turn(NOW);
    let node = turn.node();
    for n in 0..500 {
        comes(node, n);
        goes(node, n);
    }
    node.sweep(0, NOW);
    assert_eq!(node.session_count(), 10, "never more than one at once: the limit holds");
    (1_000..1_050).for_each(|n| comes(node, n));
    (1_000..1_050).for_each(|n| goes(node, n));
    node.sweep(0, NOW);
    assert_eq!(node.session_count(), 50, "fifty at once: all of them may come back");
    for n in 1_000..1_050 {
        assert!(node.resume(key(n), None, at(n + 1_000), NOW).is_some(), "{n}");
    }
    for n in 3_000..3_500 {
        comes(node, n);
        goes(node, n);
    }
    node.sweep(0, NOW);
    assert_eq!(node.session_count(), 50 + 51, "those that live, and the most that ever did at once");
}

#[test]
fn a_user_is_one_however_many_connections_it_has() {
    let turn = OneShard::default().turn(NOW);
    let node = turn.node();
    let joins = |user: &str| node.users.join(&user.into(), u32::MAX).unwrap();
    let (ann, again, ben) = (joins("ann"), joins("ann"), joins("ben"));
    assert_eq!(node.user_count(), 2);
    drop(ann);
    assert_eq!(node.user_count(), 2, "ann is here once more");
    drop(again);
    assert_eq!(node.user_count(), 1);
    let back = joins("ann");
    assert_eq!(node.user_count(), 2, "ann came back");
    drop((back, ben));
    assert_eq!(node.user_count(), 0);
}
