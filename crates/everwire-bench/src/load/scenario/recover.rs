//! A storm: all are cut off, messages are published meanwhile, all come back at once and want what they missed.

use std::time::Duration;

use anyhow::{Result, bail};
use memchr::memmem;

use crate::clock::now_ns;
use crate::dialect::frame;
use crate::load::plan::Plan;
use crate::load::run::{Event, Hello, Run, Scenario, Waits};
use crate::load::schedule::Schedule;
use crate::load::sequence::{Sequence, Sight};
use crate::load::tally::Tally;
use crate::load::target::dialing;
use crate::marker::Mark;
use crate::swarm::Swarm;

/// So many are on their way at once where no rate is asked for.
const AT_ONCE: usize = 100;
/// Without any progress for so long a storm is over.
const PATIENCE_NS: u64 = 5_000_000_000;

/// Publishers, each of which has channels of its own, come first; then the subscribers.
#[derive(Debug)]
pub(super) struct Recover {
    publishers: usize,
    senders: Vec<usize>,
    channels: Vec<Channel>,
    subscribers: Vec<Subscriber>,
    step: Step,
    /// Where a rate is asked for, of this return.
    schedule: Option<Schedule>,
    moved_ns: u64,
}

#[derive(Clone, Debug, Default)]
struct Channel {
    epoch: String,
    published: u64,
}

#[derive(Clone, Debug, Default)]
struct Subscriber {
    number: Option<usize>,
    offset: u64,
    seen: Sequence,
    /// It has come back, and got all that it missed or never will.
    back: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The next storm begins.
    Cut,
    /// Messages go out: so many of them are, since when, and so many are stored.
    Missing { sent: usize, start_ns: u64, stored: usize },
    /// They come back: so many have begun to, of whom so many are not ready, since when, and so many have got all.
    Return { begun: usize, coming: usize, start_ns: u64, back: usize },
    /// No storm follows.
    Over,
}

