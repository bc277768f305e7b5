//! How connections end, and what happens to their memberships.

use std::cmp::Ordering;
use std::sync::Arc;

use everwire_proto::codes::CloseCode;
use everwire_proto::ids::{ClientId, SessionKey};
use everwire_proto::reply::Outgoing;
use everwire_proto::ws;
use rustc_hash::FxHashSet;

use super::subscriptions::Joining;
use super::{Conn, Turn};
use crate::channel::Cell;
use crate::inbox::{ConnKey, Expelled, Expulsion, HubKey};
use crate::plant::{Bug, planted};
use crate::session::Phase;
use crate::time::Now;

/// A membership whose connection ended without a goodbye. Ordered by its due time, earliest on top of a heap.
#[derive(Debug)]
pub(super) struct Leave {
    pub(super) due_ms: u64,
    cell: Arc<Cell>,
    client: ClientId,
    holder: u64,
    key: SessionKey,
    at: ConnKey,
}

impl Ord for Leave {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_due = (other.due_ms, other.holder).cmp(&(self.due_ms, self.holder));
        if planted(Bug::LeavesUnordered) { other.holder.cmp(&self.holder) } else { by_due }
    }
}

impl PartialOrd for Leave {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Leave {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Leave {}

impl Turn {
    /// The peer sent a close frame: its session ends, and the close frame is answered. 1000 is a goodbye.
    pub fn peer_closed(&mut self, slot: u32, code: Option<u16>, now: Now) {
        if self.conn(slot).is_none_or(|c| matches!(c.session.phase, Phase::Closing(_))) {
            return;
        }
        self.end(slot, code == Some(1000), now);
        self.begin_closing(slot, code.unwrap_or(1000), "", 5_000, now);
    }

    /// The socket is gone, or the shell has cut it: the slot is free again.
    pub fn closed(&mut self, slot: u32, now: Now) {
        self.end(slot, false, now);
        self.hub.close(slot);
        if let Some(conn) = self.conns.get_mut(slot as usize)
            && conn.take().is_some()
        {
            self.count -= 1;
        }
        if !self.byes.is_empty() {
            self.byes.remove(&slot);
        }
    }

    /// Tells a connection that the server goes away, and when to come back elsewhere: between these times of the clock that
    /// never jumps. Who is not connected yet is told behind `connected`.
    pub fn announce(&mut self, slot: u32, between_ms: [u64; 2], now: Now) {
        match self.conn(slot).map(|conn| conn.session.phase) {
            Some(Phase::Connected) => self.say_bye(slot, between_ms.map(|ms| ms.saturating_sub(now.mono_ms))),
            Some(Phase::Fresh) => {
                self.byes.insert(slot, between_ms);
            }
            Some(Phase::Closing(_)) | None => {}
        }
    }

    /// It has connected: what it was not told before, it is told now.
    #[cold]
    pub(super) fn say_late_bye(&mut self, slot: u32, now: Now) {
        if let Some(between_ms) = self.byes.remove(&slot) {
            self.announce(slot, between_ms, now);
        }
    }

    fn say_bye(&mut self, slot: u32, after_ms: [u64; 2]) {
        let message = "the server stops";
        let bye = Outgoing::Bye { code: "draining", message, reconnect: true, after_ms };
        if !planted(Bug::SilentBye) {
            self.say(slot, None, &bye);
        }
    }

    /// Tells a connection that the server goes away, and closes it; it may come back within `after_ms`.
    pub fn dismiss(&mut self, slot: u32, after_ms: [u64; 2], now: Now) {
        if self.conn(slot).is_some_and(|conn| conn.session.phase == Phase::Connected) {
            self.say_bye(slot, after_ms);
        }
        self.close(slot, CloseCode::Draining, "the server stops", now);
    }

    /// Which of these connections still wait for an answer of the broker.
    pub fn owed(&self, slots: &[u32]) -> FxHashSet<u32> {
        let asked = self.asks.values().filter_map(|(_, pending)| pending.asker());
        let asked = asked.filter(|(slot, generation)| self.is_conn(*slot, *generation));
        let mut owed: FxHashSet<u32> = asked.map(|(slot, _)| slot).collect();
        let waits = |slot: &u32| {
            let conn = self.conns.get(*slot as usize).and_then(Option::as_deref);
            conn.is_some_and(|conn| !conn.ended && conn.waiting.is_some())
        };
        owed.extend(slots.iter().copied().filter(waits));
        owed
    }

    /// Takes a connection out of its channels and its seat; once.
    pub(super) fn end(&mut self, slot: u32, goodbye: bool, now: Now) {
        let Some(conn) = self.conn(slot).filter(|conn| !conn.ended) else { return };
        conn.ended = true;
        conn.session.party = None;
        let waiting = conn.waiting.take();
        let (client, holder, key) = (conn.session.client, conn.session.holder, conn.session.key);
        let at = self.conn_key(slot);
        for channel in self.hub.subscriptions(slot) {
            let Some(cell) = self.hub.cell(channel) else { continue };
            self.leave_room(slot, channel, now);
            if !cell.has_presence() {
                continue;
            }
            if goodbye {
                cell.leave(client, holder);
            } else {
                let grace_ms = self.settings.times.presence_grace_ms;
                let due_ms = now.mono_ms + if planted(Bug::NoGrace) { 0 } else { grace_ms };
                self.leaves.push(Leave { due_ms, cell, client, holder, key, at });
            }
        }
        // Only where it waits: with a link down, all connections of a shard may wait, and end.
        for channel in waiting.iter().flat_map(|w| &w.channels) {
            self.stop_joining(slot, channel, now);
        }
        self.node.stand_up(key, at, goodbye, now);
    }

