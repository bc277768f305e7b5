//! Many WebSockets in one thread: an epoll loop that opens them, keeps a few bytes for each, and tells what they hear.

mod wire;
mod dial;

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use everwire_proto::ws::{Opcode, write_masked_frame};
use mio::{Events, Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec};

pub use self::dial::Upgrade;
pub use self::wire::Seal;

use self::dial::Dialing;
use self::wire::Wire;
use crate::clock::now_ns;
use crate::frames::{self, Frame};

/// One read takes so much at most.
const READ_BYTES: usize = 256 * 1024;
/// Pauses of the processor between two looks, some microseconds.
const PAUSES: usize = 100;

/// What is heard of a connection.
#[derive(Debug)]
pub enum Heard<'a> {
    /// It is open.
    Open,
    /// A frame came in; pings are answered already.
    Frame(Frame<'a>),
    /// It has ended, or never opened. In words.
    Closed(String),
}

/// How a connection begins.
#[derive(Clone, Debug)]
pub enum Opening {
    /// With an upgrade to WebSocket.
    WebSocket(Upgrade),
    /// The same over TLS.
    Sealed(Upgrade, Seal),
    /// With frames at once: a floor program knows no HTTP.
    Bare,
}

/// What a connection is in.
#[derive(Debug)]
enum Phase {
    Dialing(Box<Dialing>),
    Open,
}

#[derive(Debug)]
struct Conn {
    stream: Wire,
    phase: Phase,
    /// A frame that is not whole yet.
    partial: Vec<u8>,
    /// What the kernel has not taken yet.
    unsent: Vec<u8>,
    readable: bool,
    /// The server has sent its last byte: after a short read its end is still to be read, and no event tells it again.
    ended: bool,
    /// It is left alone: whatever it is sent stays in the kernel.
    deaf: bool,
}

/// The swarm. A connection is known by its number, which is given again after it was closed.
#[derive(Debug)]
pub struct Swarm {
    poll: Poll,
    events: Events,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    buffer: Box<[u8]>,
    count: usize,
    dialing: usize,
    unsent: Vec<usize>,
    /// They were deaf, and are read from at the next turn.
    awake: Vec<usize>,
    /// System calls that were made for reading and writing.
    pub calls: u64,
}

