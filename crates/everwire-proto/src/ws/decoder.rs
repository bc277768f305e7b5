//! The decoder: bytes in, events out. It owns no buffer while nothing is incomplete: what was put together from pieces
//! moves into the shard's [`Inflater`] the moment it is whole.

use super::close::is_sendable;
use super::deflate::{InflateError, Inflater};
use super::mask::{rotated, unmask};
use super::utf8::Utf8;
use super::{FIN, Opcode, RSV1};

/// Limits of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, bytes, inflated and deflated.
    pub message_bytes: u32,
}

impl Limits {
    /// Fragments a message may have, empty ones counted: `max(16, message_bytes / 64)`.
    fn fragments(self) -> u32 {
        (self.message_bytes / 64).max(16)
    }
}

/// Something whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message; valid UTF-8.
    Text(&'a [u8]),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, at most 125 bytes.
    Ping(&'a [u8]),
    /// A pong, at most 125 bytes.
    Pong(&'a [u8]),
    /// A close frame: its code and reason, if it has one. Nothing is decoded after it.
    Close(Option<(u16, &'a str)>),
}

/// The peer broke the protocol. Nothing is decoded after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The close code to send: 1002, 1007 or 1009.
    pub code: u16,
    /// What was wrong, with the RFC section.
    pub reason: &'static str,
}

const fn broken(reason: &'static str) -> Violation {
    Violation { code: 1002, reason }
}
const BAD_TEXT: Violation = Violation { code: 1007, reason: "text is not UTF-8 (RFC 6455 8.1)" };
const BAD_DEFLATE: Violation =
    Violation { code: 1007, reason: "the data can't be inflated (RFC 7692 7.2.2)" };
const TOO_BIG: Violation = Violation { code: 1009, reason: "the message is over the limit" };
const TOO_MANY: Violation = Violation { code: 1009, reason: "the message has too many fragments" };

/// Payload of a control frame, bytes: RFC 6455 section 5.5.
const MAX_CONTROL: usize = 125;

#[derive(Clone, Copy, Debug)]
struct Header {
    fin: bool,
    compressed: bool,
    opcode: Opcode,
    mask: [u8; 4],
    len: u64,
}

/// What is incomplete. It exists from the first incomplete frame or fragment to the end of that message.
#[derive(Debug, Default)]
struct Partial {
    /// The frame that was begun, and how many of its bytes are here.
    frame: Option<(Header, u64)>,
    /// The message that was begun.
    message: Option<Message>,
    /// The control frame that was begun.
    control: Vec<u8>,
}

#[derive(Debug)]
struct Message {
    opcode: Opcode,
    compressed: bool,
    bytes: Vec<u8>,
    fragments: u32,
    utf8: Utf8,
}

/// The state of one connection: 48 bytes while nothing is incomplete.
#[derive(Debug)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    limits: Limits,
    head: [u8; 14],
    head_len: u8,
    masked: bool,
    deflate: bool,
    ended: bool,
}

/// Where the bytes of an event are.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Input(&'a [u8]),
    Inflater,
}

/// What became whole, never a continuation, and where its bytes are.
type Whole<'a> = (Opcode, Place<'a>);

impl Decoder {
    /// Decodes what a client sends: every frame must be masked. `deflate`: permessage-deflate was negotiated.
    pub fn server(limits: Limits, deflate: bool) -> Self {
        Self { partial: None, limits, head: [0; 14], head_len: 0, masked: true, deflate, ended: false }
    }

    /// Decodes what a server sends: no frame may be masked.
    pub fn client(limits: Limits, deflate: bool) -> Self {
        Self { masked: false, ..Self::server(limits, deflate) }
    }

    /// Whether nothing is incomplete.
    pub fn is_idle(&self) -> bool {
        self.partial.is_none() && self.head_len == 0
    }

