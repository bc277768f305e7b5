//! Memory that a crowd leaves behind goes back to the system.
//!
//! glibc gives back the end of a heap and nothing before it. What is there for some seconds after a connection's end lies
//! behind what is there for ever, so a crowd's memory stays: of 53 MB after a million connections 26 were in use, and as
//! many stood empty for good. Asked for it, glibc gives back every page that is empty, wherever it lies. Meanwhile it holds
//! the lock of one heap after the other, and who wants memory of that one waits: so it is asked seldom, and in the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use crate::site::Site;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);
/// So many looks in a row find that few end: what waited for a while after an end has gone by then.
const CALM: u32 = 4;
/// One in so many of those that ended in the worst look since the last time is few.
const FEW: u64 = 16;
/// Fewer ends leave little behind.
const MANY: u64 = 10_000;

/// Connections that end, and when it is worth it to ask.
#[derive(Debug, Default)]
struct Tide {
    /// How many had ended when it was asked for last.
    asked: u64,
    /// How many had ended at the last look.
    seen: u64,
    /// The most that ended from one look to the next since it was asked for.
    most: u64,
    calm: u32,
}

impl Tide {
    /// A look: `ended` so far, `open` now. Whether a crowd has gone, and all is calm.
    fn is_out(&mut self, ended: u64, open: u64) -> bool {
        let (gone, now) = (ended - self.asked, ended - self.seen);
        self.seen = ended;
        self.most = self.most.max(now);
        self.calm = if now <= self.most / FEW { self.calm + 1 } else { 0 };
        let is_out = gone >= MANY.max(open / 4) && self.calm >= CALM;
        if is_out {
            (self.asked, self.most, self.calm) = (ended, 0, 0);
        }
        is_out
    }
}

/// Looks for as long as the server runs.
pub(crate) async fn tend(site: Arc<Site>) {
    let mut looks = tokio::time::interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tide = Tide::default();
    loop {
        looks.tick().await;
        let ended = site.shards.iter().map(|shard| shard.ended()).sum();
        if tide.is_out(ended, site.connections() as u64) {
            let begun = Instant::now();
            let given = tokio::task::spawn_blocking(give_back).await.unwrap_or_default();
            tracing::info!(given, took = ?begun.elapsed(), "empty memory was given back to the system");
        }
    }
}

/// Gives back every page that is empty. Whether there was one.
#[cfg(target_env = "gnu")]
#[allow(
    unsafe_code,
    reason = "nothing safe asks glibc for it; half of the memory after a crowd is what it brings"
)]
fn give_back() -> bool {
    // SAFETY: it may be called at any time and from any thread, and touches nothing that is in use (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) == 1 }
}

/// Other allocators have ways of their own.
#[cfg(not(target_env = "gnu"))]
fn give_back() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at so many ends each, with so many open: at which of them it is asked for.
    fn asked(ends: &[u64], open: u64) -> Vec<usize> {
        let (mut tide, mut ended) = (Tide::default(), 0);
        let mut look = |more: &u64| {
            ended += more;
            tide.is_out(ended, open)
        };
        ends.iter().enumerate().filter(|(_, more)| look(more)).map(|(at, _)| at).collect()
    }

    #[test]
    fn it_is_asked_for_when_a_crowd_has_gone_and_once() {
        let crowd = |count: u64| [&[count], [3; 12].as_slice()].concat();
        assert_eq!(asked(&crowd(10_000), 0), [4]);
        assert_eq!(asked(&crowd(9_900), 0), [0; 0], "too few");
        assert_eq!(asked(&crowd(100_000), 1_000_000), [0; 0], "too few of so many");
        assert_eq!(asked(&crowd(300_000), 1_000_000), [4]);
        assert_eq!(asked(&[crowd(20_000), crowd(20_000)].concat(), 0), [4, 17]);
    }

    #[test]
    fn while_they_come_and_go_it_is_not() {
        assert_eq!(asked(&[5_000; 100], 100), [0; 0], "nor in the long run");
        assert_eq!(asked(&[&[5_000; 16], [0; 4].as_slice()].concat(), 100), [19]);
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn empty_pages_go_back() {
        // Each of a size of the small, and the last one stays: nothing goes back by itself.
        let mut all: Vec<Box<[u8]>> = (0..20_000).map(|_| vec![1; 1_000].into_boxed_slice()).collect();
        let last = all.pop();
        drop(all);
        assert!(give_back());
        drop(last);
    }
}
