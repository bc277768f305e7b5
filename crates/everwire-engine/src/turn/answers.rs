//! Asks that are answered later, and commands that wait for them.

use std::sync::Arc;

use everwire_proto::codes::ErrorCode;
use everwire_proto::command::Command;
use everwire_proto::ids::Epoch;
use everwire_proto::reply::Outgoing;

use super::{Flow, Held, Turn, WAITING_BYTES, channel_of};
use crate::channel::{Cell, HistoryQuery};
use crate::hub::PAGE_BYTES;
use crate::inbox::{Answer, HubKey, Page};
use crate::name::ChannelName;
use crate::ports::{Ask, Asked, Ticket};
use crate::session::Deny;
use crate::time::Now;
use crate::verbs::{check_epoch, history_page};

/// What an answer is for.
#[derive(Debug)]
pub(super) enum Pending {
    /// A `publish`.
    Publish { slot: u32, generation: u32, id: Option<u64> },
    /// A `history`.
    History { slot: u32, generation: u32, id: Option<u64>, channel: ChannelName, epoch: Option<Epoch> },
    /// The first page of a recovery.
    Locate { slot: u32, generation: u32, key: HubKey },
    /// A cursor's next page.
    Page { slot: u32, generation: u32, key: HubKey },
}

impl Pending {
    /// The connection that has asked for it by a command of its own.
    pub(super) fn asker(&self) -> Option<(u32, u32)> {
        match self {
            Self::Publish { slot, generation, .. } | Self::History { slot, generation, .. } => {
                Some((*slot, *generation))
            }
            Self::Locate { .. } | Self::Page { .. } => None,
        }
    }
}

impl Turn {
    pub(super) fn is_conn(&self, slot: u32, generation: u32) -> bool {
        self.generations.get(slot as usize) == Some(&generation)
            && self.conns[slot as usize].as_ref().is_some_and(|c| !c.ended)
    }

    /// Asks the broker; the answer finds `pending` again, now or later.
    pub(super) fn ask(&mut self, mut cell: Arc<Cell>, mut ask: Ask, pending: Pending, now: Now) {
        let number = self.next_ask;
        self.next_ask += 1;
        let ticket = Ticket { shard: self.shard, number };
        // life 5/9: the broker of this node takes it; in this process, the channel's cell itself.
        let answer = loop {
            match self.node.broker.ask(&cell, ask, ticket, now) {
                Asked::Now(answer) => break answer,
                Asked::Later => {
                    let due = now.mono_ms + self.settings.times.ask_ms;
                    self.count_coming(&pending, true);
                    self.asks.insert(number, (due, pending));
                    return;
                }
                Asked::Dead(again) => {
                    ask = again;
                    match self.node.cell(cell.name.as_str(), &cell.options(), now) {
                        Ok(fresh) => cell = fresh,
                        Err(_) => break Answer::Failed(ErrorCode::Overloaded),
                    }
                }
            }
        };
        if matches!(pending, Pending::Publish { .. }) {
            self.publish_lags.count(0);
        }
        self.resolve(pending, answer, now);
    }

    pub(super) fn answered(&mut self, number: u64, answer: Answer, now: Now) {
        if let Some((due, pending)) = self.asks.remove(&number) {
            self.count_coming(&pending, false);
            if matches!(pending, Pending::Publish { .. }) {
                let asked_ms = due.saturating_sub(self.settings.times.ask_ms);
                self.publish_lags.count(now.mono_ms.saturating_sub(asked_ms));
            }
            self.resolve(pending, answer, now);
        }
    }

    /// Pages that a client asked for are in nobody's outbox before they are here, and count all the same.
    fn count_coming(&mut self, pending: &Pending, up: bool) {
        let Pending::History { slot, generation, .. } = pending else { return };
        if self.is_conn(*slot, *generation)
            && let Some(conn) = self.conn(*slot)
        {
            conn.coming = if up { conn.coming.saturating_add(1) } else { conn.coming.saturating_sub(1) };
        }
    }

