//! What waits for the writer: many push, one takes all there is.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use everwire_engine::channel::{Cell, Draft, HistoryQuery};
use everwire_engine::ports::Ticket;
use everwire_engine::time::Now;

use super::batch::Place;

/// One thing for the writer.
#[derive(Debug)]
pub(super) enum Request {
    Publish(Arc<Cell>, Draft, Ticket, Now),
    History(Arc<Cell>, HistoryQuery, Ticket, Now),
    Clear(Arc<Cell>, Ticket, Now),
    Attach(Arc<Cell>, Now),
    Detach(Arc<Cell>),
    /// Records that stand in a segment which is being emptied.
    Move(Vec<Moving>),
    /// All that was worth it was moved out of this segment.
    Remove(u32),
}

/// A record on its way to the newest segment.
#[derive(Debug)]
pub(super) struct Moving {
    pub(super) slot: u32,
    pub(super) epoch: u64,
    pub(super) offset: u64,
    /// Where the message stood; the record of a message that is kept no longer only says what its channel is.
    pub(super) from: Option<Place>,
    pub(super) segment: u32,
    pub(super) record: Vec<u8>,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: Vec<Request>,
    bytes: usize,
    closing: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    fresh: Condvar,
}

/// More than so many asks, or so many bytes of them, are refused at once.
const MOST: usize = 65_536;
const MOST_BYTES: usize = 64 << 20;

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an ask of a client; whether there was room for it.
    pub(super) fn ask(&self, request: Request, bytes: usize) -> bool {
        let mut waiting = self.lock();
        if waiting.closing || waiting.requests.len() >= MOST || waiting.bytes >= MOST_BYTES {
            return false;
        }
        waiting.bytes += bytes;
        self.push(waiting, request);
        true
    }

    /// How many things wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().requests.len()
    }

    /// Takes what is bounded elsewhere.
    pub(super) fn tell(&self, request: Request) {
        self.push(self.lock(), request);
    }

    fn push(&self, mut waiting: MutexGuard<'_, Waiting>, request: Request) {
        waiting.requests.push(request);
        let first = waiting.requests.len() == 1;
        drop(waiting);
        if first {
            self.fresh.notify_one();
        }
    }

    /// Nothing more is asked for; what waits is still done.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.fresh.notify_one();
    }

    /// Waits for something, at most so long, and moves all of it into `into`, which is empty. Whether this was the last.
    pub(super) fn take(&self, into: &mut Vec<Request>, patience: Duration) -> bool {
        let idle = |waiting: &mut Waiting| waiting.requests.is_empty() && !waiting.closing;
        let waited = self.fresh.wait_timeout_while(self.lock(), patience, idle);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut waiting.requests, into);
        waiting.bytes = 0;
        waiting.closing && into.is_empty()
    }
}
