//! One thread per core, with its own sockets and sessions: a readiness loop over the pure engine, no async. A turn has
//! five steps: read the ready sockets, take the inbox, run the wheel, flush the dirty, sleep.

mod gauge;
mod echo;
mod intake;
mod seal;
mod lags;
mod leaving;
mod sessions;
mod socket;
mod wheel;

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use everwire_engine::node::Node;
use everwire_engine::time::Now;
use everwire_engine::turn::{Loopback, Turn};
use everwire_proto::codes::CloseCode;
use everwire_proto::ws::deflate::Agreed;
use everwire_proto::ws::{Decoder, Limits};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

pub use self::gauge::{Gauge, Reading, TURN_BOUNDS_US};
pub use self::intake::{Arrival, Intake, Purpose};
pub use self::lags::{LAG_BOUNDS_US, LagReading};

use self::echo::{Echo, Look, Next, Tools};
use self::leaving::Leaving;
use self::seal::Seal;
use self::socket::{Got, Rest, Role, Socket, Sockets};
use self::wheel::Wheel;
use crate::clock::Clock;

/// Bytes read from one socket in one turn; the shard's only read buffer.
const READ_BYTES: usize = 64 * 1024;
/// Sockets flushed in one turn.
const FLUSHED: usize = 512;
/// Connections taken over in one turn: after a restart elsewhere thousands come at once, and nobody is to wait for them.
const WELCOMED: usize = 256;
/// The bare echo takes messages up to this, bytes: the conformance suite sends them.
const RAW_BYTES: u32 = 16 << 20;
/// After our last word the peer has so long to end, ms.
const LINGER_MS: u64 = 3_000;
const WAKE: Token = Token(usize::MAX);

/// One shard.
struct Shard {
    poll: Poll,
    events: Events,
    clock: Clock,
    intake: Arc<Intake>,
    turn: Turn,
    sockets: Sockets,
    tools: Tools,
    wheel: Wheel,
    due: Vec<(u32, u64)>,
    /// Sockets that are served in the next turn though the kernel reports nothing.
    ready: Vec<u32>,
    /// Sessions whose end was read; they go after the flush.
    ended: Vec<u32>,
    more_to_flush: bool,
    arrivals: Vec<Arrival>,
    more_to_welcome: bool,
    /// Draining: who goes when.
    leaving: Option<Box<Leaving>>,
    /// Stopping: everything is cut then.
    stop_at_ms: Option<u64>,
}

/// Starts the shard `number` of a node in a thread of its own.
///
/// # Errors
/// The operating system has no poll or no thread to give.
pub fn start(
    number: u16,
    node: &Arc<Node>,
    loopback: &Loopback,
    clock: Clock,
) -> io::Result<(Arc<Intake>, JoinHandle<()>)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let intake = Arc::new(Intake::new(waker.clone()));
    node.inbox(number).set_wake(move || {
        if let Err(error) = waker.wake() {
            tracing::error!(%error, "a shard can't be woken");
        }
    });
    let now = clock.now();
    let mut turn = Turn::new(node.clone(), number, now);
    let mut sockets = Sockets::new(intake.clone());
    // Its first slot has no socket: what is sent there came back to the node itself.
    turn.listen_to_self(sockets.next_slot(), loopback, now);
    let shard = Shard {
        poll,
        events: Events::with_capacity(1024),
        clock,
        intake: intake.clone(),
        turn,
        sockets,
        tools: Tools::new(READ_BYTES),
        wheel: Wheel::new(now.mono_ms),
        due: Vec::new(),
        ready: Vec::new(),
        ended: Vec::new(),
        more_to_flush: false,
        arrivals: Vec::new(),
        more_to_welcome: false,
        leaving: None,
        stop_at_ms: None,
    };
    let thread = std::thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
        let _alarm = Alarm;
        shard.run();
    })?;
    Ok((intake, thread))
}

/// A shard that ends with a bug takes its sessions with it, and would go on being given new ones: the process ends
/// instead, so that whoever watches it starts it anew.
struct Alarm;

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a shard ended with a bug; the process ends");
            std::process::abort();
        }
    }
}

