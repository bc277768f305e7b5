//! Carrying a `subscribe`: house rules, "Life of a subscribe".

use std::sync::Arc;

use everwire_proto::codes::ErrorCode;
use everwire_proto::reply::{GapReason, Outgoing, Subscribed};

use super::Turn;
use super::answers::Pending;
use crate::channel::{Cell, HistoryQuery, Located};
use crate::hub::{Listening, PAGE_BYTES};
use crate::inbox::{HubKey, Page};
use crate::node::{Counters, Full};
use crate::permit::Right;
use crate::plant::{Bug, planted};
use crate::ports::Ask;
use crate::session::{Deny, SubscribeAsk, rule_on};
use crate::time::Now;

/// A subscribe that waits for the channel's link to its broker, or for the first page of its recovery.
#[derive(Clone, Debug)]
pub(super) struct Joining {
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) id: Option<u64>,
    pub(super) ask: SubscribeAsk,
    /// The page was asked for; it stays here until then, so that its room stays too.
    pub(super) fetching: bool,
    /// Then it has waited long enough.
    pub(super) due_ms: u64,
}

impl Turn {
    pub(super) fn subscribe(
        &mut self,
        slot: u32,
        id: Option<u64>,
        channel: &str,
        ask: SubscribeAsk,
        now: Now,
    ) -> Result<(), Deny> {
        let key = self.room_for(channel, &ask, now)?;
        if self.hub.is_subscribed(slot, key) {
            return Err(already(channel));
        }
        let Some(cell) = self.hub.cell(key) else { return Ok(()) };
        let generation = self.generations[slot as usize];
        let due_ms = now.mono_ms + self.settings.times.ask_ms;
        let joining = Joining { slot, generation, id, ask, fetching: false, due_ms };
        self.go_in(key, &cell, joining, now);
        Ok(())
    }

    /// Joins a channel, or waits until it is live.
    pub(super) fn go_in(&mut self, key: HubKey, cell: &Arc<Cell>, joining: Joining, now: Now) {
        if cell.is_live() {
            self.join(key, cell, joining, now);
        } else {
            self.begin_waiting(joining.slot, cell.name.as_str());
            self.joining.entry(key).or_default().push(joining);
        }
    }

    /// This shard's room of the channel; made, with the shard's interest, where there is none.
    pub(super) fn room_for(&mut self, channel: &str, ask: &SubscribeAsk, now: Now) -> Result<HubKey, Full> {
        if let Some(key) = self.hub.find(channel) {
            if self.hub.cell(key).is_some_and(|cell| cell.is_dead()) {
                // Nothing comes there any more, and this shard has not told its subscribers yet.
                self.begin_anew(key, now);
            }
            if let Some(key) = self.hub.find(channel) {
                return Ok(key);
            }
        }
        loop {
            let cell = self.node.cell(channel, &ask.options, now)?;
            let key = self.hub.make_room(cell.clone());
            match cell.enter_interest(self.shard, key, now) {
                Some(ask) => {
                    if ask {
                        self.node.broker.attach(&cell, now);
                    }
                    return Ok(key);
                }
                // Evicted between the look-up and this; the next look-up makes a new one.
                None => drop(self.hub.drop_room(key)),
            }
        }
    }

    /// The channel is live: finds where the subscriber begins, asking the broker for a past that is not here.
    fn join(&mut self, key: HubKey, cell: &Arc<Cell>, mut joining: Joining, now: Now) {
        let located = cell.locate(&joining.ask.wanted, now);
        if !located.fetch {
            self.joined(key, cell, &joining, &located, now);
            return;
        }
        let since = joining.ask.wanted.since.as_ref().unwrap_or(&cell.top()).clone();
        let query = HistoryQuery::page_after(&since, PAGE_BYTES);
        self.begin_waiting(joining.slot, cell.name.as_str());
        let pending = Pending::Locate { slot: joining.slot, generation: joining.generation, key };
        joining.fetching = true;
        self.joining.entry(key).or_default().push(joining);
        self.ask(cell.clone(), Ask::History(query), pending, now);
    }