impl Recover {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            publishers: plan.publishers,
            senders: Vec::new(),
            channels: vec![Channel::default(); plan.channels],
            subscribers: vec![Subscriber::default(); plan.conns],
            step: Step::Cut,
            schedule: None,
            moved_ns: 0,
        }
    }

    fn channel_of(&self, place: usize) -> usize {
        place % self.channels.len()
    }

    /// What a subscriber says that comes back.
    fn since(&self, run: &Run, place: usize) -> Hello {
        let channel = self.channel_of(place);
        let (name, epoch) = (run.channel(channel), &self.channels[channel].epoch);
        let offset = self.subscribers[place].offset;
        let mut bytes = Vec::new();
        run.dialect.greeting(&mut bytes);
        let words = format!(
            r#"{{"type":"subscribe","id":1,"channel":"{name}","since":{{"epoch":"{epoch}","offset":{offset}}}}}"#
        );
        frame(&mut bytes, &words);
        Hello { bytes, waits: Waits::Subscribed, then: None }
    }

    /// Sends the next message that they will miss, in the order of channels.
    fn send_missing(&mut self, run: &mut Run, swarm: &mut Swarm, sent: usize) {
        let channel = sent % self.channels.len();
        let number = self.channels[channel].published;
        self.channels[channel].published += 1;
        let mut data = String::new();
        let due_ns = now_ns();
        Mark { channel: u32::try_from(channel).unwrap_or(u32::MAX), number, due_ns }
            .write(run.plan.size, &mut data);
        let name = run.channel(channel);
        let mut bytes = Vec::new();
        frame(&mut bytes, &format!(r#"{{"type":"publish","id":1,"channel":"{name}","data":"{data}"}}"#));
        swarm.put(self.senders[channel % self.senders.len()], &bytes);
        run.tally.sent(due_ns, now_ns());
    }

    /// When the n-th missing message may go: a burst first, then what the server allows a connection.
    fn missing_due_ns(&self, run: &Run, sent: usize, start_ns: u64) -> u64 {
        let Some(allowed) = run.limits.commands_per_second.filter(|allowed| *allowed > 0) else {
            return start_ns;
        };
        let each = (sent / self.senders.len().max(1)) as u64;
        start_ns + each.saturating_sub(allowed) * 1_000_000_000 / allowed
    }

    fn begin_return(&mut self, run: &mut Run, swarm: &mut Swarm) {
        run.meter.open_span(swarm.calls);
        let start_ns = now_ns();
        self.moved_ns = start_ns;
        self.schedule = (run.plan.rate > 0.0).then(|| Schedule::new(start_ns, run.plan.rate, Duration::ZERO));
        self.step = Step::Return { begun: 0, coming: 0, start_ns, back: 0 };
    }

    /// One more has got all, or never will.
    fn is_back(&mut self, run: &mut Run, swarm: &mut Swarm, place: usize, complete: bool) {
        if std::mem::replace(&mut self.subscribers[place].back, true) {
            return;
        }
        self.moved_ns = now_ns();
        let Step::Return { back, start_ns, .. } = &mut self.step else { return };
        *back += 1;
        let (back, start_ns) = (*back, *start_ns);
        if complete {
            let number = self.subscribers[place].number.unwrap_or(usize::MAX);
            // Without a rate all want back at the same moment, however few of them can be let in at once.
            let due_ns = if self.schedule.is_some() { run.due_of(number) } else { start_ns };
            run.tally.received(due_ns, now_ns());
        }
        if back == self.subscribers.len() {
            self.over(run, swarm);
        }
    }

    fn over(&mut self, run: &mut Run, swarm: &mut Swarm) {
        run.meter.close_span(swarm.calls);
        self.step = if now_ns() < run.until_ns { Step::Cut } else { Step::Over };
    }

    fn ready(&mut self, run: &mut Run, swarm: &mut Swarm, number: usize, place: usize, frame: &[u8]) {
        let channel = self.channel_of(place);
        self.subscribers[place].number = Some(number);
        if let Step::Return { coming, .. } = &mut self.step {
            *coming = coming.saturating_sub(1);
            if memmem::find(frame, br#""recovered":true"#).is_none() {
                run.tally.error(|| {
                    format!(
                        "subscriber {place} was not given what it missed: {}",
                        String::from_utf8_lossy(frame)
                    )
                });
            }
            if self.subscribers[place].seen.missing(self.channels[channel].published) == 0 {
                self.is_back(run, swarm, place, true);
            }
            return;
        }
        self.subscribers[place].offset = digits(frame, br#""offset":"#).unwrap_or(0);
        if self.channels[channel].epoch.is_empty() {
            match epoch(frame) {
                Some(epoch) => self.channels[channel].epoch = epoch,
                None => run.tally.error(|| {
                    "the channel has no history, so nothing can be recovered: it needs `history` in its namespace".to_owned()
                }),
            }
        }
    }
}

impl Scenario for Recover {
    fn hello(&self, run: &Run, who: usize) -> Hello {
        run.hello(who.checked_sub(self.publishers).map(|place| self.channel_of(place)))
    }

    fn begin(&mut self, _: &mut Run, _: u64) {}

    fn hear(&mut self, run: &mut Run, swarm: &mut Swarm, (number, who): (usize, usize), event: Event<'_>) {
        let Some(place) = who.checked_sub(self.publishers) else {
            match (event, &mut self.step) {
                (Event::Ready(_), _) => self.senders.push(number),
                (Event::Gone(_), _) => self.senders.retain(|sender| *sender != number),
                // Stored or refused: in both cases it has been answered.
                (Event::Reply(said), Step::Missing { stored, .. }) => {
                    let answered = [&br#""type":"published""#[..], br#""type":"error""#];
                    *stored += usize::from(answered.iter().any(|words| memmem::find(said, words).is_some()));
                    self.moved_ns = now_ns();
                }
                _ => {}
            }
            return;
        };
        let channel = self.channel_of(place);
        match event {
            Event::Ready(frame) => self.ready(run, swarm, number, place, frame),
            Event::Gone(was_ready) => {
                self.subscribers[place].number = None;
                if let Step::Return { coming, .. } = &mut self.step {
                    *coming = coming.saturating_sub(usize::from(!was_ready));
                    self.is_back(run, swarm, place, false);
                }
            }
            Event::Message(mark, payload) if mark.channel as usize == channel => {
                let subscriber = &mut self.subscribers[place];
                match subscriber.seen.see(mark.number) {
                    Sight::Twice => run.tally.duplicates += 1,
                    Sight::Late => run.tally.reordered += 1,
                    Sight::New => {}
                }
                if let Some(offset) = digits(payload, br#""offset":"#) {
                    subscriber.offset = subscriber.offset.max(offset);
                }
                if !subscriber.back && subscriber.seen.missing(self.channels[channel].published) == 0 {
                    self.is_back(run, swarm, place, true);
                }
            }
            _ => {}
        }
    }

    fn due_ns(&self, run: &Run) -> Option<u64> {
        let patience_ns = self.moved_ns + PATIENCE_NS;
        match self.step {
            Step::Cut => Some(0),
            Step::Missing { sent, start_ns, .. } if sent < self.channels.len() * run.plan.missed => {
                Some(self.missing_due_ns(run, sent, start_ns))
            }
            Step::Missing { sent, stored, .. } => Some(if stored >= sent { 0 } else { patience_ns }),
            Step::Return { begun, coming, .. } if begun < self.subscribers.len() => match &self.schedule {
                Some(schedule) => Some(schedule.due_ns()),
                None if coming < AT_ONCE => Some(0),
                None => Some(patience_ns),
            },
            Step::Return { .. } => Some(patience_ns),
            Step::Over => None,
        }
    }

    fn act(&mut self, run: &mut Run, swarm: &mut Swarm) -> Result<()> {
        let now = now_ns();
        let total = self.channels.len() * run.plan.missed;
        if self.senders.is_empty() {
            bail!(
                "no connection that publishes is left: {}",
                run.tally.first_error.as_deref().unwrap_or_default()
            );
        }
        match self.step {
            Step::Cut => {
                for subscriber in &mut self.subscribers {
                    if let Some(number) = subscriber.number.take() {
                        run.cut(swarm, number);
                    }
                    subscriber.back = false;
                }
                self.moved_ns = now;
                self.step = Step::Missing { sent: 0, start_ns: now, stored: 0 };
            }
            Step::Missing { sent, start_ns, stored } if sent < total => {
                self.send_missing(run, swarm, sent);
                self.moved_ns = now;
                self.step = Step::Missing { sent: sent + 1, start_ns, stored };
            }
            Step::Missing { sent, stored, .. } => {
                if stored < sent {
                    run.tally.error(|| format!("{} publishes were never answered", sent - stored));
                }
                self.begin_return(run, swarm);
            }
            Step::Return { begun, coming, start_ns, back } if begun < self.subscribers.len() => {
                if self.schedule.is_none() && coming >= AT_ONCE {
                    bail!(
                        "nobody came back for 5 s: {}",
                        run.tally.first_error.as_deref().unwrap_or_default()
                    );
                }
                let due_ns = self.schedule.as_ref().map_or(start_ns, Schedule::due_ns);
                if let Some(schedule) = &mut self.schedule {
                    schedule.advance();
                }
                let hello = self.since(run, begun);
                self.step = Step::Return { begun: begun + 1, coming: coming + 1, start_ns, back };
                if let Err(error) = run.dial(swarm, self.publishers + begun, &hello, due_ns) {
                    run.tally.error(|| format!("subscriber {begun} could not set out: {}", dialing(&error)));
                    self.is_back(run, swarm, begun, false);
                }
            }
            Step::Return { .. } => self.over(run, swarm),
            Step::Over => {}
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.step == Step::Over
    }

    fn end(&mut self, tally: &mut Tally) {
        // A person who stops it in the middle of a storm loses nothing.
        if self.step != Step::Over {
            return;
        }
        for (place, subscriber) in self.subscribers.iter().enumerate() {
            tally.loss += subscriber.seen.missing(self.channels[self.channel_of(place)].published);
        }
    }
}

/// The number behind the first of these words.
fn digits(payload: &[u8], name: &[u8]) -> Option<u64> {
    let rest = &payload[memmem::find(payload, name)? + name.len()..];
    let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

fn epoch(frame: &[u8]) -> Option<String> {
    let name = br#""epoch":""#;
    let rest = &frame[memmem::find(frame, name)? + name.len()..];
    let end = memchr::memchr(b'"', rest)?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_where_they_stand() {
        let frame = br#"{"type":"subscribed","id":1,"position":{"epoch":"a_B-9","offset":120}}"#;
        assert_eq!((epoch(frame).as_deref(), digits(frame, br#""offset":"#)), (Some("a_B-9"), Some(120)));
        assert_eq!((epoch(b"{}"), digits(br#"{"offset":x}"#, br#""offset":"#)), (None, None));
    }
}
