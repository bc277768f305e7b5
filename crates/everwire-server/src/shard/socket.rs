//! The sockets of a shard: a dense table of their descriptors, and what the kernel, the decoder and the peer have left
//! unfinished of each.

use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use everwire_engine::hub::{Carrier, Sent};
use everwire_proto::ws::Decoder;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::echo::Echo;
use super::intake::Intake;
use super::seal::{Drained, Seal};
use crate::addresses::Place;

/// The slot in which the node listens to itself; the first that [`Sockets::next_slot`] gives.
const LOOPBACK: u32 = 0;

/// The last number that stands as `data` in these frames of the node to itself.
fn number_in(frames: &[u8]) -> Option<u64> {
    const FIELD: &[u8] = b"\"data\":";
    let at = frames.windows(FIELD.len()).rposition(|window| window == FIELD)?;
    let digits = frames[at + FIELD.len()..].iter().take_while(|b| b.is_ascii_digit());
    let digits: Vec<u8> = digits.copied().collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// What a socket is for.
#[derive(Debug)]
pub(super) enum Role {
    /// It gets back what it sends.
    Echo(Echo),
    /// It has a session in the turn, under the same slot.
    Session {
        /// Its messages are binary (MessagePack).
        binary: bool,
    },
    /// Its close frame is out and our side is shut: what still comes in is thrown away until its end.
    Linger,
}

/// Bytes that were read and may not be decoded yet.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) bytes: Vec<u8>,
    pub(super) at: usize,
}

/// What a send needs of a socket: 8 bytes, and of thousands of subscribers nothing else is fetched.
#[derive(Debug)]
struct Wire {
    stream: OwnedFd,
    /// It had TLS when it came.
    sealed: bool,
}

/// What is known of a socket besides its descriptor.
#[derive(Debug)]
pub(super) struct State {
    /// `None`: it is plain.
    seal: Option<Box<Seal>>,
    pub(super) decoder: Decoder,
    pub(super) role: Role,
    pub(super) rest: Option<Box<Rest>>,
    /// The mark of its newest entry in the wheel.
    pub(super) mark: u64,
    /// The kernel may have bytes of it.
    pub(super) readable: bool,
    /// The peer has shut its side: only a read of 0 bytes counts as drained.
    pub(super) peer_shut: bool,
    /// It is in the shard's ready list.
    pub(super) queued: bool,
    /// The kernel took less than was offered: nothing is offered until it reports room.
    pub(super) blocked: bool,
    /// The turn wants nothing of it now.
    pub(super) held: bool,
    /// Whatever else it sends is thrown away.
    pub(super) deaf: bool,
    /// Its end was read.
    pub(super) at_end: bool,
    /// Pongs given to the turn while the socket was blocked.
    pub(super) pongs: u16,
    /// Its place among all connections from its address; given back with the socket.
    pub(super) place: Option<Place>,
}

/// What a read brought.
#[derive(Debug)]
pub(super) enum Got {
    Bytes(usize),
    Nothing,
    End,
}

impl State {
    pub(super) fn new(seal: Option<Box<Seal>>, decoder: Decoder, role: Role) -> Self {
        Self {
            seal,
            decoder,
            role,
            rest: None,
            mark: 0,
            readable: true,
            peer_shut: false,
            queued: false,
            blocked: false,
            held: false,
            deaf: false,
            at_end: false,
            pongs: 0,
            place: None,
        }
    }

    /// Keeps what may not be decoded yet.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.rest = (!bytes.is_empty()).then(|| Box::new(Rest { bytes: bytes.to_vec(), at: 0 }));
    }
}

/// One socket, whatever its family, as the table lends it out.
#[derive(Debug)]
pub(super) struct Socket<'t> {
    stream: &'t OwnedFd,
    state: &'t mut State,
}

impl Deref for Socket<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state
    }
}

impl DerefMut for Socket<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state
    }
}

/// Offers bytes to the kernel; how many it took, or `None` when the socket is broken.
fn send(stream: &OwnedFd, bytes: &[u8]) -> Option<usize> {
    loop {
        // Not the C library's call, half of whose instructions are for threads that are cancelled. A peer that is gone
        // raises no signal: Rust's runtime ignores it.
        match rustix::net::send(stream, bytes, SendFlags::empty()) {
            Ok(n) => return Some(n),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Some(0),
            Err(_) => return None,
        }
    }
}

