//! Other settings for those who are here already.

use std::sync::Arc;

use everwire_proto::codes::ErrorCode;
use everwire_proto::reply::UnsubscribeReason;

use super::Turn;
use super::subscriptions::Joining;
use crate::channel::{Cell, Namespaces, Options};
use crate::inbox::HubKey;
use crate::node::Settings;
use crate::permit::Right;
use crate::session::{Deny, rule_on};
use crate::time::Now;

/// So many rooms are looked at in a turn, and so many of their subscribers told, before sockets have their turn again.
const AT_ONCE: usize = 1_024;

const ANEW: &str = "what is kept of the channel was changed, and it begins anew; subscribe again";
const UNKNOWN: &str = "the namespace of this channel is not configured any more";
const FORBIDDEN: &str = "the config does not allow this channel any more";

/// A walk over the rooms that there were when the settings changed.
#[derive(Debug)]
pub(super) struct Change {
    before: Arc<Settings>,
    next: u32,
    end: u32,
}

impl Turn {
    /// The node has other settings. Where they are others for its channels, each goes by them already; their subscribers
    /// follow, some in each turn.
    pub(super) fn change_settings(&mut self, rooms: bool) {
        self.settings = self.node.settings();
        self.last = None;
        self.hub.set_outbox_bytes(self.settings.limits.outbox_bytes as usize);
        if rooms {
            // Not what this shard went by: a change that was for no room may have brought the next one with it.
            let before = std::mem::replace(&mut self.followed, self.settings.clone());
            self.changing.push_back(Change { before, next: 0, end: self.hub.room_places() });
        }
    }

    /// Goes on with the rooms that have not followed yet; each is told whole, whoever is in it. Who comes meanwhile comes by
    /// the new settings, so that looking at a room twice does nothing more.
    pub(super) fn follow_settings(&mut self, now: Now) {
        let mut left = AT_ONCE;
        while left > 0
            && !self.is_full()
            && let Some(change) = self.changing.front_mut()
        {
            let (before, index) = (change.before.clone(), change.next);
            if index == change.end {
                self.changing.pop_front();
                continue;
            }
            change.next += 1;
            let mut told = 0;
            if let Some((key, cell)) = self.hub.room_at(index)
                && !cell.name.is_loopback()
            {
                told = self.change_room(key, &cell, &before.namespaces, now);
            }
            left = left.saturating_sub(1 + told);
        }
    }

    /// How many subscribers were looked at.
    fn change_room(&mut self, key: HubKey, cell: &Cell, before: &Namespaces, now: Now) -> usize {
        if cell.is_dead() {
            return self.begin_anew(key, now);
        }
        let (settings, name) = (self.settings.clone(), cell.name.as_str());
        let Some(options) = settings.namespaces.options_of(name) else {
            return self.put_all_out(key, ErrorCode::UnknownChannel, UNKNOWN, false, now);
        };
        let before = before.options_of(name);
        let admits = |o: &Options| (o.access, o.user_channels);
        let mut looked = 0;
        if before.is_none_or(|before| admits(before) != admits(options)) {
            looked += self.put_forbidden_out(key, name, options, now);
        }
        // It may have been off for a moment, and who is a member already stays one.
        if options.presence {
            for slot in self.hub.subscribers(key) {
                looked += 1;
                if let Some(conn) = self.conn(slot) {
                    let (card, holder) = (conn.session.card(), conn.session.holder);
                    cell.enter(card, holder);
                }
            }
        }
        looked
    }

    /// The channel is another one now: its subscribers are to come again. How many they were.
    pub(super) fn begin_anew(&mut self, key: HubKey, now: Now) -> usize {
        self.put_all_out(key, ErrorCode::UnrecoverablePosition, ANEW, true, now)
    }

    /// Nobody stays, nor comes in who waits.
    fn put_all_out(
        &mut self,
        key: HubKey,
        code: ErrorCode,
        message: &str,
        resubscribe: bool,
        now: Now,
    ) -> usize {
        let because = UnsubscribeReason { code: code.as_str(), message, resubscribe };
        let subscribers = self.hub.subscribers(key);
        for slot in &subscribers {
            self.put_out(*slot, key, &because, now);
        }
        self.refuse_joining(key, |_| true, |_| Deny::new(code, message), now);
        subscribers.len()
    }

    /// Who may not subscribe any more does not stay. A token for the channel alone, or the backend, let in for as long as
    /// it said then.
    fn put_forbidden_out(&mut self, key: HubKey, name: &str, options: &Options, now: Now) -> usize {
        let code = ErrorCode::PermissionDenied;
        let because = UnsubscribeReason { code: code.as_str(), message: FORBIDDEN, resubscribe: false };
        let subscribers = self.hub.subscribers(key);
        for slot in subscribers.iter().copied() {
            let Some(conn) = self.conn(slot) else { continue };
            let by_token = conn.entered.iter().flat_map(|e| e.iter()).any(|own| own.key == key);
            if !by_token && !rule_on(&conn.session.identity, name, options, Right::Subscribe).admits() {
                self.put_out(slot, key, &because, now);
            }
        }
        let waiting = self.joining.get(&key).into_iter().flatten().filter(|j| j.ask.entrance.is_none());
        let forbidden = |joining: &&Joining| {
            let conn = self.conns.get(joining.slot as usize).and_then(Option::as_deref);
            conn.is_some_and(|conn| {
                !rule_on(&conn.session.identity, name, options, Right::Subscribe).admits()
            })
        };
        let slots: Vec<_> = waiting.filter(forbidden).map(|joining| joining.slot).collect();
        if !slots.is_empty() {
            let theirs = |j: &Joining| j.ask.entrance.is_none() && slots.contains(&j.slot);
            self.refuse_joining(key, theirs, |_| Deny::new(code, FORBIDDEN), now);
        }
        subscribers.len()
    }
}
