//! What the application's backend orders for connections: subscriptions, an end, a list of them.

use everwire_proto::codes::ErrorCode;
use everwire_proto::reply::{Outgoing, UnsubscribeReason};

use super::expiry::over_ms;
use super::subscriptions::Joining;
use super::{Conn, Turn};
use crate::channel::Wanted;
use crate::inbox::{Listing, Order, Report, Seen};
use crate::ports::Entrance;
use crate::session::{Deny, Phase, SubscribeAsk, known_channel};
use crate::time::Now;

/// So many places are looked at for one report: a list must not hold up the shard.
const LOOKED_AT: usize = 16_384;
/// What a client is told that its backend takes out of a channel.
const ENDED: &str = "the application ended this subscription";

impl Turn {
    /// Does it, for those of this shard's connections that are meant.
    pub(super) fn obey(&mut self, order: &Order, now: Now) -> Report {
        let whom = match order {
            Order::List(listing) => return self.list(listing, now),
            Order::Subscribe { whom, .. } | Order::Unsubscribe { whom, .. } | Order::Refresh { whom, .. } => {
                whom
            }
        };
        let mut report = Report::default();
        for slot in self.slots_of(whom) {
            if !self.conn(slot).is_some_and(|conn| conn.session.phase == Phase::Connected) {
                continue;
            }
            let done = match order {
                Order::Subscribe { channel, since, rewind, .. } => {
                    let wanted = Wanted { since: since.clone(), rewind: *rewind };
                    self.let_in(slot, channel, wanted, now)
                }
                Order::Unsubscribe { channel, .. } => self.take_out(slot, channel, now),
                Order::Refresh { expires_at, .. } => self.set_end(slot, *expires_at, now),
                Order::List(_) => false,
            };
            report.meant += 1;
            report.refused += u64::from(!done);
        }
        report
    }

    /// Subscribes a connection, whatever its token allows. Whether it is subscribed, or about to be.
    fn let_in(&mut self, slot: u32, channel: &str, wanted: Wanted, now: Now) -> bool {
        let settings = self.settings.clone();
        let Ok(options) = known_channel(channel, &settings.namespaces) else { return false };
        let known = self.hub.find(channel).is_some_and(|key| self.hub.is_subscribed(slot, key));
        let subscribed = self.hub.subscription_count(slot);
        let generation = self.generations[slot as usize];
        let Some(conn) = self.conn(slot) else { return false };
        let waiting = conn.waiting.as_ref().map_or(&[][..], |waiting| &waiting.channels);
        if known || waiting.iter().any(|of| **of == *channel) {
            return true;
        }
        if subscribed + waiting.len() >= conn.session.most_channels(&settings.limits) as usize {
            return false;
        }
        let user = conn.session.identity.user.clone();
        let channel_of = channel.into();
        let entrance = Entrance { user, channel: channel_of, expires_at: None, token_id: None, signed_by: 0 };
        let ask = SubscribeAsk {
            options: options.clone(),
            wanted,
            watch: false,
            mute: false,
            // As one that came in by a token for this channel alone: a refresh does not put it out.
            entrance: Some(Box::new(entrance)),
            max_rate: None,
            by_server: true,
        };
        let Ok(key) = self.room_for(channel, &ask, now) else { return false };
        let Some(cell) = self.hub.cell(key) else { return false };
        let due_ms = now.mono_ms + settings.times.ask_ms;
        let joining = Joining { slot, generation, id: None, ask, fetching: false, due_ms };
        self.go_in(key, &cell, joining, now);
        true
    }

    /// Takes a connection out of a channel. Whether it was in it, or about to be.
    fn take_out(&mut self, slot: u32, channel: &str, now: Now) -> bool {
        let Some(key) = self.hub.find(channel) else { return false };
        if self.hub.is_subscribed(slot, key) {
            let code = ErrorCode::PermissionDenied.as_str();
            self.put_out(slot, key, &UnsubscribeReason { code, message: ENDED, resubscribe: false }, now);
            return true;
        }
        let waits = self.joining.get(&key).is_some_and(|all| all.iter().any(|j| j.slot == slot));
        if waits {
            let why = |_: &str| Deny::new(ErrorCode::PermissionDenied, ENDED);
            self.refuse_joining(key, |j| j.slot == slot, why, now);
        }
        waits
    }

    /// Sets when a connection ends, and tells it.
    fn set_end(&mut self, slot: u32, expires_at: u64, now: Now) -> bool {
        let Some(conn) = self.conn(slot) else { return false };
        conn.session.identity.expires_at = Some(expires_at);
        self.say(slot, None, &Outgoing::Refreshed { expires_at: Some(expires_at) });
        self.arm_sooner(slot, over_ms(expires_at, now));
        true
    }

    fn list(&self, listing: &Listing, now: Now) -> Report {
        let Listing { user, client, channel, from, most } = listing;
        let mut report = Report::default();
        let key = channel.as_ref().map(|channel| self.hub.find(channel));
        // Nobody is subscribed to it here.
        if key == Some(None) {
            return report;
        }
        let meant = |slot: u32, conn: &Conn| {
            let session = &conn.session;
            !conn.ended
                && session.phase == Phase::Connected
                && user.as_ref().is_none_or(|user| session.user() == Some(user))
                && client.is_none_or(|client| session.client == client)
                && key.flatten().is_none_or(|key| self.hub.is_subscribed(slot, key))
        };
        // A place that somebody made up may be anywhere.
        let first = *from as usize;
        let last = first.saturating_add(LOOKED_AT).min(self.conns.len());
        for (at, conn) in self.conns.iter().enumerate().take(last).skip(first) {
            let slot = u32::try_from(at).unwrap_or(u32::MAX);
            let Some(conn) = conn.as_deref().filter(|conn| meant(slot, conn)) else {
                continue;
            };
            if report.seen.len() == *most {
                report.next = Some(slot);
                return report;
            }
            report.seen.push(Seen {
                client: conn.session.client,
                user: conn.session.identity.user.clone(),
                channels: self.hub.subscription_count(slot),
                connected_ms: now.mono_ms.saturating_sub(conn.session.opened_ms),
                expires_at: conn.session.identity.expires_at,
            });
        }
        report.next = u32::try_from(last).ok().filter(|_| last < self.conns.len());
        report
    }
}
