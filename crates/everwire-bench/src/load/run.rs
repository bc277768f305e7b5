//! One run: the connections and what each waits for, the clock that drives a scenario, the slices of time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use everwire_proto::ws::{Opcode, write_masked_frame};

use super::gauge::Gauge;
use super::meter::Meter;
use super::outcome::ms;
use super::plan::Plan;
use super::progress::Progress;
use super::publication::Publications;
use super::tally::Tally;
use super::target::{Limits, dialing, refusal};
use crate::clock::now_ns;
use crate::dialect::Dialect;
use crate::marker::Mark;
use crate::swarm::{Heard, Opening, Swarm};

/// So many connections are on their way at once: more than a listener's queue holds would be turned away.
const AT_ONCE: usize = 100;
/// So many deeds that are due follow each other before the sockets are read again.
const DEEDS: usize = 256;
/// Without any progress for so long the opening is given up.
const PATIENCE_NS: u64 = 10_000_000_000;
/// How often the progress line is drawn.
const GLANCE_NS: u64 = 200_000_000;

/// What a scenario hears of a connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// It is where it should be; with the frame that said so, if one did.
    Ready(&'a [u8]),
    /// A message with its mark.
    Message(Mark, &'a [u8]),
    /// Any other frame, refusals too.
    Reply(&'a [u8]),
    /// It has ended; whether it had been ready.
    Gone(bool),
}

/// What is measured, as the loop knows it.
pub trait Scenario {
    /// What the n-th connection says first, and waits for.
    fn hello(&self, run: &Run, who: usize) -> Hello;
    /// All connections of its population are there, and its time begins.
    fn begin(&mut self, run: &mut Run, start_ns: u64);
    /// What came, and on which connection: its number in the swarm, and which of the population it is.
    fn hear(&mut self, run: &mut Run, swarm: &mut Swarm, from: (usize, usize), event: Event<'_>);
    /// When it has to do something next, ns; `None`: only when something comes.
    fn due_ns(&self, run: &Run) -> Option<u64>;
    /// Does it.
    ///
    /// # Errors
    /// It makes no sense to go on.
    fn act(&mut self, run: &mut Run, swarm: &mut Swarm) -> Result<()>;
    /// Everything that was asked for has come.
    fn is_settled(&self) -> bool;
    /// The run is over: counts what never came.
    fn end(&mut self, tally: &mut Tally);
}

/// What a connection says first.
#[derive(Debug)]
pub struct Hello {
    /// Whole frames.
    pub bytes: Vec<u8>,
    /// What makes it ready, or lets it go on.
    pub waits: Waits,
    /// What it says when it was greeted, and waits for then.
    pub then: Option<(Vec<u8>, Waits)>,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// The upgrade.
    Open,
    /// The answer to its first words.
    Greeted,
    /// The answer to its subscription.
    Subscribed,
    /// Nothing: it is ready.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    who: usize,
    waits: Waits,
    due_ns: u64,
    /// Its end is expected.
    leaving: bool,
}

/// A run.
#[derive(Debug)]
pub struct Run {
    /// What is to be done.
    pub plan: Plan,
    /// How the server is spoken to.
    pub dialect: Dialect,
    /// What is counted.
    pub tally: Tally,
    /// What it takes.
    pub meter: Meter,
    /// Connections that are ready.
    pub ready: usize,
    /// Connections of a population that are ready or have failed.
    pub settled: usize,
    /// No new work is begun after this, ns.
    pub until_ns: u64,
    /// What the server allows a connection.
    pub limits: Limits,
    /// When something was last heard, ns.
    pub heard_ns: u64,
    /// The system call that brought it.
    heard_call: u64,
    /// What the channels' names begin with.
    channel: String,
    to: SocketAddr,
    opening: Opening,
    members: Vec<Option<Member>>,
    dialed: usize,
    stop: Arc<AtomicBool>,
    progress: Progress,
    glance_ns: u64,
    frame: Vec<u8>,
    publications: Publications,
}

/// What a run goes to and how it is watched.
#[derive(Debug)]
pub struct Setting {
    /// Where the server is.
    pub to: SocketAddr,
    /// How a connection begins.
    pub opening: Opening,
    /// How the server is spoken to.
    pub dialect: Dialect,
    /// What the channels' names begin with.
    pub channel: String,
    /// What the server takes.
    pub gauge: Gauge,
    /// What it allows a connection.
    pub limits: Limits,
    /// Set when a person wants it to end.
    pub stop: Arc<AtomicBool>,
}

impl Run {
    /// A run that has not begun.
    ///
    /// # Errors
    /// This process can't be watched.
    pub fn new(plan: Plan, setting: Setting) -> io::Result<Self> {
        let meter = Meter::new(setting.gauge, &plan)?;
        Ok(Self {
            plan,
            dialect: setting.dialect,
            tally: Tally::new(),
            meter,
            ready: 0,
            settled: 0,
            until_ns: u64::MAX,
            limits: setting.limits,
            heard_ns: 0,
            heard_call: 0,
            channel: setting.channel,
            to: setting.to,
            opening: setting.opening,
            members: Vec::new(),
            dialed: 0,
            stop: setting.stop,
            progress: Progress::new(),
            glance_ns: 0,
            frame: Vec::new(),
            publications: Publications::default(),
        })
    }

    /// Whether a person wants it to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The name of the n-th channel.
    pub fn channel(&self, n: usize) -> String {
        format!("{}-{n}", self.channel)
    }

    /// What a connection says that subscribes to the n-th channel, or to none.
    pub fn hello(&self, channel: Option<usize>) -> Hello {
        let mut bytes = Vec::new();
        self.dialect.greeting(&mut bytes);
        let waits = if self.dialect.greeted.is_empty() { Waits::Open } else { Waits::Greeted };
        let (Some(n), Some(_)) = (channel, &self.dialect.subscribe) else {
            return Hello { bytes, waits, then: None };
        };
        let mut more = Vec::new();
        self.dialect.subscription(&self.channel(n), &mut more);
        let answered = !self.dialect.subscribed.is_empty();
        if self.dialect.waits_for_greeting {
            let then = if answered { Waits::Subscribed } else { Waits::Nothing };
            return Hello { bytes, waits, then: Some((more, then)) };
        }
        bytes.append(&mut more);
        Hello { bytes, waits: if answered { Waits::Subscribed } else { waits }, then: None }
    }

    /// Begins a connection that was meant to begin at `due_ns`; its number in the swarm.
    ///
    /// # Errors
    /// No descriptor, no port.
    pub fn dial(&mut self, swarm: &mut Swarm, who: usize, hello: &Hello, due_ns: u64) -> io::Result<usize> {
        let sources = &self.plan.sources;
        let from: Option<IpAddr> = sources.get(self.dialed % sources.len().max(1)).copied();
        self.dialed += 1;
        let number = swarm.dial(self.to, from, &self.opening)?;
        swarm.send(number, &hello.bytes);
        if self.members.len() <= number {
            self.members.resize(number + 1, None);
        }
        self.members[number] = Some(Member { who, waits: hello.waits, due_ns, leaving: false });
        Ok(number)
    }

    /// When a connection was meant to begin, ns.
    pub fn due_of(&self, number: usize) -> u64 {
        self.members.get(number).copied().flatten().map_or(0, |member| member.due_ns)
    }

    /// Says goodbye on a connection; the server ends it.
    pub fn leave(&mut self, swarm: &mut Swarm, number: usize) {
        let Some(member) = self.members.get_mut(number).and_then(Option::as_mut) else { return };
        member.leaving = true;
        self.frame.clear();
        write_masked_frame(&mut self.frame, Opcode::Close, [9, 7, 5, 3], &1000_u16.to_be_bytes());
        swarm.put(number, &self.frame);
    }

    /// Ends a connection without a word.
    pub fn cut(&mut self, swarm: &mut Swarm, number: usize) {
        if let Some(member) = self.members.get_mut(number).and_then(Option::take) {
            self.ready -= usize::from(member.waits == Waits::Nothing);
            swarm.cut(number);
        }
    }

    /// Publishes a marked message.
    pub fn publish(&mut self, swarm: &mut Swarm, number: usize, channel: usize, mark: Mark) {
        let frame = self.publications.frame(&self.dialect, channel, &self.channel, self.plan.size, mark);
        swarm.put(number, frame);
    }

    /// Opens a population of so many connections and waits until each is ready or has failed.
    ///
    /// # Errors
    /// None of them became ready, or nothing moved for 10 s.
    pub fn gather(&mut self, swarm: &mut Swarm, scenario: &mut dyn Scenario, count: usize) -> Result<()> {
        let start_ns = now_ns();
        let gap_ns = self.plan.ramp_ms * 1_000_000 / count.max(1) as u64;
        let (mut begun, mut before, mut moved_ns) = (0, 0, start_ns);
        self.settled = 0;
        while self.settled < count && !self.is_stopped() {
            let now = now_ns();
            let planned = start_ns + begun as u64 * gap_ns;
            if begun < count && begun - self.settled < AT_ONCE && planned <= now {
                let hello = scenario.hello(self, begun);
                // Where all begin at once nothing but the start itself was intended.
                let due_ns = if gap_ns == 0 { now } else { planned };
                if let Err(error) = self.dial(swarm, begun, &hello, due_ns) {
                    self.settled += 1;
                    self.tally.error(|| format!("connection {begun} could not begin: {}", dialing(&error)));
                }
                begun += 1;
                continue;
            }
            let next_ns = if begun < count && planned > now { planned } else { u64::MAX };
            self.turn(swarm, scenario, next_ns.min(now + GLANCE_NS / 2))?;
            self.glance("opening", Some((self.settled, count)));
            if self.settled > before {
                (before, moved_ns) = (self.settled, now_ns());
            } else if now_ns() - moved_ns > PATIENCE_NS.max(2 * gap_ns) {
                let why = self.tally.first_error.as_ref().map_or(String::new(), |words| format!("; {words}"));
                bail!("{} of {count} connections are there, and no further one for 10 s{why}", self.ready);
            }
        }
        if self.ready == 0 && !self.is_stopped() && count > 0 {
            bail!("none of {count} connections came about: {}", self.first_error());
        }
        Ok(())
    }

    fn first_error(&self) -> &str {
        self.tally.first_error.as_deref().unwrap_or("nobody says why")
    }

    /// Lets the scenario act when it is due, until `end_ns` or until `done`.
    ///
    /// # Errors
    /// The scenario's, or the poll's.
    pub fn drive(
        &mut self,
        swarm: &mut Swarm,
        scenario: &mut dyn Scenario,
        end_ns: u64,
        phase: &'static str,
        done: impl Fn(&dyn Scenario, &Self) -> bool,
    ) -> Result<()> {
        while now_ns() < end_ns && !self.is_stopped() && !done(scenario, self) {
            for _ in 0..DEEDS {
                if scenario.due_ns(self).is_none_or(|due| due > now_ns()) {
                    break;
                }
                scenario.act(self, swarm)?;
            }
            let due = scenario.due_ns(self).unwrap_or(u64::MAX);
            let slice_ns = self.meter.slice_end_ns();
            self.turn(swarm, scenario, due.min(slice_ns).min(end_ns))?;
            if now_ns() >= slice_ns {
                self.meter.close_slice(&mut self.tally);
            }
            self.glance(phase, None);
        }
        Ok(())
    }

    fn turn(&mut self, swarm: &mut Swarm, scenario: &mut dyn Scenario, until_ns: u64) -> Result<()> {
        swarm.flush();
        swarm.turn_until(until_ns, &mut |swarm, number, heard| self.hear(swarm, scenario, number, heard))?;
        Ok(())
    }

    fn hear(&mut self, swarm: &mut Swarm, scenario: &mut dyn Scenario, number: usize, heard: Heard<'_>) {
        let Some(member) = self.members.get(number).copied().flatten() else { return };
        let from = (number, member.who);
        match heard {
            Heard::Open if member.waits == Waits::Open => self.is_ready(swarm, scenario, from, &[]),
            Heard::Open => {}
            Heard::Closed(words) => {
                self.members[number] = None;
                let was_ready = member.waits == Waits::Nothing;
                self.ready -= usize::from(was_ready);
                self.settled += usize::from(!was_ready);
                if !member.leaving {
                    self.tally.error(|| format!("connection {}: {words}", member.who));
                }
                scenario.hear(self, swarm, from, Event::Gone(was_ready));
            }
            Heard::Frame(frame) if frame.opcode == Opcode::Close as u8 => {
                self.close(swarm, number, frame.payload);
            }
            Heard::Frame(frame) if frame.opcode > 2 => {}
            Heard::Frame(frame) => {
                // All frames of one read came at the same moment; the clock would cost as much as a small frame does.
                if swarm.calls != self.heard_call {
                    (self.heard_ns, self.heard_call) = (now_ns(), swarm.calls);
                }
                self.frame.clear();
                let only = self.dialect.answer(frame.payload, &mut self.frame);
                if !self.frame.is_empty() {
                    swarm.put(number, &self.frame);
                }
                if only {
                    return;
                }
                match member.waits {
                    Waits::Nothing => self.take(swarm, scenario, from, frame.payload),
                    Waits::Greeted if self.dialect.is_greeted(frame.payload) => {
                        self.greeted(swarm, scenario, from, frame.payload);
                    }
                    Waits::Subscribed if self.dialect.is_subscribed(frame.payload) => {
                        self.is_ready(swarm, scenario, from, frame.payload);
                    }
                    _ if self.dialect.is_refused(frame.payload) => {
                        self.tally.error(|| format!("the server refused: {}", refusal(frame.payload)));
                        self.members[number] = None;
                        self.settled += 1;
                        swarm.cut(number);
                        scenario.hear(self, swarm, from, Event::Gone(false));
                    }
                    _ => {}
                }
            }
        }
    }

    /// The server says goodbye.
    fn close(&mut self, swarm: &mut Swarm, number: usize, payload: &[u8]) {
        let Some(member) = self.members.get_mut(number).and_then(Option::as_mut) else { return };
        if member.leaving {
            return;
        }
        let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
        let words = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
        self.tally.error(|| format!("the server closed connection {} with {code} {words}", member.who));
        self.leave(swarm, number);
    }

    /// It was greeted: it is ready, or has more to say.
    fn greeted(
        &mut self,
        swarm: &mut Swarm,
        scenario: &mut dyn Scenario,
        from: (usize, usize),
        frame: &[u8],
    ) {
        let then = scenario.hello(self, from.1).then;
        if let Some((bytes, waits)) = then {
            swarm.put(from.0, &bytes);
            if waits != Waits::Nothing {
                if let Some(member) = self.members.get_mut(from.0).and_then(Option::as_mut) {
                    member.waits = waits;
                }
                return;
            }
        }
        self.is_ready(swarm, scenario, from, frame);
    }

    fn is_ready(
        &mut self,
        swarm: &mut Swarm,
        scenario: &mut dyn Scenario,
        from: (usize, usize),
        frame: &[u8],
    ) {
        if let Some(member) = self.members.get_mut(from.0).and_then(Option::as_mut) {
            member.waits = Waits::Nothing;
            self.ready += 1;
            self.settled += 1;
            self.tally.part("opening", member.due_ns, now_ns());
            scenario.hear(self, swarm, from, Event::Ready(frame));
        }
    }

    /// A frame of a connection that is ready.
    fn take(&mut self, swarm: &mut Swarm, scenario: &mut dyn Scenario, from: (usize, usize), payload: &[u8]) {
        let mut marked = false;
        if self.dialect.is_delivered(payload) {
            for mark in Mark::each(payload) {
                marked = true;
                scenario.hear(self, swarm, from, Event::Message(mark, payload));
            }
        }
        if !marked {
            if self.dialect.is_refused(payload) {
                self.tally.error(|| format!("the server refused: {}", refusal(payload)));
            }
            scenario.hear(self, swarm, from, Event::Reply(payload));
        }
    }

    /// Draws the progress line now and then.
    fn glance(&mut self, phase: &str, opening: Option<(usize, usize)>) {
        let now = now_ns();
        if now < self.glance_ns || !self.progress.is_shown() {
            return;
        }
        self.glance_ns = now + GLANCE_NS;
        let words = match opening {
            Some((settled, count)) => format!("{phase} {settled} of {count} connections"),
            None => {
                let slice = &self.tally.slice;
                let seconds = self.meter.slice_age_s();
                let last = self.meter.series.last();
                // A slice that has just begun says too little.
                let rate = match last {
                    Some(slot) if seconds < 0.2 => slot.received as f64 / slot.length_ms * 1e3,
                    _ => slice.received as f64 / seconds.max(0.001),
                };
                let p99 = if slice.latency.is_empty() {
                    last.and_then(|slot| slot.p99)
                } else {
                    Some(ms(slice.latency.value_at_quantile(0.99)))
                };
                let left_s = self.until_ns.saturating_sub(now).div_ceil(1_000_000_000);
                self.progress.running(phase, left_s, rate, p99, self.tally.errors)
            }
        };
        self.progress.draw(&words);
    }

    /// Wipes the progress line.
    pub fn clear_progress(&mut self) {
        self.progress.clear();
    }
}
