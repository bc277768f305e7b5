//! Messages to many subscribers.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::clock::now_ns;
use crate::load::plan::Plan;
use crate::load::run::{Event, Hello, Run, Scenario};
use crate::load::schedule::Schedule;
use crate::load::sequence::{Sequence, Sight};
use crate::load::tally::Tally;
use crate::load::zipf::Zipf;
use crate::marker::Mark;
use crate::swarm::Swarm;

/// Where each publish waits for the last one, it waits no longer than so for one that is lost.
const PATIENCE_NS: u64 = 2_000_000_000;

/// Publishers, which subscribe to nothing, come first; then the subscribers, each to one channel.
#[derive(Debug)]
pub(super) struct Fanout {
    publishers: usize,
    zipf: Zipf,
    /// Their numbers in the swarm.
    senders: Vec<usize>,
    /// Of each subscriber while it is there.
    seen: Vec<Option<Sequence>>,
    /// Subscribers of each channel, and messages published to it.
    channels: Vec<(u64, u64)>,
    /// `None`: the next publish goes when all of the last have come.
    schedule: Option<Schedule>,
    publishes: u64,
    outstanding: u64,
}

impl Fanout {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            publishers: plan.publishers,
            zipf: Zipf::new(plan.channels, plan.zipf),
            senders: Vec::new(),
            seen: vec![None; plan.conns],
            channels: vec![(0, 0); plan.channels],
            schedule: None,
            publishes: 0,
            outstanding: 0,
        }
    }

    /// The subscriber's place and its channel; `None`: it publishes.
    fn place(&self, who: usize) -> Option<(usize, usize)> {
        let place = who.checked_sub(self.publishers)?;
        Some((place, self.zipf.member(place, self.seen.len())))
    }

    fn publish(&mut self, run: &mut Run, swarm: &mut Swarm, due_ns: u64) {
        let channel = self.zipf.pick(self.publishes);
        // One channel has one publisher where there are enough of them, so that its order can be seen.
        let turn = if self.channels.len() >= self.senders.len() { channel as u64 } else { self.publishes };
        let sender = self.senders[usize::try_from(turn).unwrap_or(0) % self.senders.len()];
        let (members, published) = &mut self.channels[channel];
        let mark = Mark { channel: u32::try_from(channel).unwrap_or(u32::MAX), number: *published, due_ns };
        *published += 1;
        self.outstanding += *members;
        self.publishes += 1;
        run.publish(swarm, sender, channel, mark);
        run.tally.sent(due_ns, now_ns());
    }
}

impl Scenario for Fanout {
    fn hello(&self, run: &Run, who: usize) -> Hello {
        run.hello(self.place(who).map(|(_, channel)| channel))
    }

    fn begin(&mut self, run: &mut Run, start_ns: u64) {
        self.schedule = (run.plan.rate > 0.0).then(|| Schedule::new(start_ns, run.plan.rate, Duration::ZERO));
    }

    fn hear(&mut self, run: &mut Run, _: &mut Swarm, (number, who): (usize, usize), event: Event<'_>) {
        let Some((place, channel)) = self.place(who) else {
            match event {
                Event::Ready(_) => self.senders.push(number),
                Event::Gone(_) => self.senders.retain(|sender| *sender != number),
                _ => {}
            }
            return;
        };
        let (members, published) = &mut self.channels[channel];
        match event {
            Event::Ready(_) => {
                *members += 1;
                self.seen[place] = Some(Sequence::from(*published));
            }
            Event::Gone(true) => {
                // What it would have been sent from now on is no loss, but its end is an error.
                *members -= 1;
                let missing = self.seen[place].take().map_or(0, |seen| seen.missing(*published));
                run.tally.loss += missing;
                self.outstanding = self.outstanding.saturating_sub(missing);
            }
            Event::Message(mark, _) if mark.channel as usize == channel => {
                let Some(seen) = &mut self.seen[place] else { return };
                match seen.see(mark.number) {
                    Sight::Twice => {
                        run.tally.duplicates += 1;
                        return;
                    }
                    Sight::Late => run.tally.reordered += 1,
                    Sight::New => {}
                }
                self.outstanding = self.outstanding.saturating_sub(1);
                run.tally.received(mark.due_ns, run.heard_ns);
            }
            _ => {}
        }
    }

    fn due_ns(&self, run: &Run) -> Option<u64> {
        let due_ns = match &self.schedule {
            Some(schedule) => schedule.due_ns(),
            None if self.outstanding == 0 => 0,
            None => run.heard_ns + PATIENCE_NS,
        };
        (due_ns.max(now_ns()) < run.until_ns).then_some(due_ns)
    }

    fn act(&mut self, run: &mut Run, swarm: &mut Swarm) -> Result<()> {
        if self.senders.is_empty() {
            bail!(
                "no connection that publishes is left: {}",
                run.tally.first_error.as_deref().unwrap_or("all of them ended")
            );
        }
        if let Some(schedule) = &mut self.schedule {
            let due_ns = schedule.due_ns();
            schedule.advance();
            self.publish(run, swarm, due_ns);
            return Ok(());
        }
        self.outstanding = 0;
        let now = now_ns();
        run.heard_ns = now;
        for _ in 0..run.plan.in_flight {
            self.publish(run, swarm, now);
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.outstanding == 0
    }

    fn end(&mut self, tally: &mut Tally) {
        for (place, seen) in self.seen.iter().enumerate() {
            let (_, published) = self.channels[self.zipf.member(place, self.seen.len())];
            tally.loss += seen.as_ref().map_or(0, |seen| seen.missing(published));
        }
    }
}
