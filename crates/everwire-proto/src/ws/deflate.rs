//! permessage-deflate, RFC 7692, always without context takeover: each message stands alone, so no connection keeps
//! state, and a broadcast is compressed once.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{FIN, Opcode, RSV1, write_header};

/// What ends every deflated message and is not sent: RFC 7692 section 7.2.1.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Compresses messages, one after the other; a shard has one. 15 bits of window.
#[derive(Debug)]
pub struct Deflater {
    // Made on first use: 256 KiB that a shard without compression never needs.
    state: Option<Compress>,
    out: Vec<u8>,
}

impl Deflater {
    /// A deflater that has not allocated yet.
    pub fn new() -> Self {
        Self { state: None, out: Vec::new() }
    }

    /// Appends `payload` as one compressed frame (RSV1 set).
    pub fn write_frame(&mut self, out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
        let state = self.state.get_or_insert_with(|| Compress::new(Compression::fast(), false));
        state.reset();
        self.out.clear();
        let mut fed = 0;
        loop {
            self.out.reserve(payload.len() / 2 + 64);
            let before = state.total_in();
            let done = state.compress_vec(&payload[fed..], &mut self.out, FlushCompress::Sync);
            fed += usize::try_from(state.total_in() - before).expect("no more than was given");
            let room = self.out.capacity() > self.out.len();
            if done.is_err() || (fed == payload.len() && room) {
                break;
            }
        }
        if self.out.ends_with(&TAIL) {
            self.out.truncate(self.out.len() - TAIL.len());
        }
        write_header(out, FIN | RSV1 | opcode as u8, self.out.len(), 0);
        out.extend_from_slice(&self.out);
        if self.out.capacity() > 1 << 20 {
            self.out = Vec::new();
        }
    }
}

impl Default for Deflater {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a message can't be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InflateError {
    /// It is no deflate stream.
    Corrupt,
    /// It is larger than the limit.
    TooBig,
}

/// Inflates messages, one after the other; a shard has one.
#[derive(Debug)]
pub struct Inflater {
    state: Option<Decompress>,
    out: Vec<u8>,
}

impl Inflater {
    /// An inflater that has not allocated yet.
    pub fn new() -> Self {
        Self { state: None, out: Vec::new() }
    }

