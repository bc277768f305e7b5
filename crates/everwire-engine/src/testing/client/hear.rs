//! What a client hears, held against what it knows.

use std::collections::BTreeSet;

use everwire_proto::position::Position;
use serde_json::{Value, json};

use super::{Asked, Client, Pages, Sub, View, Walk, has_no_history, has_presence, position_of};
use crate::testing::ledger::Check;
use crate::testing::shape;
use crate::testing::watch::Watch;

impl Sub {
    /// Where a subscription begins, and the gap that is due first, by what `subscribed` answered.
    fn begin(
        &mut self,
        channel: &str,
        since: Option<Position>,
        rewind: Option<u64>,
        frame: &Value,
        view: &View<'_>,
    ) -> Check {
        let recovered = frame["recovered"].as_bool();
        let replaying = frame["replaying"].as_u64();
        match (&self.top, &since, recovered) {
            (None, Some(_), Some(false)) => self.lost_due = true,
            (None, None, None) => {}
            (Some(top), Some(since), Some(true)) => {
                if since.epoch != top.epoch || since.offset > top.offset {
                    return Err("recovered from a place that is not in this stream".to_owned());
                }
                if view.contiguous && replaying != Some(top.offset - since.offset) {
                    return Err(format!("replaying must be {}", top.offset - since.offset));
                }
                self.last = Some(since.clone());
            }
            (Some(top), Some(since), Some(false)) => {
                if since == top {
                    return Err("the top itself is always recovered".to_owned());
                }
                self.gap_due = Some((since.clone(), top.clone()));
                self.last = Some(since.clone());
            }
            (Some(top), _, None) if rewind.is_some() || since.is_none() => {
                let count = replaying.unwrap_or(0);
                if rewind.is_none() != replaying.is_none() || count > rewind.unwrap_or(0) {
                    return Err("a rewind gives at most what was asked".to_owned());
                }
                let begin = view.ledger.back(channel, top, count);
                if let Some(since) = since {
                    self.gap_due = Some((since.clone(), begin));
                    self.last = Some(since);
                } else {
                    self.last = Some(begin);
                }
            }
            _ => return Err(format!("no such answer to since {since:?}, rewind {rewind:?}")),
        }
        Ok(())
    }
}

impl Client {
    pub(super) fn frame(&mut self, frame: &Value, view: &mut View<'_>) -> Check {
        // What had to be left out of its outbox for the goodbye may be told behind it.
        if self.bye && !matches!(frame["type"].as_str(), Some("gap" | "presence_reset")) {
            return Err("nothing follows a goodbye".to_owned());
        }
        let kind = frame["type"].as_str().unwrap_or_default();
        if let Some(id) = frame["id"].as_u64() {
            let asked = self.asked.remove(&id).ok_or("a reply to nothing")?;
            return self.reply(kind, asked, frame, view);
        }
        match kind {
            "message" => self.message(frame, view),
            "gap" => self.gap(frame, view),
            "join" | "leave" | "presence_state" | "presence_reset" => {
                view.report.presence_resets += u64::from(kind == "presence_reset");
                self.presence_event(kind, frame)
            }
            "ping" => {
                self.send(&json!({"type": "pong"}));
                Ok(())
            }
            "connected" => {
                let asked = self.connecting.take().ok_or("it did not connect without an id")?;
                self.reply(kind, asked, frame, view)
            }
            "error" => self.refused_unasked(frame, view),
            "bye" => {
                let after = frame["after_ms"].as_array().map(Vec::len);
                if (frame["code"].as_str(), frame["reconnect"].as_bool(), after)
                    != (Some("draining"), Some(true), Some(2))
                {
                    return Err("that is no goodbye".to_owned());
                }
                self.bye = true;
                Ok(())
            }
            _ => Err("an unexpected push".to_owned()),
        }
    }

