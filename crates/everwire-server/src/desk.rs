//! Where answers of the broker wait for whoever is no shard: requests of the HTTP API.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use everwire_engine::inbox::{Answer, Inbox, Item};
use everwire_engine::ports::Ticket;
use everwire_proto::codes::ErrorCode;
use tokio::sync::oneshot;

type Waiting = HashMap<u64, oneshot::Sender<Answer>>;

/// The desk.
#[derive(Debug)]
pub struct Desk {
    inbox: Arc<Inbox>,
    waiting: Arc<Mutex<Waiting>>,
    numbers: AtomicU64,
}

/// One who waits.
#[derive(Debug)]
pub struct Waiter<'d> {
    desk: &'d Desk,
    /// What the broker is to be asked with.
    pub ticket: Ticket,
    answer: oneshot::Receiver<Answer>,
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// A desk at which nobody waits.
    pub fn new() -> Self {
        let inbox = Arc::new(Inbox::new(usize::MAX));
        let waiting: Arc<Mutex<Waiting>> = Arc::default();
        let (from, to) = (Arc::downgrade(&inbox), waiting.clone());
        // The broker's own thread hands the answers out: nobody else has to be woken for it.
        inbox.set_wake(move || {
            let Some(inbox) = from.upgrade() else { return };
            let mut items = Vec::new();
            inbox.take(&mut items);
            let mut waiting = lock(&to);
            for item in items {
                let Item::Answer(number, answer) = item else { continue };
                if let Some(give) = waiting.remove(&number) {
                    // Who has gone away meanwhile does not hear it.
                    let _ = give.send(answer);
                }
            }
        });
        Self { inbox, waiting, numbers: AtomicU64::new(1) }
    }

    /// Where the broker puts answers of the tickets of [`Desk::wait`].
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// A ticket, before anything is asked with it.
    pub fn wait(&self) -> Waiter<'_> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (give, answer) = oneshot::channel();
        lock(&self.waiting).insert(number, give);
        Waiter { desk: self, ticket: Ticket { shard: Ticket::DESK, number }, answer }
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self::new()
    }
}

impl Waiter<'_> {
    /// The answer, or that it did not come in time.
    pub async fn answer(mut self, patience: Duration) -> Answer {
        match tokio::time::timeout(patience, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Answer::Failed(ErrorCode::Timeout),
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        lock(&self.desk.waiting).remove(&self.ticket.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn each_waiter_has_its_own_answer() {
        let desk = Desk::new();
        let (first, second) = (desk.wait(), desk.wait());
        assert_ne!(first.ticket, second.ticket);
        desk.inbox().push(Item::Answer(second.ticket.number, Answer::Failed(ErrorCode::Overloaded)));
        desk.inbox().push(Item::Answer(first.ticket.number, Answer::Failed(ErrorCode::Internal)));
        desk.inbox().push(Item::Answer(99, Answer::Failed(ErrorCode::Internal)));
        let (first, second) = runtime()
            .block_on(async { (first.answer(Duration::MAX).await, second.answer(Duration::MAX).await) });
        assert!(matches!(first, Answer::Failed(ErrorCode::Internal)), "{first:?}");
        assert!(matches!(second, Answer::Failed(ErrorCode::Overloaded)), "{second:?}");
    }

    #[test]
    fn who_waited_long_enough_leaves_nothing() {
        let desk = Desk::new();
        let answer = runtime().block_on(desk.wait().answer(Duration::ZERO));
        assert!(matches!(answer, Answer::Failed(ErrorCode::Timeout)), "{answer:?}");
        assert!(lock(&desk.waiting).is_empty());
    }
}
