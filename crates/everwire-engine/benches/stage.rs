//! A shard without sockets: clients that send ready frames, and a sink that takes everything and counts it.
//!
//! What runs here is what runs in a server's shard between a read and a send, so that counts and times are those of
//! our own instructions and not of a kernel's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use everwire_engine::channel::{Namespaces, Shared};
use everwire_engine::entry::Form;
use everwire_engine::inbox::Inbox;
use everwire_engine::limits::{ConnectionLimits, NodeLimits, Times};
use everwire_engine::memory::Memory;
use everwire_engine::node::{Node, Settings};
use everwire_engine::ports::NoTokens;
use everwire_engine::time::{Entropy, Now, SharedBucket};
use everwire_engine::turn::{Carrier, Flow, Peer, Sent, Turn};
use everwire_proto::payload::Format;
use everwire_proto::transcode;
use everwire_proto::ws::{self, Decoder, Event, Inflater, Limits, Opcode};

/// A mask that changes nothing: a frame stays what it is however often it is unmasked in place, which costs the same.
const MASK: [u8; 4] = [0; 4];

/// Sockets that a shard of the server flushes in one turn.
const FLUSHED: usize = 512;

/// Ids need bits that differ; these only count.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn bits(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed)) << 32
    }
}

/// Stands where the sockets stand.
#[derive(Debug, Default)]
pub struct Sink {
    /// Calls of `send`.
    pub sends: usize,
    /// Bytes of all of them.
    pub bytes: usize,
}

impl Carrier for Sink {
    // As in the server, where a call of the kernel lies behind it.
    #[inline(never)]
    fn send(&mut self, _slot: u32, bytes: &[u8]) -> Sent {
        self.sends += 1;
        self.bytes += bytes.len();
        Sent::Bytes(bytes.len())
    }
}

/// One shard, its clients, and time, which stands still unless it is moved.
pub struct Stage {
    /// The engine.
    pub turn: Turn,
    /// What was sent.
    pub sink: Sink,
    /// Now.
    pub now: Now,
    inflater: Inflater,
    decoder: Decoder,
    /// All clients come from one.
    address: Arc<SharedBucket>,
}

impl Stage {
    /// An empty one, with limits that no job meets.
    pub fn new() -> Self {
        let limits =
            NodeLimits { channels: 4_000_000, history_bytes: usize::MAX / 4, ..NodeLimits::default() };
        let shared = Arc::new(Shared {
            inboxes: vec![Arc::new(Inbox::new(limits.inbox_bytes))],
            limits,
            history_bytes: 0.into(),
            message_ids: 0.into(),
        });
        let entropy: Arc<dyn Entropy> = Arc::new(Counting(1.into()));
        let settings = Settings {
            name: "stage".into(),
            namespaces: Namespaces::open(),
            limits: ConnectionLimits {
                commands_per_second: 1_000_000,
                commands_burst: u32::MAX,
                channels: 4_000_000,
                address_commands_per_second: 1_000_000,
                address_commands_burst: u32::MAX,
                ..ConnectionLimits::default()
            },
            times: Times::default(),
            connect_required: false,
            base_path: Box::default(),
        };
        let broker = Arc::new(Memory::new(shared.clone(), entropy.clone()));
        let node = Arc::new(Node::new(settings, shared, broker, Arc::new(NoTokens), entropy));
        let now = Now { mono_ms: 1_000, unix_ms: 1_767_225_600_000 };
        Self {
            turn: Turn::new(node, 0, now),
            sink: Sink::default(),
            now,
            inflater: Inflater::new(),
            decoder: Decoder::server(Limits { message_bytes: 64 * 1024 }, false),
            address: Arc::default(),
        }
    }

    /// A client connects.
    pub fn open(&mut self, slot: u32, format: Format) {
        let address = Some(self.address.clone());
        self.turn.open(slot, Peer { form: Form::new(format, false), token: None, address }, self.now);
        self.read(slot, &mut frame(format, r#"{"type":"connect"}"#));
    }

    /// Bytes of a client are read, decoded and done, as a shard of the server does it.
    pub fn read(&mut self, slot: u32, bytes: &mut [u8]) {
        self.turn.heard(slot, self.now);
        let (len, mut at) = (bytes.len(), 0);
        loop {
            let mut window = &mut bytes[at..];
            let event = self.decoder.next(&mut window, &mut self.inflater);
            at = len - window.len();
            let Ok(Some(Event::Text(payload) | Event::Binary(payload))) = event else { break };
            assert!(self.turn.message(slot, payload, self.now) == Flow::Continue, "the client is held");
        }
        self.inflater.trim();
    }

    /// The rest of a turn, and further turns while there is something to send.
    pub fn settle(&mut self) {
        loop {
            self.turn.take_inbox(self.now);
            self.turn.run_wheel(self.now);
            let more = self.turn.flush(&mut self.sink, self.now, FLUSHED);
            assert!(self.turn.take_finished().is_empty() && self.turn.take_released().is_empty());
            if !more {
                return;
            }
        }
    }

    /// So many clients connect, from this slot on, each in a channel of its own: `c0`, `c1` and so on, with one message.
    pub fn crowd(&mut self, first: u32, count: u32, format: Format) {
        for i in 0..count {
            let slot = first + i;
            self.open(slot, format);
            self.read(slot, &mut frame(format, &format!(r#"{{"type":"subscribe","channel":"c{i}"}}"#)));
            self.say(slot, &mut publish(format, &format!("c{i}"), None));
        }
    }

    /// A client says something and the turn is played to its end.
    pub fn say(&mut self, slot: u32, bytes: &mut [u8]) {
        self.read(slot, bytes);
        self.settle();
    }
}

/// A command, written in JSON, as a masked frame in this format.
pub fn frame(format: Format, json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match format {
        Format::Json => ws::write_masked_frame(&mut out, Opcode::Text, MASK, json.as_bytes()),
        Format::MsgPack => {
            let mut object = Vec::new();
            transcode::command_to_msgpack(json.as_bytes(), &mut object).expect("it is a command");
            ws::write_masked_frame(&mut out, Opcode::Binary, MASK, &object);
        }
    }
    out
}

/// A publish of 128 bytes, with an id or without.
pub fn publish(format: Format, channel: &str, id: Option<u64>) -> Vec<u8> {
    let id = id.map(|id| format!(r#""id":{id},"#)).unwrap_or_default();
    let data = "x".repeat(126);
    frame(format, &format!(r#"{{"type":"publish",{id}"channel":"{channel}","data":"{data}"}}"#))
}