    fn reply(&mut self, kind: &str, asked: Asked, frame: &Value, view: &mut View<'_>) -> Check {
        if kind == "error" {
            return self.refused(&asked, frame, view);
        }
        match (kind, asked) {
            ("connected", Asked::Connect { resume }) => {
                let me = frame["client"].as_str().map(str::to_owned);
                let resumed = frame["resumed"].as_bool();
                if resumed.is_some() != resume || (resumed == Some(true) && me != self.me) {
                    return Err("a resumed session keeps its client, and nobody else's".to_owned());
                }
                view.report.resumed += u64::from(resumed == Some(true));
                (self.me, self.connected) = (me, true);
                self.session = frame["session"].as_str().map(str::to_owned);
                Ok(())
            }
            ("subscribed", Asked::Subscribe { channel, since, rewind, mute, watch, genuine_ms, .. }) => {
                let top = position_of(&frame["position"]);
                let ahead = since.as_ref().zip(top).is_some_and(|(s, t)| {
                    s.epoch == t.epoch && s.offset > t.offset && view.ledger.is_current(&channel, s)
                });
                // Within this time every ask of a broker was answered, if it was taken.
                if ahead && view.untroubled && genuine_ms.is_some_and(|at| at + 9_000 > view.now_ms) {
                    return Err("promise 2: it had that position, and the stream does not".to_owned());
                }
                self.subscribed(channel, since, rewind, (mute, watch), frame, view)
            }
            ("unsubscribed", Asked::Unsubscribe { channel }) => {
                let sub = self.subs.remove(&channel).ok_or("it was not subscribed")?;
                if let Some(last) = sub.last.filter(|_| sub.gap_due.is_none()) {
                    self.known.insert(channel.clone(), last);
                }
                let mine = self.me.clone().unwrap_or_default();
                // The same id may be in again by a later command of this connection.
                if view.open && !self.is_moving(&channel) && (view.members)(&channel).contains(&mine) {
                    return Err(format!("promise 6: {channel}: still a member after `unsubscribed`"));
                }
                Ok(())
            }
            ("published", Asked::Publish { channel, payload, volatile }) => {
                let duplicate = frame["duplicate"].as_bool().unwrap_or(false);
                view.report.duplicates += u64::from(duplicate);
                match (position_of(&frame["position"]), volatile || has_no_history(&channel)) {
                    (Some(position), false) => view.ledger.acked(&channel, &payload, &position, duplicate),
                    (None, true) => {
                        view.ledger.taken(&channel, &payload);
                        Ok(())
                    }
                    _ => Err("a position stands iff the message is stored".to_owned()),
                }
            }
            ("history", Asked::History { channel, ask }) => self.page(&channel, ask, frame, view),
            ("presence", Asked::Presence { channel, walk }) => self.members(&channel, walk, frame, view),
            ("presence_updated", Asked::State) | ("pong", Asked::Ping) => Ok(()),
            (_, asked) => Err(format!("not the reply to {asked:?}")),
        }
    }

    fn page(&mut self, channel: &str, ask: Pages, frame: &Value, view: &mut View<'_>) -> Check {
        let top = position_of(&frame["position"]).ok_or("a page has a position")?;
        let mut last: Option<u64> = None;
        let messages = frame["messages"].as_array().ok_or("a page has messages")?;
        let in_order: Vec<_> =
            if ask.reverse { messages.iter().rev().collect() } else { messages.iter().collect() };
        for message in in_order {
            let offset = message["offset"].as_u64().ok_or("stored messages have offsets")?;
            let at = Position { epoch: top.epoch.clone(), offset };
            if let Some(last) = last {
                let before = Position { epoch: top.epoch.clone(), offset: last };
                view.ledger.follows(channel, &before, offset, None)?;
            }
            view.ledger.saw(channel, &at, &shape::read(message)?)?;
            let inside = ask.since.as_ref().is_none_or(|s| offset > s.offset)
                && ask.before.as_ref().is_none_or(|b| offset < b.offset);
            if !inside || ask.since.iter().chain(&ask.before).any(|p| p.epoch != top.epoch) {
                return Err(format!("{offset} is not what was asked for: {ask:?}"));
            }
            last = Some(offset);
        }
        if messages.len() as u64 > ask.limit {
            return Err("more than was asked for".to_owned());
        }
        let end = messages.last().and_then(|m| m["offset"].as_u64());
        match position_of(&frame["next"]) {
            Some(next) if Some(next.offset) != end => Err("`next` is the end of the page".to_owned()),
            Some(next) => {
                view.report.history_pages += 1;
                let ask = if ask.reverse {
                    Pages { before: Some(next), since: None, ..ask }
                } else {
                    Pages { since: Some(next), before: None, ..ask }
                };
                self.history(channel, ask);
                Ok(())
            }
            None if !ask.reverse && ask.before.is_none() && end.is_some_and(|end| end != top.offset) => {
                Err("the last page ends at the top".to_owned())
            }
            None => Ok(()),
        }
    }

