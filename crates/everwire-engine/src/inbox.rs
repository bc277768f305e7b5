//! A shard's inbox: what other shards, the broker and the HTTP API have for it. Many push, one takes.
//!
//! Its lock is a leaf: it is held to append or to swap, never while another lock is taken, so it may be taken under
//! a cell's lock.

mod order;

use std::sync::{Arc, OnceLock, PoisonError};

#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

use everwire_proto::codes::ErrorCode;
use everwire_proto::ids::ClientId;
use everwire_proto::position::Position;

pub use self::order::{Listing, Order, ReplyTo, Report, Seen};

use crate::entry::{Entry, MemberNote};

/// A channel's place in one shard's hub. The generation tells a reused place from the one that was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HubKey {
    /// Index in the hub.
    pub index: u32,
    /// Which user of that index.
    pub generation: u32,
}

/// A connection's place in one shard. The generation tells a reused slot from the one that was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnKey {
    /// The shard.
    pub shard: u16,
    /// Index in the shard.
    pub slot: u32,
    /// Which user of that slot.
    pub generation: u32,
}

/// What a broker answers to an ask.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A publish was taken.
    Published {
        /// Where it stands, on channels with history.
        position: Option<Position>,
        /// Stored before under the same message id.
        duplicate: bool,
    },
    /// A page of history.
    Page(Page),
    /// A history was forgotten; nothing before this position is kept.
    Cleared(Position),
    /// The ask failed. For a publish with `timeout` nobody knows whether it was stored.
    Failed(ErrorCode),
}

/// A page of a channel's history.
#[derive(Clone, Debug)]
pub struct Page {
    /// The top of the stream.
    pub position: Position,
    /// The position just before the oldest message that is kept.
    pub floor: Position,
    /// The entries, in the order asked.
    pub entries: Vec<Arc<Entry>>,
    /// Whether there is more in that direction.
    pub more: bool,
}

/// One thing for a shard.
#[derive(Debug)]
pub enum Item {
    /// An entry of a channel that has listeners here.
    Entry(HubKey, Arc<Entry>),
    /// Stored entries were left out because the inbox was full: read the window.
    Behind(HubKey),
    /// Volatile entries were left out because the inbox was full: tell the listeners.
    Lost(HubKey),
    /// The channel's link to its broker stands: waiting subscribers can be answered.
    Live(HubKey),
    /// The node has other settings.
    Changed {
        /// For channels too.
        rooms: bool,
    },
    /// The broker refused the channel: waiting subscribers are told.
    Failed(HubKey),
    /// Presence events were left out because the inbox was full: tell those who want them.
    Unheard(HubKey),
    /// The numbers of members have changed, and there are too many of them to tell of each.
    Counted(HubKey),
    /// All outboxes of the node together hold too much: look which of this shard is the largest.
    Weigh,
    /// A presence event.
    Member(HubKey, Arc<MemberNote>),
    /// The answer to an earlier ask of this shard.
    Answer(u64, Answer),
    /// This connection's session goes on elsewhere.
    Resumed(ConnKey),
    /// Connections of this shard are to end.
    Expel(Arc<Expulsion>),
    /// The keys of these numbers are good no more: what hangs on tokens that they signed is to end.
    KeysGone(Arc<[u32]>),
    /// Something is to be done with connections of this shard, and reported.
    Order(Arc<Order>, ReplyTo),
    /// What a shard did for whoever ordered it.
    Report(u64, Box<Report>),
}

/// Whose connections end, and how they are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expulsion {
    /// Whose.
    pub whom: Expelled,
    /// The close code.
    pub code: u16,
    /// A sentence for people, at most 123 bytes.
    pub reason: Box<str>,
}

/// Whose connections end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expelled {
    /// All of a user.
    User(Box<str>),
    /// The one of a client.
    Client(ClientId),
    /// All that have a token of this id.
    Token(Box<str>),
}

impl Item {
    fn weight(&self) -> usize {
        match self {
            Self::Entry(_, entry) => entry.weight(),
            Self::Member(..) => 256,
            _ => 64,
        }
    }
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is in.
    Taken,
    /// The inbox is over its byte limit; it was left out. Only [`Inbox::push_within`] says this.
    Full,
}

#[derive(Debug)]
struct Waiting {
    items: Vec<Item>,
    bytes: usize,
    /// The shard is awake and will take.
    attended: bool,
}

/// The inbox. A push never waits.
pub struct Inbox {
    waiting: Mutex<Waiting>,
    limit_bytes: usize,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Inbox {
    /// An empty inbox that leaves stored entries out above `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            waiting: Mutex::new(Waiting { items: Vec::new(), bytes: 0, attended: false }),
            limit_bytes,
            wake: OnceLock::new(),
        }
    }

    /// Sets what wakes the shard. Called once, before the first push; a second call is ignored.
    pub fn set_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends, whatever the inbox holds: for what is bounded elsewhere.
    pub fn push(&self, item: Item) {
        self.append(item, usize::MAX);
    }

    /// Appends unless the inbox is over its byte limit.
    pub fn push_within(&self, item: Item) -> Pushed {
        self.append(item, self.limit_bytes)
    }

    fn append(&self, item: Item, limit_bytes: usize) -> Pushed {
        let first = {
            let mut waiting = self.lock();
            if waiting.bytes > limit_bytes {
                return Pushed::Full;
            }
            waiting.bytes += item.weight();
            waiting.items.push(item);
            waiting.items.len() == 1 && !waiting.attended
        };
        // Whoever fills an empty inbox wakes the shard, which takes all there is: one wake a turn.
        if first && let Some(wake) = self.wake.get() {
            wake();
        }
        Pushed::Taken
    }

    /// The shard is awake: until it has taken, nobody needs to wake it, itself least of all. It may not sleep before.
    pub fn attend(&self) {
        self.lock().attended = true;
    }

    /// Moves everything that waits into `into`, which must be empty; its room is given back for the next pushes.
    pub fn take(&self, into: &mut Vec<Item>) {
        debug_assert!(into.is_empty());
        let mut waiting = self.lock();
        std::mem::swap(&mut waiting.items, into);
        waiting.bytes = 0;
        waiting.attended = false;
    }

    /// Whether something waits; a hint for the shard before it sleeps.
    pub fn is_empty(&self) -> bool {
        self.lock().items.is_empty()
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("limit_bytes", &self.limit_bytes).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_shard_that_will_take_is_not_woken() {
        let (inbox, woken) = (Inbox::new(0), Arc::new(AtomicUsize::new(0)));
        let counted = woken.clone();
        inbox.set_wake(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let push = |times: usize| {
            (0..times).for_each(|_| inbox.push(Item::Weigh));
            woken.load(Ordering::Relaxed)
        };
        assert_eq!(push(2), 1, "it sleeps: the first of them wakes it");
        inbox.attend();
        assert_eq!(push(1), 1);
        let mut items = Vec::new();
        inbox.take(&mut items);
        inbox.attend();
        assert_eq!((push(1), items.len()), (1, 3), "it is awake, and takes before it sleeps");
        inbox.take(&mut Vec::new());
        assert_eq!(push(1), 2, "it has taken, and may sleep");
    }
}
