//! Messages that come back to their sender: by an echo, or through a channel of its own.

use std::time::Duration;

use anyhow::Result;

use crate::clock::now_ns;
use crate::load::plan::{Kind, Plan};
use crate::load::run::{Event, Hello, Run, Scenario};
use crate::load::schedule::Schedule;
use crate::load::sequence::{Sequence, Sight};
use crate::load::tally::Tally;
use crate::marker::Mark;
use crate::swarm::Swarm;

/// Each connection sends and receives.
#[derive(Debug)]
pub(super) struct Roundtrip {
    subscribes: bool,
    talkers: Vec<Talker>,
    /// `None`: the next message goes when one has come back.
    schedule: Option<Schedule>,
    /// The first messages are still to be sent.
    fresh: bool,
    outstanding: u64,
}

#[derive(Clone, Debug, Default)]
struct Talker {
    /// Its number in the swarm while it is there.
    number: Option<usize>,
    sent: u64,
    seen: Sequence,
}

impl Roundtrip {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            subscribes: plan.scenario == Kind::Pingpong,
            talkers: vec![Talker::default(); plan.conns],
            schedule: None,
            fresh: true,
            outstanding: 0,
        }
    }

    fn send(&mut self, run: &mut Run, swarm: &mut Swarm, who: usize, (due_ns, now_ns): (u64, u64)) {
        let talker = &mut self.talkers[who];
        let Some(number) = talker.number else { return };
        let mark = Mark { channel: u32::try_from(who).unwrap_or(u32::MAX), number: talker.sent, due_ns };
        talker.sent += 1;
        self.outstanding += 1;
        run.publish(swarm, number, who, mark);
        run.tally.sent(due_ns, now_ns);
    }
}

impl Scenario for Roundtrip {
    fn hello(&self, run: &Run, who: usize) -> Hello {
        run.hello(self.subscribes.then_some(who))
    }

    fn begin(&mut self, run: &mut Run, start_ns: u64) {
        self.schedule = (run.plan.rate > 0.0).then(|| Schedule::new(start_ns, run.plan.rate, Duration::ZERO));
    }

    fn hear(&mut self, run: &mut Run, swarm: &mut Swarm, (number, who): (usize, usize), event: Event<'_>) {
        let talker = &mut self.talkers[who];
        match event {
            Event::Ready(_) => talker.number = Some(number),
            Event::Gone(_) => {
                talker.number = None;
                let missing = talker.seen.missing(talker.sent);
                self.outstanding = self.outstanding.saturating_sub(missing);
            }
            Event::Message(mark, _) if mark.channel as usize == who => {
                match talker.seen.see(mark.number) {
                    Sight::Twice => {
                        run.tally.duplicates += 1;
                        return;
                    }
                    Sight::Late => run.tally.reordered += 1,
                    Sight::New => {}
                }
                self.outstanding = self.outstanding.saturating_sub(1);
                run.tally.received(mark.due_ns, run.heard_ns);
                if self.schedule.is_none() && run.heard_ns < run.until_ns {
                    self.send(run, swarm, who, (run.heard_ns, run.heard_ns));
                }
            }
            _ => {}
        }
    }

    fn due_ns(&self, run: &Run) -> Option<u64> {
        let due_ns = match &self.schedule {
            Some(schedule) => schedule.due_ns(),
            None => return self.fresh.then_some(0),
        };
        (due_ns.max(now_ns()) < run.until_ns).then_some(due_ns)
    }

    fn act(&mut self, run: &mut Run, swarm: &mut Swarm) -> Result<()> {
        let count = self.talkers.len();
        if let Some(schedule) = &mut self.schedule {
            let due_ns = schedule.due_ns();
            let who = usize::try_from(schedule.number() % count as u64).unwrap_or(0);
            schedule.advance();
            self.send(run, swarm, who, (due_ns, now_ns()));
            return Ok(());
        }
        self.fresh = false;
        for who in 0..count {
            for _ in 0..run.plan.in_flight {
                let now = now_ns();
                self.send(run, swarm, who, (now, now));
            }
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.outstanding == 0
    }

    fn end(&mut self, tally: &mut Tally) {
        tally.loss += self.talkers.iter().map(|talker| talker.seen.missing(talker.sent)).sum::<u64>();
    }
}
