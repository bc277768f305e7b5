//! The end of a run: the faults end, everything comes to rest, and what was promised must be there.

use std::collections::BTreeMap;

use everwire_proto::position::Position;

use super::Sim;
use crate::testing::client::{Client, has_presence};
use crate::testing::ledger::{Check, payload_of};

impl Sim {
    /// The faults end: everybody comes back, and then everything that was promised must be there.
    pub(super) fn come_to_rest(&mut self) -> Check {
        /// A client asks some hundred things in a run, and may ask four in a second.
        const PATIENCE: usize = 60;
        let mut waited = 0;
        self.calm = true;
        for client in 0..self.clients.len() {
            self.clients[client].slow = false;
            if self.clients[client].conn.is_none() {
                self.dial(client);
            }
        }
        // Long enough for heartbeats, graces, timeouts and position checks.
        self.rest(120_000)?;
        // And for what was asked faster than it may be.
        while self.clients.iter().filter_map(|c| c.conn).any(|conn| !self.cluster.conns[conn].up.is_empty()) {
            self.rest(10_000)?;
            waited += 1;
            if waited > PATIENCE {
                return Err("a calm server does not take what was asked".to_owned());
            }
        }
        for client in 0..self.clients.len() {
            if self.clients[client].conn.is_none() {
                self.dial(client);
            }
        }
        self.rest(30_000)?;
        self.check_presence()?;
        self.check_tops()?;
        self.check_missed()?;
        self.check_volatile()?;
        self.check_history()?;
        self.ledger.finish()
    }

    pub(super) fn rest(&mut self, ms: u64) -> Check {
        for _ in 0..ms / 500 {
            self.pass(500)?;
            self.check_members()?;
        }
        Ok(())
    }

    /// Promise 2 at the end: everybody has, or was told the loss of, everything.
    fn check_tops(&mut self) -> Check {
        for client in &self.clients {
            let Some(number) = client.conn else {
                return Err(format!("client {} did not stay connected in a calm world", client.number));
            };
            if !client.is_settled() {
                return Err(format!("client {}: a command was never answered", client.number));
            }
            let node = self.cluster.conns[number].node;
            for channel in client.channels() {
                let Some(at) = client.position(&channel) else { continue };
                let top = match &self.cluster.central {
                    Some(central) => central.top(&channel),
                    None => self.cluster.nodes[node].node.find(&channel).map(|cell| cell.top()),
                };
                let top = top.ok_or("a channel with subscribers is known")?;
                let spared = self.ledger.all_from(&channel, at, &top, client.number);
                if *at != top && !spared {
                    return Err(format!(
                        "promise 2: client {} is at {at:?} of {channel}, the top is {top:?}",
                        client.number
                    ));
                }
            }
        }
        Ok(())
    }

    /// Promise 6 at the end: who is subscribed is there, nobody else, and every watcher knows it.
    fn check_presence(&self) -> Check {
        for channel in self.channels.iter().filter(|c| has_presence(c)) {
            for node in 0..self.cluster.nodes.len() {
                let here = |c: &&Client| c.conn.is_some_and(|n| self.cluster.conns[n].node == node);
                let subscribed = self.clients.iter().filter(here).filter(|c| c.is_subscribed(channel));
                let expected: std::collections::BTreeSet<String> =
                    subscribed.clone().filter_map(|c| c.me.clone()).collect();
                let members = self.cluster.members(node, channel);
                if members != expected {
                    return Err(format!(
                        "promise 6: {channel}: members {members:?}, subscribed {expected:?}"
                    ));
                }
                for client in subscribed {
                    let Some(watch) = client.watched(channel) else { continue };
                    let (seen, states) = (watch.members(), self.cluster.states(node, channel));
                    if seen != Some(&states) {
                        return Err(format!(
                            "promise 6: client {} sees {seen:?} in {channel}, not {states:?}",
                            client.number
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Volatile messages are told as lost where they are; where a broker carries them, nobody knows.
    fn check_missed(&self) -> Check {
        if self.cluster.central.is_some() {
            return Ok(());
        }
        for client in &self.clients {
            if let Some(missed) = client.missed(&self.ledger) {
                return Err(format!("client {} was not told that it lacks {missed}", client.number));
            }
        }
        Ok(())
    }

    /// In a calm world a volatile message reaches everybody.
    fn check_volatile(&mut self) -> Check {
        let Some(publisher) = self.clients.iter().position(|c| c.conn.is_some()) else { return Ok(()) };
        let mut sent = Vec::new();
        for channel in self.channels.clone() {
            self.clients[publisher].publish(&mut self.ledger, &channel, false, true, 0);
            sent.push((channel, self.clients[publisher].last_payload()));
            self.hand_over(publisher);
            self.rest(500)?;
        }
        self.rest(2_000)?;
        sent.retain(|(_, payload)| !self.clients[publisher].was_refused(payload));
        for (channel, sent) in sent {
            for client in self.clients.iter().filter(|c| c.is_subscribed(&channel) && c.number != publisher) {
                if !client.has_volatile(&channel, &sent) {
                    return Err(format!("client {} did not get {sent:?} of {channel}", client.number));
                }
            }
        }
        Ok(())
    }

    /// Promise 3 at the end: what was acknowledged is in the history, or older than what is kept.
    fn check_history(&mut self) -> Check {
        let kept: BTreeMap<String, (Position, Vec<(u64, String)>)> =
            self.channels.iter().filter_map(|c| Some((c.clone(), self.kept(c)?))).collect();
        for (channel, (floor, messages)) in kept {
            self.ledger.kept(&channel, &floor, &messages)?;
            self.check_kept(&channel, messages.len())?;
        }
        Ok(())
    }

    /// What is neither too old nor too much is kept, whatever the wall clock says.
    fn check_kept(&self, channel: &str, count: usize) -> Check {
        let namespaces = &self.cluster.recipe.settings.namespaces;
        let options = namespaces.options_of(channel);
        let Some(limits) = options.and_then(|o| o.history).filter(|_| self.cluster.central.is_none()) else {
            return Ok(());
        };
        let Some(cell) = self.cluster.nodes[0].node.find(channel) else { return Ok(()) };
        let published = usize::try_from(cell.top().offset).unwrap_or(usize::MAX);
        let due = published.min(limits.messages);
        let bounded = limits.bytes < 1 << 20 || self.cluster.now.mono_ms > limits.age_ms;
        if count != due && !bounded {
            return Err(format!("section 7: {channel} keeps {count} of {published}, and may {due}"));
        }
        Ok(())
    }

    pub(super) fn kept(&self, channel: &str) -> Option<(Position, Vec<(u64, String)>)> {
        if let Some(central) = &self.cluster.central {
            return central.kept(channel);
        }
        let cell = self.cluster.nodes[0].node.find(channel)?;
        let query =
            crate::channel::HistoryQuery { limit: usize::MAX, max_bytes: usize::MAX, ..Default::default() };
        let page = cell.history(&query, self.cluster.now)?;
        let messages = page
            .entries
            .iter()
            .filter_map(|entry| Some((entry.position.as_ref()?.offset, payload_of(entry)?)));
        Some((page.floor, messages.collect()))
    }
}
