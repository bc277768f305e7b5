//! Whether messages flow, shown by one that goes the whole way: for `/ready`, and for whoever restarts a process that hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use everwire_brokers::disk::Disk;
use everwire_engine::node::Node;
use everwire_engine::turn::Loopback;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::shard::Intake;

/// A message of the node to itself is back by then.
const BACK: Duration = Duration::from_secs(1);
/// An answer is good for so long: who asks often learns nothing new, and costs nothing.
const FRESH: Duration = Duration::from_secs(1);

/// What one dependency answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The dependency.
    pub name: &'static str,
    /// What is wrong; empty: it is well.
    pub words: String,
}

impl Check {
    /// The store of a server whose history is on disk. A restart does not help it.
    pub const STORE: &'static str = "store";

    /// Whether it is well.
    pub fn is_well(&self) -> bool {
        self.words.is_empty()
    }
}

/// The way of a message through a node.
#[derive(Clone, Copy, Debug)]
pub struct Way<'n> {
    /// The node.
    pub node: &'n Node,
    /// The channel by which it listens to itself.
    pub loopback: &'n Loopback,
    /// Its shards.
    pub shards: &'n [Arc<Intake>],
    /// The store, where history is on disk.
    pub disk: Option<&'n Disk>,
    /// The clocks.
    pub clock: Clock,
}

/// What was found last, and when.
#[derive(Debug, Default)]
pub struct Flow {
    last: Mutex<Option<(Instant, Vec<Check>)>>,
    number: AtomicU64,
}

impl Flow {
    /// What each dependency answers. Who asks while somebody else does waits for the same answer.
    pub async fn look(&self, way: Way<'_>) -> Vec<Check> {
        let mut last = self.last.lock().await;
        if let Some((at, checks)) = &*last
            && at.elapsed() < FRESH
        {
            return checks.clone();
        }
        let checks = self.ask(way).await;
        *last = Some((Instant::now(), checks.clone()));
        checks
    }

    async fn ask(&self, way: Way<'_>) -> Vec<Check> {
        let mut checks = self.ask_shards(way).await;
        if let Some(disk) = way.disk {
            checks.push(Check { name: Check::STORE, words: disk.trouble().unwrap_or_default() });
        }
        checks
    }

    async fn ask_shards(&self, way: Way<'_>) -> Vec<Check> {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let check = |name, words| Check { name, words };
        if let Err(deny) = way.loopback.publish(way.node, number, way.clock.now()) {
            return vec![check("broker", deny.message), check("shards", "not asked".to_owned())];
        }
        let until = tokio::time::Instant::now() + BACK;
        let mut silent = Vec::new();
        for (index, shard) in way.shards.iter().enumerate() {
            let mut came_back = shard.came_back.subscribe();
            let back = came_back.wait_for(|newest| *newest >= number);
            if !matches!(tokio::time::timeout_at(until, back).await, Ok(Ok(_))) {
                silent.push(index.to_string());
            }
        }
        let silent = match silent.len() {
            0 => String::new(),
            _ => format!(
                "no message came back from shard {} within {} ms",
                silent.join(", "),
                BACK.as_millis()
            ),
        };
        vec![check("broker", String::new()), check("shards", silent)]
    }
}
