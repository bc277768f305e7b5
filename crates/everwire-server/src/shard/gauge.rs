//! What a shard tells of itself: plain numbers in its own thread, put where others read them once a turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use everwire_engine::turn::{Figures, Turn};

use super::lags::{LagCells, LagReading};

/// Upper bounds of the buckets of turn lengths, µs; what is longer stands in one more.
pub const TURN_BOUNDS_US: [u64; 12] =
    [20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 200_000, 1_000_000];

macro_rules! cells {
    ($($name:ident $doc:literal,)*) => {
        /// The cells of one shard. It alone writes, whole values: no cell is ever added to by two.
        #[derive(Debug, Default)]
        pub struct Gauge {
            $(#[doc = $doc] $name: AtomicU64,)*
            turns: [AtomicU64; TURN_BOUNDS_US.len() + 1],
            publishes: LagCells,
            fanout: LagCells,
        }

        /// What was read of shards.
        #[derive(Clone, Debug, Default)]
        pub struct Reading {
            $(#[doc = $doc] pub $name: u64,)*
            /// Turns by length: one for each of [`TURN_BOUNDS_US`], and the longer ones.
            pub turns: [u64; TURN_BOUNDS_US.len() + 1],
            /// How long publishes of connections waited for their answer.
            pub publishes: LagReading,
            /// How long it took from a publish to the last plain subscriber of a shard.
            pub fanout: LagReading,
        }

        impl Gauge {
            /// Adds what this shard tells to what others have told.
            pub fn add_to(&self, all: &mut Reading) {
                $(all.$name += self.$name.load(Ordering::Relaxed);)*
                for (sum, own) in all.turns.iter_mut().zip(&self.turns) {
                    *sum += own.load(Ordering::Relaxed);
                }
                self.publishes.add_to(&mut all.publishes);
                self.fanout.add_to(&mut all.fanout);
            }
        }
    };
}

cells! {
    sessions "Connections with a session.",
    subscriptions "Subscriptions.",
    outbox_bytes "Bytes in all outboxes.",
    messages_in "Messages read of sessions.",
    frames_out "Frames given to sockets and outboxes.",
    bytes_in "Bytes read of sessions' sockets.",
    bytes_out "Bytes that sessions' sockets took.",
    left_out_volatile "Times that volatile messages were left out of an outbox.",
    left_out_presence "Times that presence events were left out of an outbox.",
    collapsed "Times that what waited for a channel collapsed.",
    turned_ms "When its last turn ended, ms of the clock that never jumps.",
    turn_ns "How long all turns took, ns.",
}

impl Gauge {
    /// When its last turn ended, ms of the clock that never jumps.
    pub fn turned_ms(&self) -> u64 {
        self.turned_ms.load(Ordering::Relaxed)
    }

    /// The end of a turn that took so long; `bytes`: read and written so far.
    pub(super) fn turn_over(&self, turn: &Turn, bytes: [u64; 2], now_ms: u64, took: Duration) {
        let set = |cell: &AtomicU64, value: u64| cell.store(value, Ordering::Relaxed);
        // Nobody else writes, so a load and a store add up.
        let add = |cell: &AtomicU64, value: u64| set(cell, cell.load(Ordering::Relaxed) + value);
        let Figures {
            subscriptions,
            outbox_bytes,
            frames,
            left_out_volatile,
            left_out_presence,
            collapsed,
            fanout,
        } = turn.figures();
        set(&self.sessions, turn.connection_count() as u64);
        // The listener of the node itself is nobody's.
        set(&self.subscriptions, subscriptions.saturating_sub(1));
        set(&self.outbox_bytes, outbox_bytes);
        set(&self.messages_in, turn.heard_count());
        set(&self.frames_out, frames);
        set(&self.bytes_in, bytes[0]);
        set(&self.bytes_out, bytes[1]);
        set(&self.left_out_volatile, left_out_volatile);
        set(&self.left_out_presence, left_out_presence);
        set(&self.collapsed, collapsed);
        set(&self.turned_ms, now_ms);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        add(&self.turn_ns, ns);
        self.publishes.take(&turn.publish_lags(), ns);
        self.fanout.take(&fanout, ns);
        let bucket = TURN_BOUNDS_US.iter().position(|bound| ns <= bound * 1_000);
        add(&self.turns[bucket.unwrap_or(TURN_BOUNDS_US.len())], 1);
    }
}
