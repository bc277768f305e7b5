//! A shard that drains: each connection is told when to come back elsewhere, and closed when its time is over.

use everwire_engine::time::Now;
use everwire_proto::codes::CloseCode;

use super::socket::Role;
use super::{Shard, echo};
use crate::drain::Plan;

/// Connections that are told in one turn: the others' messages go on meanwhile.
const TOLD: usize = 1_024;
/// Answers that a broker still owes a connection whose time is over are waited for so long, ms.
const OWED_MS: u64 = 2_000;

/// Marks of slots that are in no group.
const NOBODY: u64 = u64::MAX;
const OVER: u64 = u64::MAX - 1;

/// Who goes when.
#[derive(Debug)]
pub(super) struct Leaving {
    plan: Plan,
    /// The group of each slot. A slot that somebody else has meanwhile is in another one.
    group_of: Vec<u64>,
    groups: Vec<Vec<u32>>,
    /// The first group that is not over.
    next: u64,
    /// Who goes into the next group when nobody says otherwise.
    dealt: u64,
    /// Who was not told yet.
    untold: Vec<u32>,
    /// Whose time is over, and until when an answer is waited for.
    over: Vec<(u32, u64)>,
}

impl Leaving {
    fn new(plan: Plan, slots: &[u32]) -> Self {
        let groups = (0..plan.groups).map(|_| Vec::new()).collect();
        let (untold, over) = (Vec::new(), Vec::new());
        let mut leaving = Self { plan, group_of: Vec::new(), groups, next: 0, dealt: 0, untold, over };
        for slot in slots {
            let group = leaving.dealt % plan.groups;
            leaving.dealt += 1;
            leaving.put(*slot, group);
        }
        leaving
    }

    fn put(&mut self, slot: u32, group: u64) {
        let at = slot as usize;
        if self.group_of.len() <= at {
            self.group_of.resize(at + 1, NOBODY);
        }
        self.group_of[at] = group;
        if let Some(slots) = usize::try_from(group).ok().and_then(|group| self.groups.get_mut(group)) {
            slots.push(slot);
            self.untold.push(slot);
        }
    }

    /// Somebody who was on the way when it began; whether there is a group left.
    pub(super) fn take_in(&mut self, slot: u32, now: Now) -> bool {
        let group = self.plan.open_group(now.mono_ms).filter(|group| *group >= self.next);
        self.put(slot, group.unwrap_or(NOBODY));
        group.is_some()
    }

    /// When the shard has to look again, ms.
    pub(super) fn next_ms(&self) -> Option<u64> {
        if !self.untold.is_empty() {
            return Some(0);
        }
        let group = (self.next < self.plan.groups).then(|| self.plan.range(self.next)[1]);
        let owed = self.over.iter().map(|(_, until)| *until).min();
        group.into_iter().chain(owed).min()
    }
}

impl Shard {
    /// What draining has to do in this turn.
    pub(super) fn drain(&mut self, now: Now) {
        if self.leaving.is_none() {
            let Some(plan) = self.intake.plan() else { return };
            self.leaving = Some(Box::new(Leaving::new(plan, &self.sockets.all())));
        }
        let Some(mut leaving) = self.leaving.take() else { return };
        self.tell_some(&mut leaving, now);
        self.end_group(&mut leaving, now);
        self.close_settled(&mut leaving, now);
        self.leaving = Some(leaving);
    }

    fn tell_some(&mut self, leaving: &mut Leaving, now: Now) {
        for _ in 0..TOLD {
            if self.turn.is_full() {
                return;
            }
            let Some(slot) = leaving.untold.pop() else { return };
            let group = leaving.group_of[slot as usize];
            let session = self.sockets.get(slot).is_some_and(|s| matches!(s.role, Role::Session { .. }));
            if session && group < leaving.plan.groups {
                self.turn.announce(slot, leaving.plan.range(group), now);
            }
        }
    }

    /// The time of whole groups is over: nothing more is read of them.
    fn end_group(&mut self, leaving: &mut Leaving, now: Now) {
        while leaving.next < leaving.plan.groups && leaving.plan.range(leaving.next)[1] <= now.mono_ms {
            let group = leaving.next;
            leaving.next += 1;
            let slots = usize::try_from(group).ok().and_then(|at| leaving.groups.get_mut(at));
            for slot in slots.map(std::mem::take).unwrap_or_default() {
                if leaving.group_of[slot as usize] != group {
                    continue;
                }
                let Some(mut socket) = self.sockets.get(slot) else { continue };
                match socket.role {
                    Role::Session { .. } => {
                        socket.deaf = true;
                        leaving.group_of[slot as usize] = OVER;
                        leaving.over.push((slot, now.mono_ms + OWED_MS));
                        self.queue(slot);
                    }
                    Role::Echo(_) => {
                        let next = echo::close(&mut socket, CloseCode::GoingAway, "the server stops", now);
                        self.follow(slot, next, now);
                    }
                    Role::Linger => {}
                }
            }
        }
    }

    /// Closes whose time is over and who waits for no answer any more.
    fn close_settled(&mut self, leaving: &mut Leaving, now: Now) {
        if leaving.over.is_empty() {
            return;
        }
        let slots: Vec<_> = leaving.over.iter().map(|(slot, _)| *slot).collect();
        let owed = self.turn.owed(&slots);
        let mut over = std::mem::take(&mut leaving.over);
        over.retain(|(slot, until)| {
            if leaving.group_of[*slot as usize] != OVER {
                return false;
            }
            let waits = owed.contains(slot) && *until > now.mono_ms;
            if !waits && self.is_session(*slot) {
                self.turn.close(*slot, CloseCode::Draining, "the server stops", now);
            }
            waits
        });
        leaving.over = over;
    }

    fn is_session(&mut self, slot: u32) -> bool {
        self.sockets.get(slot).is_some_and(|socket| matches!(socket.role, Role::Session { .. }))
    }
}