impl Swarm {
    /// An empty one.
    ///
    /// # Errors
    /// The operating system has no poll to give.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            conns: Vec::new(),
            free: Vec::new(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            count: 0,
            dialing: 0,
            unsent: Vec::new(),
            awake: Vec::new(),
            calls: 0,
        })
    }

    /// Connections, open or on their way.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Connections that are not open yet.
    pub fn dialing(&self) -> usize {
        self.dialing
    }

    /// Begins a connection; [`Heard::Open`] or [`Heard::Closed`] follows.
    ///
    /// # Errors
    /// No descriptor, no port; nothing was begun.
    pub fn dial(&mut self, to: SocketAddr, from: Option<IpAddr>, opening: &Opening) -> io::Result<usize> {
        let mut stream = dial::begin(to, from)?;
        let number = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, Token(number), interest) {
            self.free.push(number);
            return Err(error);
        }
        let (upgrade, seal) = match opening {
            Opening::WebSocket(upgrade) => (Some(upgrade), None),
            Opening::Sealed(upgrade, seal) => (Some(upgrade), Some(seal)),
            Opening::Bare => (None, None),
        };
        let stream = match Wire::new(stream, seal) {
            Ok(stream) => stream,
            Err(error) => {
                self.free.push(number);
                return Err(error);
            }
        };
        let dialing = Dialing::new(upgrade);
        let phase = Phase::Dialing(Box::new(dialing));
        let (partial, unsent) = (Vec::new(), Vec::new());
        self.conns[number] =
            Some(Conn { stream, phase, partial, unsent, readable: false, ended: false, deaf: false });
        self.count += 1;
        self.dialing += 1;
        Ok(number)
    }

    /// Sends whole frames, now or when the kernel has room. Nothing happens where the connection has ended.
    pub fn send(&mut self, number: usize, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(number).and_then(Option::as_mut) else { return };
        if !conn.unsent.is_empty() || matches!(conn.phase, Phase::Dialing(_)) {
            conn.unsent.extend_from_slice(bytes);
            return;
        }
        self.calls += 1;
        // An error shows as the end of the connection, which the next read tells.
        let sent = conn.stream.write(bytes).unwrap_or(0);
        if sent < bytes.len() {
            conn.unsent.extend_from_slice(&bytes[sent..]);
        }
    }

    /// Sends behind what other calls of this turn put there: one write for all.
    pub fn put(&mut self, number: usize, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(number).and_then(Option::as_mut) else { return };
        if conn.unsent.is_empty() && !matches!(conn.phase, Phase::Dialing(_)) {
            self.unsent.push(number);
        }
        conn.unsent.extend_from_slice(bytes);
    }

    /// Writes what [`Swarm::put`] left.
    pub fn flush(&mut self) {
        for number in std::mem::take(&mut self.unsent) {
            self.write_unsent(number);
        }
    }

    fn write_unsent(&mut self, number: usize) {
        let Some(conn) = self.conns.get_mut(number).and_then(Option::as_mut) else { return };
        if conn.unsent.is_empty() || matches!(conn.phase, Phase::Dialing(_)) {
            return;
        }
        self.calls += 1;
        let sent = conn.stream.write(&conn.unsent).unwrap_or(0);
        if sent == conn.unsent.len() && sent <= 4_096 {
            conn.unsent.clear();
        } else if sent == conn.unsent.len() {
            conn.unsent = Vec::new();
        } else {
            conn.unsent.drain(..sent);
        }
    }

    /// From now on it is not read from; what it is sent stays in the kernel. Or again read from.
    pub fn set_deaf(&mut self, number: usize, deaf: bool) {
        if let Some(conn) = self.conns.get_mut(number).and_then(Option::as_mut) {
            conn.deaf = deaf;
            if !deaf {
                // What came meanwhile is not reported again.
                self.awake.push(number);
            }
        }
    }

    /// Closes a connection without a word.
    pub fn cut(&mut self, number: usize) {
        if let Some(conn) = self.conns.get_mut(number).and_then(Option::take) {
            self.count -= 1;
            self.dialing -= usize::from(matches!(conn.phase, Phase::Dialing(_)));
            self.free.push(number);
        }
    }

    /// Waits at most `patience` and tells `ear` what came. The connection that is told of may be sent to and cut from
    /// inside; it is told nothing more after a cut.
    ///
    /// # Errors
    /// The poll's.
    pub fn turn(
        &mut self,
        patience: Option<Duration>,
        ear: &mut impl FnMut(&mut Self, usize, Heard<'_>),
    ) -> io::Result<()> {
        self.wait(if self.awake.is_empty() { patience } else { Some(Duration::ZERO) })?;
        self.hear(ear);
        Ok(())
    }

    /// As [`Swarm::turn`], but never sleeps. Whoever sends over loopback to a process that sleeps pays for waking it, and
    /// how often it sleeps is chance: what a send costs would be anything.
    ///
    /// # Errors
    /// The poll's.
    pub fn turn_awake(
        &mut self,
        patience: Duration,
        ear: &mut impl FnMut(&mut Self, usize, Heard<'_>),
    ) -> io::Result<()> {
        let end_ns = now_ns() + u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        loop {
            self.wait(Some(Duration::ZERO))?;
            if !self.events.is_empty() || !self.awake.is_empty() || now_ns() >= end_ns {
                break;
            }
            // Not at once again: each look takes a lock that the sender needs.
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
        }
        self.hear(ear);
        Ok(())
    }

    fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, patience) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn hear(&mut self, ear: &mut impl FnMut(&mut Self, usize, Heard<'_>)) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let number = event.token().0;
            let Some(conn) = self.conns.get_mut(number).and_then(Option::as_mut) else { continue };
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                conn.readable = true;
            }
            conn.ended |= event.is_read_closed();
            if matches!(conn.phase, Phase::Dialing(_)) {
                self.step(number, ear);
            } else {
                if event.is_writable() {
                    conn.stream.push();
                    self.write_unsent(number);
                }
                self.read(number, ear);
            }
        }
        self.events = events;
        for number in std::mem::take(&mut self.awake) {
            self.read(number, ear);
        }
        self.flush();
    }

    /// As [`Swarm::turn`], but waits until this time of [`crate::clock`] to a few microseconds; the poll of `turn` knows
    /// whole milliseconds only, and a schedule that is late by one shows in every latency.
    ///
    /// # Errors
    /// The poll's.
    pub fn turn_until(
        &mut self,
        until_ns: u64,
        ear: &mut impl FnMut(&mut Self, usize, Heard<'_>),
    ) -> io::Result<()> {
        let left = Duration::from_nanos(until_ns.saturating_sub(now_ns()));
        if let (Ok(time), false) = (Timespec::try_from(left), left.is_zero()) {
            let mut fds = [PollFd::new(self.poll.registry(), PollFlags::IN)];
            // What came is read below; a signal is looked at by whoever called.
            match rustix::event::poll(&mut fds, Some(&time)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.turn(Some(Duration::ZERO), ear)
    }

    /// Goes on with an upgrade.
    fn step(&mut self, number: usize, ear: &mut impl FnMut(&mut Self, usize, Heard<'_>)) {
        let Some(conn) = self.conns.get_mut(number).and_then(Option::as_mut) else { return };
        let Phase::Dialing(dialing) = &mut conn.phase else { return };
        match dialing.step(&mut conn.stream) {
            Ok(None) => {}
            Ok(Some(early)) => {
                conn.phase = Phase::Open;
                self.dialing -= 1;
                self.write_unsent(number);
                ear(self, number, Heard::Open);
                if !early.is_empty() {
                    self.take(number, &early, ear);
                }
                self.read(number, ear);
            }
            Err(words) => {
                self.cut(number);
                ear(self, number, Heard::Closed(words));
            }
        }
    }

    fn read(&mut self, number: usize, ear: &mut impl FnMut(&mut Self, usize, Heard<'_>)) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(conn) = self.conns.get_mut(number).and_then(Option::as_mut) {
            if !conn.readable || conn.deaf {
                break;
            }
            // What is not whole yet goes before what comes.
            let start = conn.partial.len().min(READ_BYTES / 2);
            if conn.partial.len() > start {
                self.cut(number);
                ear(self, number, Heard::Closed("it sent a frame larger than 128 KiB".to_owned()));
                break;
            }
            buffer[..start].copy_from_slice(&conn.partial);
            self.calls += 1;
            match conn.stream.read(&mut buffer[start..]) {
                Ok(0) => {
                    self.cut(number);
                    ear(self, number, Heard::Closed("it ended".to_owned()));
                }
                Ok(n) => {
                    let more = start + n == buffer.len() || !conn.stream.is_drained_by_short_reads();
                    conn.readable = conn.ended || more;
                    conn.partial.clear();
                    self.take(number, &buffer[..start + n], ear);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => conn.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.cut(number);
                    ear(self, number, Heard::Closed(error.to_string()));
                }
            }
        }
        self.buffer = buffer;
    }

    /// Cuts bytes into frames and tells them.
    fn take(&mut self, number: usize, bytes: &[u8], ear: &mut impl FnMut(&mut Self, usize, Heard<'_>)) {
        let mut at = 0;
        while at < bytes.len() {
            let Some(conn) = self.conns.get_mut(number).and_then(Option::as_mut) else { return };
            let Some((frame, len)) = frames::split(&bytes[at..]) else {
                conn.partial.extend_from_slice(&bytes[at..]);
                return;
            };
            at += len;
            if frame.opcode == Opcode::Ping as u8 {
                let mut pong = Vec::with_capacity(frame.payload.len() + 6);
                write_masked_frame(&mut pong, Opcode::Pong, [1, 2, 3, 4], frame.payload);
                self.put(number, &pong);
            }
            ear(self, number, Heard::Frame(frame));
        }
    }
}
