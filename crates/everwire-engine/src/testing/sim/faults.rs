//! What goes wrong.

use super::Sim;
use crate::testing::client::{Client, has_no_history};
use crate::testing::pipe::Up;

impl Sim {
    pub(super) fn some_fault(&mut self) {
        let client = self.rng.below(self.clients.len());
        match self.rng.below(18) {
            0 | 1 => {
                if self.clients[client].conn.is_some() {
                    self.report.cuts += 1;
                }
                let after = if self.rng.chance(500) { 0 } else { self.rng.between(0, 20_000) };
                self.drop_conn(client, after);
            }
            2 => self.fall_silent(client),
            3..=5 => {
                let me = &mut self.clients[client];
                if me.conn.is_some() {
                    me.slow = !me.slow;
                    me.was_slow = true;
                    self.report.slow_readers += u64::from(me.slow);
                }
            }
            6 => self.say_goodbye(client),
            7 if self.rng.chance(100) => self.kill_node(),
            8 | 9 => self.disturb(),
            10 if self.rng.chance(500) => self.break_link(),
            10 | 16 => self.flood(),
            11 if self.rng.chance(300) => self.lose_past(),
            12 => self.dismiss(client),
            13 => self.turn_clock(),
            14 => self.overtake(client),
            15 | 17 => self.wave(),
            _ => {}
        }
    }

    /// The client is gone without a word, like a phone in a tunnel; it will come back on another connection.
    fn fall_silent(&mut self, client: usize) {
        let Some(number) = self.clients[client].conn else { return };
        self.report.silences += 1;
        self.cluster.conns[number].silent = true;
        self.drop_conn(client, 0);
    }

    /// Somebody's connection is replaced while a subscribe is on its way on it, and asks for the same on the new one.
    fn overtake(&mut self, client: usize) {
        let Some(number) = self.clients[client].conn else { return };
        let channel = self.some_channel();
        let me = &self.clients[client];
        if me.is_subscribed(&channel) || me.is_moving(&channel) || self.cluster.conns[number].silent {
            return;
        }
        self.report.overtakes += 1;
        self.subscribe(client, &channel);
        self.hand_over(client);
        let up = std::mem::take(&mut self.cluster.conns[number].up);
        self.drop_conn(client, 15_000);
        self.cluster.conns[number].up = up;
        self.dial(client);
        self.subscribe(client, &channel);
        self.hand_over(client);
    }

    /// A member of a channel that somebody watches says much of itself.
    fn wave(&mut self) {
        let watched: Vec<_> = self.clients.iter().flat_map(Client::watches).collect();
        let Some(channel) = self.rng.pick(&watched).cloned() else { return };
        let may = |c: &&Client| !c.slow && c.is_subscribed(&channel) && !c.is_moving(&channel);
        let members: Vec<_> = self.clients.iter().filter(may).map(|c| c.number).collect();
        let Some(client) = self.rng.pick(&members).copied() else { return };
        self.report.waves += 1;
        for n in 0..60 {
            self.clients[client].set_state(&channel, &format!("{n}{}", "y".repeat(900)));
        }
        self.hand_over(client);
    }

    /// The server goes away for one of its connections, or for all of one node.
    fn dismiss(&mut self, client: usize) {
        let Some(number) = self.clients[client].conn else { return };
        let node = self.cluster.conns[number].node;
        let all = self.rng.chance(100);
        for number in 0..self.cluster.conns.len() {
            let one = self.clients[client].conn == Some(number);
            if one || (all && self.cluster.conns[number].node == node) {
                self.report.dismissed += u64::from(self.cluster.dismiss(number));
            }
        }
    }

    /// Somebody sets the wall clock, be it by hours.
    fn turn_clock(&mut self) {
        self.report.clock_jumps += 1;
        let far = self.rng.between(1, 8 * 3_600_000);
        let now = &mut self.cluster.now;
        now.unix_ms = if self.rng.chance(500) { now.unix_ms + far } else { now.unix_ms - far };
    }

    fn say_goodbye(&mut self, client: usize) {
        let Some(number) = self.clients[client].conn else { return };
        self.report.goodbyes += 1;
        self.hand_over(client);
        let conn = &mut self.cluster.conns[number];
        conn.up.push_back(Up::Close(1000));
        let up = std::mem::take(&mut conn.up);
        self.drop_conn(client, 1_000);
        // What was written before the goodbye still arrives.
        self.cluster.conns[number].up = up;
    }

    fn kill_node(&mut self) {
        self.report.node_deaths += 1;
        self.report.evicted_channels += self.evicted();
        self.report.slow_closes += self.ended_slow();
        let node = self.rng.below(self.cluster.nodes.len());
        let lost = self.cluster.kill_node(node, &mut self.rng);
        // Those that live on count on.
        self.report.evicted_channels -= self.evicted();
        self.report.slow_closes -= self.ended_slow();
        for client in &mut self.clients {
            if client.conn.is_some_and(|conn| lost.contains(&conn)) {
                client.lose();
            }
        }
    }

    /// Somebody fills a channel, most often one that a slow client reads.
    fn flood(&mut self) {
        let any = self.rng.chance(300);
        let channels: Vec<_> =
            self.clients.iter().filter(|c| c.slow || any).flat_map(Client::channels).collect();
        let Some(channel) = self.rng.pick(&channels).cloned() else { return };
        let may = |c: &&Client| !c.slow && c.conn.is_some();
        let publishers: Vec<_> = self.clients.iter().filter(may).map(|c| c.number).collect();
        let Some(publisher) = self.rng.pick(&publishers).copied() else { return };
        self.report.floods += 1;
        let volatile = if has_no_history(&channel) { 1_000 } else { [0, 500, 1_000][self.rng.below(3)] };
        for _ in 0..60 {
            let volatile = self.rng.chance(volatile);
            self.clients[publisher].publish(&mut self.ledger, &channel, false, volatile, 500);
        }
        self.hand_over(publisher);
    }

    fn disturb(&mut self) {
        let Some(link) = self.rng.pick(&self.cluster.links).cloned() else { return };
        link.disturb(&mut self.rng, &mut self.cluster.link_faults);
    }

    fn break_link(&mut self) {
        let links = self.cluster.links.clone();
        let Some(link) = self.rng.pick(&links).cloned() else { return };
        if link.is_up() {
            self.cluster.link_faults.broken += 1;
            link.break_down(&links, &mut self.rng, self.cluster.now);
        }
    }

    fn lose_past(&mut self) {
        let channel = self.some_channel();
        if let Some(central) = &self.cluster.central {
            self.report.lost_pasts += 1;
            central.lose_past(&channel);
        }
    }
}
