//! Carrying commands: what a session asks goes to the node, the hub and the broker, and their answers come back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use everwire_proto::codes::{CloseCode, ErrorCode};
use everwire_proto::command::{Command, Connect};
use everwire_proto::payload::Payload;
use everwire_proto::reply::{Connected, Outgoing, Subscribed, WireLimits};

use super::answers::Pending;
use super::expiry::over_ms;
use super::subscriptions::already;
use super::{Last, Turn};
use crate::channel::Cell;
use crate::node::{Counters, Owner, Seat};
use crate::party::Crowded;
use crate::plant::{Bug, planted};
use crate::ports::Ask;
use crate::session::{Deny, HistoryAsk, Phase, PresenceAsk, PublishAsk, check_rate, member_token};
use crate::time::Now;
use crate::verbs::presence_page;

/// Whoever found no place comes back after a time in this range, ms: one that died in silence is gone by then.
const COME_BACK_MS: [u64; 2] = [10_000, 45_000];

impl Turn {
    pub(super) fn command(&mut self, slot: u32, id: Option<u64>, command: &Command<'_>, now: Now) {
        if let Command::Connect(connect) = command {
            self.connect(slot, id, Some(connect), now);
            return;
        }
        let fresh = self.conn(slot).is_some_and(|c| c.session.phase == Phase::Fresh);
        if fresh && !self.connect(slot, id, None, now) {
            return;
        }
        if let Err(deny) = self.connected_command(slot, id, command, now) {
            self.refuse(slot, id, &deny);
        }
    }