    /// Takes the next event from `input`, which moves on behind it. `Ok(None)`: all of `input` was taken, and what is
    /// incomplete is kept inside. A frame that is whole in `input` is unmasked there and yielded from there; what came
    /// in pieces, or deflated, is yielded from `inflater`.
    ///
    /// # Errors
    /// A [`Violation`]; after it, and after [`Event::Close`], everything is ignored.
    pub fn next<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        inflater: &'a mut Inflater,
    ) -> Result<Option<Event<'a>>, Violation> {
        inflater.trim();
        let (opcode, bytes) = match self.find(input, inflater) {
            Ok(None) => return Ok(None),
            Ok(Some((opcode, Place::Input(bytes)))) => (opcode, bytes),
            Ok(Some((opcode, Place::Inflater))) => (opcode, inflater.bytes()),
            Err(violation) => {
                self.end();
                return Err(violation);
            }
        };
        Ok(Some(match opcode {
            Opcode::Text => Event::Text(bytes),
            Opcode::Binary | Opcode::Continuation => Event::Binary(bytes),
            Opcode::Ping => Event::Ping(bytes),
            Opcode::Pong => Event::Pong(bytes),
            Opcode::Close => {
                self.end();
                Event::Close(closing(bytes)?)
            }
        }))
    }

    fn end(&mut self) {
        (self.ended, self.head_len) = (true, 0);
        self.partial = None;
    }

    /// The next thing that is whole. Inlined it costs 23 ns a frame, else 38.
    #[inline]
    fn find<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        inflater: &mut Inflater,
    ) -> Result<Option<Whole<'a>>, Violation> {
        loop {
            if self.ended {
                *input = &mut [];
                return Ok(None);
            }
            if let Some((opcode, mask, header, len)) = self.simple(input) {
                let (frame, rest) = std::mem::take(input).split_at_mut(header + len);
                *input = rest;
                let payload = &mut frame[header..];
                unmask(payload, mask);
                let text = opcode == Opcode::Text;
                // Most text is ASCII, and that is found faster.
                if text && !is_ascii(payload) && std::str::from_utf8(payload).is_err() {
                    return Err(BAD_TEXT);
                }
                return Ok(Some((opcode, Place::Input(payload))));
            }
            let begun = self.partial.as_ref().and_then(|p| p.frame);
            let header = match begun {
                Some((header, _)) => header,
                None => match self.header(input)? {
                    Some(header) => header,
                    None => return Ok(None),
                },
            };
            let whole = if begun.is_some() || header.len > input.len() as u64 {
                if !self.piece(header, input)? {
                    return Ok(None);
                }
                self.finish(header, inflater)?
            } else {
                let len = usize::try_from(header.len).expect("it is within the input");
                let (bytes, rest) = std::mem::take(input).split_at_mut(len);
                *input = rest;
                unmask(bytes, header.mask);
                self.whole(header, bytes, inflater)?
            };
            if whole.is_some() {
                return Ok(whole);
            }
        }
    }

    /// A whole message in one masked, uncompressed frame that is all here, which is nearly every one a client sends: its
    /// opcode, its mask, the bytes of its header and of its payload. Everything else goes the long way.
    #[inline]
    fn simple(&self, input: &[u8]) -> Option<(Opcode, [u8; 4], usize, usize)> {
        if self.partial.is_some() || self.head_len != 0 || !self.masked {
            return None;
        }
        let head = input.first_chunk::<8>()?;
        let opcode = match head[0] {
            0x81 => Opcode::Text,
            0x82 => Opcode::Binary,
            _ => return None,
        };
        let (header, len) = match head[1] {
            short @ 0x80..=0xfd => (6, usize::from(short & 0x7f)),
            0xfe => (8, usize::from(u16::from_be_bytes([head[2], head[3]]))),
            _ => return None,
        };
        let shortest = header == 6 || len >= 126;
        if !shortest || len > self.limits.message_bytes as usize || input.len() < header + len {
            return None;
        }
        let mask = [head[header - 4], head[header - 3], head[header - 2], head[header - 1]];
        Some((opcode, mask, header, len))
    }

    /// Reads and checks a header; `None`: it is not all here yet.
    fn header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, Violation> {
        let have = usize::from(self.head_len);
        let fresh = input.len().min(self.head.len() - have);
        self.head[have..have + fresh].copy_from_slice(&input[..fresh]);
        let known = &self.head[..have + fresh];
        let (Some(&first), Some(&second)) = (known.first(), known.get(1)) else {
            if let Some(first) = known.first() {
                self.check_first(*first)?;
            }
            return Ok(self.keep_head(fresh, input));
        };
        let opcode = self.check_first(first)?;
        if (second & 0x80 != 0) != self.masked {
            return Err(broken("a client's frames are masked, a server's are not (RFC 6455 5.1)"));
        }
        let is_control = opcode as u8 >= 8;
        if is_control && usize::from(second & 0x7f) > MAX_CONTROL {
            return Err(broken("a control frame has at most 125 bytes (RFC 6455 5.5)"));
        }
        let len_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let size = 2 + len_bytes + if self.masked { 4 } else { 0 };
        if known.len() < size {
            return Ok(self.keep_head(fresh, input));
        }
        let len = payload_len(&known[1..2 + len_bytes])?;
        let mut mask = [0; 4];
        if self.masked {
            mask.copy_from_slice(&known[size - 4..size]);
        }
        self.head_len = 0;
        *input = &mut std::mem::take(input)[size - have..];
        let header = Header { fin: first & FIN != 0, compressed: first & RSV1 != 0, opcode, mask, len };
        if !is_control {
            self.admit(&header)?;
        }
        Ok(Some(header))
    }

    fn keep_head(&mut self, fresh: usize, input: &mut &mut [u8]) -> Option<Header> {
        self.head_len += u8::try_from(fresh).expect("a header has at most 14 bytes");
        *input = &mut [];
        None
    }

    /// Checks what the first byte alone can tell, so that a bad one fails at once.
    fn check_first(&self, first: u8) -> Result<Opcode, Violation> {
        let opcode = match first & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return Err(broken("reserved opcode (RFC 6455 5.2)")),
        };
        let starts = matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & 0x30 != 0 || (first & RSV1 != 0 && !(self.deflate && starts)) {
            return Err(broken("a reserved bit is set that was not negotiated (RFC 6455 5.2, RFC 7692 6)"));
        }
        if opcode as u8 >= 8 && first & FIN == 0 {
            return Err(broken("a control frame is fragmented (RFC 6455 5.5)"));
        }
        let begun = self.partial.as_ref().is_some_and(|p| p.message.is_some());
        if starts && begun {
            return Err(broken("a new message begins inside a fragmented one (RFC 6455 5.4)"));
        }
        if opcode == Opcode::Continuation && !begun {
            return Err(broken("nothing is there to be continued (RFC 6455 5.4)"));
        }
        Ok(opcode)
    }

    /// Checks a data frame against the limits before a byte of it is kept.
    fn admit(&mut self, header: &Header) -> Result<(), Violation> {
        let message = self.partial.as_mut().and_then(|p| p.message.as_mut());
        let before = message.as_ref().map_or(0, |m| m.bytes.len() as u64);
        if before.saturating_add(header.len) > u64::from(self.limits.message_bytes) {
            return Err(TOO_BIG);
        }
        if let Some(message) = message {
            message.fragments += 1;
            if message.fragments > self.limits.fragments() {
                return Err(TOO_MANY);
            }
        }
        Ok(())
    }

    /// Takes what is here of a frame that was cut. Whether it is whole now.
    fn piece(&mut self, header: Header, input: &mut &mut [u8]) -> Result<bool, Violation> {
        let limit = self.limits.message_bytes as usize;
        let partial = self.partial.get_or_insert_default();
        let (_, done) = partial.frame.unwrap_or((header, 0));
        let left = header.len - done;
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let (piece, rest) = std::mem::take(input).split_at_mut(take);
        *input = rest;
        unmask(piece, rotated(header.mask, done));
        let whole = take as u64 == left;
        partial.frame = (!whole).then_some((header, done + take as u64));
        if header.opcode as u8 >= 8 {
            grow(&mut partial.control, piece, MAX_CONTROL);
        } else {
            extend(partial, &header, left, limit, piece)?;
        }
        Ok(whole)
    }

    /// A frame that came in pieces is whole.
    fn finish<'a>(
        &mut self,
        header: Header,
        inflater: &mut Inflater,
    ) -> Result<Option<Whole<'a>>, Violation> {
        let limit = self.limits.message_bytes as usize;
        let Some(partial) = &mut self.partial else { return Ok(None) };
        let opcode = if header.opcode as u8 >= 8 {
            inflater.put(&std::mem::take(&mut partial.control));
            header.opcode
        } else {
            let Some(message) = partial.message.take_if(|_| header.fin) else { return Ok(None) };
            if message.compressed {
                inflate(inflater, &message.bytes, message.opcode, limit)?;
            } else if message.utf8.is_whole() {
                inflater.take(message.bytes);
            } else {
                return Err(BAD_TEXT);
            }
            message.opcode
        };
        if partial.message.is_none() {
            self.partial = None;
        }
        Ok(Some((opcode, Place::Inflater)))
    }

    /// A frame that is whole in the input.
    fn whole<'a>(
        &mut self,
        header: Header,
        payload: &'a [u8],
        inflater: &mut Inflater,
    ) -> Result<Option<Whole<'a>>, Violation> {
        if header.opcode as u8 >= 8 {
            return Ok(Some((header.opcode, Place::Input(payload))));
        }
        let limit = self.limits.message_bytes as usize;
        let begun = self.partial.as_ref().is_some_and(|p| p.message.is_some());
        if begun || !header.fin {
            extend(self.partial.get_or_insert_default(), &header, header.len, limit, payload)?;
            return self.finish(header, inflater);
        }
        if header.compressed {
            inflate(inflater, payload, header.opcode, limit)?;
            return Ok(Some((header.opcode, Place::Inflater)));
        }
        if header.opcode == Opcode::Text && std::str::from_utf8(payload).is_err() {
            return Err(BAD_TEXT);
        }
        Ok(Some((header.opcode, Place::Input(payload))))
    }
}

