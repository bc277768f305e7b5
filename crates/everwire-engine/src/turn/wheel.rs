//! One wheel a shard: no timer per connection.

use std::cmp::Reverse;

use everwire_proto::codes::CloseCode;
use everwire_proto::reply::Outgoing;
use everwire_proto::ws::{self, Opcode};

use super::expiry::over_ms;
use super::{Held, Turn};
use crate::limits::Times;
use crate::node::Counters;
use crate::plant::{Bug, planted};
use crate::session::{Phase, Session};
use crate::time::Now;

/// The width of a bucket, ms. Deadlines fire up to this much early, never late, so that sums of them hold.
const TICK_MS: u64 = 250;
const BUCKETS: usize = 256;

/// No slot.
const NONE: u32 = u32::MAX;
/// A heap that had more keeps the room of so many.
const KEPT: usize = 1_024;

/// A slot's place in its bucket. The slots of a bucket are linked: lists that grow and go with every connection would
/// cut the heap to pieces.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// 0: it is in none.
    tick: u64,
    before: u32,
    after: u32,
}

const OUT: Link = Link { tick: 0, before: NONE, after: NONE };

/// Slots by the tick at which they want to be looked at; each is there once.
#[derive(Debug)]
pub(super) struct Wheel {
    /// The first and the last slot of each.
    buckets: Vec<[u32; 2]>,
    /// By slot.
    links: Vec<Link>,
    /// The last tick that was run.
    tick: u64,
    /// No tick between it and this one has slots; `u64::MAX`: none has. Every turn asks, and most buckets are empty.
    next: u64,
}

impl Wheel {
    pub(super) fn new(now_ms: u64) -> Self {
        let (buckets, links) = (vec![[NONE; 2]; BUCKETS], Vec::new());
        Self { buckets, links, tick: now_ms / TICK_MS, next: u64::MAX }
    }

    /// Puts a slot where `due_ms` falls, or as far ahead as the wheel reaches, and nowhere else.
    fn put(&mut self, slot: u32, due_ms: u64) {
        let tick = (due_ms / TICK_MS).clamp(self.tick + 1, self.tick + BUCKETS as u64 - 1);
        self.take_out(slot);
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, OUT);
        }
        let before = std::mem::replace(&mut self.buckets[bucket(tick)][1], slot);
        *self.after(tick, before) = slot;
        self.links[slot as usize] = Link { tick, before, after: NONE };
        self.next = self.next.min(tick);
    }

    /// It does not want to be looked at any more.
    pub(super) fn take_out(&mut self, slot: u32) {
        let Some(link) = self.links.get_mut(slot as usize) else { return };
        let Link { tick, before, after } = std::mem::replace(link, OUT);
        if tick > 0 {
            *self.after(tick, before) = after;
            match self.links.get_mut(after as usize) {
                Some(link) => link.before = before,
                None => self.buckets[bucket(tick)][1] = before,
            }
        }
    }

    /// Where it is said who is behind this slot, or first in the bucket.
    fn after(&mut self, tick: u64, slot: u32) -> &mut u32 {
        match self.links.get_mut(slot as usize) {
            Some(link) => &mut link.after,
            None => &mut self.buckets[bucket(tick)][0],
        }
    }

    /// The next slot that the tick of now wants looked at. What is put meanwhile goes to a later one.
    fn pop(&mut self) -> Option<u32> {
        let slot = Some(self.buckets[bucket(self.tick)][0]).filter(|slot| *slot != NONE)?;
        self.take_out(slot);
        Some(slot)
    }

    /// The tick for which a slot is there; 0: it is not.
    fn tick_of(&self, slot: u32) -> u64 {
        self.links.get(slot as usize).map_or(0, |link| link.tick)
    }

    fn next_ms(&self) -> Option<u64> {
        (self.next < u64::MAX).then(|| self.next * TICK_MS)
    }

    /// Finds `next` anew, after `tick` has moved.
    fn seek(&mut self) {
        if self.next <= self.tick {
            let mut ticks = self.tick + 1..self.tick + BUCKETS as u64;
            self.next = ticks.find(|t| self.buckets[bucket(*t)][0] != NONE).unwrap_or(u64::MAX);
        }
    }
}

