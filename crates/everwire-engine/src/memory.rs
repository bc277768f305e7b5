//! The in-process broker: the cell itself numbers and keeps. Default of dev mode, and the reference for all others.

use std::sync::Arc;

use everwire_proto::ids::Epoch;

use crate::channel::{Cell, Options, Shared};
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
            Ask::History(query) => Asked::Now(Answer::Page(cell.history(&query, now))),
            Ask::Publish(draft) => match cell.publish(draft, now) {
                Ok(done) => {
                    Asked::Now(Answer::Published { position: done.position, duplicate: done.duplicate })
                }
                Err(draft) => Asked::Dead(Ask::Publish(*draft)),
            },
        }
    }

    fn attach(&self, _cell: &Arc<Cell>, _now: Now) {}

    fn detach(&self, _cell: &Arc<Cell>, _now: Now) {}
}
