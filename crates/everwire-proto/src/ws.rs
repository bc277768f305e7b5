//! WebSocket frames: RFC 6455 and RFC 7692 as a state machine over borrowed bytes. No I/O, no clock.
//!
//! Read first: [`Decoder::next`], [`write_frame`], [`handshake::check`].

pub mod close;
pub mod deflate;
mod decoder;
pub mod handshake;
mod mask;
pub mod origin;
mod utf8;

pub use decoder::{Decoder, Event, Limits, Violation};
pub use deflate::{Deflater, Inflater};
pub use mask::unmask;

/// Frame opcodes, RFC 6455 section 11.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// The rest of a fragmented message.
    Continuation = 0,
    /// UTF-8 text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// The end.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
}

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;

/// Appends a whole unmasked frame, as a server sends it: RFC 6455 section 5.2, with the shortest length.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    write_header(out, FIN | opcode as u8, payload.len(), 0);
    out.extend_from_slice(payload);
}

/// Appends a whole unmasked frame whose payload is what `write` appends: nothing is copied from another buffer.
pub fn write_frame_with(out: &mut Vec<u8>, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) {
    // Most frames have a header of 4 bytes; the payload moves where it has another one.
    const GUESS: usize = 4;
    let start = out.len();
    out.extend_from_slice(&[0; GUESS]);
    write(out);
    let len = out.len() - start - GUESS;
    let first = FIN | opcode as u8;
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short), _) if short < 126 => {
            out.copy_within(start + GUESS.., start + 2);
            out.truncate(start + 2 + len);
            out[start..start + 2].copy_from_slice(&[first, short]);
        }
        (_, Ok(short)) => {
            let [a, b] = short.to_be_bytes();
            out[start..start + GUESS].copy_from_slice(&[first, 126, a, b]);
        }
        _ => {
            let payload = out.split_off(start + GUESS);
            out.truncate(start);
            write_frame(out, opcode, &payload);
        }
    }
}

/// Appends a whole masked frame, as a client sends it.
pub fn write_masked_frame(out: &mut Vec<u8>, opcode: Opcode, mask: [u8; 4], payload: &[u8]) {
    write_header(out, FIN | opcode as u8, payload.len(), 0x80);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask);
}

fn write_header(out: &mut Vec<u8>, first: u8, len: usize, masked: u8) {
    // The casts keep what the branch has bounded.
    if len < 126 {
        out.extend_from_slice(&[first, masked | len as u8]);
    } else if let Ok(short) = u16::try_from(len) {
        let [a, b] = short.to_be_bytes();
        out.extend_from_slice(&[first, masked | 126, a, b]);
    } else {
        out.extend_from_slice(&[first, masked | 127]);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

/// The payload of one whole unmasked frame that [`write_frame`] made.
pub fn frame_payload(frame: &[u8]) -> &[u8] {
    let header = match frame.get(1).map(|b| b & 0x7f) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.get(header..).unwrap_or_default()
}

/// A close frame, unmasked. The reason is cut to what a control frame holds (123 bytes), at a character.
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    let mut out = Vec::with_capacity(payload.len() + 2);
    write_frame(&mut out, Opcode::Close, &payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_the_shortest() {
        for (len, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut out = Vec::new();
            write_frame(&mut out, Opcode::Binary, &vec![7; len]);
            assert_eq!(out.len(), header + len, "{len}");
            assert_eq!(frame_payload(&out).len(), len);
            let mut with = b"before".to_vec();
            write_frame_with(&mut with, Opcode::Binary, |out| out.extend_from_slice(&vec![7; len]));
            assert_eq!(with[6..], out, "{len}");
        }
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        let frame = close_frame(1000, &"ä".repeat(100));
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