fn bucket(tick: u64) -> usize {
    usize::try_from(tick % BUCKETS as u64).unwrap_or(0)
}

/// What a look at a connection found.
enum Due {
    /// Nothing until then.
    Wait(u64),
    /// Ask whether it lives, and look again then.
    Ping(u64),
    /// End it.
    End(CloseCode, &'static str),
    /// It is being ended already.
    Nothing,
}

/// The wheel fires early by up to a tick: what falls into this one is due.
fn reached(now: Now, due_ms: u64) -> bool {
    now.mono_ms + TICK_MS > due_ms
}

fn due_of(session: &Session, times: &Times, now: Now) -> Due {
    match session.phase {
        Phase::Closing(due) if reached(now, due) => Due::Nothing,
        Phase::Closing(due) => Due::Wait(due),
        Phase::Fresh => {
            let due = session.opened_ms + times.connect_ms;
            let end = Due::End(CloseCode::Unauthorized, "no command came in time");
            if reached(now, due) { end } else { Due::Wait(due) }
        }
        Phase::Connected => {
            let over = session.identity.expires_at.map_or(u64::MAX, |at| over_ms(at, now));
            if reached(now, over) {
                return Due::End(CloseCode::TokenExpired, "the token ran out and was not refreshed");
            }
            let ping = session.heard_ms + times.heartbeat_ms;
            let end = ping + times.heartbeat_grace_ms;
            match session.pinged {
                true if reached(now, end) && !planted(Bug::DeafHeartbeat) => {
                    Due::End(CloseCode::HeartbeatMissed, "nothing was heard from the client")
                }
                true => Due::Wait(end.max(now.mono_ms).min(over)),
                false if reached(now, ping) => Due::Ping(end.min(over)),
                false => Due::Wait(ping.min(over)),
            }
        }
    }
}

impl Turn {
    pub(super) fn arm(&mut self, slot: u32, due_ms: u64) {
        if self.conn(slot).is_some() {
            self.wheel.put(slot, due_ms);
        }
    }

    /// Has a connection looked at by then, if that is sooner than planned.
    pub(super) fn arm_sooner(&mut self, slot: u32, due_ms: u64) {
        if due_ms / TICK_MS < self.wheel.tick_of(slot) {
            self.arm(slot, due_ms);
        }
    }

    /// When this shard wants a turn though nothing happens, ms of the clock that never jumps.
    pub fn next_wake_ms(&self, now: Now) -> u64 {
        let sweep = self.swept_ms + 1_000;
        let wheel = self.wheel.next_ms();
        let paused = self.paused.peek().map(|Reverse((ms, ..))| *ms);
        let leave = self.leaves.peek().map(|leave| leave.due_ms);
        let paced = self.hub.next_paced_ms();
        let wakes = [wheel, paused, leave, paced].into_iter().flatten();
        wakes.fold(sweep, u64::min).max(now.mono_ms)
    }

    /// Looks at whatever is due by now.
    pub fn run_wheel(&mut self, now: Now) {
        while self.wheel.tick < now.mono_ms / TICK_MS {
            self.wheel.tick += 1;
            while let Some(slot) = self.wheel.pop() {
                self.look_at(slot, now);
            }
        }
        self.wheel.seek();
        while let Some(Reverse((due, slot, generation))) = self.paused.peek().copied()
            && due <= now.mono_ms
        {
            self.paused.pop();
            if self.conn(slot).is_some_and(|c| c.generation == generation && c.held == Some(Held::Bucket)) {
                self.release(slot);
            }
        }
        self.run_leaves(now);
        if now.mono_ms.saturating_sub(self.swept_ms) >= 1_000 {
            self.swept_ms = now.mono_ms;
            self.give_back();
            self.time_out_asks(now);
            self.time_out_joining(now);
            self.hub.retry_pages();
            self.hub.tell_counts();
            // Shards sweep different stripes at a time.
            self.round = self.round.wrapping_add(self.node.shared.inboxes.len());
            let node = self.node.clone();
            node.sweep(self.round, now);
        }
    }

