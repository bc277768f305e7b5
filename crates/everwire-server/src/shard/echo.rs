//! The echoes: no session, no queue. What one read brought is answered with one send; a peer that does not read is
//! not read from.

use everwire_engine::entry::DEFLATE_FROM;
use everwire_engine::limits::Times;
use everwire_engine::time::Now;
use everwire_proto::codes::CloseCode;
use everwire_proto::ws::{self, Deflater, Event, Inflater, Opcode};

use super::socket::{Got, Rest, Role, Socket, State};

/// What the tutorial's echo puts before a text.
const GREETING: &[u8] = b"Server received: ";

/// Answers are sent when they come to this, even if the read has more; it bounds what an inflated read can pile up.
const ANSWER_BYTES: usize = 256 * 1024;

/// Buffers above this are given back after use.
const KEPT_BYTES: usize = 1 << 20;

/// A peer that takes nothing of its close frame for so long is cut, ms.
const CLOSE_MS: u64 = 5_000;

/// What an echo has left unfinished.
#[derive(Debug)]
pub(super) struct Echo {
    /// Text and binary unchanged.
    raw: bool,
    /// Answers may be compressed.
    deflate: bool,
    /// A close frame is the last thing it is sent.
    closing: bool,
    pinged: bool,
    heard_ms: u64,
    /// What the kernel did not take; since when nothing moved.
    pending: Option<Box<Pending>>,
}

#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    at: usize,
    since_ms: u64,
}

/// What all echoes of a shard share.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) read: Box<[u8]>,
    pub(super) inflater: Inflater,
    deflater: Deflater,
    out: Vec<u8>,
    text: Vec<u8>,
}

impl Tools {
    pub(super) fn new(read_bytes: usize) -> Self {
        Self {
            read: vec![0; read_bytes].into_boxed_slice(),
            inflater: Inflater::new(),
            deflater: Deflater::new(),
            out: Vec::new(),
            text: Vec::new(),
        }
    }
}

/// What the shard does with an echo's socket next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until the kernel reports.
    Wait,
    /// Serve it again in the next turn.
    Again,
    /// Our last word is out: linger.
    Linger,
    /// Cut it.
    Cut,
}

/// What a look of the wheel found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Look again then.
    At(u64),
    /// Our last word is out: linger.
    Linger,
    /// Cut it.
    Cut,
}

impl Echo {
    pub(super) fn new(raw: bool, deflate: bool, now: Now) -> Self {
        Self { raw, deflate, closing: false, pinged: false, heard_ms: now.mono_ms, pending: None }
    }

    /// Appends the answer to one event; `false`: it was the last one.
    fn answer(&mut self, event: Event<'_>, tools: (&mut Vec<u8>, &mut Vec<u8>, &mut Deflater)) -> bool {
        let (out, text, deflater) = tools;
        match event {
            Event::Text(said) if self.raw => self.write(out, deflater, Opcode::Text, said),
            Event::Text(said) => {
                text.clear();
                text.extend_from_slice(GREETING);
                text.extend_from_slice(said);
                self.write(out, deflater, Opcode::Text, text);
            }
            Event::Binary(bytes) => self.write(out, deflater, Opcode::Binary, bytes),
            Event::Ping(bytes) => ws::write_frame(out, Opcode::Pong, bytes),
            Event::Pong(_) => {}
            Event::Close(None) => {
                ws::write_frame(out, Opcode::Close, b"");
                return false;
            }
            Event::Close(Some((code, _))) => {
                out.extend_from_slice(&ws::close_frame(code, ""));
                return false;
            }
        }
        true
    }

    fn write(&self, out: &mut Vec<u8>, deflater: &mut Deflater, opcode: Opcode, payload: &[u8]) {
        if self.deflate && payload.len() >= DEFLATE_FROM {
            deflater.write_frame(out, opcode, payload);
        } else {
            ws::write_frame(out, opcode, payload);
        }
    }
}

/// The echo of a socket; whoever calls has seen its role.
fn echo(state: &mut State) -> Option<&mut Echo> {
    if let Role::Echo(echo) = &mut state.role { Some(echo) } else { None }
}

/// Serves one socket: what was kept, or one read.
pub(super) fn serve(socket: &mut Socket<'_>, tools: &mut Tools, now: Now) -> Next {
    if echo(socket).is_none_or(|e| e.pending.is_some() || e.closing) {
        return Next::Wait;
    }
    if let Some(mut rest) = socket.rest.take() {
        let Rest { bytes, at } = &mut *rest;
        let next = decode(socket, &mut bytes[*at..], tools, now);
        return again(socket, next);
    }
    if !socket.readable {
        return Next::Wait;
    }
    // Lent out, so that the decoder may change it while the other tools are used.
    let mut read = std::mem::take(&mut tools.read);
    let next = match socket.read(&mut read) {
        Got::Nothing => Next::Wait,
        Got::End => Next::Cut,
        Got::Bytes(n) => {
            if let Some(echo) = echo(socket) {
                (echo.heard_ms, echo.pinged) = (now.mono_ms, false);
            }
            decode(socket, &mut read[..n], tools, now)
        }
    };
    tools.read = read;
    again(socket, next)
}

