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

/// Slots by the tick at which they want to be looked at.
#[derive(Debug)]
pub(super) struct Wheel {
    buckets: Vec<Vec<u32>>,
    /// The last tick that was run.
    tick: u64,
    /// The first tick after it that has slots; `u64::MAX`: none has. Every turn asks, and most buckets are empty.
    next: u64,
}

impl Wheel {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { buckets: vec![Vec::new(); BUCKETS], tick: now_ms / TICK_MS, next: u64::MAX }
    }

    /// Puts a slot where `due_ms` falls, or as far ahead as the wheel reaches; the tick it went to.
    fn put(&mut self, slot: u32, due_ms: u64) -> u64 {
        let tick = (due_ms / TICK_MS).clamp(self.tick + 1, self.tick + BUCKETS as u64 - 1);
        self.buckets[bucket(tick)].push(slot);
        self.next = self.next.min(tick);
        tick
    }

    fn next_ms(&self) -> Option<u64> {
        (self.next < u64::MAX).then(|| self.next * TICK_MS)
    }

    /// Finds `next` anew, after `tick` has moved.
    fn seek(&mut self) {
        if self.next <= self.tick {
            let mut ticks = self.tick + 1..self.tick + BUCKETS as u64;
            self.next = ticks.find(|t| !self.buckets[bucket(*t)].is_empty()).unwrap_or(u64::MAX);
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
        let tick = self.wheel.put(slot, due_ms);
        if let Some(conn) = self.conn(slot) {
            conn.tick = tick;
        }
    }

    /// Has a connection looked at by then, if that is sooner than planned.
    pub(super) fn arm_sooner(&mut self, slot: u32, due_ms: u64) {
        if self.conn(slot).is_some_and(|c| due_ms / TICK_MS < c.tick) {
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
            let tick = self.wheel.tick;
            for slot in std::mem::take(&mut self.wheel.buckets[bucket(tick)]) {
                if self.conn(slot).is_some_and(|c| c.tick == tick) {
                    self.look_at(slot, now);
                }
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

    #[test]
    fn the_next_tick_is_known_without_a_search() {
        let mut wheel = Wheel::new(1_000);
        assert_eq!(wheel.next_ms(), None);
        let far = wheel.put(1, 60_000);
        let near = wheel.put(2, 26_000);
        assert_eq!(wheel.next_ms(), Some(26_000), "the earlier one, whichever came first");
        wheel.tick = near;
        wheel.buckets[bucket(near)].clear();
        wheel.seek();
        assert_eq!(wheel.next_ms(), Some(far * TICK_MS));
        wheel.tick = far;
        wheel.buckets[bucket(far)].clear();
        wheel.seek();
        assert_eq!(wheel.next_ms(), None);
    }
}
