//! How the nodes of a run are made.

use rustc_hash::FxHashMap;

use crate::channel::{HistoryLimits, Namespaces, OnSlow, Options};
use crate::limits::{ConnectionLimits, NodeLimits, Times};
use crate::node::Settings;
use crate::testing::cluster::Recipe;
use crate::testing::seed::Rng;

pub(super) fn recipe(rng: &mut Rng, keep: u64) -> Recipe {
    let history = HistoryLimits {
        messages: usize::try_from(keep).unwrap_or(8),
        age_ms: if rng.chance(300) { rng.between(5_000, 60_000) } else { 600_000 },
        bytes: if rng.chance(300) { 11 * 1024 } else { 1 << 20 },
    };
    let open = Options { history: Some(history), ..Options::open() };
    let named = [
        ("d", Options { on_slow: OnSlow::Drop, ..open.clone() }),
        ("v", Options { history: None, on_slow: OnSlow::Drop, ..open.clone() }),
        ("c", Options { history: None, on_slow: OnSlow::Close, ..open.clone() }),
        ("q", Options { presence: false, ..open.clone() }),
    ];
    let mut namespaces =
        Namespaces { default: Some(open.into()), named: FxHashMap::default(), unnamed: None };
    for (name, options) in named {
        namespaces.named.insert(name.into(), options.into());
    }
    let limits = ConnectionLimits {
        outbox_bytes: [12 * 1024, 24 * 1024, 96 * 1024][rng.below(3)],
        commands_burst: [1_000_000, 100, 20][rng.below(3)],
        commands_per_second: [50, 50, 4][rng.below(3)],
        channels: [256, 4][rng.below(2)],
        ..ConnectionLimits::default()
    };
    let settings = Settings {
        name: "simulated".into(),
        namespaces,
        limits,
        times: Times::default(),
        connect_required: false,
        base_path: Box::default(),
    };
    let node = NodeLimits {
        channels: 12 + rng.below(20),
        inbox_bytes: [1_400, 16 << 20][rng.below(2)],
        pending_bytes: [1_400, 4 << 20][rng.below(2)],
        message_ids: 10_000,
        ..NodeLimits::default()
    };
    let shards = u16::try_from(1 + rng.below(3)).unwrap_or(1);
    let pipe_bytes = [1_024, 4_096, 32_768][rng.below(3)];
    // Where sockets are small, all outboxes together are, too.
    let outbox_bytes = if pipe_bytes == 1_024 { 24 * 1024 } else { node.outbox_bytes };
    let node = NodeLimits { outbox_bytes, ..node };
    Recipe { settings, limits: node, shards, pipe_bytes }
}
