//! Streams for the comparison: mostly valid, each with at most a few deliberate faults.

use crate::dice::Dice;
use crate::frames::{BINARY, CLOSE, CONTINUATION, FIN, Frame, Length, PING, PONG, TEXT, wire};

/// What was done to a stream. Every kind must occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Fault {
    None,
    LengthIn16,
    LengthIn64,
    LengthNegative,
    Rsv1,
    Rsv2,
    Rsv3,
    ReservedDataOpcode,
    ReservedControlOpcode,
    WrongMask,
    FragmentedControl,
    LongControl,
    CloseCode,
    CloseOfOneByte,
    CloseText,
    BadByteInText,
    TextEndsInCharacter,
    OrphanContinuation,
    MessageInsideMessage,
    FrameTooBig,
    FragmentsTooBig,
    TooManyFragments,
    ByteChanged,
    ByteLost,
}

pub(crate) const FAULTS: [Fault; 24] = [
    Fault::None,
    Fault::LengthIn16,
    Fault::LengthIn64,
    Fault::LengthNegative,
    Fault::Rsv1,
    Fault::Rsv2,
    Fault::Rsv3,
    Fault::ReservedDataOpcode,
    Fault::ReservedControlOpcode,
    Fault::WrongMask,
    Fault::FragmentedControl,
    Fault::LongControl,
    Fault::CloseCode,
    Fault::CloseOfOneByte,
    Fault::CloseText,
    Fault::BadByteInText,
    Fault::TextEndsInCharacter,
    Fault::OrphanContinuation,
    Fault::MessageInsideMessage,
    Fault::FrameTooBig,
    Fault::FragmentsTooBig,
    Fault::TooManyFragments,
    Fault::ByteChanged,
    Fault::ByteLost,
];

/// One stream and how it is to be read.
pub(crate) struct Stream {
    /// A client sends it, so it is masked.
    pub(crate) masked: bool,
    /// Message size, bytes.
    pub(crate) limit: u32,
    pub(crate) fault: Fault,
    pub(crate) bytes: Vec<u8>,
    /// So much of it has come; the rest is still on its way.
    pub(crate) arrived: usize,
    /// What it has that a codec may get wrong.
    pub(crate) traits: Vec<&'static str>,
}

/// Every trait must occur in valid streams.
pub(crate) const TRAITS: [&str; 11] = [
    "from a client",
    "from a server",
    "fragmented",
    "control frame inside a message",
    "character cut by fragments",
    "empty fragment",
    "empty message",
    "length in 16 bits",
    "length in 64 bits",
    "close with a reason",
    "something behind a close",
];

fn traits(masked: bool, frames: &[Frame]) -> Vec<&'static str> {
    let mut found = vec![TRAITS[usize::from(!masked)]];
    let mut add = |is: bool, name| found.extend(is.then_some(name));
    let closed = frames.iter().position(|f| f.opcode() == CLOSE);
    for (i, frame) in frames.iter().enumerate() {
        let inside = begun(&frames[..i]);
        let len = frame.payload.len();
        add(frame.opcode() == CONTINUATION, TRAITS[2]);
        add(frame.is_control() && inside, TRAITS[3]);
        let cut = frame.opcode() == TEXT && std::str::from_utf8(&frame.payload).is_err();
        add(cut && !frame.is_final(), TRAITS[4]);
        add(frame.opcode() == CONTINUATION && len == 0, TRAITS[5]);
        add(!frame.is_control() && !inside && frame.is_final() && len == 0, TRAITS[6]);
        add((126..65_536).contains(&len), TRAITS[7]);
        add(len >= 65_536, TRAITS[8]);
        add(frame.opcode() == CLOSE && len > 2, TRAITS[9]);
        add(closed.is_some_and(|at| i > at), TRAITS[10]);
    }
    found.sort_unstable();
    found.dedup();
    found
}

pub(crate) fn stream(dice: &mut Dice) -> Stream {
    let masked = dice.percent(70);
    let limit = if dice.below(75) == 0 { 80_000 } else { dice.pick(&[200, 256, 1_000, 2_048]) };
    let mut maker = Maker { dice, masked, limit: limit as usize };
    let mut frames = maker.frames();
    let fault = if maker.dice.percent(35) { Fault::None } else { maker.dice.pick(&FAULTS) };
    maker.break_frames(fault, &mut frames);
    let mut bytes = wire(&frames);
    let at = dice.below(bytes.len());
    match fault {
        Fault::ByteChanged => bytes[at] ^= 1 << dice.below(8),
        Fault::ByteLost => _ = bytes.remove(at),
        _ => {}
    }
    let arrived = match dice.below(5) {
        0 => dice.below(bytes.len() + 1),
        // Not long after a frame began.
        1 => wire(&frames[..dice.below(frames.len())]).len() + 1 + dice.below(16),
        _ => bytes.len(),
    };
    let arrived = arrived.min(bytes.len());
    Stream { masked, limit, fault, bytes, arrived, traits: traits(masked, &frames) }
}

