//! What is measured against a floor: the same bytes over the same kind of sockets to the same load tool.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::alternate::{Block, Side};
use crate::clock::now_ns;
use crate::swarm::{Heard, Swarm};
use crate::watched::Watched;

/// Both sides' connections are in one swarm.
pub type Shared = Rc<RefCell<Swarm>>;

/// Nothing heard for so long ends a measurement.
const PATIENCE_NS: u64 = 10_000_000_000;

/// A publisher that sends its messages, waits until every subscriber has every one, and sends again.
#[derive(Debug)]
pub struct FanOut {
    /// All connections.
    pub swarm: Shared,
    /// The process.
    pub watched: Watched,
    /// The publisher's number.
    pub publisher: usize,
    /// What it sends each time, in one write.
    pub messages: Vec<u8>,
    /// Frames that come back each time, over all subscribers.
    pub deliveries: u64,
    /// Bytes of a frame that is delivered, at least; shorter ones are replies.
    pub least_bytes: usize,
}

impl FanOut {
    /// Once.
    ///
    /// # Errors
    /// A connection ended, or nothing came for 10 s.
    pub fn once(&mut self) -> Result<()> {
        let mut swarm = self.swarm.borrow_mut();
        swarm.send(self.publisher, &self.messages);
        await_frames(&mut swarm, self.deliveries, self.least_bytes)
    }
}

/// Waits for so many frames of at least so many bytes.
fn await_frames(swarm: &mut Swarm, count: u64, least_bytes: usize) -> Result<()> {
    let (mut heard, mut ended) = (0, None);
    let mut moved_ns = now_ns();
    while heard < count {
        let before = heard;
        swarm.turn_awake(Duration::from_millis(100), &mut |_, _, what| match what {
            Heard::Frame(frame) => heard += u64::from(frame.payload.len() >= least_bytes),
            Heard::Closed(words) => ended = Some(words),
            Heard::Open => {}
        })?;
        if let Some(words) = ended {
            bail!("a connection ended: {words}");
        }
        if heard > before {
            moved_ns = now_ns();
        } else if now_ns() - moved_ns > PATIENCE_NS {
            bail!("{heard} of {count} frames came, and no further one for 10 s");
        }
    }
    Ok(())
}

impl Side for FanOut {
    fn block(&mut self, length: Duration) -> Result<Block> {
        let (start_ns, cpu_ns, mut rounds) = (now_ns(), self.watched.cpu_ns()?, 0);
        let end_ns = start_ns + nanos(length);
        while now_ns() < end_ns {
            self.once()?;
            rounds += 1;
        }
        let cpu_ns = self.watched.cpu_ns()? - cpu_ns;
        Ok(Block { done: rounds * self.deliveries, cpu_ns, wall_ns: now_ns() - start_ns })
    }
}

/// Connections that each keep some messages in flight: for each that comes back the next one goes out.
#[derive(Debug)]
pub struct Echo {
    /// All connections.
    pub swarm: Shared,
    /// The process.
    pub watched: Watched,
    /// The numbers of the connections.
    pub conns: Vec<usize>,
    /// The frame that each of them sends.
    pub messages: Vec<Vec<u8>>,
    /// How many are in flight on each.
    pub in_flight: usize,
    /// Frames that come back for each that is sent: 2 where a reply comes besides.
    pub answers: usize,
}

impl Side for Echo {
    fn block(&mut self, length: Duration) -> Result<Block> {
        let mut swarm = self.swarm.borrow_mut();
        let whole = self.in_flight * self.answers;
        let most = self.conns.iter().max().map_or(0, |most| most + 1);
        let (mut left, mut bursts) = (vec![0; most], vec![Vec::new(); most]);
        let (start_ns, cpu_ns) = (now_ns(), self.watched.cpu_ns()?);
        let end_ns = start_ns + nanos(length);
        for (conn, message) in self.conns.iter().zip(&self.messages) {
            bursts[*conn] = message.repeat(self.in_flight);
            left[*conn] = whole;
            swarm.send(*conn, &bursts[*conn]);
        }
        let (mut done, mut busy, mut ended) = (0, self.conns.len(), None);
        let mut moved_ns = start_ns;
        while busy > 0 {
            let before = done;
            let over = now_ns() >= end_ns;
            swarm.turn_awake(Duration::from_millis(100), &mut |swarm, number, what| match what {
                // A ping is no answer, and a connection of the other side is none of ours.
                Heard::Frame(frame) if frame.opcode < 8 && left.get(number).is_some_and(|n| *n > 0) => {
                    left[number] -= 1;
                    done += 1;
                    // A connection sends its next ones in one write, when all of the last ones are back.
                    if left[number] == 0 && over {
                        busy -= 1;
                    } else if left[number] == 0 {
                        left[number] = whole;
                        swarm.send(number, &bursts[number]);
                    }
                }
                Heard::Closed(words) => ended = Some(words),
                Heard::Frame(_) | Heard::Open => {}
            })?;
            if let Some(words) = ended {
                bail!("a connection ended: {words}");
            }
            if done > before {
                moved_ns = now_ns();
            } else if now_ns() - moved_ns > PATIENCE_NS {
                bail!("no echo came for 10 s");
            }
        }
        let cpu_ns = self.watched.cpu_ns()? - cpu_ns;
        Ok(Block { done: done / self.answers as u64, cpu_ns, wall_ns: now_ns() - start_ns })
    }
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
