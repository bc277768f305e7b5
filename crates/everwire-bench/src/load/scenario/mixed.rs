//! A mixture of commands, as an application with rooms sends them.

use std::time::Duration;

use anyhow::Result;
use memchr::memmem;

use crate::clock::now_ns;
use crate::dialect::frame;
use crate::load::plan::Plan;
use crate::load::run::{Event, Hello, Run, Scenario};
use crate::load::schedule::Schedule;
use crate::load::sequence::{Sequence, Sight};
use crate::load::tally::Tally;
use crate::load::zipf::Zipf;
use crate::marker::Mark;
use crate::swarm::Swarm;

/// A deed and its part of all, in hundredths.
const MIXTURE: [(Deed, u32); 5] =
    [(Deed::Publish, 50), (Deed::Ping, 20), (Deed::Presence, 10), (Deed::History, 10), (Deed::Subscribe, 10)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Publish,
    Ping,
    Presence,
    History,
    /// To a second channel, and every other time away from it.
    Subscribe,
}

impl Deed {
    /// The one at this place, 0 to below 1, of all.
    fn at(place: f64) -> Self {
        let mut left = (place * 100.0) as u32;
        for (deed, part) in MIXTURE {
            match left.checked_sub(part) {
                Some(less) => left = less,
                None => return deed,
            }
        }
        Self::Publish
    }

    fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Ping => "ping",
            Self::Presence => "presence",
            Self::History => "history",
            Self::Subscribe => "subscribe",
        }
    }
}

/// All connections do everything; each is subscribed to one channel from the start.
#[derive(Debug)]
pub(super) struct Mixed {
    zipf: Zipf,
    people: Vec<Person>,
    published: Vec<u64>,
    schedule: Option<Schedule>,
    /// Commands that have not been answered, of all.
    waiting: u64,
}

#[derive(Clone, Debug, Default)]
struct Person {
    number: Option<usize>,
    next_id: u64,
    seen: Option<Sequence>,
    /// Subscribed to its second channel.
    second: bool,
    waiting: Vec<(u64, Deed, u64)>,
}