    /// Inflates one message, giving up as soon as it has more than `limit` bytes.
    pub(super) fn inflate(&mut self, deflated: &[u8], limit: usize) -> Result<(), InflateError> {
        let state = self.state.get_or_insert_with(|| Decompress::new(false));
        state.reset(false);
        self.out.clear();
        if self.out.capacity() > 1 << 20 {
            self.out = Vec::new();
        }
        let mut ended = false;
        for part in [deflated, &TAIL] {
            let mut fed = 0;
            while !ended {
                // One byte over the limit is enough to know, whatever the message would become.
                let room = (limit + 1 - self.out.len()).min(64 * 1024);
                self.out.reserve_exact(room.max(1));
                let (before_in, before_out) = (state.total_in(), state.total_out());
                let status = state
                    .decompress_vec(&part[fed..], &mut self.out, FlushDecompress::Sync)
                    .map_err(|_| InflateError::Corrupt)?;
                if self.out.len() > limit {
                    return Err(InflateError::TooBig);
                }
                fed += usize::try_from(state.total_in() - before_in).expect("no more than was given");
                ended = status == Status::StreamEnd;
                let idle = state.total_in() == before_in && state.total_out() == before_out;
                if idle && fed < part.len() {
                    return Err(InflateError::Corrupt);
                }
                if fed == part.len() && (idle || self.out.len() < self.out.capacity()) {
                    break;
                }
            }
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.out
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

/// What an offer of permessage-deflate is answered with; a wanted server window is added to it.
const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// An offer that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The window that the client wants us to keep to, where it named one: RFC 7692 section 7.1.2.1.
    server_bits: Option<u8>,
}

impl Agreed {
    /// The value of the `Sec-WebSocket-Extensions` header.
    pub fn answer(self) -> String {
        match self.server_bits {
            None => ANSWER.to_owned(),
            Some(bits) => format!("{ANSWER}; server_max_window_bits={bits}"),
        }
    }

    /// Whether our frames, which use 15 bits, may be sent compressed. A client with a smaller window is sent plain
    /// ones, which the extension allows for each message.
    pub fn may_compress(self) -> bool {
        self.server_bits.is_none_or(|bits| bits == 15)
    }
}

/// The first offer in a `Sec-WebSocket-Extensions` header that can be accepted.
///
/// `server_max_window_bits=8` is declined, and with it that offer: few libraries can do it. Unknown, doubled or
/// malformed parameters decline the offer too (section 7.1).
pub fn accept(header: &str) -> Option<Agreed> {
    split_quoted(header, ',').find_map(accept_offer)
}

fn accept_offer(offer: &str) -> Option<Agreed> {
    let mut parts = split_quoted(offer, ';').map(str::trim);
    if parts.next() != Some("permessage-deflate") {
        return None;
    }
    let mut agreed = Agreed { server_bits: None };
    let mut seen: Vec<&str> = Vec::new();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
            None => (part, None),
        };
        match (name, value) {
            (
                "server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits",
                None,
            ) => {}
            ("client_max_window_bits", Some(bits)) => _ = window_bits(bits)?,
            ("server_max_window_bits", Some(bits)) => {
                agreed.server_bits = Some(window_bits(bits).filter(|bits| *bits > 8)?);
            }
            _ => return None,
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    Some(agreed)
}

fn window_bits(text: &str) -> Option<u8> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|bits| plain && (8..=15).contains(bits))
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text)
}

/// Splits at `at`, but not inside quotes.
fn split_quoted(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '"';
        c == at && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers() {
        let good = [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "x-other, permessage-deflate;client_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
            "permessage-deflate; server_max_window_bits=\"15\"",
        ];
        for offer in good {
            assert!(accept(offer).is_some(), "{offer}");
        }
        let bad = [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover=1",
        ];
        for offer in bad {
            assert!(accept(offer).is_none(), "{offer}");
        }
    }

    #[test]
    fn a_smaller_window_is_kept_to_by_sending_plain() {
        let small = accept("permessage-deflate; server_max_window_bits=9").unwrap();
        assert!(small.answer().ends_with("; server_max_window_bits=9") && !small.may_compress());
        let second = accept("permessage-deflate; server_max_window_bits=8, permessage-deflate").unwrap();
        assert!(second.answer() == ANSWER && second.may_compress());
    }

    #[test]
    fn messages_stand_alone() {
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
        for payload in
            [&b""[..], b"x", &b"abc".repeat(1_000), &(0..=255).cycle().take(100_000).collect::<Vec<u8>>()]
        {
            let mut frame = Vec::new();
            deflater.write_frame(&mut frame, Opcode::Text, payload);
            assert_eq!(frame[0], 0xc1);
            let deflated = super::super::frame_payload(&frame).to_vec();
            assert_eq!(inflater.inflate(&deflated, payload.len()), Ok(()));
            assert_eq!(inflater.bytes(), payload);
            if payload.len() > 1 {
                assert_eq!(inflater.inflate(&deflated, payload.len() - 1), Err(InflateError::TooBig));
            }
        }
        assert_eq!(inflater.inflate(&[0xff; 40], 1_000), Err(InflateError::Corrupt));
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
        let mut frame = Vec::new();
        deflater.write_frame(&mut frame, Opcode::Binary, &vec![0; 64 << 20]);
        let deflated = super::super::frame_payload(&frame).to_vec();
        assert_eq!(inflater.inflate(&deflated, 65_536), Err(InflateError::TooBig));
        assert!(inflater.out.capacity() <= 2 * 65_536 + 2);
    }
}
