//! The in-process broker: the cell itself numbers and keeps. Default of dev mode, and the reference for all others.

use std::sync::Arc;

use everwire_proto::codes::ErrorCode;
use everwire_proto::ids::Epoch;

use crate::channel::{Cell, Options, Shared, Unpublished};
use crate::inbox::Answer;
use crate::name::ChannelName;
use crate::plant::{Bug, planted};
use crate::ports::{Ask, Asked, Broker, Caps, Ticket};
use crate::time::{Entropy, Now};

/// The in-process broker.
pub struct Memory {
    shared: Arc<Shared>,
    entropy: Arc<dyn Entropy>,
}

impl Memory {
    /// A broker whose cells hand entries to the inboxes in `shared`.
    pub fn new(shared: Arc<Shared>, entropy: Arc<dyn Entropy>) -> Self {
        Self { shared, entropy }
    }
}

impl Broker for Memory {
    fn caps(&self) -> Caps {
        Caps { in_process: true, durable: false }
    }

    fn cell(&self, name: ChannelName, options: Arc<Options>, now: Now) -> Cell {
        // The low 64 bits are as random as all of them.
        let bits =
            if planted(Bug::ReuseEpoch) { 0 } else { (self.entropy.bits() & u128::from(u64::MAX)) as u64 };
        Cell::new(name, options, self.shared.clone(), Epoch::from_random(bits), now)
    }

    fn ask(&self, cell: &Arc<Cell>, ask: Ask, _ticket: Ticket, now: Now) -> Asked {
        match ask {
            Ask::History(query) => match cell.history(&query, now) {
                Some(page) => Asked::Now(Answer::Page(page)),
                None => Asked::Dead(Ask::History(query)),
            },
            Ask::Clear => match cell.clear(now) {
                Some(position) => Asked::Now(Answer::Cleared(position)),
                None => Asked::Dead(Ask::Clear),
            },
            Ask::Publish(draft) => match cell.publish(draft, now) {
                Ok(done) => {
                    Asked::Now(Answer::Published { position: done.position, duplicate: done.duplicate })
                }
                Err(Unpublished::Dead(draft)) => Asked::Dead(Ask::Publish(*draft)),
                Err(Unpublished::Full) => Asked::Now(Answer::Failed(ErrorCode::Overloaded)),
            },
        }
    }

    fn attach(&self, _cell: &Arc<Cell>, _now: Now) {}

    fn detach(&self, _cell: &Arc<Cell>, _now: Now) {}
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use everwire_proto::payload::Payload;

    use super::*;
    use crate::channel::{Draft, Publisher};
    use crate::inbox::{HubKey, Inbox};
    use crate::limits::NodeLimits;

    struct Zero;

    impl Entropy for Zero {
        fn bits(&self) -> u128 {
            0
        }
    }

    fn draft() -> Draft {
        Draft {
            payload: Payload::Json(format!("\"{}\"", "x".repeat(1_000)).into_bytes().into()),
            message_id: None,
            publisher: Publisher::Backend,
            from: None,
            tags: Box::default(),
            volatile: false,
        }
    }

    /// Channels in use can't be evicted; they stop growing, and at twice the budget nothing is stored any more.
    #[test]
    fn the_history_of_channels_in_use_is_bounded() {
        let limits = NodeLimits { history_bytes: 50_000, ..NodeLimits::default() };
        let inboxes = vec![Arc::new(Inbox::new(1 << 20))];
        let shared = Arc::new(Shared { inboxes, limits, history_bytes: 0.into(), message_ids: 0.into() });
        let broker = Memory::new(shared.clone(), Arc::new(Zero));
        let now = Now { mono_ms: 1, unix_ms: 1 };
        let (mut refused, mut most) = (0, 0);
        for index in 0..100 {
            let name = ChannelName::parse(&index.to_string()).unwrap();
            let cell = broker.cell(name, Arc::new(Options::open()), now);
            cell.enter_interest(0, HubKey { index, generation: 0 }, now);
            let cell = Arc::new(cell);
            for _ in 0..20 {
                let ask = Ask::Publish(draft());
                let answer = broker.ask(&cell, ask, Ticket { shard: 0, number: 0 }, now);
                refused += u32::from(matches!(answer, Asked::Now(Answer::Failed(ErrorCode::Overloaded))));
                most = most.max(shared.history_bytes.load(Ordering::Relaxed));
            }
        }
        assert!(refused > 0 && (100_000..105_000).contains(&most), "{refused} refused, {most} bytes at most");
    }
}
