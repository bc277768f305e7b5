//! A node of one shard, for tests that look at a single turn.

use std::sync::Arc;

use super::seed::Seeded;
use crate::channel::{Namespaces, Shared};
use crate::inbox::Inbox;
use crate::limits::{ConnectionLimits, NodeLimits, Times};
use crate::memory::Memory;
use crate::node::{Node, Settings};
use crate::ports::{Broker, NoTokens};
use crate::time::{Entropy, Now};
use crate::turn::Turn;

/// What the node is made of: dev mode's, unless it is changed. The same each time, ids and epochs too.
#[derive(Clone, Debug)]
pub struct OneShard {
    /// The namespaces.
    pub namespaces: Namespaces,
    /// Limits of each connection.
    pub limits: ConnectionLimits,
    /// Limits of the node.
    pub node: NodeLimits,
}

impl Default for OneShard {
    fn default() -> Self {
        Self {
            namespaces: Namespaces::open(),
            limits: ConnectionLimits::default(),
            node: NodeLimits::default(),
        }
    }
}

impl OneShard {
    /// The shard's turn, on the in-process broker.
    pub fn turn(self, now: Now) -> Turn {
        self.turn_on(now, |memory, _| Arc::new(memory))
    }

    /// The same on a broker that is made here: of the in-process one, or of what its cells share.
    pub fn turn_on(self, now: Now, broker: impl FnOnce(Memory, Arc<Shared>) -> Arc<dyn Broker>) -> Turn {
        let shared = Arc::new(Shared {
            inboxes: vec![Arc::new(Inbox::new(self.node.inbox_bytes))],
            limits: self.node,
            history_bytes: 0.into(),
            message_ids: 0.into(),
        });
        let entropy: Arc<dyn Entropy> = Arc::new(Seeded::new(1));
        let settings = Settings {
            name: "test".into(),
            namespaces: self.namespaces,
            limits: self.limits,
            times: Times::default(),
            connect_required: false,
            base_path: Box::default(),
        };
        let broker = broker(Memory::new(shared.clone(), entropy.clone()), shared.clone());
        Turn::new(Arc::new(Node::new(settings, shared, broker, Arc::new(NoTokens), entropy)), 0, now)
    }
}