    /// After a crowd has gone, what remembered it is made small again.
    fn give_back(&mut self) {
        if self.leaves.capacity() > KEPT && self.leaves.len() < self.leaves.capacity() / 4 {
            self.leaves.shrink_to(KEPT.max(2 * self.leaves.len()));
        }
    }

    /// One connection's deadlines: what is due is done, and the next look armed.
    fn look_at(&mut self, slot: u32, now: Now) {
        let times = self.settings.times;
        let stalled = self.hub.stalled_since(slot).map(|since| since + times.stalled_ms);
        if stalled.is_some_and(|due| reached(now, due)) {
            self.close_slow(slot, "nothing was taken for too long", now);
            return;
        }
        let entrance = self.expire_entrances(slot, now, |due| reached(now, due));
        let Some(conn) = self.conn(slot) else { return };
        let due = match due_of(&conn.session, &times, now) {
            Due::Wait(due) => due,
            Due::Ping(due) => {
                conn.session.pinged = true;
                let visible = conn.session.heartbeat;
                self.ping(slot, visible);
                due
            }
            Due::End(code, reason) => {
                self.close(slot, code, reason, now);
                return;
            }
            Due::Nothing => return,
        };
        let sooner = [stalled, entrance].into_iter().flatten();
        self.arm(slot, sooner.fold(due, u64::min));
    }

    fn ping(&mut self, slot: u32, visible: bool) {
        if visible {
            self.say(slot, None, &Outgoing::Ping);
        } else {
            let mut frame = Vec::with_capacity(2);
            ws::write_frame(&mut frame, Opcode::Ping, b"");
            self.raw(slot, &frame);
        }
    }

    pub(super) fn close_slow(&mut self, slot: u32, reason: &str, now: Now) {
        if self.conn(slot).is_some_and(|c| !matches!(c.session.phase, Phase::Closing(_))) {
            Counters::count(&self.node.counters.slow);
            self.end(slot, false, now);
            self.hub.silence(slot);
            self.begin_closing(slot, CloseCode::SlowConsumer.code(), reason, 1_000, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popped(wheel: &mut Wheel, tick: u64) -> Vec<u32> {
        wheel.tick = tick;
        let slots = std::iter::from_fn(|| wheel.pop()).collect();
        wheel.seek();
        slots
    }

    #[test]
    fn the_next_tick_is_known_without_a_search() {
        let mut wheel = Wheel::new(1_000);
        assert_eq!(wheel.next_ms(), None);
        wheel.put(1, 60_000);
        wheel.put(2, 26_000);
        assert_eq!(wheel.next_ms(), Some(26_000), "the earlier one, whichever came first");
        assert_eq!(popped(&mut wheel, 26_000 / TICK_MS), [2]);
        assert_eq!(wheel.next_ms(), Some(60_000));
        assert_eq!(popped(&mut wheel, 60_000 / TICK_MS), [1]);
        assert_eq!(wheel.next_ms(), None);
    }

    #[test]
    fn a_slot_is_looked_at_once_in_the_order_of_its_last_arming() {
        let mut wheel = Wheel::new(0);
        (0..6).for_each(|slot| wheel.put(slot, 1_000));
        wheel.put(1, 1_000);
        wheel.put(3, 2_000);
        [0, 5].into_iter().for_each(|slot| wheel.take_out(slot));
        assert_eq!(popped(&mut wheel, 4), [2, 4, 1]);
        assert_eq!((wheel.tick_of(1), wheel.tick_of(3), wheel.tick_of(99)), (0, 8, 0));
        assert_eq!(popped(&mut wheel, 8), [3]);
    }
}
