//! Opening many connections and waiting until each is where it should be.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::clock::now_ns;
use crate::dialect::Dialect;
use crate::swarm::{Heard, Opening, Swarm};

/// So many are on their way at once: more than a listener's queue holds would be turned away.
const AT_ONCE: usize = 100;
/// Without any progress for so long it is given up.
const PATIENCE_NS: u64 = 10_000_000_000;

/// Where a crowd goes, and what it says there.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// The server.
    pub to: SocketAddr,
    /// Source addresses, taken in turn; none: the system's choice.
    pub from: Vec<IpAddr>,
    /// How each connection begins.
    pub opening: Opening,
    /// What it says then; `None`: nothing.
    pub dialect: Option<Dialect>,
}

impl Crowd {
    /// Opens `count` connections, the n-th subscribed to `channel(n)` where that is one; their numbers in the swarm, in
    /// the order of n.
    ///
    /// # Errors
    /// One of them was refused, or nothing moved for 10 s.
    pub fn open(
        &self,
        swarm: &mut Swarm,
        count: usize,
        channel: impl Fn(usize) -> Option<String>,
    ) -> Result<Vec<usize>> {
        let mut numbers = Vec::with_capacity(count);
        // By number in the swarm: which of ours it is, and what it waits for.
        let mut waits: Vec<Option<Wait>> = Vec::new();
        let (mut settled, mut refused) = (0, None);
        let mut moved_ns = now_ns();
        while settled < count {
            while numbers.len() < count && numbers.len() - settled < AT_ONCE {
                let from = self.from.get(numbers.len() % self.from.len().max(1)).copied();
                let number = swarm.dial(self.to, from, &self.opening)?;
                if waits.len() <= number {
                    waits.resize(number + 1, None);
                }
                waits[number] = Some(Wait::Open(numbers.len()));
                numbers.push(number);
            }
            let before = settled;
            swarm.turn(Some(Duration::from_millis(100)), &mut |swarm, number, heard| {
                let Some(wait) = waits.get(number).copied().flatten() else { return };
                waits[number] = match (wait, heard) {
                    (_, Heard::Closed(words)) => {
                        refused = Some(words);
                        None
                    }
                    (Wait::Open(n), Heard::Open) => self.greet(swarm, number, n, channel(n)),
                    (Wait::Greeted(n), Heard::Frame(frame))
                        if self.dialect.as_ref().is_none_or(|d| d.is_greeted(frame.payload)) =>
                    {
                        self.subscribe(swarm, number, Vec::new(), channel(n))
                    }
                    (Wait::Subscribed, Heard::Frame(frame)) => {
                        let done = self.dialect.as_ref().is_none_or(|d| d.is_subscribed(frame.payload));
                        (!done).then_some(Wait::Subscribed)
                    }
                    (wait, _) => Some(wait),
                };
                settled += usize::from(waits[number].is_none());
            })?;
            if let Some(words) = refused {
                bail!("connection {} of {count}: {words}", settled);
            }
            if settled > before {
                moved_ns = now_ns();
            } else if now_ns() - moved_ns > PATIENCE_NS {
                bail!("{settled} of {count} connections are there, and no further one for 10 s");
            }
        }
        Ok(numbers)
    }

    /// It is open: says what is to be said, and what it waits for then.
    fn greet(&self, swarm: &mut Swarm, number: usize, n: usize, channel: Option<String>) -> Option<Wait> {
        let dialect = self.dialect.as_ref()?;
        let mut out = Vec::new();
        dialect.greeting(&mut out);
        if dialect.waits_for_greeting {
            swarm.put(number, &out);
            return Some(Wait::Greeted(n));
        }
        self.subscribe(swarm, number, out, channel)
    }

    /// Subscribes, if it is to; what it waits for then.
    fn subscribe(
        &self,
        swarm: &mut Swarm,
        number: usize,
        mut out: Vec<u8>,
        channel: Option<String>,
    ) -> Option<Wait> {
        let dialect = self.dialect.as_ref()?;
        if let Some(channel) = &channel {
            dialect.subscription(channel, &mut out);
        }
        if !out.is_empty() {
            swarm.put(number, &out);
        }
        let waits = channel.is_some() && dialect.subscribe.is_some() && !dialect.subscribed.is_empty();
        waits.then_some(Wait::Subscribed)
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug)]
enum Wait {
    /// To be open; it is the n-th.
    Open(usize),
    /// For the answer to what it said first; it is the n-th.
    Greeted(usize),
    /// For the answer to its subscription.
    Subscribed,
}
