//! Where the answers of a broker go that does not answer at once: shards have an inbox each, and all others share a desk.

use std::sync::Arc;

use everwire_engine::channel::Shared;
use everwire_engine::inbox::{Answer, Inbox, Item};
use everwire_engine::ports::Ticket;

/// The way back.
#[derive(Clone, Debug)]
pub struct Answers {
    shared: Arc<Shared>,
    desk: Arc<Inbox>,
}

impl Answers {
    /// Answers go to the inboxes of `shared`, and to `desk` where the ticket says [`Ticket::DESK`].
    pub fn new(shared: Arc<Shared>, desk: Arc<Inbox>) -> Self {
        Self { shared, desk }
    }

    /// What the cells of this node share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Gives an answer to whoever holds this ticket.
    pub fn give(&self, ticket: Ticket, answer: Answer) {
        let inbox = match ticket.shard {
            Ticket::DESK => &self.desk,
            shard => &self.shared.inboxes[usize::from(shard)],
        };
        inbox.push(Item::Answer(ticket.number, answer));
    }
}