    /// The page that a recovery needs is here, or is not to be had.
    pub(super) fn located(&mut self, key: HubKey, slot: u32, page: Option<Page>, now: Now) {
        let Some(waiting) = self.joining.get_mut(&key) else { return };
        let Some(at) = waiting.iter().position(|j| j.slot == slot && j.fetching) else { return };
        let joining = waiting.swap_remove(at);
        if waiting.is_empty() {
            self.joining.remove(&key);
        }
        let Some(cell) = self.hub.cell(key) else { return };
        // Anew: the window went on while the page was on its way.
        let mut located = cell.locate(&joining.ask.wanted, now);
        let since = joining.ask.wanted.since.as_ref().filter(|_| located.fetch);
        let page = page.filter(|p| {
            let reaches = |s: &everwire_proto::position::Position| {
                p.floor.epoch == s.epoch && p.floor.offset <= s.offset && p.position.offset >= s.offset
            };
            since.is_some_and(reaches) && !p.more
        });
        // Not to be had, or more than one page: told as a gap, and on from the top.
        located.fetch = page.is_some();
        if let Some(page) = &page {
            located.recovered = Some(true);
            located.replaying = Some(page.entries.len() as u64);
            located.position = Some(page.position.clone());
            located.last = since.cloned();
            located.gap = None;
        }
        self.joined(key, &cell, &joining, &located, now);
        if page.is_some() {
            self.hub.page(joining.slot, key, page);
        }
        self.end_waiting(joining.slot, cell.name.as_str(), now);
    }

    /// Answers a subscribe: `subscribed` first, its gap next, then the replay by the cursor.
    fn joined(&mut self, key: HubKey, cell: &Cell, joining: &Joining, located: &Located, now: Now) {
        let Joining { slot, id, ask, .. } = joining;
        self.become_member(cell, joining, located);
        let subscribed = Outgoing::Subscribed(subscribed(cell, ask, located));
        if ask.by_server {
            self.say(*slot, None, &subscribed);
        } else {
            self.reply(*slot, *id, &subscribed);
        }
        self.begin_to_listen(key, cell, joining, located, now);
    }

    /// Before it is told: `presence` counts it already.
    pub(super) fn become_member(&mut self, cell: &Cell, joining: &Joining, located: &Located) {
        if joining.ask.watch {
            cell.watch(self.shard, true);
        }
        if cell.has_presence()
            && let Some(conn) = self.conn(joining.slot)
        {
            let (card, holder) = (conn.session.card(), conn.session.holder);
            cell.enter(card, holder);
        }
        let counters = &self.node.counters;
        match located.recovered {
            Some(true) => Counters::count(&counters.recovered),
            Some(false) => Counters::count(&counters.unrecovered),
            None => {}
        }
    }

    /// After it is told: its gap, then the replay by the cursor.
    pub(super) fn begin_to_listen(
        &mut self,
        key: HubKey,
        cell: &Cell,
        joining: &Joining,
        located: &Located,
        now: Now,
    ) {
        let (slot, ask, channel) = (joining.slot, &joining.ask, cell.name.as_str());
        if let Some((from, to, reason)) = located.gap.as_ref().filter(|_| !planted(Bug::UntoldExpiry)) {
            let gap = Outgoing::Gap { channel, from: Some(from), to: Some(to), reason: *reason };
            self.say(slot, None, &gap);
        } else if located.position.is_none() && located.recovered == Some(false) {
            let reason = GapReason::HistoryExpired;
            self.say(slot, None, &Outgoing::Gap { channel, from: None, to: None, reason });
        }
        if let Some(entrance) = &ask.entrance {
            self.note_entrance(slot, key, entrance, now);
        }
        let how = Listening { watch: ask.watch, mute: ask.mute, max_rate: ask.max_rate };
        self.hub.enter(slot, key, how, located);
    }

    pub(super) fn unsubscribe(&mut self, slot: u32, id: Option<u64>, channel: &str, now: Now) {
        let key = self.hub.find(channel).filter(|key| self.hub.is_subscribed(slot, *key));
        let Some((key, cell)) = key.and_then(|key| Some((key, self.hub.cell(key)?))) else {
            let text = format!("this connection is not subscribed to {channel}");
            self.refuse(slot, id, &Deny::new(ErrorCode::NotSubscribed, text));
            return;
        };
        self.forget_entrance(slot, key);
        self.leave_room(slot, key, now);
        if let Some(conn) = self.conn(slot) {
            let (client, holder) = (conn.session.client, conn.session.holder);
            cell.leave(client, holder);
        }
        self.reply(slot, id, &Outgoing::Unsubscribed { channel, because: None });
    }