/// The standard library's looks at up to 31 bytes one by one, which for a short message is most of it.
fn is_ascii(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let all = words.iter().fold(0, |all, word| all | u64::from_ne_bytes(*word));
    let last = rest.iter().fold(0, |all, byte| all | byte);
    all & u64::from_ne_bytes([0x80; 8]) == 0 && last & 0x80 == 0
}

/// Adds payload to the message, checking text as it comes. `left`: what this frame still lacked before `piece`.
fn extend(
    partial: &mut Partial,
    header: &Header,
    left: u64,
    limit: usize,
    piece: &[u8],
) -> Result<(), Violation> {
    let message = partial.message.get_or_insert_with(|| Message {
        opcode: header.opcode,
        compressed: header.compressed,
        bytes: Vec::new(),
        fragments: 1,
        utf8: Utf8::default(),
    });
    if message.opcode == Opcode::Text && !message.compressed {
        message.utf8.push(piece).map_err(|()| BAD_TEXT)?;
    }
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    let most = if header.fin { message.bytes.len().saturating_add(left) } else { limit };
    grow(&mut message.bytes, piece, most);
    Ok(())
}

/// Appends `piece`. The room doubles, so that many small pieces are not copied again and again, but it never passes
/// `most`, which all pieces together can't: what is held is at most the limit, and at most twice what came in.
fn grow(bytes: &mut Vec<u8>, piece: &[u8], most: usize) {
    let need = bytes.len() + piece.len();
    if need > bytes.capacity() {
        bytes.reserve_exact((bytes.capacity() * 2).min(most).max(need) - bytes.len());
    }
    bytes.extend_from_slice(piece);
}

