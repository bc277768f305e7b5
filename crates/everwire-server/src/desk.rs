//! Where answers of the broker wait for whoever is no shard: requests of the HTTP API.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use everwire_engine::inbox::{Answer, Inbox, Item, ReplyTo, Report};
use everwire_engine::ports::Ticket;
use everwire_proto::codes::ErrorCode;
use tokio::sync::oneshot;

type Waiting = HashMap<u64, Give>;

/// What one waits for, and the way to it.
#[derive(Debug)]
enum Give {
    Answer(oneshot::Sender<Answer>),
    Report(oneshot::Sender<Report>),
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    inbox: Arc<Inbox>,
    waiting: Arc<Mutex<Waiting>>,
    numbers: AtomicU64,
}

/// One who waits.
#[derive(Debug)]
pub struct Waiter<'d, T> {
    desk: &'d Desk,
    /// What the broker is to be asked with.
    pub ticket: Ticket,
    answer: oneshot::Receiver<T>,
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
                // Who has gone away meanwhile does not hear it.
                match item {
                    Item::Answer(number, answer) => {
                        if let Some(Give::Answer(give)) = waiting.remove(&number) {
                            let _ = give.send(answer);
                        }
                    }
                    Item::Report(number, report) => {
                        if let Some(Give::Report(give)) = waiting.remove(&number) {
                            let _ = give.send(*report);
                        }
                    }
                    _ => {}
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
    pub fn wait(&self) -> Waiter<'_, Answer> {
        self.begin(Give::Answer)
    }

    /// The same for what a shard reports.
    pub fn wait_for_report(&self) -> Waiter<'_, Report> {
        self.begin(Give::Report)
    }

    fn begin<T>(&self, way: impl FnOnce(oneshot::Sender<T>) -> Give) -> Waiter<'_, T> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (give, answer) = oneshot::channel();
        lock(&self.waiting).insert(number, way(give));
        Waiter { desk: self, ticket: Ticket { shard: Ticket::DESK, number }, answer }
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self::new()
    }
}

impl Waiter<'_, Report> {
    /// What the shard is given to report to.
    pub fn reply_to(&self) -> ReplyTo {
        ReplyTo { inbox: self.desk.inbox.clone(), number: self.ticket.number }
    }

    /// The report, if it came in time.
    pub async fn report(mut self, patience: Duration) -> Option<Report> {
        tokio::time::timeout(patience, &mut self.answer).await.ok()?.ok()
    }
}

impl Waiter<'_, Answer> {
    /// The answer, or that it did not come in time.
    pub async fn answer(mut self, patience: Duration) -> Answer {
        match tokio::time::timeout(patience, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Answer::Failed(ErrorCode::Timeout),
        }
    }
}

impl<T> Drop for Waiter<'_, T> {
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
    fn reports_come_to_those_who_ordered() {
        let desk = Desk::new();
        let waiter = desk.wait_for_report();
        waiter.reply_to().give(Report { meant: 3, ..Report::default() });
        let report = runtime().block_on(waiter.report(Duration::MAX));
        assert_eq!(report.map(|report| report.meant), Some(3));
        assert_eq!(runtime().block_on(desk.wait_for_report().report(Duration::ZERO)), None);
        assert!(lock(&desk.waiting).is_empty());
    }

    #[test]
    fn who_waited_long_enough_leaves_nothing() {
        let desk = Desk::new();
        let answer = runtime().block_on(desk.wait().answer(Duration::ZERO));
        assert!(matches!(answer, Answer::Failed(ErrorCode::Timeout)), "{answer:?}");
        assert!(lock(&desk.waiting).is_empty());
    }
}