    fn resolve(&mut self, pending: Pending, answer: Answer, now: Now) {
        match pending {
            Pending::Publish { slot, generation, id } if self.is_conn(slot, generation) => {
                self.published(slot, id, &answer);
            }
            Pending::History { slot, generation, id, channel, epoch } if self.is_conn(slot, generation) => {
                match &answer {
                    Answer::Page(page) => match check_epoch(&channel, epoch.as_ref(), page) {
                        Ok(()) => self.reply(slot, id, &Outgoing::History(history_page(&channel, page))),
                        Err(deny) => self.refuse(slot, id, &deny),
                    },
                    Answer::Failed(code) => self.refuse(slot, id, &Deny::failed(*code)),
                    Answer::Published { .. } | Answer::Cleared(_) => {}
                }
            }
            Pending::Locate { slot, generation, key } if self.is_conn(slot, generation) => {
                self.located(key, slot, page_of(answer), now);
            }
            Pending::Page { slot, generation, key } if self.is_conn(slot, generation) => {
                self.hub.page(slot, key, page_of(answer));
            }
            // Whoever asked is gone.
            Pending::Publish { .. }
            | Pending::History { .. }
            | Pending::Locate { .. }
            | Pending::Page { .. } => {}
        }
    }

    fn published(&mut self, slot: u32, id: Option<u64>, answer: &Answer) {
        match answer {
            Answer::Published { position, duplicate } => {
                let published = Outgoing::Published { position: position.as_ref(), duplicate: *duplicate };
                self.reply(slot, id, &published);
            }
            Answer::Failed(code) => self.refuse(slot, id, &Deny::failed(*code)),
            Answer::Page(_) | Answer::Cleared(_) => {}
        }
    }

    /// Asks that the broker has not answered in time are answered without it.
    pub(super) fn time_out_asks(&mut self, now: Now) {
        let late = self.asks.iter().filter(|(_, (due, _))| *due <= now.mono_ms);
        let mut late: Vec<_> = late.map(|(number, _)| *number).collect();
        late.sort_unstable();
        for number in late {
            self.answered(number, Answer::Failed(ErrorCode::Timeout), now);
        }
    }

    /// Asks for the pages that cursors want.
    pub(super) fn ask_wanted(&mut self, now: Now) {
        for wanted in self.hub.take_wanted() {
            let Some(cell) = self.hub.cell(wanted.key) else { continue };
            let query = HistoryQuery::page_after(&wanted.after, PAGE_BYTES);
            let generation = self.generations[wanted.slot as usize];
            let pending = Pending::Page { slot: wanted.slot, generation, key: wanted.key };
            self.ask(cell, Ask::History(query), pending, now);
        }
    }

    pub(super) fn begin_waiting(&mut self, slot: u32, channel: &str) {
        if let Some(conn) = self.conn(slot) {
            conn.waiting.get_or_insert_default().channels.push(channel.into());
        }
    }

    /// Whether an earlier command on the same channel is not answered yet: commands on a channel run in order.
    pub(super) fn must_wait(&mut self, slot: u32, command: &Command<'_>) -> bool {
        let Some(waiting) = self.conn(slot).and_then(|c| c.waiting.as_ref()) else { return false };
        channel_of(command).is_some_and(|channel| waiting.channels.iter().any(|c| **c == *channel))
    }

    pub(super) fn wait(&mut self, slot: u32, channel: Option<&str>, payload: &[u8]) -> Flow {
        let limit = self.settings.limits.waiting_commands as usize;
        let Some(conn) = self.conn(slot) else { return Flow::Stop };
        let (Some(waiting), Some(channel)) = (&mut conn.waiting, channel) else { return Flow::Continue };
        waiting.bytes += payload.len();
        waiting.commands.push_back((channel.into(), payload.into()));
        if waiting.commands.len() >= limit || waiting.bytes >= WAITING_BYTES {
            conn.held = Some(Held::Waiting);
            return Flow::Hold;
        }
        Flow::Continue
    }

    /// The command that others waited for is answered: they run, until one of them makes the rest wait again.
    pub(super) fn end_waiting(&mut self, slot: u32, channel: &str, now: Now) {
        let Some(conn) = self.conn(slot) else { return };
        let Some(waiting) = &mut conn.waiting else { return };
        if let Some(at) = waiting.channels.iter().position(|c| **c == *channel) {
            waiting.channels.swap_remove(at);
        }
        if waiting.channels.iter().any(|c| **c == *channel) {
            return;
        }
        let mut run = Vec::new();
        waiting.commands.retain_mut(|(of, payload)| {
            let theirs = **of == *channel;
            if theirs {
                run.push(std::mem::take(payload));
            }
            !theirs
        });
        waiting.bytes -= run.iter().map(|p| p.len()).sum::<usize>();
        if waiting.channels.is_empty() && waiting.commands.is_empty() {
            conn.waiting = None;
        }
        if conn.held == Some(Held::Waiting) {
            self.release(slot);
        }
        for payload in run {
            self.message(slot, &payload, now);
        }
    }
}

fn page_of(answer: Answer) -> Option<Page> {
    if let Answer::Page(page) = answer { Some(page) } else { None }
}