    /// The link of a channel stands: everybody who waited is answered.
    pub(super) fn channel_live(&mut self, key: HubKey, now: Now) {
        let Some(cell) = self.hub.cell(key) else { return };
        let (fetching, waiting): (Vec<_>, Vec<_>) =
            self.joining.remove(&key).unwrap_or_default().into_iter().partition(|j| j.fetching);
        if !fetching.is_empty() {
            self.joining.insert(key, fetching);
        }
        for joining in waiting {
            if self.is_conn(joining.slot, joining.generation) {
                let slot = joining.slot;
                self.join(key, &cell, joining, now);
                self.end_waiting(slot, cell.name.as_str(), now);
            }
        }
    }

    /// The broker refused a channel: everybody who waited is told.
    pub(super) fn channel_failed(&mut self, key: HubKey, now: Now) {
        self.refuse_joining(key, |_| true, unreachable, now);
    }

    /// Subscribes that wait for a link which does not come are answered without it.
    pub(super) fn time_out_joining(&mut self, now: Now) {
        let late = |joining: &Joining| !joining.fetching && joining.due_ms <= now.mono_ms;
        let waiting = self.joining.iter().filter(|(_, list)| list.iter().any(late));
        let mut keys: Vec<_> = waiting.map(|(key, _)| *key).collect();
        keys.sort_unstable_by_key(|key| key.index);
        for key in keys {
            self.refuse_joining(key, late, unreachable, now);
        }
    }

    /// Those who wait and may not come in any more are told so.
    pub(super) fn refuse_forbidden(&mut self, slot: u32, now: Now) {
        let waits = |list: &Vec<Joining>| list.iter().any(|j| j.slot == slot && j.ask.entrance.is_none());
        let mut keys: Vec<_> = self.joining.iter().filter(|(_, l)| waits(l)).map(|(key, _)| *key).collect();
        keys.sort_unstable_by_key(|key| key.index);
        for key in keys {
            let Some(cell) = self.hub.cell(key) else { continue };
            let Some(conn) = self.conn(slot) else { return };
            let (name, right) = (cell.name.as_str(), Right::Subscribe);
            if !rule_on(&conn.session.identity, name, &cell.options(), right).admits() {
                let theirs = |j: &Joining| j.slot == slot && j.ask.entrance.is_none();
                self.refuse_joining(key, theirs, forbidden, now);
            }
        }
    }

    pub(super) fn refuse_joining(
        &mut self,
        key: HubKey,
        which: impl Fn(&Joining) -> bool,
        why: impl Fn(&str) -> Deny,
        now: Now,
    ) {
        let Some(cell) = self.hub.cell(key) else { return };
        let waiting = self.joining.remove(&key).unwrap_or_default();
        let (refused, kept): (Vec<_>, Vec<_>) = waiting.into_iter().partition(which);
        if !kept.is_empty() {
            self.joining.insert(key, kept);
        }
        let refused: Vec<_> = refused.into_iter().filter(|j| self.is_conn(j.slot, j.generation)).collect();
        for joining in &refused {
            let deny = why(cell.name.as_str());
            if joining.ask.by_server {
                self.say_not_appointed(joining.slot, cell.name.as_str(), &deny);
            } else {
                self.refuse(joining.slot, joining.id, &deny);
            }
        }
        // Before what waited behind them runs: a subscribe among it is to ask the broker anew.
        self.drop_room(key, now);
        for joining in refused {
            self.end_waiting(joining.slot, cell.name.as_str(), now);
        }
    }
}

fn unreachable(channel: &str) -> Deny {
    Deny::new(ErrorCode::Timeout, format!("the broker can't be reached for {channel}; try again"))
}

fn forbidden(channel: &str) -> Deny {
    Deny::new(ErrorCode::PermissionDenied, format!("the new token does not allow {channel}"))
}

/// The body of `subscribed`.
pub(super) fn subscribed<'a>(cell: &'a Cell, ask: &SubscribeAsk, located: &'a Located) -> Subscribed<'a> {
    Subscribed {
        channel: cell.name.as_str(),
        position: located.position.as_ref(),
        recovered: located.recovered,
        replaying: located.replaying,
        presence: ask.watch.then(|| cell.presence_summary()),
        expires_at: ask.entrance.as_ref().and_then(|entrance| entrance.expires_at),
    }
}

/// The refusal of a second subscribe.
pub(super) fn already(channel: &str) -> Deny {
    let text =
        format!("this connection is subscribed to {channel} already; the subscription stays as it was");
    Deny::new(ErrorCode::AlreadySubscribed, text)
}
