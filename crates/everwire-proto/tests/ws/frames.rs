//! Frames as bytes, right and wrong ones, and what a decoder makes of them.

use everwire_proto::ws::{Decoder, Event, Inflater, Violation, unmask};

pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// How the length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Shortest,
    In16,
    In64,
    /// In 64 bits with the highest one set, which no length may have.
    Negative,
}

/// A frame whose every bit can be wrong.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub(crate) first: u8,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) length: Length,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    pub(crate) fn is_control(&self) -> bool {
        self.opcode() >= 8
    }

    pub(crate) fn is_final(&self) -> bool {
        self.first & FIN != 0
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let len = self.payload.len();
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out.push(self.first);
        match (self.length, len) {
            (Length::Shortest, 0..=125) => out.push(masked | len as u8),
            (Length::Shortest | Length::In16, 0..=0xffff) => {
                out.push(masked | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            (length, _) => {
                out.push(masked | 127);
                let top = if length == Length::Negative { 1 << 63 } else { 0 };
                out.extend_from_slice(&(len as u64 | top).to_be_bytes());
            }
        }
        if let Some(mask) = self.mask {
            out.extend_from_slice(&mask);
            let start = out.len();
            out.extend_from_slice(&self.payload);
            unmask(&mut out[start..], mask);
        } else {
            out.extend_from_slice(&self.payload);
        }
    }
}

pub(crate) fn wire(frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| frame.write(&mut out));
    out
}

/// An event that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(bytes) => Self::Text(bytes.to_vec()),
            Event::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Event::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Event::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Event::Close(close) => Self::Close(close.map(|(code, reason)| (code, reason.to_owned()))),
        }
    }
}

/// Gives one read to a decoder.
pub(crate) fn feed(
    decoder: &mut Decoder,
    inflater: &mut Inflater,
    read: &[u8],
    seen: &mut Vec<Seen>,
) -> Result<(), Violation> {
    let mut bytes = read.to_vec();
    let (mut at, len) = (0, bytes.len());
    loop {
        let mut window = &mut bytes[at..];
        let event = decoder.next(&mut window, inflater);
        at = len - window.len();
        match event? {
            Some(event) => seen.push(event.into()),
            None => {
                assert_eq!(at, len, "nothing is whole any more, so all must be taken");
                return Ok(());
            }
        }
    }
}

/// Gives a stream to a decoder, cut at these places. What came of it, and how it failed.
pub(crate) fn decode(
    decoder: &mut Decoder,
    stream: &[u8],
    cuts: impl IntoIterator<Item = usize>,
) -> (Vec<Seen>, Option<Violation>) {
    let (mut seen, mut inflater, mut at) = (Vec::new(), Inflater::new(), 0);
    for cut in cuts.into_iter().chain([stream.len()]) {
        let cut = cut.clamp(at, stream.len());
        if let Err(violation) = feed(decoder, &mut inflater, &stream[at..cut], &mut seen) {
            // Whatever comes later is ignored.
            assert_eq!(feed(decoder, &mut inflater, &stream[cut..], &mut Vec::new()), Ok(()));
            return (seen, Some(violation));
        }
        at = cut;
    }
    (seen, None)
}
