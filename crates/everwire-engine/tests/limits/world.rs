//! One node without sockets, and what its connections are sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use everwire_engine::channel::{Namespaces, Options, Shared};
use everwire_engine::entry::Form;
use everwire_engine::inbox::Inbox;
use everwire_engine::limits::{ConnectionLimits, NodeLimits, Times};
use everwire_engine::memory::Memory;
use everwire_engine::node::{Node, Payer, Settings};
use everwire_engine::ports::{Authority, Entrance, Identity};
use everwire_engine::testing::Seeded;
use everwire_engine::time::{Entropy, Now, SharedBucket};
use everwire_engine::turn::{Carrier, Flow, Peer, Sent, Turn};
use everwire_proto::codes::ErrorCode;

/// A token is the name of a user; for a channel its id and the channel's name.
struct Named;

impl Authority for Named {
    fn check(&self, token: &str, _now: Now) -> Result<Identity, (ErrorCode, String)> {
        Ok(Identity { user: Some(token.into()), ..Identity::default() })
    }
    fn check_entrance(&self, token: &str, _now: Now) -> Result<Entrance, (ErrorCode, String)> {
        let (id, channel) = token.split_once(' ').ok_or((ErrorCode::TokenInvalid, String::new()))?;
        Ok(Entrance {
            user: None,
            channel: channel.into(),
            expires_at: None,
            token_id: Some(id.into()),
            signed_by: 0,
        })
    }
}

/// Sockets that take whole sends, or nothing where they are full.
#[derive(Default)]
pub(crate) struct Sockets {
    pub(crate) taken: Vec<String>,
    pub(crate) full: Vec<bool>,
}

impl Carrier for Sockets {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        if self.full[slot as usize] {
            return Sent::Bytes(0);
        }
        self.taken[slot as usize].push_str(&String::from_utf8_lossy(bytes));
        Sent::Bytes(bytes.len())
    }
}

pub(crate) struct World {
    pub(crate) turn: Turn,
    pub(crate) sockets: Sockets,
    pub(crate) now: Now,
}

/// What a world is made of.
pub(crate) struct Recipe {
    pub(crate) limits: ConnectionLimits,
    pub(crate) node: NodeLimits,
    /// The settings of the namespace `x`.
    pub(crate) options: Options,
}

impl Default for Recipe {
    fn default() -> Self {
        let limits = ConnectionLimits {
            commands_per_second: 1_000_000,
            commands_burst: 1_000_000,
            channels: 1_000,
            ..ConnectionLimits::default()
        };
        Self { limits, node: NodeLimits::default(), options: Options::open() }
    }
}

impl Recipe {
    pub(crate) fn world(self) -> World {
        let [world] = self.shards();
        world
    }

    /// The shards of one node, each with its own connections.
    pub(crate) fn shards<const N: usize>(self) -> [World; N] {
        let shared = Arc::new(Shared {
            inboxes: (0..N).map(|_| Arc::new(Inbox::new(self.node.inbox_bytes))).collect(),
            limits: self.node,
            history_bytes: 0.into(),
            message_ids: 0.into(),
        });
        let entropy: Arc<dyn Entropy> = Arc::new(Seeded::new(1));
        let mut namespaces = Namespaces::open();
        namespaces.named.insert("x".into(), Arc::new(self.options));
        let settings = Settings {
            name: "test".into(),
            namespaces,
            limits: self.limits,
            times: Times::default(),
            connect_required: false,
            base_path: Box::default(),
        };
        let now = Now { mono_ms: 10_000, unix_ms: 1_700_000_000_000 };
        let broker = Arc::new(Memory::new(shared.clone(), entropy.clone()));
        let node = Arc::new(Node::new(settings, shared, broker, Arc::new(Named), entropy));
        std::array::from_fn(|shard| {
            let turn = Turn::new(node.clone(), u16::try_from(shard).unwrap(), now);
            World { turn, sockets: Sockets::default(), now }
        })
    }
}