struct Maker<'d> {
    dice: &'d mut Dice,
    masked: bool,
    limit: usize,
}

impl Maker<'_> {
    fn frame(&mut self, first: u8, payload: Vec<u8>) -> Frame {
        let mask = self.masked.then(|| self.dice.mask());
        Frame { first, mask, length: Length::Shortest, payload }
    }

    /// A few valid messages and control frames, a close in some.
    fn frames(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for _ in 0..1 + self.dice.below(5) {
            if self.dice.percent(25) {
                frames.push(self.control());
            } else {
                let fragments = if self.dice.percent(50) { 1 } else { 2 + self.dice.below(5) };
                self.message(fragments, &mut frames);
            }
        }
        if self.dice.percent(20) {
            let close = self.close();
            frames.push(close);
            if self.dice.percent(20) {
                // What follows a close is ignored, whatever it is.
                frames.push(self.control());
            }
        }
        frames
    }

    fn control(&mut self) -> Frame {
        let len = self.dice.pick(&[0, 1, 5, 124, 125]);
        let (opcode, payload) = (self.dice.pick(&[PING, PONG]), self.dice.bytes(len));
        self.frame(FIN | opcode, payload)
    }

    fn close(&mut self) -> Frame {
        let mut payload = Vec::new();
        if self.dice.percent(80) {
            let code = self.dice.pick(&[
                1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999,
            ]);
            payload.extend_from_slice(&code.to_be_bytes());
            let len = self.dice.below(119);
            payload.extend(self.dice.text(len));
        }
        self.frame(FIN | CLOSE, payload)
    }

    fn len(&mut self) -> usize {
        let len = match self.dice.below(10) {
            0 => 0,
            1 => 125 + self.dice.below(3),
            2 => self.limit,
            3..9 if self.limit > 70_000 => 65_533 + self.dice.below(12),
            _ => self.dice.below(40),
        };
        len.min(self.limit)
    }

    /// One message in so many fragments, cut anywhere, with control frames between some of them.
    fn message(&mut self, fragments: usize, frames: &mut Vec<Frame>) {
        let len = self.len();
        let (opcode, payload) = if self.dice.percent(60) {
            // The last character may be up to three bytes too long.
            (TEXT, self.dice.text(len.saturating_sub(3)))
        } else {
            (BINARY, self.dice.bytes(len))
        };
        let mut cuts: Vec<_> = (1..fragments).map(|_| self.dice.below(payload.len() + 1)).collect();
        cuts.extend([0, payload.len()]);
        cuts.sort_unstable();
        for (i, pair) in cuts.windows(2).enumerate() {
            let fin = if i + 2 == cuts.len() { FIN } else { 0 };
            let piece = payload[pair[0]..pair[1]].to_vec();
            frames.push(self.frame(fin | if i == 0 { opcode } else { CONTINUATION }, piece));
            if fin == 0 && self.dice.percent(20) {
                frames.push(self.control());
            }
        }
    }

    /// Puts a fault into the frames, making what it needs.
    fn break_frames(&mut self, fault: Fault, frames: &mut Vec<Frame>) {
        let at = self.dice.below(frames.len());
        match fault {
            Fault::None | Fault::ByteChanged | Fault::ByteLost => {}
            Fault::LengthIn16 | Fault::LengthIn64 | Fault::LengthNegative | Fault::LongControl => {
                self.break_length(fault, at, frames);
            }
            Fault::Rsv1 => frames[at].first |= 0x40,
            Fault::Rsv2 => frames[at].first |= 0x20,
            Fault::Rsv3 => frames[at].first |= 0x10,
            Fault::ReservedDataOpcode => {
                frames[at].first = frames[at].first & 0xf0 | self.dice.pick(&[3, 4, 5, 6, 7]);
            }
            Fault::ReservedControlOpcode => {
                frames[at].first = frames[at].first & 0xf0 | self.dice.pick(&[11, 12, 13, 14, 15]);
            }
            Fault::WrongMask => {
                frames[at].mask = if self.masked { None } else { Some(self.dice.mask()) };
            }
            Fault::FragmentedControl => {
                let mut control = self.control();
                control.first &= !FIN;
                frames.insert(at, control);
            }
            Fault::CloseCode | Fault::CloseOfOneByte | Fault::CloseText => {
                let close = self.bad_close(fault);
                frames.insert(at, close);
            }
            Fault::BadByteInText | Fault::TextEndsInCharacter => self.break_text(fault, frames),
            Fault::OrphanContinuation => {
                let fin = self.dice.pick(&[0, FIN]);
                let orphan = self.frame(fin | CONTINUATION, b"orphan".to_vec());
                let outside = (0..=frames.len()).rev().find(|at| !begun(&frames[..*at])).unwrap_or(0);
                frames.insert(outside, orphan);
            }
            Fault::MessageInsideMessage => {
                self.message(3, frames);
                let last = frames.len() - 1;
                frames[last].first = frames[last].first & FIN | self.dice.pick(&[TEXT, BINARY]);
            }
            Fault::FrameTooBig => {
                let payload = self.dice.text(self.limit + 1);
                let fin = self.dice.pick(&[0, FIN]);
                frames.push(self.frame(fin | TEXT, payload));
            }
            Fault::FragmentsTooBig => {
                let half = self.limit / 2 + 1;
                let payload = self.dice.bytes(half);
                frames.push(self.frame(BINARY, payload.clone()));
                frames.push(self.frame(FIN | CONTINUATION, payload));
            }
            Fault::TooManyFragments => {
                let most = (self.limit / 64).max(16);
                frames.push(self.frame(BINARY, Vec::new()));
                for _ in 1..most + self.dice.below(3) {
                    frames.push(self.frame(CONTINUATION, Vec::new()));
                }
                frames.push(self.frame(FIN | CONTINUATION, b"x".to_vec()));
            }
        }
    }

    fn break_length(&mut self, fault: Fault, at: usize, frames: &mut Vec<Frame>) {
        match fault {
            Fault::LengthIn16 => {
                let frame = self.frame(FIN | BINARY, b"sixteen".to_vec());
                frames.insert(at, Frame { length: Length::In16, ..frame });
            }
            Fault::LengthIn64 => {
                let len = self.dice.pick(&[0, 100, 125, 126, 200]);
                let payload = self.dice.text(len).into_iter().take(len).collect();
                let opcode = self.dice.pick(&[TEXT, BINARY]);
                let frame = self.frame(FIN | opcode, payload);
                frames.insert(at, Frame { length: Length::In64, ..frame });
            }
            Fault::LengthNegative => frames[at].length = Length::Negative,
            _ => {
                let mut control = self.control();
                let len = self.dice.pick(&[126, 127, 200, 300]);
                control.payload = self.dice.bytes(len);
                frames.insert(at, control);
            }
        }
    }

    fn bad_close(&mut self, fault: Fault) -> Frame {
        let mut close = self.frame(FIN | CLOSE, Vec::new());
        let code = self.dice.pick(&[0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]);
        close.payload = match fault {
            Fault::CloseCode => code.to_be_bytes().to_vec(),
            Fault::CloseOfOneByte => vec![3],
            _ => [&1000u16.to_be_bytes()[..], b"bad \xff text"].concat(),
        };
        close
    }

    /// Breaks a text message of its own, fragmented or not.
    fn break_text(&mut self, fault: Fault, frames: &mut Vec<Frame>) {
        let (fragments, len) = (1 + self.dice.below(4), 8 + self.dice.below(60));
        let mut payload = self.dice.text(len);
        if fault == Fault::BadByteInText {
            let at = self.dice.below(payload.len());
            payload[at] = self.dice.pick(&[0xff, 0xc0, 0x80, 0xed, 0xf5]);
        } else {
            let keep = 1 + self.dice.below(3);
            payload.extend_from_slice(&"🦀".as_bytes()[..keep]);
        }
        for i in 0..fragments {
            let rest = if i + 1 == fragments { payload.len() } else { self.dice.below(payload.len() + 1) };
            let piece: Vec<u8> = payload.drain(..rest).collect();
            let fin = if i + 1 == fragments { FIN } else { 0 };
            frames.push(self.frame(fin | if i == 0 { TEXT } else { CONTINUATION }, piece));
        }
    }
}

/// Whether a message is unfinished behind these frames.
fn begun(frames: &[Frame]) -> bool {
    frames.iter().rev().find(|f| !f.is_control()).is_some_and(|f| !f.is_final())
}
