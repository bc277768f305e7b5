//! Orders of the application's backend to the connections of a shard, and what the shard reports.

use std::sync::Arc;

use everwire_proto::ids::ClientId;
use everwire_proto::position::Position;

use super::{Expelled, Inbox, Item};

/// What a shard is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// To subscribe connections to a channel, whatever their tokens allow.
    Subscribe {
        /// Whose.
        whom: Expelled,
        /// The channel, whose namespace is known.
        channel: Box<str>,
        /// Recover from here.
        since: Option<Position>,
        /// Begin with so many of the newest messages.
        rewind: Option<u64>,
    },
    /// To take connections out of a channel.
    Unsubscribe {
        /// Whose.
        whom: Expelled,
        /// The channel.
        channel: Box<str>,
    },
    /// To let connections end at another time.
    Refresh {
        /// Whose.
        whom: Expelled,
        /// When, ms since 1970 UTC.
        expires_at: u64,
    },
    /// To say which connections there are.
    List(Listing),
}

/// Which connections, and how many of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Of this user.
    pub user: Option<Box<str>>,
    /// Of this client.
    pub client: Option<ClientId>,
    /// Subscribed to this channel.
    pub channel: Option<Box<str>>,
    /// From this slot on.
    pub from: u32,
    /// At most so many.
    pub most: usize,
}

/// What a shard did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// So many connections were meant.
    pub meant: u64,
    /// Of which so many were left as they were.
    pub refused: u64,
    /// Those that were asked for.
    pub seen: Vec<Seen>,
    /// Where the list goes on.
    pub next: Option<u32>,
}

/// A connection as the backend sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its public id.
    pub client: ClientId,
    /// Its user, unless anonymous.
    pub user: Option<Arc<str>>,
    /// How many channels it is subscribed to.
    pub channels: usize,
    /// How long it is here.
    pub connected_ms: u64,
    /// When it ends, ms since 1970 UTC.
    pub expires_at: Option<u64>,
}

/// Where a report goes.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    /// The inbox of whoever ordered.
    pub inbox: Arc<Inbox>,
    /// The number that it finds in [`Item::Report`].
    pub number: u64,
}

impl ReplyTo {
    /// Reports.
    pub fn give(&self, report: Report) {
        self.inbox.push(Item::Report(self.number, Box::new(report)));
    }
}
