//! Tokens that end while their connection lives, and those that take their place.

use everwire_proto::codes::ErrorCode;
use everwire_proto::reply::{Outgoing, UnsubscribeReason};

use super::subscriptions::Joining;
use super::{Entered, Turn};
use crate::inbox::HubKey;
use crate::limits::LEEWAY_MS;
use crate::permit::Right;
use crate::ports::Entrance;
use crate::session::{Deny, rule_on};
use crate::time::Now;

const REVOKED: &str = "the token for this channel was revoked; subscribe with another one";

/// When a token that ends then has ended for everybody, on the clock that never jumps. The wall clock may be set
/// meanwhile: whoever waits looks again.
pub(super) fn over_ms(expires_at: u64, now: Now) -> u64 {
    now.mono_ms + (expires_at.saturating_add(LEEWAY_MS)).saturating_sub(now.unix_ms)
}

impl Turn {
    /// A new token in place of the old one. What it no longer allows ends.
    pub(super) fn refresh(&mut self, slot: u32, id: Option<u64>, token: &str, now: Now) -> Result<(), Deny> {
        let node = self.node.clone();
        let Some(conn) = self.conn(slot) else { return Ok(()) };
        let fresh = conn.session.ask_refresh(token, &*node.authority, now)?;
        let (expires_at, permit) = (fresh.expires_at, fresh.permit.clone());
        conn.session.refresh(fresh);
        self.reply(slot, id, &Outgoing::Refreshed { expires_at });
        if let Some(expires_at) = expires_at {
            self.arm_sooner(slot, over_ms(expires_at, now));
        }
        self.leave_forbidden(slot, now);
        self.refuse_forbidden(slot, now);
        self.appoint_new(slot, permit.as_ref(), now);
        Ok(())
    }

    /// Takes a connection out of the channels that it may not be in any more.
    fn leave_forbidden(&mut self, slot: u32, now: Now) {
        for key in self.hub.subscriptions(slot) {
            let Some(cell) = self.hub.cell(key) else { continue };
            let Some(conn) = self.conn(slot) else { return };
            let by_token = conn.entered.iter().flat_map(|e| e.iter()).any(|own| own.key == key);
            let name = cell.name.as_str();
            if !by_token && !rule_on(&conn.session.identity, name, &cell.options(), Right::Subscribe).admits()
            {
                let message = "the new token does not allow this channel";
                let code = ErrorCode::PermissionDenied.as_str();
                self.put_out(slot, key, &UnsubscribeReason { code, message, resubscribe: false }, now);
            }
        }
    }

    /// Ends one subscription from this side.
    pub(super) fn put_out(&mut self, slot: u32, key: HubKey, because: &UnsubscribeReason<'_>, now: Now) {
        let Some(cell) = self.hub.cell(key) else { return };
        self.forget_entrance(slot, key);
        self.leave_room(slot, key, now);
        if let Some(conn) = self.conn(slot) {
            let (client, holder) = (conn.session.client, conn.session.holder);
            cell.leave(client, holder);
        }
        let channel = cell.name.as_str();
        self.say(slot, None, &Outgoing::Unsubscribed { channel, because: Some(*because) });
    }

    /// Remembers that a subscription hangs on a token of its own.
    pub(super) fn note_entrance(&mut self, slot: u32, key: HubKey, entrance: &Entrance, now: Now) {
        let (expires_at, token_id) = (entrance.expires_at, entrance.token_id.clone());
        if let Some(conn) = self.conn(slot) {
            conn.entered.get_or_insert_default().push(Entered { key, ends: expires_at, token_id });
        }
        if let Some(expires_at) = expires_at {
            self.arm_sooner(slot, over_ms(expires_at, now));
        }
    }

    pub(super) fn forget_entrance(&mut self, slot: u32, key: HubKey) {
        let Some(conn) = self.conn(slot) else { return };
        if let Some(entered) = &mut conn.entered {
            entered.retain(|own| own.key != key);
            if entered.is_empty() {
                conn.entered = None;
            }
        }
    }

    /// A token is accepted no more: subscriptions that hang on it end, and those that are on their way are refused.
    pub(super) fn end_entrances(&mut self, token_id: &str, now: Now) {
        let is_it = |own: &Option<Box<str>>| own.as_deref() == Some(token_id);
        let mut out = Vec::new();
        for (slot, conn) in (0u32..).zip(&self.conns) {
            let entered = conn.as_deref().filter(|c| !c.ended).and_then(|c| c.entered.as_deref());
            let theirs = entered.into_iter().flatten().filter(|own| is_it(&own.token_id));
            out.extend(theirs.map(|own| (slot, own.key)));
        }
        for (slot, key) in out {
            let code = ErrorCode::TokenInvalid.as_str();
            self.put_out(slot, key, &UnsubscribeReason { code, message: REVOKED, resubscribe: false }, now);
        }
        let waits_by =
            |joining: &Joining| joining.ask.entrance.as_ref().is_some_and(|own| is_it(&own.token_id));
        let waits = |list: &Vec<Joining>| list.iter().any(waits_by);
        let mut keys: Vec<_> = self.joining.iter().filter(|(_, l)| waits(l)).map(|(key, _)| *key).collect();
        keys.sort_unstable_by_key(|key| key.index);
        for key in keys {
            let revoked = |_: &str| Deny::new(ErrorCode::TokenInvalid, REVOKED);
            self.refuse_joining(key, waits_by, revoked, now);
        }
    }

    /// Ends the subscriptions whose own tokens have ended; when the next one does.
    pub(super) fn expire_entrances(
        &mut self,
        slot: u32,
        now: Now,
        reached: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        let entered = self.conn(slot)?.entered.as_ref()?;
        let due: Vec<_> = entered.iter().filter_map(|own| Some((own.key, over_ms(own.ends?, now)))).collect();
        let mut next = None;
        for (key, due) in due {
            if reached(due) {
                let message = "the token for this channel ran out; subscribe with a fresh one";
                let code = ErrorCode::TokenExpired.as_str();
                self.put_out(slot, key, &UnsubscribeReason { code, message, resubscribe: true }, now);
            } else {
                next = Some(next.map_or(due, |next: u64| next.min(due)));
            }
        }
        next
    }
}
