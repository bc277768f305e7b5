//! Subscriptions that a token asks for and the server makes. Nobody waits for an answer: what stands when `connected` is
//! said is told in it, what comes later and what can't be is pushed.

use std::sync::Arc;

use everwire_proto::position::Position;
use everwire_proto::reply::{Outgoing, Subscribed, UnsubscribeReason};

use super::Turn;
use super::subscriptions::{Joining, subscribed};
use crate::channel::{Cell, Located};
use crate::inbox::HubKey;
use crate::permit::Permit;
use crate::session::Deny;
use crate::time::Now;

/// A subscription on its way.
struct Appointed {
    key: HubKey,
    cell: Arc<Cell>,
    joining: Joining,
    /// Where it begins, if that is known here and now.
    located: Option<Located>,
}

impl Turn {
    /// Subscribes a connection to what its token names, saying `connected` in between.
    pub(super) fn connect_with(
        &mut self,
        slot: u32,
        permit: Option<&Arc<Permit>>,
        since: &[(Box<str>, Position)],
        say_connected: impl FnOnce(&mut Self, &[Subscribed<'_>]),
        now: Now,
    ) {
        let (mut all, mut refused) = (Vec::new(), Vec::new());
        for channel in permit.iter().flat_map(|permit| permit.subscriptions.iter()) {
            let since = since.iter().find(|(of, _)| of == channel).map(|(_, at)| at.clone());
            match self.appoint(slot, channel, since, all.len(), now) {
                Ok(appointed) => all.extend(appointed),
                Err(deny) => refused.push((channel, deny)),
            }
        }
        let mut bodies = Vec::new();
        for one in &all {
            if let Some(located) = &one.located {
                self.become_member(&one.cell, &one.joining, located);
                bodies.push(subscribed(&one.cell, &one.joining.ask, located));
            }
        }
        say_connected(self, &bodies);
        for one in &all {
            match &one.located {
                Some(located) => self.begin_to_listen(one.key, &one.cell, &one.joining, located, now),
                None => self.go_in(one.key, &one.cell, one.joining.clone(), now),
            }
        }
        for (channel, deny) in refused {
            self.say_not_appointed(slot, channel, &deny);
        }
    }

    /// Subscribes a connection to what a new token names and the old one did not.
    pub(super) fn appoint_new(&mut self, slot: u32, permit: Option<&Arc<Permit>>, now: Now) {
        for channel in permit.iter().flat_map(|permit| permit.subscriptions.iter()) {
            match self.appoint(slot, channel, None, 0, now) {
                Ok(Some(one)) => self.go_in(one.key, &one.cell, one.joining, now),
                Ok(None) => {}
                Err(deny) => self.say_not_appointed(slot, channel, &deny),
            }
        }
    }

    /// `None`: it is subscribed, or about to be.
    fn appoint(
        &mut self,
        slot: u32,
        channel: &str,
        since: Option<Position>,
        before: usize,
        now: Now,
    ) -> Result<Option<Appointed>, Deny> {
        let known = self.hub.find(channel).is_some_and(|key| self.hub.is_subscribed(slot, key));
        let subscribed = self.hub.subscription_count(slot) + before;
        let settings = self.settings.clone();
        let generation = self.generations[slot as usize];
        let Some(conn) = self.conn(slot).filter(|_| !known) else { return Ok(None) };
        let waiting = conn.waiting.as_ref().map_or(&[][..], |waiting| &waiting.channels);
        if waiting.iter().any(|of| **of == *channel) {
            return Ok(None);
        }
        let full = (subscribed + waiting.len(), conn.session.most_channels(&settings.limits));
        let ask = conn.session.ask_appointed(channel, since, &settings.namespaces, full)?;
        let key = self.room_for(channel, &ask, now)?;
        let Some(cell) = self.hub.cell(key) else { return Ok(None) };
        let located = cell.is_live().then(|| cell.locate(&ask.wanted, now)).filter(|located| !located.fetch);
        let due_ms = now.mono_ms + settings.times.ask_ms;
        let joining = Joining { slot, generation, id: None, ask, fetching: false, due_ms };
        Ok(Some(Appointed { key, cell, joining, located }))
    }

    pub(super) fn say_not_appointed(&mut self, slot: u32, channel: &str, deny: &Deny) {
        let because = UnsubscribeReason {
            code: deny.code.as_str(),
            message: &deny.message,
            resubscribe: deny.code.retryable(),
        };
        self.say(slot, None, &Outgoing::Unsubscribed { channel, because: Some(because) });
    }
}