    /// Takes a subscriber out of the hub, and the shard out of the channel when it was the last.
    pub(super) fn leave_room(&mut self, slot: u32, key: HubKey, now: Now) {
        let Some(cell) = self.hub.cell(key) else { return };
        let Some(left) = self.hub.leave(slot, key) else { return };
        if left.watch {
            cell.watch(self.shard, false);
        }
        if left.empty {
            self.drop_room(key, now);
        }
    }

    /// Gives a room up unless somebody is in it or waits for it.
    pub(super) fn drop_room(&mut self, key: HubKey, now: Now) {
        let counts = |j: &Joining| !(j.fetching && planted(Bug::RoomGone));
        if self.joining.get(&key).is_some_and(|waiting| waiting.iter().any(counts)) {
            return;
        }
        if let Some(cell) = self.hub.drop_room(key) {
            self.joining.remove(&key);
            if cell.leave_interest(self.shard, now) {
                self.node.broker.detach(&cell, now);
            }
        }
    }

    fn stop_joining(&mut self, slot: u32, channel: &str, now: Now) {
        let Some(key) = self.hub.find(channel) else { return };
        if let Some(waiting) = self.joining.get_mut(&key) {
            waiting.retain(|j| j.slot != slot);
            if waiting.is_empty() {
                self.joining.remove(&key);
            }
            self.drop_room(key, now);
        }
    }

    /// Memberships whose grace is over leave, unless their session came back to them.
    pub(super) fn run_leaves(&mut self, now: Now) {
        let grace = self.settings.times.presence_grace_ms;
        while self.leaves.peek().is_some_and(|leave| leave.due_ms <= now.mono_ms)
            && let Some(mut leave) = self.leaves.pop()
        {
            // Who has just resumed gets a grace to subscribe again.
            let again = self.node.resumed_ms(leave.key, leave.at).map(|at| at + grace);
            match again.filter(|due| *due > now.mono_ms) {
                Some(due) => {
                    leave.due_ms = due;
                    self.leaves.push(leave);
                }
                None if planted(Bug::GhostMember) => {}
                None => {
                    leave.cell.leave(leave.client, leave.holder);
                }
            }
        }
    }

    /// This connection's session goes on in another one.
    pub(super) fn resumed_elsewhere(&mut self, at: ConnKey, now: Now) {
        if self.generations.get(at.slot as usize) == Some(&at.generation) {
            self.close(at.slot, CloseCode::Resumed, "the session goes on in another connection", now);
        }
    }

    /// Ends the connections of this shard that are meant.
    pub(super) fn expel(&mut self, expulsion: &Expulsion, now: Now) {
        for slot in self.slots_of(&expulsion.whom) {
            self.end(slot, false, now);
            self.begin_closing(slot, expulsion.code, &expulsion.reason, 5_000, now);
        }
        if let Expelled::Token(id) = &expulsion.whom {
            self.end_entrances(id, now);
        }
    }

    /// The connections of this shard that are meant.
    pub(super) fn slots_of(&self, whom: &Expelled) -> Vec<u32> {
        let meant = |conn: &Conn| match whom {
            Expelled::User(user) => conn.session.user() == Some(user),
            Expelled::Client(client) => conn.session.client == *client,
            Expelled::Token(id) => conn.session.identity.token_id.as_ref() == Some(id),
        };
        let slots = (0u32..).zip(&self.conns);
        let slots = slots.filter(|(_, conn)| conn.as_deref().is_some_and(|c| !c.ended && meant(c)));
        slots.map(|(slot, _)| slot).collect()
    }

    /// Queues the close frame and starts the time in which it must go out.
    pub(super) fn begin_closing(&mut self, slot: u32, code: u16, reason: &str, within_ms: u64, now: Now) {
        let due = now.mono_ms + within_ms;
        let Some(conn) = self.conn(slot) else { return };
        if matches!(conn.session.phase, Phase::Closing(_)) {
            return;
        }
        conn.session.phase = Phase::Closing(due);
        self.node.counters.close(code);
        let Some(conn) = self.conn(slot) else { return };
        conn.held = None;
        self.hub.say_raw(slot, &ws::close_frame(code, reason));
        self.closing.push(slot);
        self.arm(slot, due);
    }

    /// Names those whose close frame went out, or will never.
    pub(super) fn finish_closing(&mut self, now: Now) {
        let mut closing = std::mem::take(&mut self.closing);
        closing.retain(|slot| {
            let Some(Phase::Closing(due)) = self.conn(*slot).map(|c| c.session.phase) else { return false };
            let over = self.hub.is_drained(*slot) || due <= now.mono_ms;
            if over {
                self.finished.push(*slot);
            }
            !over
        });
        self.closing = closing;
    }
}