fn inflate(inflater: &mut Inflater, bytes: &[u8], opcode: Opcode, limit: usize) -> Result<(), Violation> {
    inflater.inflate(bytes, limit).map_err(|e| match e {
        InflateError::Corrupt => BAD_DEFLATE,
        InflateError::TooBig => TOO_BIG,
    })?;
    if opcode == Opcode::Text && std::str::from_utf8(inflater.bytes()).is_err() {
        return Err(BAD_TEXT);
    }
    Ok(())
}

/// The payload length; `bytes` begins at the second byte of the header.
fn payload_len(bytes: &[u8]) -> Result<u64, Violation> {
    let (short, long) = (bytes[0] & 0x7f, &bytes[1..]);
    let len = long.iter().fold(0u64, |len, b| len << 8 | u64::from(*b));
    let least = match long.len() {
        0 => return Ok(u64::from(short)),
        2 => 126,
        _ => 1 << 16,
    };
    if len < least || len >> 63 != 0 {
        return Err(broken("the length is not written in the shortest form (RFC 6455 5.2)"));
    }
    Ok(len)
}

/// The body of a close frame: RFC 6455 section 5.5.1.
fn closing(bytes: &[u8]) -> Result<Option<(u16, &str)>, Violation> {
    let Some((code, reason)) = bytes.split_first_chunk::<2>() else {
        let one = broken("a close frame has one byte, which is no code (RFC 6455 5.5.1)");
        return if bytes.is_empty() { Ok(None) } else { Err(one) };
    };
    let code = u16::from_be_bytes(*code);
    if !is_sendable(code) {
        return Err(broken("the close code may not stand in a frame (RFC 6455 7.4)"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| BAD_TEXT)?;
    Ok(Some((code, reason)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::write_masked_frame;

    #[test]
    fn a_control_frame_may_come_byte_by_byte() {
        let mut wire = Vec::new();
        write_masked_frame(&mut wire, Opcode::Ping, [1, 2, 3, 4], b"payload");
        let (mut decoder, mut inflater) =
            (Decoder::server(Limits { message_bytes: 64 }, false), Inflater::new());
        let mut pings = 0;
        for byte in &mut wire {
            let mut window = std::slice::from_mut(byte);
            if let Some(event) = decoder.next(&mut window, &mut inflater).unwrap() {
                assert_eq!(event, Event::Ping(b"payload"));
                pings += 1;
            }
        }
        assert_eq!(pings, 1);
    }
}
