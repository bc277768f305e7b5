//! Connections that come and go: opened and closed again, or with a subscription and one message in between.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;

use crate::clock::now_ns;
use crate::load::plan::{Kind, Plan};
use crate::load::run::{Event, Hello, Run, Scenario};
use crate::load::schedule::Schedule;
use crate::load::tally::Tally;
use crate::load::target::dialing;
use crate::marker::Mark;
use crate::swarm::Swarm;

/// A visit that is not over after so long is given up.
const PATIENCE_NS: u64 = 10_000_000_000;

/// Visitors, numbered as they come.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// They subscribe, publish to their channel and leave with their own message.
    talks: bool,
    channels: usize,
    /// So many at a time.
    most: usize,
    /// `None`: the next one comes when there is room.
    schedule: Option<Schedule>,
    come: usize,
    /// In the order of their coming; those that left are taken out when they are first.
    there: VecDeque<Option<Visit>>,
    /// The visitor that stands first in `there`.
    first: usize,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Visit {
    number: usize,
    since_ns: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// On its way to being ready.
    Coming,
    /// Waits for its message.
    Waiting,
    /// Has what it came for.
    Leaving,
}

impl Arrivals {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            talks: plan.scenario == Kind::Churn,
            channels: plan.channels.max(1),
            most: plan.conns.max(1),
            schedule: None,
            come: 0,
            there: VecDeque::new(),
            first: 0,
            count: 0,
        }
    }

    fn visit(&mut self, who: usize) -> Option<&mut Visit> {
        self.there.get_mut(who.checked_sub(self.first)?)?.as_mut()
    }

    fn gone(&mut self, who: usize) -> Option<Visit> {
        let visit = self.there.get_mut(who.checked_sub(self.first)?)?.take()?;
        self.count -= 1;
        while self.there.front().is_some_and(Option::is_none) {
            self.there.pop_front();
            self.first += 1;
        }
        Some(visit)
    }

    /// The oldest visit has lasted too long.
    fn give_up(&mut self, run: &mut Run, swarm: &mut Swarm) {
        let who = self.first;
        let Some(visit) = self.gone(who) else { return };
        let words = match visit.stage {
            Stage::Coming => "was not ready",
            Stage::Waiting => "had not got its message",
            Stage::Leaving => "was not closed by the server",
        };
        run.tally.error(|| format!("visitor {who} {words} after 10 s"));
        run.tally.loss += u64::from(visit.stage == Stage::Waiting);
        run.cut(swarm, visit.number);
    }

    fn overdue_ns(&self) -> Option<u64> {
        Some(self.there.front()?.as_ref()?.since_ns + PATIENCE_NS)
    }
}

impl Scenario for Arrivals {
    fn hello(&self, run: &Run, who: usize) -> Hello {
        run.hello(self.talks.then_some(who % self.channels))
    }

    fn begin(&mut self, run: &mut Run, start_ns: u64) {
        let ramp = Duration::from_millis(run.plan.ramp_ms);
        self.schedule = (run.plan.rate > 0.0).then(|| Schedule::new(start_ns, run.plan.rate, ramp));
    }

    fn hear(&mut self, run: &mut Run, swarm: &mut Swarm, (number, who): (usize, usize), event: Event<'_>) {
        let (talks, channel) = (self.talks, who % self.channels);
        match event {
            Event::Ready(_) => {
                let Some(visit) = self.visit(who) else { return };
                visit.stage = if talks { Stage::Waiting } else { Stage::Leaving };
                let due_ns = run.due_of(number);
                if talks {
                    let mark = Mark { channel: u32::try_from(who).unwrap_or(u32::MAX), number: 0, due_ns };
                    run.publish(swarm, number, channel, mark);
                } else {
                    run.tally.received(due_ns, now_ns());
                    run.leave(swarm, number);
                }
            }
            Event::Message(mark, _) if talks && mark.channel as usize == who => {
                let Some(visit) = self.visit(who) else { return };
                if visit.stage == Stage::Leaving {
                    run.tally.duplicates += 1;
                    return;
                }
                visit.stage = Stage::Leaving;
                run.tally.received(mark.due_ns, run.heard_ns);
                run.leave(swarm, number);
            }
            Event::Gone(_) => {
                let visit = self.gone(who);
                run.tally.loss += u64::from(visit.is_some_and(|visit| visit.stage == Stage::Waiting));
            }
            _ => {}
        }
    }

    fn due_ns(&self, run: &Run) -> Option<u64> {
        let next = match &self.schedule {
            _ if self.count >= self.most => None,
            Some(schedule) => Some(schedule.due_ns()),
            None => Some(0),
        };
        let next = next.filter(|due| *due.max(&now_ns()) < run.until_ns);
        [next, self.overdue_ns()].into_iter().flatten().min()
    }

    fn act(&mut self, run: &mut Run, swarm: &mut Swarm) -> Result<()> {
        let now = now_ns();
        if self.overdue_ns().is_some_and(|overdue| overdue <= now) {
            self.give_up(run, swarm);
            return Ok(());
        }
        let due_ns = self.schedule.as_ref().map_or(now, Schedule::due_ns);
        if let Some(schedule) = &mut self.schedule {
            schedule.advance();
        }
        let who = self.come;
        self.come += 1;
        if self.there.is_empty() {
            self.first = who;
        }
        let hello = self.hello(run, who);
        match run.dial(swarm, who, &hello, due_ns) {
            Ok(number) => {
                run.tally.sent(due_ns, now);
                self.there.push_back(Some(Visit { number, since_ns: now, stage: Stage::Coming }));
                self.count += 1;
            }
            Err(error) => {
                run.tally.error(|| format!("visitor {who} could not set out: {}", dialing(&error)));
                // It keeps the row whole; at the front there is none that has left.
                if !self.there.is_empty() {
                    self.there.push_back(None);
                }
            }
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.count == 0
    }

    fn end(&mut self, tally: &mut Tally) {
        let waiting = self.there.iter().flatten().filter(|visit| visit.stage == Stage::Waiting);
        tally.loss += waiting.count() as u64;
    }
}
