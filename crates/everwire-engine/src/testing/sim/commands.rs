//! What clients do by themselves.

use everwire_proto::ids::Epoch;
use everwire_proto::position::Position;
use serde_json::json;

use super::{BUSY, SELDOM, Sim};
use crate::testing::client::{Opening, Pages, has_no_history, has_presence};

impl Sim {
    pub(super) fn some_command(&mut self) {
        let client = self.rng.below(self.clients.len());
        if self.clients[client].conn.is_none() {
            if self.rng.chance(400) {
                self.dial(client);
            }
            return;
        }
        let burst = if self.rng.chance(60) { 30 } else { 1 };
        let channel = self.some_channel();
        for _ in 0..burst {
            self.command(client, &channel);
        }
        self.hand_over(client);
    }

    pub(super) fn some_channel(&mut self) -> String {
        let busy = self.rng.chance(900);
        let at = if busy { self.rng.below(BUSY.len()) } else { BUSY.len() + self.rng.below(SELDOM) };
        self.channels[at].clone()
    }

    pub(super) fn dial(&mut self, client: usize) {
        let node = self.rng.below(self.cluster.nodes.len());
        let shard = self.rng.below(self.cluster.nodes[node].shards.len());
        let number = self.cluster.dial(node, shard, self.clients[client].form);
        self.ledger.owner(number, client);
        let resume = self.rng.chance(700);
        let opening = match self.rng.below(10) {
            0 => Opening::Unasked,
            1 => Opening::Implicit,
            _ => Opening::Asked,
        };
        self.clients[client].open(number, resume, opening);
        self.hand_over(client);
    }

    fn command(&mut self, client: usize, channel: &str) {
        let rng = &mut self.rng;
        let me = &mut self.clients[client];
        let (subscribed, moving) = (me.is_subscribed(channel), me.is_moving(channel));
        match rng.below(20) {
            0..=4 if !moving && !subscribed => self.subscribe(client, channel),
            0 if !moving && subscribed => me.unsubscribe(channel),
            1 if !moving && subscribed && rng.chance(300) => {
                me.unsubscribe(channel);
                self.subscribe(client, channel);
            }
            5..=11 => {
                let (keyed, volatile) = (rng.chance(500), rng.chance(150) || has_no_history(channel));
                let size = if rng.chance(150) { rng.below(600) } else { rng.below(30) };
                me.publish(&mut self.ledger, channel, keyed && !volatile, volatile, size);
            }
            12 | 13 => {
                if let Some(unsure) = me.unsure.pop() {
                    me.publish_again(&mut self.ledger, &unsure);
                }
            }
            14 if !has_no_history(channel) => {
                let (limit, reverse) = (rng.between(1, 6), rng.chance(300));
                let place = me.known.get(channel).cloned().filter(|_| rng.chance(600));
                let (since, before) = if rng.chance(500) { (place, None) } else { (None, place) };
                me.history(channel, Pages { limit, reverse, since, before });
            }
            15 if has_presence(channel) => {
                let limit = rng.between(1, 4);
                me.presence(channel, if limit == 4 { 1_000 } else { limit });
            }
            16 if subscribed && !moving && has_presence(channel) => {
                me.set_state(channel, &rng.between(0, 9).to_string())
            }
            17 => me.ping(),
            18 if rng.chance(300) => self.blunder(client, channel),
            18 if rng.chance(150) => {
                let count = if rng.chance(300) { 25 } else { 1 + rng.below(6) };
                me.babble(count, rng.below(4), self.cluster.now.mono_ms);
            }
            19 => self.whisper(client, channel),
            _ => {}
        }
    }

    pub(super) fn subscribe(&mut self, client: usize, channel: &str) {
        let rng = &mut self.rng;
        let me = &mut self.clients[client];
        me.now_ms = self.cluster.now.mono_ms;
        let since = match rng.below(10) {
            0..=6 => me.known.get(channel).cloned(),
            7 if rng.chance(200) => {
                me.known.get(channel).map(|p| Position { offset: p.offset / 2, ..p.clone() })
            }
            8 if rng.chance(200) => Epoch::parse("foreign").map(|epoch| Position { epoch, offset: 3 }),
            9 if rng.chance(200) => {
                me.known.get(channel).map(|p| Position { offset: p.offset + 1_000, ..p.clone() })
            }
            _ => None,
        };
        let rewind = rng.chance(150).then(|| rng.between(1, 20));
        let watch = has_presence(channel) && rng.chance(400);
        me.subscribe(channel, since, rewind, rng.chance(200), watch);
    }

    /// Commands whose success is not told.
    fn whisper(&mut self, client: usize, channel: &str) {
        self.report.unasked += 1;
        let volatile = has_no_history(channel) || self.rng.chance(500);
        let me = &mut self.clients[client];
        match self.rng.below(4) {
            0 => me.whisper(&json!({"type": "ping"})),
            1 if has_presence(channel) => me.whisper(&json!({"type": "presence", "channel": channel})),
            2 if !has_no_history(channel) => {
                me.whisper(&json!({"type": "history", "channel": channel, "limit": 2}));
            }
            _ => me.publish_unasked(&mut self.ledger, channel, volatile),
        }
    }

    fn blunder(&mut self, client: usize, channel: &str) {
        let me = &mut self.clients[client];
        let (subscribed, moving) = (me.is_subscribed(channel), me.is_moving(channel));
        match self.rng.below(5) {
            0 if subscribed && !moving => {
                me.blunder(json!({"type": "subscribe", "channel": channel}), "already_subscribed");
            }
            1 if !subscribed && !moving => {
                me.blunder(json!({"type": "unsubscribe", "channel": channel}), "not_subscribed");
            }
            2 => me.blunder(json!({"type": "subscribe", "channel": "no space"}), "bad_channel_name"),
            // An implicit or late `connect` may stand before it: then it is the first.
            3 if me.connected => me.blunder(json!({"type": "connect"}), "bad_request"),
            _ => me.stammer(json!({"type": "publish", "channel": channel})),
        }
    }
}