impl World {
    /// One more connection, on the slot that is its number.
    pub(crate) fn open(&mut self, address: Option<&Arc<SharedBucket>>) -> u32 {
        let slot = self.socket();
        let peer = Peer { form: Form::Json, token: None, address: address.cloned() };
        self.turn.open(slot, peer, self.now);
        slot
    }

    /// A socket that nobody has.
    pub(crate) fn socket(&mut self) -> u32 {
        let slot = u32::try_from(self.sockets.taken.len()).unwrap();
        self.sockets.taken.push(String::new());
        self.sockets.full.push(false);
        slot
    }

    /// The same, connected as this user.
    pub(crate) fn user(&mut self, name: &str) -> (u32, String) {
        let slot = self.open(None);
        let said = self.ask(slot, &format!(r#"{{"type":"connect","id":1,"token":"{name}"}}"#));
        (slot, said)
    }

    /// Connections that are not anybody's, in this channel.
    pub(crate) fn listeners(&mut self, count: u32, channel: &str, more: &str) -> Vec<u32> {
        let subscribe = format!(r#"{{"type":"subscribe","id":2,"channel":"{channel}"{more}}}"#);
        let one = |world: &mut Self| {
            let slot = world.open(None);
            let said = world.ask(slot, &subscribe);
            assert!(said.contains(r#""type":"subscribed""#), "{said}");
            slot
        };
        (0..count).map(|_| one(self)).collect()
    }

    /// The namespace `x` has other settings from now on; `None`: there is no such namespace.
    pub(crate) fn change(&mut self, options: Option<Options>) {
        let node = self.turn.node().clone();
        let mut settings = Settings::clone(&node.settings());
        match options {
            Some(options) => _ = settings.namespaces.named.insert("x".into(), Arc::new(options)),
            None => {
                settings.namespaces.named.remove("x");
                settings.namespaces.unnamed = None;
            }
        }
        node.change(settings, self.now);
        self.settle();
    }

    pub(crate) fn settle(&mut self) {
        loop {
            self.turn.take_inbox(self.now);
            if !self.turn.flush(&mut self.sockets, self.now, 512) {
                return;
            }
        }
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = Now { mono_ms: self.now.mono_ms + ms, unix_ms: self.now.unix_ms + ms };
        // Nobody is silent.
        (0u32..).zip(&self.sockets.full).for_each(|(slot, _)| self.turn.heard(slot, self.now));
        self.turn.run_wheel(self.now);
        self.settle();
    }

    pub(crate) fn say(&mut self, slot: u32, command: &str) -> Flow {
        let flow = self.turn.message(slot, command.as_bytes(), self.now);
        self.settle();
        flow
    }

    /// Says this, and gives what is sent because of it.
    pub(crate) fn ask(&mut self, slot: u32, command: &str) -> String {
        self.sockets.taken[slot as usize].clear();
        self.say(slot, command);
        self.heard(slot)
    }

    pub(crate) fn publish(&mut self, slot: u32, channel: &str, data: &str, more: &str) {
        self.say(slot, &format!(r#"{{"type":"publish","channel":"{channel}","data":"{data}"{more}}}"#));
    }

    /// What a socket was sent since the last look.
    pub(crate) fn heard(&mut self, slot: u32) -> String {
        std::mem::take(&mut self.sockets.taken[slot as usize])
    }

    /// The `data` of the messages in it.
    pub(crate) fn messages(&mut self, slot: u32) -> Vec<String> {
        let heard = self.heard(slot);
        let data = heard.split(r#""data":""#).skip(1).filter_map(|rest| rest.split('"').next());
        data.map(str::to_owned).collect()
    }

    pub(crate) fn free(&mut self, slot: u32) {
        self.sockets.full[slot as usize] = false;
        self.turn.writable(slot);
        self.settle();
    }

    pub(crate) fn paused(&self, payer: Payer) -> u64 {
        self.turn.node().counters.paused[payer as usize].load(Ordering::Relaxed)
    }
}

pub(crate) const PING: &str = r#"{"type":"ping","id":9}"#;
