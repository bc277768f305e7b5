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
            state
                .compress_vec(&payload[fed..], &mut self.out, FlushCompress::Sync)
                .expect("deflating fails only when its state is broken");
            fed += usize::try_from(state.total_in() - before).expect("no more than was given");
            if fed == payload.len() && self.out.capacity() > self.out.len() {
                break;
            }
        }
        if self.out.ends_with(&TAIL) {
            self.out.truncate(self.out.len() - TAIL.len());
        }
        write_header(out, FIN | RSV1 | opcode as u8, self.out.len(), 0);
        out.extend_from_slice(&self.out);
        if self.out.capacity() > KEPT_ROOM {
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

/// Behind the [`TAIL`] an empty last block, so that the stream ends here and nowhere else. A message that stops inside a
/// block would swallow these bytes as if they were its own.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// The first room for what is inflated, bytes.
const FIRST_ROOM: usize = 4 * 1024;

/// More room than this is given back, bytes.
const KEPT_ROOM: usize = 1 << 20;

/// Inflates messages, one after the other, and is where they lie: also those that came plain but in pieces. A shard has
/// one, and with it one such message, whatever the number of its connections.
#[derive(Debug)]
pub struct Inflater {
    // Made on first use.
    state: Option<Decompress>,
    /// Its first `len` bytes are the message.
    out: Vec<u8>,
    len: usize,
}

impl Inflater {
    /// An inflater that has not allocated yet.
    pub fn new() -> Self {
        Self { state: None, out: Vec::new(), len: 0 }
    }

    /// Gives back room that only a large message needed. To be called when the events of a read are all used, or the
    /// room stays until the next large message.
    pub fn trim(&mut self) {
        if self.out.capacity() > KEPT_ROOM {
            *self = Self { state: self.state.take(), ..Self::new() };
        }
    }

    /// Inflates one message, giving up as soon as it has more than `limit` bytes.
    pub(super) fn inflate(&mut self, deflated: &[u8], limit: usize) -> Result<(), InflateError> {
        self.trim();
        self.len = 0;
        self.state.get_or_insert_with(|| Decompress::new(false)).reset(false);
        // A sender may end its stream with the message (RFC 7692 section 7.2.3.5), and some leave out the byte that
        // should follow then.
        if deflated.is_empty() || self.feed(deflated, limit)? {
            return Ok(());
        }
        let len = self.len;
        if self.feed(&END, limit)? && self.len == len { Ok(()) } else { Err(InflateError::Corrupt) }
    }

    /// Inflates all of `part`; whether the stream ends with it. What follows an end inside of it is a new stream.
    fn feed(&mut self, mut part: &[u8], limit: usize) -> Result<bool, InflateError> {
        let Self { state: Some(state), out, len } = self else { return Err(InflateError::Corrupt) };
        // One byte over the limit is enough to know, whatever the message would become.
        let most = limit.saturating_add(1);
        loop {
            if *len == out.len() {
                let size = (out.len() * 2).max(FIRST_ROOM).min(most);
                out.reserve_exact(size - *len);
                out.resize(size, 0);
            }
            let end = out.len().min(most);
            let (before_in, before_out) = (state.total_in(), state.total_out());
            let status = state
                .decompress(part, &mut out[*len..end], FlushDecompress::Sync)
                .map_err(|_| InflateError::Corrupt)?;
            let fed = usize::try_from(state.total_in() - before_in).expect("no more than was given");
            let made = usize::try_from(state.total_out() - before_out).expect("no more than there was room");
            part = &part[fed..];
            *len += made;
            if *len > limit {
                return Err(InflateError::TooBig);
            }
            match status {
                Status::StreamEnd if part.is_empty() => return Ok(true),
                Status::StreamEnd => state.reset(false),
                _ if part.is_empty() && *len < end => return Ok(false),
                _ if fed == 0 && made == 0 => return Err(InflateError::Corrupt),
                _ => {}
            }
        }
    }

    /// Takes a message that came plain but in pieces.
    pub(super) fn take(&mut self, message: Vec<u8>) {
        self.len = message.len();
        self.out = message;
    }

    /// Takes a copy of something small.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.out.len() < bytes.len() {
            self.out.resize(bytes.len(), 0);
        }
        self.out[..bytes.len()].copy_from_slice(bytes);
        self.len = bytes.len();
    }

    /// The message it holds.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.out[..self.len]
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
        assert!(inflater.out.capacity() <= 65_537);
    }

    fn inflated(deflated: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        let mut inflater = Inflater::new();
        inflater.inflate(deflated, limit).map(|()| inflater.bytes().to_vec())
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 7692 section 7.2.3: one block, no compression, a last block, two blocks; then nothing at all.
        for deflated in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
            // The last block without the byte that should follow: libraries that deflate at one go send this.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            assert_eq!(inflated(deflated, 5), Ok(b"Hello".to_vec()), "{deflated:x?}");
            assert_eq!(inflated(deflated, 4), Err(InflateError::TooBig), "{deflated:x?}");
        }
        assert_eq!(inflated(&[0x00], 5), Ok(Vec::new()));
        assert_eq!(inflated(&[], 5), Ok(Vec::new()));
        // Two streams, the second begun by the end of the first.
        let twice = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00].repeat(2);
        assert_eq!(inflated(&twice, 10), Ok(b"HelloHello".to_vec()));
    }

    #[test]
    fn a_message_that_stops_inside_a_block_is_corrupt() {
        // A stored block of nine bytes of which five are here: the tail must not become the other four.
        let short = [0x00, 0x09, 0x00, 0xf6, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        assert_eq!(inflated(&short, 100), Err(InflateError::Corrupt));
        let mut frame = Vec::new();
        let text: Vec<u8> = (0..4_000u32).flat_map(|n| (n * n % 9_973).to_string().into_bytes()).collect();
        Deflater::new().write_frame(&mut frame, Opcode::Binary, &text);
        let whole = super::super::frame_payload(&frame);
        assert_eq!(inflated(whole, text.len()), Ok(text.clone()));
        for cut in 1..whole.len() {
            assert_eq!(inflated(&whole[..cut], text.len() + 99), Err(InflateError::Corrupt), "cut at {cut}");
        }
        // What follows the end of a stream must be one.
        for rest in [&b"Hello"[..], &[0xff], &[0x00, 0x01]] {
            let mut behind = vec![0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
            behind.extend_from_slice(rest);
            assert_eq!(inflated(&behind, 100), Err(InflateError::Corrupt), "{rest:x?}");
        }
    }

    #[test]
    fn room_that_one_message_needed_is_not_kept() {
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
        let mut deflate = |len: usize| {
            let mut frame = Vec::new();
            deflater.write_frame(&mut frame, Opcode::Binary, &vec![0; len]);
            super::super::frame_payload(&frame).to_vec()
        };
        let (big, small) = (deflate(4 << 20), deflate(1_000));
        assert_eq!(inflater.inflate(&big, 4 << 20), Ok(()));
        assert!(inflater.out.capacity() <= (4 << 20) + 1);
        inflater.trim();
        assert_eq!(inflater.out.capacity(), 0);
        assert_eq!(inflater.inflate(&big, 4 << 20), Ok(()));
        assert_eq!(inflater.inflate(&small, 4 << 20), Ok(()));
        assert!(inflater.out.capacity() <= FIRST_ROOM);
        // Room that another connection's limit allowed is not filled for one with a smaller limit.
        assert_eq!(inflater.inflate(&deflate(1 << 19), 1 << 20), Ok(()));
        assert_eq!(inflater.inflate(&big, 100), Err(InflateError::TooBig));
        assert_eq!(inflater.len, 101);
    }
}