fn again(socket: &State, next: Next) -> Next {
    let more = socket.readable || socket.rest.is_some();
    if next == Next::Wait && more && !socket.blocked { Next::Again } else { next }
}

fn decode(socket: &mut Socket<'_>, bytes: &mut [u8], tools: &mut Tools, now: Now) -> Next {
    let Tools { inflater, deflater, out, text, .. } = tools;
    let (mut at, len) = (0, bytes.len());
    out.clear();
    let State { decoder, role: Role::Echo(echo), .. } = &mut **socket else { return Next::Cut };
    while at < len && out.len() < ANSWER_BYTES {
        let mut window = &mut bytes[at..];
        let event = decoder.next(&mut window, inflater);
        at = len - window.len();
        match event {
            Ok(Some(event)) => {
                if !echo.answer(event, (&mut *out, &mut *text, &mut *deflater)) {
                    echo.closing = true;
                    break;
                }
            }
            Ok(None) => break,
            Err(violation) => {
                out.extend_from_slice(&ws::close_frame(violation.code, violation.reason));
                echo.closing = true;
                break;
            }
        }
    }
    if !echo.closing {
        socket.keep(&bytes[at..]);
    }
    let next = send(socket, out, now);
    inflater.trim();
    if text.capacity() > KEPT_BYTES {
        *text = Vec::new();
    }
    if out.capacity() > KEPT_BYTES {
        *out = Vec::new();
    }
    next
}

/// Sends `out`, and keeps what the kernel does not take.
fn send(socket: &mut Socket<'_>, out: &mut Vec<u8>, now: Now) -> Next {
    let Some(sent) = (if out.is_empty() { Some(0) } else { socket.offer(out) }) else { return Next::Cut };
    let Some(echo) = echo(socket) else { return Next::Cut };
    if sent < out.len() {
        // A large rest moves instead of being copied.
        let (bytes, at) = if out.len() - sent > KEPT_BYTES {
            (std::mem::take(out), sent)
        } else {
            (out[sent..].to_vec(), 0)
        };
        echo.pending = Some(Box::new(Pending { bytes, at, since_ms: now.mono_ms }));
        return Next::Wait;
    }
    if echo.closing { Next::Linger } else { Next::Wait }
}

/// The kernel has room again.
pub(super) fn writable(socket: &mut Socket<'_>, now: Now) -> Next {
    let Some(mut pending) = echo(socket).and_then(|e| e.pending.take()) else { return Next::Wait };
    let Some(sent) = socket.offer(&pending.bytes[pending.at..]) else { return Next::Cut };
    let Some(echo) = echo(socket) else { return Next::Cut };
    pending.at += sent;
    if pending.at < pending.bytes.len() {
        if sent > 0 {
            pending.since_ms = now.mono_ms;
        }
        echo.pending = Some(pending);
        return Next::Wait;
    }
    // While nothing was read nothing could be heard.
    echo.heard_ms = now.mono_ms;
    if echo.closing {
        return Next::Linger;
    }
    again(socket, Next::Wait)
}

/// Says one more thing behind what is pending.
fn say(socket: &mut Socket<'_>, frame: &[u8], now: Now) -> Next {
    match echo(socket).and_then(|e| e.pending.as_mut()) {
        Some(pending) => {
            pending.bytes.extend_from_slice(frame);
            Next::Wait
        }
        None => send(socket, &mut frame.to_vec(), now),
    }
}

/// Ends it from our side.
pub(super) fn close(socket: &mut Socket<'_>, code: CloseCode, reason: &str, now: Now) -> Next {
    let Some(echo) = echo(socket) else { return Next::Wait };
    if echo.closing {
        return Next::Wait;
    }
    echo.closing = true;
    socket.rest = None;
    say(socket, &ws::close_frame(code.code(), reason), now)
}

/// Looks at its deadlines: silence, and a peer that takes nothing.
pub(super) fn look(socket: &mut Socket<'_>, times: &Times, now: Now) -> Look {
    let Some(echo) = echo(socket) else { return Look::Cut };
    if let Some(pending) = &echo.pending {
        let patience = if echo.closing { CLOSE_MS } else { times.stalled_ms };
        let due = pending.since_ms + patience;
        return if due <= now.mono_ms { Look::Cut } else { Look::At(due) };
    }
    let ping = echo.heard_ms + times.heartbeat_ms;
    let end = ping + times.heartbeat_grace_ms;
    let next = match (now.mono_ms >= ping, echo.pinged) {
        (false, _) => return Look::At(ping),
        (true, false) => {
            echo.pinged = true;
            let mut frame = Vec::with_capacity(2);
            ws::write_frame(&mut frame, Opcode::Ping, b"");
            say(socket, &frame, now)
        }
        (true, true) if now.mono_ms < end => return Look::At(end),
        (true, true) => close(socket, CloseCode::HeartbeatMissed, "nothing was heard from you", now),
    };
    match next {
        Next::Linger => Look::Linger,
        Next::Cut => Look::Cut,
        Next::Wait | Next::Again => Look::At(now.mono_ms + times.heartbeat_grace_ms),
    }
}
