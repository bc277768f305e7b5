//! Connections that do nothing.

use anyhow::Result;

use crate::load::plan::Plan;
use crate::load::run::{Event, Hello, Run, Scenario};
use crate::load::tally::Tally;
use crate::swarm::Swarm;

/// Each is subscribed to a channel, where there are any, and answers pings.
#[derive(Debug)]
pub(super) struct Idle {
    channels: usize,
}

impl Idle {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { channels: plan.channels }
    }
}

impl Scenario for Idle {
    fn hello(&self, run: &Run, who: usize) -> Hello {
        run.hello(who.checked_rem(self.channels))
    }

    fn begin(&mut self, _: &mut Run, _: u64) {}

    fn hear(&mut self, _: &mut Run, _: &mut Swarm, _: (usize, usize), _: Event<'_>) {}

    fn due_ns(&self, _: &Run) -> Option<u64> {
        None
    }

    fn act(&mut self, _: &mut Run, _: &mut Swarm) -> Result<()> {
        Ok(())
    }

    fn is_settled(&self) -> bool {
        true
    }

    fn end(&mut self, _: &mut Tally) {}
}