impl Socket<'_> {
    /// Reads once. A short read counts as drained: what comes later is reported anew.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Got {
        if let Some(seal) = &mut self.state.seal {
            let (got, more) = seal.read(self.stream, buffer, self.state.peer_shut);
            self.readable = more;
            return got;
        }
        loop {
            match rustix::net::recv(self.stream, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Got::End,
                Ok((n, _)) => {
                    // Bytes and the end may share one report, so a shut peer is read to its end.
                    self.readable = n == buffer.len() || self.peer_shut;
                    return Got::Bytes(n);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    return Got::Nothing;
                }
                Err(_) => return Got::End,
            }
        }
    }

    /// Offers bytes to the kernel; how many it took, or `None` when the socket is broken.
    pub(super) fn offer(&mut self, bytes: &[u8]) -> Option<usize> {
        let taken = match &mut self.state.seal {
            Some(seal) => seal.offer(self.stream, bytes)?,
            None => send(self.stream, bytes)?,
        };
        self.blocked = taken < bytes.len();
        Some(taken)
    }

    /// The kernel has room, or may have: whether more may be offered. What is sealed and waits goes first; if the socket
    /// is broken the next offer tells.
    pub(super) fn has_room(&mut self) -> bool {
        let seal = self.state.seal.as_mut();
        let full = seal.is_some_and(|seal| seal.drain(self.stream) == Drained::Full);
        self.blocked = full;
        !full
    }

    /// Shuts our side; the peer may still send. What it sends is not opened any more.
    pub(super) fn shut(&mut self) {
        self.unseal();
        // An error says that the peer is gone, which the next read tells too.
        let _ = rustix::net::shutdown(self.stream, Shutdown::Write);
    }

    /// Ends TLS in its own words, without which the peer might think that it was cut off.
    fn unseal(&mut self) {
        if let Some(mut seal) = self.seal.take() {
            seal.close(self.stream);
        }
    }
}

/// The table. A slot is a socket's token in the poll and its name in the turn.
#[derive(Debug)]
pub(super) struct Sockets {
    wires: Vec<Option<Wire>>,
    states: Vec<Option<Box<State>>>,
    free: Vec<u32>,
    /// Slots whose socket broke while it was written to.
    pub(super) broken: Vec<u32>,
    count: usize,
    intake: Arc<Intake>,
    /// Bytes read of sessions' sockets.
    pub(super) bytes_in: u64,
    /// Bytes that sessions' sockets took.
    pub(super) bytes_out: u64,
}

impl Sockets {
    pub(super) fn new(intake: Arc<Intake>) -> Self {
        let (wires, states, free, broken) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { wires, states, free, broken, count: 0, intake, bytes_in: 0, bytes_out: 0 }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn get(&mut self, slot: u32) -> Option<Socket<'_>> {
        let state = self.states.get_mut(slot as usize)?.as_deref_mut()?;
        let wire = self.wires.get(slot as usize)?.as_ref()?;
        Some(Socket { stream: &wire.stream, state })
    }

    /// A slot for the next socket.
    pub(super) fn next_slot(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        self.wires.push(None);
        self.states.push(None);
        u32::try_from(self.states.len() - 1).expect("descriptors run out long before")
    }

    pub(super) fn put(&mut self, slot: u32, stream: OwnedFd, state: State) {
        self.wires[slot as usize] = Some(Wire { stream, sealed: state.seal.is_some() });
        self.states[slot as usize] = Some(Box::new(state));
        self.count += 1;
    }

    /// Gives back a slot that was never filled.
    pub(super) fn give_back(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Closes a socket and frees its slot.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        let Some(mut socket) = self.get(slot) else { return false };
        socket.unseal();
        (self.wires[slot as usize], self.states[slot as usize]) = (None, None);
        self.free.push(slot);
        self.count -= 1;
        true
    }

    /// What is sent to the first slot was published by the node to itself: the way is open.
    #[cold]
    fn came_back(&self, slot: u32, bytes: &[u8]) -> Sent {
        if slot != LOOPBACK {
            return Sent::Gone;
        }
        if let Some(number) = number_in(bytes) {
            self.intake.came_back.send_replace(number);
        }
        Sent::Bytes(bytes.len())
    }

    /// All slots in use.
    pub(super) fn all(&self) -> Vec<u32> {
        let used = self.states.iter().enumerate().filter(|(_, s)| s.is_some());
        used.filter_map(|(slot, _)| u32::try_from(slot).ok()).collect()
    }
}

// life 9/9: one send carries everything that is pending for the socket.
impl Carrier for Sockets {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        let taken = match self.wires.get(slot as usize) {
            Some(Some(wire)) if !wire.sealed => send(&wire.stream, bytes),
            Some(Some(_)) => self.get(slot).and_then(|mut socket| socket.offer(bytes)),
            Some(None) | None => return self.came_back(slot, bytes),
        };
        let Some(taken) = taken else {
            self.broken.push(slot);
            return Sent::Gone;
        };
        if taken < bytes.len()
            && let Some(mut socket) = self.get(slot)
        {
            socket.blocked = true;
        }
        self.bytes_out += taken as u64;
        Sent::Bytes(taken)
    }
}
