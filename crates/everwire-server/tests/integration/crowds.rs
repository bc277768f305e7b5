//! Very many connections at once.

use std::time::Duration;

use everwire_proto::ws::Opcode;
use serde_json::json;

use crate::peer::Peer;
use crate::siege::{Siege, Witness};
use crate::wire::{Heard, Wire};
use crate::world::until;

#[test]
fn three_thousand_resets_at_once() {
    everwire_server::descriptors::raise();
    // No session can be resumed and no member has a grace, so that nothing may stay.
    Siege { times: "presence_grace = \"0s\"\nresume = \"0s\"", grown_kb: 48 * 1024, ..Siege::default() }
        .withstands(|server| {
            let mut wires = Vec::new();
            let mut peers = Vec::new();
            for i in 0..3_000 {
                match i % 3 {
                    0 => {
                        let mut wire = Wire::dial(server.addr);
                        wire.raw(&b"GET /ws HTTP/1.1\r\nHost: x\r\n"[..i % 27]);
                        wires.push(wire);
                    }
                    1 => peers.push(Peer::open(server.addr, "/echo/raw")),
                    _ => {
                        let mut peer = Peer::open(server.addr, "/ws");
                        // A few watch, or each would be told of a thousand others.
                        let subscribe =
                            json!({ "type": "subscribe", "channel": "room", "presence": i % 100 == 2 });
                        peer.text(&subscribe.to_string());
                        peer.raw(&[0x81, 0xfe, 0xff]);
                        peers.push(peer);
                    }
                }
            }
            wires.into_iter().for_each(Wire::reset);
            peers.into_iter().for_each(Peer::reset);
        });
}

#[test]
fn resets_in_the_middle_of_the_upgrade() {
    Siege::default().withstands(|server| {
        let request = format!("{}\r\n", crate::wire::upgrade_lines("/ws"));
        for i in 0..500 {
            let mut wire = Wire::dial(server.addr);
            wire.raw(&request.as_bytes()[..request.len() - i % 3]);
            wire.reset();
        }
    });
}

/// More connections than descriptors: each that has none is told so, nobody else notices, and the server does not spin.
#[test]
fn more_connections_than_descriptors() {
    let siege = Siege { times: "handshake = \"1m\"", ..Siege::default() };
    let server = crate::process::Process::serve_with_descriptors(&siege.config(), 100);
    let witness = Witness::call(server.addr, true);
    witness.sees_a_round();
    let before = server.descriptors();
    for _ in 0..2 {
        let (mut taken, mut refused) = (Vec::new(), 0);
        for _ in 0..300 {
            let mut wire = Wire::dial(server.addr);
            if wire.raw(format!("{}\r\n", crate::wire::upgrade_lines("/echo")).as_bytes())
                && wire.has_head()
                && wire.status() == "101"
            {
                taken.push(wire);
                continue;
            }
            assert!(wire.head.is_empty() || wire.status() == "503", "{}", wire.head);
            refused += 1;
        }
        assert!(taken.len() > 20 && refused > 150, "{} taken, {refused} refused", taken.len());
        let mut late = Wire::dial(server.addr);
        late.read_head();
        assert_eq!((late.status(), late.header("retry-after")), ("503", Some("2")));
        assert!(late.read_body().contains("\"overloaded\""));
        // Nothing to do but for the witnesses: a loop that spins would take a core.
        let ticks = server.cpu_ticks();
        assert_eq!(taken[0].listen(Duration::from_secs(1)), Heard::Nothing);
        let used = server.cpu_ticks() - ticks;
        assert!(used < 60, "{used} hundredths of a second in one second");
        witness.sees_a_round();
        drop(taken);
        until("the descriptors are back", || server.descriptors() <= before);
        let mut fresh = Peer::open(server.addr, "/echo");
        fresh.send(Opcode::Text, b"room again");
        assert_eq!(
            fresh.next(),
            Some(everwire_client::Message::Text("Server received: room again".to_owned()))
        );
        drop(fresh);
        until("the descriptors are back", || server.descriptors() <= before);
    }
    assert!(server.log().contains("no descriptor for another connection"), "{}", server.log());
    assert!(server.log().lines().count() < 20, "the log is flooded: {}", server.log());
    witness.dismiss();
}

/// What says nothing may not take the descriptors of those who do.
#[test]
fn more_silent_connections_than_descriptors() {
    let siege = Siege { times: "handshake = \"1m\"", ..Siege::default() };
    let server = crate::process::Process::serve_with_descriptors(&siege.config(), 100);
    let witness = Witness::call(server.addr, true);
    witness.sees_a_round();
    let silent: Vec<_> = (0..300).map(|_| Wire::dial(server.addr)).collect();
    for _ in 0..10 {
        let mut fresh = Wire::dial_from([0, 2], server.addr);
        fresh.raw(format!("{}\r\n", crate::wire::upgrade_lines("/ws")).as_bytes());
        fresh.read_head();
        assert_eq!(fresh.status(), "101");
    }
    witness.sees_a_round();
    assert!(!server.log().contains("no descriptor"), "{}", server.log());
    drop(silent);
    witness.dismiss();
}
