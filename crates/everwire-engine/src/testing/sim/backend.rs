//! The application's backend, which publishes and reads by the HTTP API's verbs, and at once.

use everwire_proto::codes::ErrorCode;
use everwire_proto::command::{History, Publish, Since};
use everwire_proto::payload::Data;

use super::Sim;
use crate::testing::client::{has_no_history, has_presence};
use crate::testing::ledger::{BACKEND, Check, payload_of};
use crate::testing::shape;
use crate::verbs;

impl Sim {
    pub(super) fn some_backend(&mut self) -> Check {
        let channel = self.some_channel();
        self.report.backend += 1;
        match self.rng.below(3) {
            0 => self.backend_publish(&channel),
            1 if !has_no_history(&channel) => self.backend_history(&channel),
            _ if has_presence(&channel) => self.backend_presence(&channel),
            _ => Ok(()),
        }
    }

    fn backend_publish(&mut self, channel: &str) -> Check {
        let volatile = has_no_history(channel) || self.rng.chance(200);
        let keyed = !volatile && self.rng.chance(500);
        let shape = ["", "B", "T", "BT"][self.rng.below(4)];
        self.backend_sent += 1;
        let text = shape::text("backend", self.backend_sent, shape, self.rng.below(40), keyed);
        let json = format!("{text:?}");
        let tags = shape::tags_of(&text);
        let ask = Publish {
            channel: channel.into(),
            data: if shape::is_binary(&text) {
                Data::Binary(text.as_bytes().into())
            } else {
                Data::Json(json.as_bytes().into())
            },
            message_id: keyed.then(|| text.as_str().into()),
            tags: tags.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
            volatile,
        };
        let node = self.cluster.nodes[self.rng.below(self.cluster.nodes.len())].node.clone();
        let twice = if keyed { 2 } else { 1 };
        for time in 0..twice {
            self.ledger.sent(channel, &text, (BACKEND, self.backend_sent), volatile);
            match verbs::publish(&node, &ask, self.cluster.now) {
                Ok((Some(position), duplicate)) if !volatile && duplicate == (time > 0) => {
                    self.ledger.acked(channel, &text, &position, duplicate)?;
                }
                Ok((None, false)) if volatile => self.ledger.taken(channel, &text),
                Err(deny) if deny.code == ErrorCode::Overloaded => self.report.full += 1,
                // The API of a node whose broker answers later.
                Err(deny) if deny.code == ErrorCode::NotAvailable && self.cluster.central.is_some() => {}
                other => return Err(format!("the backend's publish to {channel}: {other:?}")),
            }
        }
        Ok(())
    }

    /// A page as the API gives it, against the whole history, read in the plainest way.
    fn backend_history(&mut self, channel: &str) -> Check {
        let Some((floor, kept)) = self.kept(channel).filter(|_| self.cluster.central.is_none()) else {
            return Ok(());
        };
        let node = self.cluster.nodes[0].node.clone();
        let Some(top) = node.find(channel).map(|cell| cell.top()) else { return Ok(()) };
        let rng = &mut self.rng;
        let (limit, reverse) = (rng.between(1, 8), rng.chance(500));
        let foreign = rng.chance(100);
        let epoch = if foreign { "foreign" } else { top.epoch.as_str() };
        let offset = rng.between(floor.offset.saturating_sub(2), top.offset + 2);
        let place = Some(Since { epoch: epoch.into(), offset });
        let (since, before) = match rng.below(3) {
            0 => (place, None),
            1 => (None, place),
            _ => (None, None),
        };
        let (after, until) = (since.as_ref().map(|p| p.offset), before.as_ref().map(|p| p.offset));
        let bounded = since.is_some() || before.is_some();
        let ask = History { channel: channel.into(), limit: Some(limit), since, before, reverse };
        let found = verbs::history(&node, &ask, self.cluster.now);
        if foreign && bounded {
            let refused = found.is_err_and(|d| {
                d.code == ErrorCode::UnrecoverablePosition && d.position.as_ref() == Some(&top)
            });
            return if refused { Ok(()) } else { Err(format!("{channel}: a position of another epoch")) };
        }
        let (_, page) = found.map_err(|deny| format!("the backend's history of {channel}: {deny:?}"))?;
        let inside = |at: u64| after.is_none_or(|after| at > after) && until.is_none_or(|until| at < until);
        let mut expected: Vec<_> = kept.into_iter().filter(|(at, _)| inside(*at)).collect();
        if reverse {
            expected.reverse();
        }
        let more = expected.len() as u64 > limit;
        expected.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let messages = page.entries.iter().filter(|e| e.is_message());
        let got: Vec<_> =
            messages.filter_map(|e| Some((e.position.as_ref()?.offset, payload_of(e)?))).collect();
        if got != expected || page.more != more || page.position != top {
            return Err(format!("{channel}: {ask:?} gave {got:?}, more: {}, not {expected:?}", page.more));
        }
        Ok(())
    }

    fn backend_presence(&mut self, channel: &str) -> Check {
        let at = self.rng.below(self.cluster.nodes.len());
        let node = self.cluster.nodes[at].node.clone();
        let limit = 1 + self.rng.below(4);
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let view = match verbs::presence(&node, channel, limit, after, self.cluster.now) {
                Err(deny) if deny.code == ErrorCode::Overloaded => return Ok(()),
                other => other.map_err(|deny| format!("the backend's presence of {channel}: {deny:?}"))?,
            };
            seen.extend(view.members.iter().map(|m| m.client.to_string()));
            after = view.next;
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<_> = self.cluster.members(at, channel).into_iter().collect();
        seen.sort();
        if seen != expected {
            return Err(format!("{channel}: the backend sees {seen:?}, not {expected:?}"));
        }
        Ok(())
    }
}