    /// A page of members: in order, each once, and where nothing changed meanwhile exactly who is there.
    fn members(&mut self, channel: &str, mut walk: Walk, frame: &Value, view: &mut View<'_>) -> Check {
        let version = frame["version"].as_u64().ok_or("a page has a version")?;
        let first = *walk.first_version.get_or_insert(version);
        let stale = frame["stale"].as_bool().unwrap_or(false);
        if stale != (first != version) {
            return Err(format!("stale iff the version is another than the first page's {first}"));
        }
        walk.stale |= stale;
        view.report.stale_pages += u64::from(stale);
        let list = frame["members"].as_array().ok_or("a page has members")?;
        if list.len() as u64 > walk.limit {
            return Err("more members than were asked for".to_owned());
        }
        for member in list {
            let client = member["client"].as_str().ok_or("a member has a client")?;
            if walk.seen.contains(&client.to_owned()) {
                return Err(format!("{client} stands on two pages"));
            }
            walk.seen.push(client.to_owned());
            walk.users.insert(member["user"].as_str().unwrap_or(client).to_owned());
        }
        if let Some(next) = frame["next"].as_str() {
            view.report.presence_pages += 1;
            self.presence_page(channel, walk, Some(next));
            return Ok(());
        }
        // Not of a channel that may have been evicted since, and counts from 1 again.
        let leaves = |asked: &Asked| matches!(asked, Asked::Unsubscribe { channel: left } if left == channel);
        let here = view.open && self.subs.contains_key(channel) && !self.asked.values().any(leaves);
        if here && !walk.stale && (view.summary)(channel).version == version {
            let seen: BTreeSet<_> = walk.seen.iter().cloned().collect();
            let (users, clients) = (frame["users"].as_u64(), frame["clients"].as_u64());
            let counted = (Some(walk.users.len() as u64), Some(walk.seen.len() as u64));
            if seen != (view.members)(channel) || (users, clients) != counted {
                return Err(format!("the pages say {seen:?}, {counted:?} of them"));
            }
            view.report.presence_walks += 1;
        }
        if walk.limit == 1_000
            && let Some(watch) = self.subs.get_mut(channel).and_then(|s| s.watch.as_mut())
        {
            watch.snapshot(frame);
        }
        Ok(())
    }

