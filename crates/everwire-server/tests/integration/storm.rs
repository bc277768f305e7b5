//! Everything at once, in no sensible order: what no single test thinks of. A fault of the engine ends a shard, and
//! with it this process.

use everwire_client::Dial;
use everwire_proto::ws::Opcode;

use crate::peer::{Peer, dial};
use crate::wire::{frame, push};
use crate::world::{World, until, world_with};

/// xorshift64*: enough to choose by.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap()]
    }
}

const CHANNELS: [&str; 4] = ["a", "b", "quiet:c", "brief:d"];

fn command(dice: &mut Dice) -> String {
    let channel = dice.pick(&CHANNELS);
    let id = dice.roll(9) + 1;
    match dice.roll(14) {
        0 => format!(r#"{{"type":"connect","id":{id},"heartbeat":true}}"#),
        1 | 2 => format!(r#"{{"type":"subscribe","id":{id},"channel":"{channel}","presence":true}}"#),
        3 => {
            format!(r#"{{"type":"subscribe","channel":"{channel}","rewind":{},"echo":false}}"#, dice.roll(50))
        }
        4 => format!(
            r#"{{"type":"subscribe","id":{id},"channel":"{channel}","since":{{"epoch":"x","offset":3}}}}"#
        ),
        5 => format!(r#"{{"type":"unsubscribe","id":{id},"channel":"{channel}"}}"#),
        6 => format!(r#"{{"type":"presence","id":{id},"channel":"{channel}","limit":1}}"#),
        7 => format!(r#"{{"type":"presence_update","id":{id},"channel":"{channel}","state":{{"n":{id}}}}}"#),
        8 => format!(r#"{{"type":"history","id":{id},"channel":"{channel}","limit":5,"reverse":true}}"#),
        9 => format!(r#"{{"type":"publish","channel":"{channel}","data":{id},"volatile":true}}"#),
        10 => format!(
            r#"{{"type":"publish","id":{id},"channel":"{channel}","data":{id},"message_id":"m{id}"}}"#
        ),
        _ => {
            let size = usize::try_from(dice.roll(20_000)).unwrap();
            format!(r#"{{"type":"publish","id":{id},"channel":"{channel}","data":"{}"}}"#, "w".repeat(size))
        }
    }
}

fn open(world: &World, dice: &mut Dice) -> Peer {
    let protocols = if dice.roll(4) == 0 { vec!["everwire.v1.msgpack".to_owned()] } else { Vec::new() };
    Peer::open_as(world.addr(), "/ws", &Dial { protocols, compression: dice.roll(3) == 0, ..dial() })
}

/// One life: some commands in one or more writes, some of the answers read, and one of the ways to end.
fn live(world: &World, dice: &mut Dice) {
    let mut client = open(world, dice);
    let mut bytes = Vec::new();
    for _ in 0..dice.roll(40) {
        bytes.extend(match dice.roll(20) {
            0 => frame(Opcode::Ping, b"p"),
            1 => frame(Opcode::Pong, b""),
            _ => frame(Opcode::Text, command(dice).as_bytes()),
        });
    }
    let cut = usize::try_from(dice.roll(bytes.len() as u64 + 1)).unwrap();
    push(client.socket.stream(), &bytes[..cut]);
    push(client.socket.stream(), &bytes[cut..]);
    match dice.roll(4) {
        0 => client.reset(),
        1 => {
            client.send(Opcode::Close, &1000u16.to_be_bytes());
            while client.next().is_some() {}
        }
        2 => {
            client.shut();
            while client.next().is_some() {}
        }
        _ => drop(client),
    }
}

#[test]
fn nothing_of_it_ends_a_shard() {
    let world = world_with(|config| {
        config.compression = true;
        config.limits.outbox_bytes = 64 * 1024;
        config.limits.commands_burst = 1_000_000;
        config.node_limits.channels = 3;
        config.node_limits.history_bytes = 64 * 1024;
        config.times.presence_grace_ms = 50;
        config.times.heartbeat_ms = 1_000;
        let open = config.namespaces.default.clone().unwrap();
        let quiet = everwire_engine::channel::Options { history: None, ..(*open).clone() };
        config.namespaces.named.insert("quiet".into(), quiet.into());
        let few = everwire_engine::channel::HistoryLimits { messages: 2, age_ms: 1_000, bytes: 4_096 };
        let brief = everwire_engine::channel::Options { history: Some(few), ..(*open).clone() };
        config.namespaces.named.insert("brief".into(), brief.into());
    });
    std::thread::scope(|scope| {
        for seed in 1..=6u64 {
            let world = &world;
            scope.spawn(move || {
                let mut dice = Dice(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed));
                for _ in 0..250 {
                    live(world, &mut dice);
                }
            });
        }
    });
    world.until_empty();
    // The node may know three channels, and memberships in four of them end a little later than their connections.
    let mut healthy = world.session();
    until("a channel has room again", || {
        let answer = healthy.ask(r#"{"type":"publish","id":2,"channel":"a","data":1}"#);
        assert!(answer["type"] == "published" || answer["code"] == "overloaded", "{answer}");
        answer["type"] == "published"
    });
}