impl Shard {
    fn run(mut self) {
        let mut now = self.clock.now();
        self.intake.gauge.turn_over(&self.turn, [0, 0], now.mono_ms, Duration::ZERO);
        while !self.is_over(now) {
            let patience = self.patience(now);
            match self.poll.poll(&mut self.events, patience) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    panic!("the poll of a shard failed, which no peer can bring about: {error}")
                }
                _ => now = self.clock.now(),
            }
            let begun = Instant::now();
            self.read_ready(now);
            self.take_inbox(now);
            self.run_wheel(now);
            self.flush(now);
            let bytes = [self.sockets.bytes_in, self.sockets.bytes_out];
            self.intake.gauge.turn_over(&self.turn, bytes, now.mono_ms, begun.elapsed());
        }
        self.intake.close();
    }

    fn is_over(&self, now: Now) -> bool {
        self.stop_at_ms.is_some_and(|at| self.sockets.count() == 0 || at <= now.mono_ms)
    }

    /// How long to sleep.
    fn patience(&self, now: Now) -> Option<Duration> {
        if !self.ready.is_empty() || self.more_to_flush || self.more_to_welcome {
            return Some(Duration::ZERO);
        }
        let leaving = self.leaving.as_ref().and_then(|leaving| leaving.next_ms());
        let wakes = [Some(self.turn.next_wake_ms(now)), self.wheel.next_ms(), leaving, self.stop_at_ms];
        let next = wakes.into_iter().flatten().min()?;
        Some(Duration::from_millis(next.saturating_sub(now.mono_ms)))
    }

    // Step 1.
    fn read_ready(&mut self, now: Now) {
        let mut ready = std::mem::take(&mut self.ready);
        // Lent out, because a look at an event may remove its socket.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let Ok(slot) = u32::try_from(event.token().0) else { continue };
            let Some(socket) = self.sockets.get(slot) else { continue };
            socket.peer_shut |= event.is_read_closed() || event.is_error();
            socket.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            let room = event.is_writable() && socket.blocked && socket.has_room();
            if room || (socket.readable && !socket.queued) {
                socket.queued = true;
                ready.push(slot);
            }
            if room {
                socket.pongs = 0;
                match socket.role {
                    Role::Session { .. } => self.turn.writable(slot),
                    Role::Echo(_) => {
                        let next = echo::writable(socket, now);
                        self.follow(slot, next, now);
                    }
                    Role::Linger => {}
                }
            }
        }
        self.events = events;
        let mut served = 0;
        while served < ready.len() && !self.turn.is_full() {
            self.serve(ready[served], now);
            served += 1;
        }
        // First come, first served: who was left out goes before who has more.
        ready.drain(..served);
        ready.append(&mut self.ready);
        self.ready = ready;
    }

    fn serve(&mut self, slot: u32, now: Now) {
        let Some(socket) = self.sockets.get(slot) else { return };
        if !std::mem::take(&mut socket.queued) {
            return;
        }
        match socket.role {
            Role::Echo(_) => {
                let next = echo::serve(socket, &mut self.tools, now);
                self.follow(slot, next, now);
            }
            Role::Session { .. } => {
                let tools = (&mut *self.tools.read, &mut self.tools.inflater);
                let bytes = sessions::serve(slot, socket, &mut self.turn, tools, now);
                if socket.at_end && !socket.deaf {
                    self.ended.push(slot);
                } else if sessions::has_more(socket) {
                    self.queue(slot);
                }
                self.sockets.bytes_in += bytes as u64;
            }
            Role::Linger => match socket.read(&mut self.tools.read) {
                Got::End => self.remove(slot, now),
                Got::Bytes(_) | Got::Nothing if socket.readable => self.queue(slot),
                Got::Bytes(_) | Got::Nothing => {}
            },
        }
    }

    fn queue(&mut self, slot: u32) {
        if let Some(socket) = self.sockets.get(slot)
            && !std::mem::replace(&mut socket.queued, true)
        {
            self.ready.push(slot);
        }
    }

    fn follow(&mut self, slot: u32, next: Next, now: Now) {
        match next {
            Next::Wait => {}
            Next::Again => self.queue(slot),
            Next::Linger => self.linger(slot, now),
            Next::Cut => self.remove(slot, now),
        }
    }

    /// Our last word is out: shuts our side and waits a little for the peer's, so that it can read that word.
    fn linger(&mut self, slot: u32, now: Now) {
        let Some(socket) = self.sockets.get(slot) else { return };
        if socket.at_end {
            self.remove(slot, now);
            return;
        }
        socket.shut();
        socket.rest = None;
        socket.role = Role::Linger;
        socket.mark = self.wheel.put(slot, now.mono_ms + LINGER_MS);
        if socket.readable {
            self.queue(slot);
        }
    }

    fn remove(&mut self, slot: u32, now: Now) {
        let Some(socket) = self.sockets.get(slot) else { return };
        if matches!(socket.role, Role::Session { .. }) {
            self.turn.closed(slot, now);
        }
        if self.sockets.remove(slot) {
            self.intake.left();
        }
    }

    // Step 2.
    fn take_inbox(&mut self, now: Now) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        self.more_to_welcome = self.intake.take(WELCOMED, &mut arrivals);
        for arrival in arrivals.drain(..) {
            self.welcome(arrival, now);
        }
        self.arrivals = arrivals;
        self.turn.take_inbox(now);
        self.drain(now);
        if let Some(within_ms) = self.intake.stops_within() {
            let at = now.mono_ms + within_ms;
            match &mut self.stop_at_ms {
                // It may be asked again, with less patience.
                Some(before) => *before = at.min(*before),
                None => {
                    self.stop_at_ms = Some(at);
                    for slot in self.sockets.all() {
                        self.dismiss(slot, now);
                    }
                }
            }
        }
    }

    /// Registers a socket that the front hands over and serves what the HTTP library had read already, and what TLS had
    /// opened already; after that readiness is trusted.
    fn welcome(&mut self, arrival: Arrival, now: Now) {
        let stream = arrival.stream;
        let slot = self.sockets.next_slot();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let mut source = SourceFd(&stream.as_raw_fd());
        if let Err(error) = self.poll.registry().register(&mut source, Token(slot as usize), interest) {
            tracing::warn!(%error, "a connection can't be watched and is dropped");
            self.sockets.give_back(slot);
            self.intake.left();
            return;
        }
        let own = self.turn.settings().limits.message_bytes;
        let (role, message_bytes) = match arrival.purpose {
            Purpose::Echo { raw } => {
                let compress = arrival.deflate.is_some_and(Agreed::may_compress);
                (Role::Echo(Echo::new(raw, compress, now)), if raw { RAW_BYTES } else { own })
            }
            Purpose::Session(peer) => {
                let binary = peer.form.format() == everwire_proto::payload::Format::MsgPack;
                self.turn.open(slot, peer, now);
                (Role::Session { binary }, own)
            }
        };
        let decoder = Decoder::server(Limits { message_bytes }, arrival.deflate.is_some());
        let seal = arrival.tls.map(|tls| Box::new(Seal::new(*tls)));
        let mut socket = Socket::new(stream, seal, decoder, role);
        // What the front has sealed and not sent, nobody else will send.
        socket.has_room();
        socket.place = arrival.place;
        if !arrival.leftover.is_empty() {
            socket.rest = Some(Box::new(Rest { bytes: arrival.leftover.to_vec(), at: 0 }));
        }
        if matches!(socket.role, Role::Echo(_)) {
            socket.mark = self.wheel.put(slot, now.mono_ms + self.turn.settings().times.heartbeat_ms);
        }
        socket.queued = true;
        self.sockets.put(slot, socket);
        let in_time = self.leaving.as_mut().is_none_or(|leaving| leaving.take_in(slot, now));
        if self.stop_at_ms.is_some() || !in_time {
            // It was on its way when the server was asked to stop.
            self.dismiss(slot, now);
        }
        if self.turn.is_full() {
            self.ready.push(slot);
        } else {
            self.serve(slot, now);
        }
    }

    /// Says goodbye to one connection: the server stops.
    fn dismiss(&mut self, slot: u32, now: Now) {
        let spread_ms = self.turn.settings().times.reconnect_spread_ms;
        let Some(socket) = self.sockets.get(slot) else { return };
        match socket.role {
            Role::Echo(_) => {
                let next = echo::close(socket, CloseCode::GoingAway, "the server stops", now);
                self.follow(slot, next, now);
            }
            Role::Session { .. } => {
                socket.deaf = true;
                // Who was told when to go is not told another time.
                if self.leaving.is_some() {
                    self.turn.close(slot, CloseCode::Draining, "the server stops", now);
                } else {
                    self.turn.dismiss(slot, [0, spread_ms], now);
                }
            }
            Role::Linger => {}
        }
    }

    // Step 3.
    fn run_wheel(&mut self, now: Now) {
        self.turn.run_wheel(now);
        let mut due = std::mem::take(&mut self.due);
        self.wheel.run(now.mono_ms, &mut due);
        for (slot, mark) in due.drain(..) {
            self.look_at(slot, mark, now);
        }
        self.due = due;
    }

    fn look_at(&mut self, slot: u32, mark: u64, now: Now) {
        let times = self.turn.settings().times;
        let Some(socket) = self.sockets.get(slot).filter(|s| s.mark == mark) else { return };
        match socket.role {
            Role::Linger => self.remove(slot, now),
            Role::Session { .. } => {}
            Role::Echo(_) => match echo::look(socket, &times, now) {
                Look::At(due) => socket.mark = self.wheel.put(slot, due),
                Look::Linger => self.linger(slot, now),
                Look::Cut => self.remove(slot, now),
            },
        }
    }

    // Step 4.
    fn flush(&mut self, now: Now) {
        self.more_to_flush = self.turn.flush(&mut self.sockets, now, FLUSHED);
        for slot in
            std::mem::take(&mut self.ended).into_iter().chain(std::mem::take(&mut self.sockets.broken))
        {
            self.remove(slot, now);
        }
        for slot in self.turn.take_finished() {
            let Some(socket) = self.sockets.get(slot) else { continue };
            if !matches!(socket.role, Role::Session { .. }) {
                continue;
            }
            let stuck = socket.blocked;
            self.turn.closed(slot, now);
            if stuck {
                self.cut(slot);
            } else {
                self.linger(slot, now);
            }
        }
        for slot in self.turn.take_released() {
            if let Some(socket) = self.sockets.get(slot) {
                socket.held = false;
                self.queue(slot);
            }
        }
    }

    /// Removes a socket whose session is gone already.
    fn cut(&mut self, slot: u32) {
        if self.sockets.remove(slot) {
            self.intake.left();
        }
    }
}