    fn subscribed(
        &mut self,
        channel: String,
        since: Option<Position>,
        rewind: Option<u64>,
        (mute, watch): (bool, bool),
        frame: &Value,
        view: &mut View<'_>,
    ) -> Check {
        let top = position_of(&frame["position"]);
        if top.is_some() == has_no_history(&channel) {
            return Err("a position stands iff the channel has history".to_owned());
        }
        let recovered = frame["recovered"].as_bool();
        let replaying = frame["replaying"].as_u64();
        view.report.recovered += u64::from(recovered == Some(true));
        view.report.unrecovered += u64::from(recovered == Some(false));
        let mut sub = Sub {
            last: top.clone(),
            top: top.clone(),
            gap_due: None,
            lost_due: false,
            replay_left: Some(replaying.unwrap_or(0)),
            mute,
            watch: watch.then(Watch::default),
            volatile: BTreeSet::new(),
            since_tick: view.ledger.next_tick(),
            lost_tick: 0,
        };
        sub.begin(&channel, since, rewind, frame, view)?;
        let mine = self.me.clone().unwrap_or_default();
        if view.open
            && !self.is_moving(&channel)
            && has_presence(&channel)
            && !(view.members)(&channel).contains(&mine)
        {
            return Err(format!("promise 6: {channel}: subscribed and no member"));
        }
        if self.subs.insert(channel.clone(), sub).is_some() {
            return Err("subscribed twice".to_owned());
        }
        let leaving = self.asked.values().filter(|asked| matches!(asked, Asked::Unsubscribe { .. }));
        if self.subs.len() > view.limits.channels as usize + leaving.count() {
            return Err("more channels than a connection may have".to_owned());
        }
        if watch {
            self.presence(&channel, 1_000);
        }
        Ok(())
    }

