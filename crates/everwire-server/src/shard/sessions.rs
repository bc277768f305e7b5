//! Sockets with a session: their messages go into the turn, which says what comes of it.

use everwire_engine::time::Now;
use everwire_engine::turn::{Flow, Turn};
use everwire_proto::codes::CloseCode;
use everwire_proto::ws::{self, Event, Inflater, Opcode};

use super::socket::{Got, Role, Socket, State};

/// Messages of one socket in one turn; what was read beyond them waits its turn.
const MESSAGES: usize = 64;

/// Pongs that may wait for a socket that takes nothing; after these it is not read from.
const PONGS: u16 = 64;

/// Serves one socket: what was kept, or one read; how many bytes that brought.
pub(super) fn serve(
    slot: u32,
    socket: &mut Socket<'_>,
    turn: &mut Turn,
    tools: (&mut [u8], &mut Inflater),
    now: Now,
) -> usize {
    let (buffer, inflater) = tools;
    if socket.deaf {
        discard(socket, buffer);
        return 0;
    }
    if is_held(socket) {
        return 0;
    }
    if let Some(mut rest) = socket.rest.take() {
        rest.at += messages(slot, socket, turn, (&mut rest.bytes[rest.at..], inflater), now);
        if rest.at < rest.bytes.len() && !socket.deaf {
            socket.rest = Some(rest);
        }
        return 0;
    }
    if !socket.readable {
        return 0;
    }
    // life 1/9: bytes arrive.
    match socket.read(buffer) {
        Got::Nothing => 0,
        Got::End => {
            socket.at_end = true;
            0
        }
        Got::Bytes(n) => {
            turn.heard(slot, now);
            let taken = messages(slot, socket, turn, (&mut buffer[..n], inflater), now);
            if !socket.deaf {
                socket.keep(&buffer[taken..n]);
            }
            n
        }
    }
}

/// Whether nothing may be read: the turn holds it, or it takes nothing and keeps pinging.
fn is_held(socket: &State) -> bool {
    socket.held || (socket.blocked && socket.pongs >= PONGS)
}

/// Whether the shard should come back without being told by the kernel.
pub(super) fn has_more(socket: &State) -> bool {
    let wanted = socket.deaf || !is_held(socket);
    !socket.at_end && wanted && (socket.rest.is_some() || socket.readable)
}

/// Throws away what comes after the end of the talk, one buffer a turn.
pub(super) fn discard(socket: &mut Socket<'_>, buffer: &mut [u8]) {
    socket.rest = None;
    if socket.readable && matches!(socket.read(buffer), Got::End) {
        socket.at_end = true;
    }
}

/// Gives messages to the turn until it has enough; how many bytes were taken.
fn messages(
    slot: u32,
    socket: &mut Socket<'_>,
    turn: &mut Turn,
    input: (&mut [u8], &mut Inflater),
    now: Now,
) -> usize {
    let (bytes, inflater) = input;
    let Role::Session { binary } = socket.role else { return bytes.len() };
    let (mut at, len) = (0, bytes.len());
    for _ in 0..MESSAGES {
        if at == len {
            break;
        }
        let mut window = &mut bytes[at..];
        let event = socket.decoder.next(&mut window, inflater);
        at = len - window.len();
        let flow = match event {
            Ok(Some(Event::Text(text))) if !binary => turn.message(slot, text, now),
            Ok(Some(Event::Binary(bytes))) if binary => turn.message(slot, bytes, now),
            Ok(Some(Event::Text(_) | Event::Binary(_))) => {
                turn.close(slot, CloseCode::WrongKind, wrong_kind(binary), now);
                Flow::Stop
            }
            Ok(Some(Event::Ping(bytes))) => {
                let flow = turn.control(slot, now);
                if flow != Flow::Stop {
                    let mut pong = Vec::with_capacity(bytes.len() + 2);
                    ws::write_frame(&mut pong, Opcode::Pong, bytes);
                    turn.raw(slot, &pong);
                    socket.pongs = if socket.blocked { socket.pongs + 1 } else { 0 };
                }
                if flow == Flow::Continue && is_held(socket) {
                    // It takes nothing and goes on pinging: the kernel's report lets it go, not the turn.
                    break;
                }
                flow
            }
            Ok(Some(Event::Pong(_))) => turn.control(slot, now),
            Ok(Some(Event::Close(close))) => {
                turn.peer_closed(slot, close.map(|(code, _)| code), now);
                Flow::Stop
            }
            Ok(None) => break,
            Err(violation) => {
                turn.close(slot, code_of(violation.code), violation.reason, now);
                Flow::Stop
            }
        };
        match flow {
            Flow::Continue if !turn.is_full() => {}
            Flow::Continue => break,
            Flow::Hold => {
                socket.held = true;
                break;
            }
            Flow::Stop => {
                socket.deaf = true;
                break;
            }
        }
    }
    inflater.trim();
    at
}

fn wrong_kind(binary: bool) -> &'static str {
    if binary {
        "this connection speaks MessagePack: send binary messages, or connect without everwire.v1.msgpack"
    } else {
        "this connection speaks JSON: send text messages, or offer the subprotocol everwire.v1.msgpack"
    }
}

/// The close code of a broken frame.
fn code_of(code: u16) -> CloseCode {
    match code {
        1007 => CloseCode::BadPayload,
        1009 => CloseCode::TooBig,
        _ => CloseCode::ProtocolError,
    }
}