    fn connected_command(
        &mut self,
        slot: u32,
        id: Option<u64>,
        command: &Command<'_>,
        now: Now,
    ) -> Result<(), Deny> {
        let settings = &self.settings;
        let (namespaces, limits) = (&settings.namespaces, &settings.limits);
        let subscribed = self.hub.subscription_count(slot);
        let Some(conn) = self.conns.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return Ok(());
        };
        // Those that wait for their broker are channels too.
        let subscribed = subscribed + conn.waiting.as_ref().map_or(0, |w| w.channels.len());
        let session = &mut conn.session;
        match command {
            Command::Publish(ask) => {
                let last = self.last.as_ref().filter(|last| last.is(&ask.channel));
                let (cell, options) = last.map(|last| (last.cell.clone(), &last.options)).unzip();
                let done = session.ask_publish(ask, options, namespaces)?;
                self.publish(slot, id, &ask.channel, (cell, done), now)?;
            }
            Command::Subscribe(ask) => {
                let full = (subscribed, session.most_channels(limits));
                let done = session.ask_subscribe(ask, namespaces, &*self.node.authority, full, now);
                // A full table does not hide that there is nothing to do.
                let known = self.hub.find(&ask.channel).is_some_and(|key| self.hub.is_subscribed(slot, key));
                if known && done.is_err() {
                    return Err(already(&ask.channel));
                }
                self.subscribe(slot, id, &ask.channel, done?, now)?;
            }
            Command::Unsubscribe { channel } => self.unsubscribe(slot, id, channel, now),
            Command::Presence { channel, limit, after } => {
                let ask = session.ask_presence(channel, *limit, after.as_deref(), namespaces)?;
                self.presence(slot, id, channel, &ask, now)?;
            }
            Command::PresenceUpdate { channel, state } => {
                let ask = session.ask_state(channel, state.as_ref(), namespaces)?;
                self.set_state(slot, id, channel, ask.state)?;
            }
            Command::History(ask) => {
                let done = session.ask_history(ask, namespaces)?;
                self.history(slot, id, &ask.channel, done, now)?;
            }
            Command::Ping => self.reply(slot, id, &Outgoing::Pong),
            Command::Pong | Command::Connect(_) => {}
            Command::Refresh { token } => self.refresh(slot, id, token, now)?,
            Command::Call { method, .. } => {
                let text = format!("no backend answers calls on this server (method {method})");
                return Err(Deny::new(ErrorCode::NotAvailable, text));
            }
        }
        Ok(())
    }

    /// Connects, explicitly or by another first command, whose id a refusal carries. Whether the session stands.
    fn connect(&mut self, slot: u32, id: Option<u64>, connect: Option<&Connect<'_>>, now: Now) -> bool {
        let (node, settings) = (self.node.clone(), self.settings.clone());
        let Some(conn) = self.conn(slot) else { return false };
        let asked = conn.session.ask_connect(connect, &*node.authority, settings.connect_required, now);
        let ask = match asked {
            Ok(ask) => ask,
            Err(deny) => {
                self.refuse(slot, id, &deny);
                if deny.code != ErrorCode::BadRequest {
                    self.close(slot, CloseCode::Unauthorized, deny.code.as_str(), now);
                }
                return false;
            }
        };
        let at = self.conn_key(slot);
        let (user, expires_at) = (ask.identity.user.clone(), ask.identity.expires_at);
        let permit = ask.identity.permit.clone();
        let resumed = ask.resume.map(|key| {
            let key = key?;
            node.resume(key, user.as_deref(), at, now).map(|client| (client, key))
        });
        // One that is resumed takes the place of its old connection, which is about to end.
        let goes_on = matches!(resumed, Some(Some(_)));
        let most = if goes_on { u32::MAX } else { settings.limits.user_connections };
        let party = match user.as_ref().map(|user| node.users.join(user, most)).transpose() {
            Ok(party) => party,
            Err(crowded) => {
                self.turn_away(slot, id, crowded, now);
                return false;
            }
        };
        let Some(conn) = self.conn(slot) else { return false };
        let session = &mut conn.session;
        session.phase = Phase::Connected;
        session.party = party;
        // Drawn now and not when the socket was opened: of two connections that one session had, the later has more.
        session.holder = node.next_holder();
        session.identity = ask.identity;
        session.heartbeat = ask.heartbeat;
        session.token = None;
        match resumed.flatten() {
            Some((_, key)) if planted(Bug::FreshResume) => session.key = key,
            Some((client, key)) => (session.client, session.key) = (client, key),
            None => {
                let user = Owner::of(user.as_deref());
                let seat = Seat { client: session.client, user, at, ended_ms: None, resumed_ms: 0 };
                node.sit(session.key, seat);
            }
        }
        let client = session.client;
        self.hub.name(slot, client);
        // The id of another first command is for that command's own reply.
        let id = connect.and(id);
        let resumed = resumed.map(|r| r.is_some());
        let say = |turn: &mut Self, bodies: &[Subscribed<'_>]| turn.say_connected(slot, id, resumed, bodies);
        self.connect_with(slot, permit.as_ref(), &ask.since, say, now);
        let over = expires_at.map_or(u64::MAX, |at| over_ms(at, now));
        self.arm(slot, over.min(now.mono_ms + settings.times.heartbeat_ms));
        if !self.byes.is_empty() {
            self.say_late_bye(slot, now);
        }
        true
    }

    /// A user has as many connections as one may: it is told, and when to come back.
    fn turn_away(&mut self, slot: u32, id: Option<u64>, crowded: Crowded, now: Now) {
        Counters::count(&self.node.counters.crowded_users);
        let most = crowded.most;
        let text = format!("this user has {most} connections, which is the limit; end one of them first");
        let code = ErrorCode::RateLimited;
        self.refuse(slot, id, &Deny { retry_after_ms: Some(COME_BACK_MS[0]), ..Deny::new(code, text) });
        let message = "this user has too many connections";
        let bye = Outgoing::Bye { code: code.as_str(), message, reconnect: true, after_ms: COME_BACK_MS };
        self.say(slot, None, &bye);
        self.close(slot, CloseCode::Overloaded, message, now);
    }

    fn say_connected(
        &mut self,
        slot: u32,
        id: Option<u64>,
        resumed: Option<bool>,
        subscriptions: &[Subscribed<'_>],
    ) {
        let settings = self.settings.clone();
        let Some(conn) = self.conn(slot) else { return };
        let (session, limits) = (&conn.session, &settings.limits);
        let user = session.identity.user.clone();
        let connected = Connected {
            client: session.client,
            session: session.key,
            resumed,
            node: &settings.name,
            user: user.as_deref(),
            heartbeat_ms: settings.times.heartbeat_ms,
            expires_at: session.identity.expires_at,
            limits: WireLimits {
                message_bytes: limits.message_bytes,
                channels: session.most_channels(limits),
                commands_per_second: session.command_rate(limits).0,
            },
            subscriptions,
            reconnect_spread_ms: settings.times.reconnect_spread_ms,
        };
        self.say(slot, id, &Outgoing::Connected(connected));
    }

    fn publish(
        &mut self,
        slot: u32,
        id: Option<u64>,
        channel: &str,
        (cell, ask): (Option<Arc<Cell>>, PublishAsk),
        now: Now,
    ) -> Result<(), Deny> {
        // life 4/9: carried to the node and its broker; the answer comes back here.
        let cell = match cell {
            Some(cell) => cell,
            None => {
                let cell = self.node.cell(channel, &ask.options, now)?;
                self.last = Some(Last { cell: cell.clone(), options: ask.options });
                cell
            }
        };
        check_rate(&cell, now)?;
        self.node.counters.published.fetch_add(1, Ordering::Relaxed);
        let generation = self.generations[slot as usize];
        self.ask(cell, Ask::Publish(ask.draft), Pending::Publish { slot, generation, id }, now);
        Ok(())
    }

    fn history(
        &mut self,
        slot: u32,
        id: Option<u64>,
        channel: &str,
        ask: HistoryAsk,
        now: Now,
    ) -> Result<(), Deny> {
        let cell = self.node.cell(channel, &ask.options, now)?;
        let generation = self.generations[slot as usize];
        let (channel, epoch) = (cell.name.clone(), ask.query.epoch.clone());
        let pending = Pending::History { slot, generation, id, channel, epoch };
        self.ask(cell, Ask::History(ask.query), pending, now);
        Ok(())
    }

    fn presence(
        &mut self,
        slot: u32,
        id: Option<u64>,
        channel: &str,
        ask: &PresenceAsk,
        now: Now,
    ) -> Result<(), Deny> {
        let cell = self.node.cell(channel, &ask.options, now)?;
        let view = cell.presence(ask.limit, ask.after.map(|(client, _)| client));
        let first = ask.after.map_or(view.summary.version, |(_, version)| version);
        let next = view.next.map(|client| member_token(client, first));
        let page = presence_page(channel, &view, next.as_deref(), first);
        self.reply(slot, id, &Outgoing::Presence(page));
        Ok(())
    }

    fn set_state(
        &mut self,
        slot: u32,
        id: Option<u64>,
        channel: &str,
        state: Option<Arc<Payload>>,
    ) -> Result<(), Deny> {
        let key = self.hub.find(channel).filter(|key| self.hub.is_subscribed(slot, *key));
        let cell = key.and_then(|key| self.hub.cell(key));
        let client = self.conn(slot).map(|c| c.session.client);
        let known = match (cell, client) {
            (Some(cell), Some(client)) => cell.set_member_state(client, state),
            _ => false,
        };
        if !known {
            let text =
                format!("`presence_update` needs a subscription to {channel}, and this connection has none");
            return Err(Deny::new(ErrorCode::NotSubscribed, text));
        }
        self.reply(slot, id, &Outgoing::PresenceUpdated);
        Ok(())
    }
}