    fn message(&mut self, frame: &Value, view: &mut View<'_>) -> Check {
        let channel = frame["channel"].as_str().unwrap_or_default();
        let sub =
            self.subs.get_mut(channel).ok_or("promise 5: a message of a channel it is not subscribed to")?;
        let payload = &shape::read(frame)?;
        view.report.delivered += 1;
        let own = frame["from"]["client"].as_str() == self.me.as_deref();
        if sub.gap_due.is_some() || sub.lost_due {
            return Err("a gap was due first".to_owned());
        }
        let Some(offset) = frame["offset"].as_u64() else {
            if own && sub.mute {
                return Err("its own message, though it subscribed with `echo:false`".to_owned());
            }
            if !sub.volatile.insert(payload.to_owned()) {
                return Err("a volatile message came twice".to_owned());
            }
            return view.ledger.saw_volatile(channel, payload);
        };
        let (Some(last), Some(top)) = (&mut sub.last, &sub.top) else {
            return Err("an offset in a channel without history".to_owned());
        };
        let is_replay = last.epoch == top.epoch && offset <= top.offset;
        if own && sub.mute && !is_replay {
            return Err("its own message, though it subscribed with `echo:false`".to_owned());
        }
        view.ledger.follows(channel, last, offset, sub.mute.then_some(self.number))?;
        last.offset = offset;
        view.ledger.saw(channel, last, payload)?;
        match (&mut sub.replay_left, is_replay) {
            (Some(0), true) => Err("more replay than was announced".to_owned()),
            (Some(left), true) => {
                *left -= 1;
                Ok(())
            }
            (Some(left), false) if *left > 0 => {
                Err("a newer message before the end of the replay".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn gap(&mut self, frame: &Value, view: &mut View<'_>) -> Check {
        let channel = frame["channel"].as_str().unwrap_or_default();
        let sub =
            self.subs.get_mut(channel).ok_or("promise 5: a gap of a channel it is not subscribed to")?;
        view.report.gaps += 1;
        let (from, to) = (position_of(&frame["from"]), position_of(&frame["to"]));
        let (Some(from), Some(to)) = (from, to) else {
            if !(frame["from"].is_null() && frame["to"].is_null()) {
                return Err("a gap has both positions or none".to_owned());
            }
            sub.lost_due = false;
            sub.lost_tick = view.ledger.next_tick();
            view.report.volatile_gaps += 1;
            return Ok(());
        };
        let last = sub.last.as_ref().ok_or("a gap with positions in a channel without history")?;
        match sub.gap_due.take() {
            Some(due) if due.0 != from || !view.ledger.is_same(channel, &due.1, &to) => {
                return Err(format!("the gap that was due is {due:?}"));
            }
            Some(_) => {}
            // Eviction overtook the replay: what was announced need not come.
            None => sub.replay_left = None,
        }
        let spared = sub.mute && from.epoch == last.epoch && from.offset > last.offset;
        if spared {
            view.ledger.follows_to(channel, last, from.offset, self.number)?;
        } else if from != *last {
            return Err(format!("the gap does not begin where the client is: {last:?}"));
        }
        sub.last = Some(to);
        Ok(())
    }

    fn presence_event(&mut self, kind: &str, frame: &Value) -> Check {
        let channel = frame["channel"].as_str().unwrap_or_default();
        let sub =
            self.subs.get_mut(channel).ok_or("promise 5: presence of a channel it is not subscribed to")?;
        let watch = sub.watch.as_mut().ok_or("presence that nobody asked for")?;
        if kind == "join" && frame["member"]["client"].as_str() == self.me.as_deref() {
            return Err("its own join".to_owned());
        }
        if watch.event(kind, frame)? {
            let channel = channel.to_owned();
            self.presence(&channel, 1_000);
        }
        Ok(())
    }

    /// A refusal of something that had no id, or could not be read.
    fn refused_unasked(&mut self, frame: &Value, view: &mut View<'_>) -> Check {
        let code = frame["code"].as_str().unwrap_or_default();
        if matches!(code, "bad_request" | "unknown_type") && self.bad_heard < self.bad_sent_ms.len() {
            self.bad_heard += 1;
            view.report.unreadable += 1;
            // All that was refused since then came within this time; the last but one was one too many.
            let window = self.bad_heard.checked_sub(view.limits.bad_commands as usize + 2);
            let since = window.map(|at| self.bad_sent_ms[at]);
            return match since.filter(|at| at + 10_000 >= view.now_ms) {
                Some(at) => Err(format!("section 2: too much that can't be read since {at}, and it goes on")),
                None => Ok(()),
            };
        }
        let by_broker = !view.contiguous && matches!(code, "timeout" | "not_available");
        if self.unasked > 0 && (by_broker || matches!(code, "overloaded" | "rate_limited")) {
            return Ok(());
        }
        Err("nothing was asked that this could refuse".to_owned())
    }

    fn refused(&mut self, asked: &Asked, frame: &Value, view: &mut View<'_>) -> Check {
        let code = frame["code"].as_str().unwrap_or_default();
        view.report.refused += 1;
        if let Asked::Publish { payload, .. } = asked {
            self.refused.insert(payload.clone());
        }
        if let Asked::Presence { channel, walk: Walk { limit: 1_000, .. } } = asked
            && self.subs.get(channel).is_some_and(|sub| sub.watch.is_some())
        {
            // It still does not know who is there.
            self.presence(channel, 1_000);
        }
        let by_broker = !view.contiguous && matches!(code, "timeout" | "overloaded" | "not_available");
        match asked {
            _ if code == "rate_limited" => {
                view.report.rate_limited += 1;
                let wait = frame["retry_after_ms"].as_u64().unwrap_or(0);
                if wait > 2_000 { Ok(()) } else { Err(format!("it could have waited {wait} ms")) }
            }
            Asked::Subscribe { crowd, .. }
                if code == "limit_exceeded" && *crowd >= view.limits.channels as usize =>
            {
                view.report.limited += 1;
                Ok(())
            }
            Asked::History { ask, .. } if code == "unrecoverable_position" => {
                let here = position_of(&frame["position"]).ok_or("it says where the stream is")?;
                let mut asked = ask.since.iter().chain(&ask.before);
                if asked.any(|p| p.epoch != here.epoch) {
                    Ok(())
                } else {
                    Err("that was its position".to_owned())
                }
            }
            Asked::Wrong(wanted) if code == *wanted => Ok(()),
            Asked::Publish { .. } | Asked::Subscribe { .. } | Asked::History { .. } if by_broker => Ok(()),
            // Every channel that the node may know is in use.
            Asked::Publish { .. }
            | Asked::Subscribe { .. }
            | Asked::History { .. }
            | Asked::Presence { .. }
                if code == "overloaded" =>
            {
                view.report.full += 1;
                Ok(())
            }
            // The subscription ended while the command was on its way.
            Asked::State if code == "not_subscribed" => Ok(()),
            asked => Err(format!("{asked:?} was refused")),
        }
    }
}
