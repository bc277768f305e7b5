//! Other settings for those who are here already.

use everwire_proto::codes::ErrorCode;
use everwire_proto::reply::UnsubscribeReason;

use super::Turn;
use super::subscriptions::Joining;
use crate::channel::{Cell, Namespaces, Options};
use crate::inbox::HubKey;
use crate::permit::Right;
use crate::session::{Deny, rule_on};
use crate::time::Now;

const ANEW: &str = "what is kept of the channel was changed, and it begins anew; subscribe again";
const UNKNOWN: &str = "the namespace of this channel is not configured any more";
const FORBIDDEN: &str = "the config does not allow this channel any more";

impl Turn {
    /// The node has other settings. Each channel goes by them already; its subscribers follow here.
    pub(super) fn change_settings(&mut self, now: Now) {
        let before = std::mem::replace(&mut self.settings, self.node.settings());
        self.hub.set_outbox_bytes(self.settings.limits.outbox_bytes as usize);
        for key in self.hub.keys() {
            if let Some(cell) = self.hub.cell(key) {
                self.change_room(key, &cell, &before.namespaces, now);
            }
        }
    }

    fn change_room(&mut self, key: HubKey, cell: &Cell, before: &Namespaces, now: Now) {
        if cell.is_dead() {
            let code = ErrorCode::UnrecoverablePosition;
            return self.put_all_out(key, code, ANEW, true, now);
        }
        let (settings, name) = (self.settings.clone(), cell.name.as_str());
        let Some(options) = settings.namespaces.options_of(name) else {
            return self.put_all_out(key, ErrorCode::UnknownChannel, UNKNOWN, false, now);
        };
        let before = before.options_of(name);
        let admits = |o: &Options| (o.access, o.user_channels);
        if before.is_none_or(|before| admits(before) != admits(options)) {
            self.put_forbidden_out(key, name, options, now);
        }
        if options.presence && before.is_none_or(|before| !before.presence) {
            for slot in self.hub.subscribers(key) {
                if let Some(conn) = self.conn(slot) {
                    let (card, holder) = (conn.session.card(), conn.session.holder);
                    cell.enter(card, holder);
                }
            }
        }
    }

    /// Nobody stays, nor comes in who waits.
    fn put_all_out(&mut self, key: HubKey, code: ErrorCode, message: &str, resubscribe: bool, now: Now) {
        let because = UnsubscribeReason { code: code.as_str(), message, resubscribe };
        for slot in self.hub.subscribers(key) {
            self.put_out(slot, key, &because, now);
        }
        self.refuse_joining(key, |_| true, |_| Deny::new(code, message), now);
    }

    /// Who may not subscribe any more does not stay. A token for the channel alone, or the backend, let in for as long as
    /// it said then.
    fn put_forbidden_out(&mut self, key: HubKey, name: &str, options: &Options, now: Now) {
        let code = ErrorCode::PermissionDenied;
        let because = UnsubscribeReason { code: code.as_str(), message: FORBIDDEN, resubscribe: false };
        for slot in self.hub.subscribers(key) {
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
    }
}
