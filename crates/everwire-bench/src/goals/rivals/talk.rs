//! What is said to each of the three. Other than the goals' own sides these answer the pings of servers that don't use
//! WebSocket's own, and count messages by their marks: a server may put several into one frame.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use everwire_proto::ws::{Opcode, write_frame};

use crate::alternate::{Block, Side};
use crate::clock::now_ns;
use crate::dialect::Dialect;
use crate::marker::{MARK_BYTES, Mark};
use crate::sides::Shared;
use crate::swarm::{Heard, Swarm};
use crate::watched::Watched;

/// Nothing heard for so long ends a measurement.
const PATIENCE_NS: u64 = 20_000_000_000;

/// A process and the connections to it.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    /// All connections, those to the others too.
    pub(super) swarm: Shared,
    /// The process.
    pub(super) watched: Watched,
    /// Whose pings are answered: they come at any time, on connections that are not measured just now too.
    pub(super) answers: Dialect,
}

/// What a frame was worth to whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    /// It was not waited for.
    Nothing,
    /// There is more to come.
    Something,
    /// It was the last.
    All,
}

impl Talk {
    /// Waits until `ear` has heard all that it wants; it is told the frames that need no answer.
    fn hear(&self, mut ear: impl FnMut(&mut Swarm, usize, &[u8]) -> Worth) -> Result<()> {
        let mut swarm = self.swarm.borrow_mut();
        let (mut over, mut ended, mut moved) = (false, None, false);
        let mut moved_ns = now_ns();
        while !over {
            swarm.turn(Some(Duration::from_millis(100)), &mut |swarm, number, what| match what {
                Heard::Frame(frame) if frame.opcode == Opcode::Close as u8 => {
                    ended.get_or_insert(goodbye(frame.payload));
                }
                Heard::Frame(frame) => {
                    let mut out = Vec::new();
                    let only = self.answers.answer(frame.payload, &mut out);
                    if !out.is_empty() {
                        swarm.put(number, &out);
                    }
                    if !only {
                        let worth = ear(swarm, number, frame.payload);
                        moved |= worth != Worth::Nothing;
                        over |= worth == Worth::All;
                    }
                }
                Heard::Closed(words) => drop(ended.get_or_insert(words)),
                Heard::Open => {}
            })?;
            if let Some(words) = ended {
                bail!("a connection ended: {words}");
            }
            if std::mem::take(&mut moved) {
                moved_ns = now_ns();
            } else if now_ns() - moved_ns > PATIENCE_NS {
                bail!("not all messages came, and no further one for 20 s");
            }
        }
        Ok(())
    }

    /// Lets time pass; pings are answered.
    pub(super) fn rest(&self, length: Duration) -> Result<()> {
        let end_ns = now_ns() + u64::try_from(length.as_nanos())?;
        let mut swarm = self.swarm.borrow_mut();
        while now_ns() < end_ns {
            swarm.turn(Some(Duration::from_millis(100)), &mut |swarm, number, what| {
                let mut out = Vec::new();
                if let Heard::Frame(frame) = what {
                    self.answers.answer(frame.payload, &mut out);
                    swarm.put(number, &out);
                }
            })?;
        }
        Ok(())
    }

    /// Times something that goes on until that time, and says how many messages there were.
    fn block(&self, length: Duration, go_on: impl FnOnce(u64) -> Result<u64>) -> Result<Block> {
        let (start_ns, cpu_ns) = (now_ns(), self.watched.cpu_ns()?);
        let done = go_on(start_ns + u64::try_from(length.as_nanos())?)?;
        let cpu_ns = self.watched.cpu_ns()? - cpu_ns;
        Ok(Block { done, cpu_ns, wall_ns: now_ns() - start_ns })
    }
}

/// What a close frame says (RFC 6455 5.5.1), for a reader.
fn goodbye(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            format!("it was closed with {code} {:?}", String::from_utf8_lossy(reason))
        }
        _ => "it was closed without a code".to_owned(),
    }
}

/// A publisher that sends its messages, waits until every subscriber has every one, and sends again.
#[derive(Debug)]
pub(super) struct Broadcast {
    talk: Talk,
    publisher: usize,
    messages: Vec<u8>,
    deliveries: u64,
}

impl Broadcast {
    pub(super) fn new(talk: Talk, publisher: usize, messages: Vec<u8>, deliveries: u64) -> Self {
        Self { talk, publisher, messages, deliveries }
    }

    /// Once; whoever asks is told the frames in which messages came.
    fn once(&self, mut told: impl FnMut(&[u8])) -> Result<()> {
        let mut left = self.deliveries;
        self.talk.swarm.borrow_mut().send(self.publisher, &self.messages);
        self.talk.hear(|_, _, payload| {
            let messages = Mark::each(payload).count() as u64;
            if messages == 0 {
                return Worth::Nothing;
            }
            told(payload);
            left = left.saturating_sub(messages);
            if left == 0 { Worth::All } else { Worth::Something }
        })
    }

    /// Once; the first frame that a subscriber is sent, as bytes on the wire.
    pub(super) fn first_frame(&self) -> Result<Vec<u8>> {
        let (mut first, mut frame) = (None, Vec::new());
        self.once(|payload| {
            first.get_or_insert_with(|| payload.to_vec());
        })?;
        write_frame(&mut frame, Opcode::Text, &first.context("no message came")?);
        Ok(frame)
    }
}

impl Side for Broadcast {
    fn block(&mut self, length: Duration) -> Result<Block> {
        self.talk.block(length, |end_ns| {
            let mut done = 0;
            while now_ns() < end_ns {
                self.once(|_| {})?;
                done += self.deliveries;
            }
            Ok(done)
        })
    }
}

/// Connections that each send a burst, and the next one when all of it is back.
#[derive(Debug)]
pub(super) struct Volley {
    talk: Talk,
    conns: Vec<usize>,
    burst: Vec<u8>,
    in_flight: usize,
    /// By number in the swarm: what is still to come back.
    left: Vec<usize>,
}

/// They send this burst of so many messages.
pub(super) fn volley(talk: Talk, conns: Vec<usize>, burst: &[u8], in_flight: usize) -> Volley {
    let left = vec![0; conns.iter().max().map_or(0, |most| most + 1)];
    Volley { talk, conns, burst: burst.to_vec(), in_flight, left }
}

impl Volley {
    /// Bursts until that time, one at least, and until all are back; how many messages.
    fn until(&mut self, end_ns: u64) -> Result<u64> {
        let Self { talk, conns, burst, in_flight, left } = self;
        for conn in conns.iter() {
            left[*conn] = *in_flight;
            talk.swarm.borrow_mut().send(*conn, burst);
        }
        let (mut busy, mut done) = (conns.len(), 0);
        talk.hear(|swarm, number, payload| {
            let Some(left) = left.get_mut(number).filter(|left| **left > 0 && payload.len() >= MARK_BYTES)
            else {
                return Worth::Nothing;
            };
            *left -= 1;
            done += 1;
            if *left > 0 {
                return Worth::Something;
            }
            if now_ns() < end_ns {
                *left = *in_flight;
                swarm.send(number, burst);
                return Worth::Something;
            }
            busy -= 1;
            if busy == 0 { Worth::All } else { Worth::Something }
        })?;
        Ok(done)
    }

    /// One burst each.
    pub(super) fn once(&mut self) -> Result<()> {
        self.until(0).map(drop)
    }
}

impl Side for Volley {
    fn block(&mut self, length: Duration) -> Result<Block> {
        let talk = self.talk.clone();
        talk.block(length, |end_ns| self.until(end_ns))
    }
}