impl Mixed {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            zipf: Zipf::new(plan.channels, plan.zipf),
            people: vec![Person::default(); plan.conns],
            published: vec![0; plan.channels],
            schedule: None,
            waiting: 0,
        }
    }

    fn channel_of(&self, who: usize) -> usize {
        self.zipf.member(who, self.people.len())
    }

    fn command(&mut self, run: &Run, who: usize, deed: Deed, id: u64, due_ns: u64) -> String {
        let channel = self.channel_of(who);
        let name = run.channel(channel);
        match deed {
            Deed::Publish => {
                let number = self.published[channel];
                self.published[channel] += 1;
                let mut data = String::new();
                Mark { channel: u32::try_from(channel).unwrap_or(u32::MAX), number, due_ns }
                    .write(run.plan.size, &mut data);
                format!(r#"{{"type":"publish","id":{id},"channel":"{name}","data":"{data}"}}"#)
            }
            Deed::Ping => format!(r#"{{"type":"ping","id":{id}}}"#),
            Deed::Presence => format!(r#"{{"type":"presence","id":{id},"channel":"{name}","limit":20}}"#),
            Deed::History => {
                format!(r#"{{"type":"history","id":{id},"channel":"{name}","limit":10,"reverse":true}}"#)
            }
            Deed::Subscribe => {
                let person = &mut self.people[who];
                person.second = !person.second;
                let verb = if person.second { "subscribe" } else { "unsubscribe" };
                let second = run.channel(self.published.len() + who % self.published.len());
                format!(r#"{{"type":"{verb}","id":{id},"channel":"{second}"}}"#)
            }
        }
    }

    fn answered(&mut self, run: &mut Run, who: usize, said: &[u8]) {
        let Some(id) = reply_id(said) else { return };
        let waiting = &mut self.people[who].waiting;
        let Some(at) = waiting.iter().position(|(known, ..)| *known == id) else { return };
        let (_, deed, due_ns) = waiting.swap_remove(at);
        self.waiting -= 1;
        // A refusal is an error already, and no answer that anybody waited for.
        if !run.dialect.is_refused(said) {
            run.tally.received(due_ns, run.heard_ns);
            run.tally.part(deed.name(), due_ns, run.heard_ns);
        }
    }
}

impl Scenario for Mixed {
    fn hello(&self, run: &Run, who: usize) -> Hello {
        run.hello(Some(self.channel_of(who)))
    }

    fn begin(&mut self, run: &mut Run, start_ns: u64) {
        self.schedule = Some(Schedule::new(start_ns, run.plan.rate, Duration::ZERO));
    }

    fn hear(&mut self, run: &mut Run, _: &mut Swarm, (number, who): (usize, usize), event: Event<'_>) {
        let channel = self.channel_of(who);
        match event {
            Event::Ready(_) => {
                let person = &mut self.people[who];
                person.number = Some(number);
                // Its first words had the id 1.
                person.next_id = 2;
                person.seen = Some(Sequence::from(self.published[channel]));
            }
            Event::Gone(_) => {
                let person = &mut self.people[who];
                person.number = None;
                self.waiting -= person.waiting.len() as u64;
                person.waiting.clear();
                let seen = person.seen.take();
                run.tally.loss += seen.map_or(0, |seen| seen.missing(self.published[channel]));
            }
            Event::Message(mark, _) if mark.channel as usize == channel => {
                let Some(seen) = &mut self.people[who].seen else { return };
                match seen.see(mark.number) {
                    Sight::Twice => {
                        run.tally.duplicates += 1;
                        return;
                    }
                    // Several publish to one channel: whose command is first at the server is chance.
                    Sight::Late | Sight::New => {}
                }
                run.tally.part("delivery", mark.due_ns, run.heard_ns);
            }
            Event::Reply(said) => self.answered(run, who, said),
            Event::Message(..) => {}
        }
    }

    fn due_ns(&self, run: &Run) -> Option<u64> {
        let due_ns = self.schedule.as_ref()?.due_ns();
        (due_ns.max(now_ns()) < run.until_ns).then_some(due_ns)
    }

    fn act(&mut self, run: &mut Run, swarm: &mut Swarm) -> Result<()> {
        let Some(schedule) = &mut self.schedule else { return Ok(()) };
        let (due_ns, n) = (schedule.due_ns(), schedule.number());
        schedule.advance();
        let count = self.people.len() as u64;
        let who = usize::try_from(n % count).unwrap_or(0);
        // Each connection goes through the mixture at its own place.
        let place =
            ((n / count) as f64 * 0.618_033_988_749_894_9 + who as f64 * 0.324_717_957_244_746).fract();
        let deed = Deed::at(place);
        let Some(number) = self.people[who].number else { return Ok(()) };
        let id = self.people[who].next_id;
        self.people[who].next_id += 1;
        let command = self.command(run, who, deed, id, due_ns);
        self.people[who].waiting.push((id, deed, due_ns));
        self.waiting += 1;
        let mut bytes = Vec::new();
        frame(&mut bytes, &command);
        swarm.put(number, &bytes);
        run.tally.sent(due_ns, now_ns());
        Ok(())
    }

    fn is_settled(&self) -> bool {
        let whole = |who: usize, person: &Person| {
            person.seen.as_ref().is_none_or(|seen| seen.missing(self.published[self.channel_of(who)]) == 0)
        };
        self.waiting == 0 && self.people.iter().enumerate().all(|(who, person)| whole(who, person))
    }

    fn end(&mut self, tally: &mut Tally) {
        if self.waiting > 0 {
            let waiting = self.waiting;
            tally.errors += waiting - 1;
            tally.error(|| format!("{waiting} commands were never answered"));
        }
        for (who, person) in self.people.iter().enumerate() {
            let published = self.published[self.channel_of(who)];
            tally.loss += person.seen.as_ref().map_or(0, |seen| seen.missing(published));
        }
    }
}

/// The `id` of a reply, which stands before anything that could hold another.
fn reply_id(said: &[u8]) -> Option<u64> {
    let name = br#""id":"#;
    let rest = &said[memmem::find(said, name)? + name.len()..];
    let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixture_is_whole() {
        assert_eq!(MIXTURE.iter().map(|(_, part)| part).sum::<u32>(), 100);
        for (deed, part) in MIXTURE {
            let got = (0..1_000).filter(|n| Deed::at(f64::from(*n) / 1_000.0) == deed).count();
            assert!(got.abs_diff(part as usize * 10) <= 1, "{deed:?}: {got}");
        }
    }

    #[test]
    fn a_reply_is_known_by_its_id() {
        assert_eq!(reply_id(br#"{"type":"pong","id":17}"#), Some(17));
        assert_eq!(reply_id(br#"{"type":"bye"}"#), None);
    }
}
