//! The life of a message without a socket: two clients on one shard, one publish, and what each of them is sent.
//!
//! `cargo run -p everwire-engine --example one_message`

#![allow(clippy::print_stdout, reason = "it is there to be read")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use everwire_engine::channel::{Namespaces, Shared};
use everwire_engine::entry::Form;
use everwire_engine::inbox::Inbox;
use everwire_engine::limits::{ConnectionLimits, NodeLimits, Times};
use everwire_engine::memory::Memory;
use everwire_engine::node::{Node, Settings};
use everwire_engine::ports::NoTokens;
use everwire_engine::time::{Entropy, Now};
use everwire_engine::turn::{Carrier, Peer, Sent, Turn};
use everwire_proto::ws::frame_payload;

/// Ids need random bits; here they only count.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn bits(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed)) << 32
    }
}

/// Stands where a shard's sockets stand: prints what each connection is sent, and takes all of it.
struct Printer;

impl Carrier for Printer {
    fn send(&mut self, slot: u32, mut bytes: &[u8]) -> Sent {
        let all = bytes.len();
        while !bytes.is_empty() {
            let len = if bytes[1] < 126 {
                2 + usize::from(bytes[1])
            } else {
                4 + usize::from(bytes[2]) * 256 + usize::from(bytes[3])
            };
            println!("  to client {slot}: {}", String::from_utf8_lossy(frame_payload(&bytes[..len])));
            bytes = &bytes[len..];
        }
        Sent::Bytes(all)
    }
}

fn main() {
    let now = Now { mono_ms: 0, unix_ms: 1_767_225_600_000 };
    let shared = Arc::new(Shared {
        inboxes: vec![Arc::new(Inbox::new(1 << 20))],
        limits: NodeLimits::default(),
        history_bytes: 0.into(),
        message_ids: 0.into(),
    });
    let entropy: Arc<dyn Entropy> = Arc::new(Counting(1.into()));
    let settings = Settings {
        name: "example".into(),
        namespaces: Namespaces::open(),
        limits: ConnectionLimits::default(),
        times: Times::default(),
        connect_required: false,
        base_path: Box::default(),
    };
    let broker = Arc::new(Memory::new(shared.clone(), entropy.clone()));
    let node = Arc::new(Node::new(settings, shared, broker, Arc::new(NoTokens), entropy));
    let mut turn = Turn::new(node, 0, now);
    for (slot, command) in [
        (0, r#"{"type":"subscribe","id":1,"channel":"news"}"#),
        (1, r#"{"type":"publish","id":1,"channel":"news","data":{"hello":"world"}}"#),
    ] {
        println!("client {slot} says: {command}");
        turn.open(slot, Peer { form: Form::Json, token: None, address: None }, now);
        turn.message(slot, command.as_bytes(), now);
        turn.take_inbox(now);
        turn.flush(&mut Printer, now, 512);
    }
}
