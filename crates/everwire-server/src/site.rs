//! What every part of the front knows: the config, the node, the doors of the shards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use everwire_brokers::disk::Disk;
use everwire_engine::node::Node;
use everwire_engine::turn::Loopback;

use crate::auth::{Keyring, Tickets};
use crate::clock::Clock;
use crate::config::Config;
use crate::desk::Desk;
use crate::flow::{Flow, Way};
use crate::gate::Gate;
use crate::shard::{Arrival, Intake};
use crate::tls::Tls;
use crate::told::{Reason, Told};

/// One running server, as its front sees it.
#[derive(Debug)]
pub struct Site {
    /// What it was told to be last.
    pub config: RwLock<Arc<Config>>,
    /// Whose tokens are accepted.
    pub keyring: Arc<Keyring>,
    /// The engine's node.
    pub node: Arc<Node>,
    /// The channel by which the node listens to itself.
    pub loopback: Loopback,
    /// What the listeners of ports shake hands with; `None`: they are plain.
    pub tls: Option<Tls>,
    /// The clocks.
    pub clock: Clock,
    /// The port of the first listener, for addresses that people can click.
    pub port: u16,
    /// A door per shard.
    pub shards: Vec<Arc<Intake>>,
    /// Tickets for URLs that are out.
    pub tickets: Tickets,
    /// Where requests wait for the broker.
    pub desk: Desk,
    /// What the log tells of refused requests.
    pub told: Told,
    /// What stands before every upgrade.
    pub gate: Gate,
    /// The store, where history is on disk.
    pub disk: Option<Arc<Disk>>,
    /// Whether messages flow, as it was found last.
    pub flow: Flow,
    /// Whether the node is being left.
    pub draining: AtomicBool,
}

impl Site {
    /// Whether the node is being left: nobody new is taken.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The way of a message, for whoever looks whether it is open.
    pub fn way(&self) -> Way<'_> {
        let Self { node, loopback, shards, disk, clock, .. } = self;
        Way { node, loopback, shards, disk: disk.as_deref(), clock: *clock }
    }

    /// What it was told to be last.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Upgraded connections.
    pub fn connections(&self) -> usize {
        self.shards.iter().map(|s| s.connections()).sum()
    }

    /// Whether the log may tell of one more request that is refused, and how many it left out.
    pub(crate) fn may_tell(&self, reason: Reason) -> Option<u64> {
        self.told.may(reason, self.clock.now().mono_ms)
    }

    /// Hands a connection to the least loaded shard.
    pub fn hand_over(&self, arrival: Arrival) {
        if let Some(shard) = self.shards.iter().min_by_key(|s| s.connections()) {
            shard.push(arrival);
        }
    }
}
