//! The same streams to our decoder and to tungstenite's: what is valid gives the same messages, and of what is not we
//! refuse whatever tungstenite refuses. `STREAM_SEED=n` looks at one stream alone.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use everwire_proto::ws::{Decoder, Limits, Violation};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

use crate::dice::Dice;
use crate::differences::{CODE_FOR_US_ALONE, DIFFERENCES, Theirs};
use crate::frames::{Seen, decode};
use crate::streams::{FAULTS, Fault, Stream, TRAITS, stream};

const STREAMS: u64 = 100_000;
const FIRST_SEED: u64 = 6455;
/// What a listed difference must be seen.
const LEAST: u32 = 100;

/// What came in so far, with more on its way.
struct Pipe {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// More must come.
    Waiting,
    Closed,
    Refused(String),
}

struct Other {
    socket: WebSocket<Pipe>,
    seen: Vec<Seen>,
}

impl Other {
    fn new(stream: &Stream) -> Self {
        let role = if stream.masked { Role::Server } else { Role::Client };
        let limit = Some(stream.limit as usize);
        let config =
            WebSocketConfig::default().read_buffer_size(1_024).max_message_size(limit).max_frame_size(limit);
        let pipe = Pipe { bytes: Vec::new(), at: 0 };
        Self { socket: WebSocket::from_raw_socket(pipe, role, Some(config)), seen: Vec::new() }
    }

    fn read(&mut self, bytes: &[u8]) -> End {
        self.socket.get_mut().bytes.extend_from_slice(bytes);
        loop {
            let seen = match self.socket.read() {
                Ok(Message::Text(text)) => Seen::Text(text.as_bytes().to_vec()),
                Ok(Message::Binary(bytes)) => Seen::Binary(bytes.to_vec()),
                Ok(Message::Ping(bytes)) => Seen::Ping(bytes.to_vec()),
                Ok(Message::Pong(bytes)) => Seen::Pong(bytes.to_vec()),
                Ok(Message::Close(None)) => Seen::Close(None),
                Ok(Message::Close(Some(close))) => {
                    let (code, reason) = (u16::from(close.code), close.reason.to_string());
                    if code == 1002 && reason == "Protocol violation" {
                        // Its answer stands where the code stood.
                        return End::Refused("close code".to_owned());
                    }
                    Seen::Close(Some((code, reason)))
                }
                Ok(Message::Frame(frame)) => panic!("a bare frame: {frame:?}"),
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return End::Waiting,
                Err(error @ (Error::Protocol(_) | Error::Capacity(_) | Error::Utf8(_))) => {
                    return End::Refused(error.to_string());
                }
                Err(error) => panic!("tungstenite ended otherwise: {error}"),
            };
            let closed = matches!(seen, Seen::Close(_));
            self.seen.push(seen);
            if closed {
                return End::Closed;
            }
        }
    }
}

/// What the run has seen.
#[derive(Default)]
struct Tally {
    faults: BTreeMap<Fault, u32>,
    valid: u32,
    traits: BTreeMap<&'static str, u32>,
    refused_by_both: BTreeMap<&'static str, u32>,
    differences: BTreeMap<(&'static str, Theirs), u32>,
    code_for_us_alone: u32,
}

impl Tally {
    fn look(&mut self, seed: u64) {
        let mut dice = Dice::new(seed);
        let stream = stream(&mut dice);
        *self.faults.entry(stream.fault).or_default() += 1;
        let (bytes, rest) = stream.bytes.split_at(stream.arrived);
        let limits = Limits { message_bytes: stream.limit };
        let mut decoder =
            if stream.masked { Decoder::server(limits, false) } else { Decoder::client(limits, false) };
        let mut cuts: Vec<_> = (0..dice.below(6)).map(|_| dice.below(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let (ours, violation) = decode(&mut decoder, bytes, cuts);
        let mut other = Other::new(&stream);
        let end = other.read(bytes);
        match (violation, end) {
            (None, End::Waiting) => {
                assert!(!matches!(ours.last(), Some(Seen::Close(_))), "only we were closed");
                assert_eq!(ours, other.seen);
                self.valid(&stream);
            }
            (None, End::Closed) => {
                assert_eq!(ours, other.seen);
                self.valid(&stream);
            }
            (None, End::Refused(_)) if code_of(&ours) == Some(CODE_FOR_US_ALONE) => {
                assert_eq!(ours[..ours.len() - 1], other.seen);
                self.code_for_us_alone += 1;
            }
            (None, End::Refused(reason)) => panic!("we take what is refused there: {reason}"),
            (Some(violation), End::Refused(_)) if ours == other.seen => {
                *self.refused_by_both.entry(violation.reason).or_default() += 1;
            }
            (Some(violation), end) => {
                assert!(other.seen.starts_with(&ours), "{violation:?}: {ours:?}, but {:?}", other.seen);
                let later = if end == End::Waiting { other.read(&rest_of_frame(bytes, rest)) } else { end };
                // What it still took before it refused, if it did, came behind what we refuse.
                let refused = matches!(later, End::Refused(_)) && ours == other.seen;
                let theirs = if refused { Theirs::Later } else { Theirs::Never };
                self.differ(violation, theirs);
            }
        }
    }

    fn valid(&mut self, stream: &Stream) {
        self.valid += 1;
        if stream.fault == Fault::None && stream.arrived == stream.bytes.len() {
            stream.traits.iter().for_each(|name| *self.traits.entry(name).or_default() += 1);
        }
    }

    /// We alone refuse: is that meant?
    fn differ(&mut self, violation: Violation, theirs: Theirs) {
        let listed = DIFFERENCES.iter().find(|d| violation.reason.starts_with(d.reason));
        let Some(listed) = listed else { panic!("we alone refuse: {violation:?}") };
        // What is never refused there may stand in a frame that has another fault too.
        assert!(
            listed.theirs == theirs || listed.theirs == Theirs::Never,
            "{violation:?} is listed as refused later, but is never"
        );
        *self.differences.entry((listed.reason, theirs)).or_default() += 1;
    }
}

fn code_of(seen: &[Seen]) -> Option<u16> {
    if let Some(Seen::Close(Some((code, _)))) = seen.last() { Some(*code) } else { None }
}

/// What makes the frame whole that these bytes end in, and not a byte more: the `rest` of the stream as far as it goes,
/// then zeros. Nothing if no frame is begun.
fn rest_of_frame(arrived: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut all = [arrived, rest].concat();
    let mut end = 0;
    while end < arrived.len() {
        all.resize(all.len().max(end + 14), 0);
        let long = match all[end + 1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if all[end + 1] & 0x80 == 0 { 0 } else { 4 };
        let len = match long {
            0 => u64::from(all[end + 1] & 0x7f),
            _ => all[end + 2..end + 2 + long].iter().fold(0, |len, b| len << 8 | u64::from(*b)),
        };
        // A frame over every limit is refused for its header.
        let size = if len > 1 << 20 { 0 } else { len as usize };
        end += 2 + long + mask + size;
    }
    all.resize(all.len().max(end), 0);
    all[arrived.len()..end].to_vec()
}

#[test]
fn we_and_tungstenite_agree_but_for_what_is_listed() {
    let alone = std::env::var("STREAM_SEED").ok().map(|s| s.parse::<u64>().expect("STREAM_SEED is a number"));
    let seeds = alone.map_or(FIRST_SEED..FIRST_SEED + STREAMS, |seed| seed..seed + 1);
    let mut tally = Tally::default();
    for seed in seeds {
        let looked = catch_unwind(AssertUnwindSafe(|| tally.look(seed)));
        assert!(
            looked.is_ok(),
            "see above; once more: STREAM_SEED={seed} cargo test -p everwire-proto --test ws"
        );
    }
    println!(
        "valid {}, {:#?}\nrefused by both {:#?}\n{CODE_FOR_US_ALONE} {}\ndifferences {:#?}\nfaults {:?}",
        tally.valid,
        tally.traits,
        tally.refused_by_both,
        tally.code_for_us_alone,
        tally.differences,
        tally.faults
    );
    if alone.is_some() {
        return;
    }
    for fault in FAULTS {
        assert!(tally.faults.get(&fault).is_some_and(|n| *n >= 1_000), "{fault:?}: {:?}", tally.faults);
    }
    for name in TRAITS {
        assert!(tally.traits.get(name).is_some_and(|n| *n >= LEAST), "{name}: {:?}", tally.traits);
    }
    assert!(tally.valid >= 40_000, "{} valid streams are too few", tally.valid);
    assert!(tally.code_for_us_alone >= LEAST, "{}", tally.code_for_us_alone);
    for listed in &DIFFERENCES {
        assert!(listed.rfc.starts_with("RFC 6455 "), "{listed:?}");
        let seen = tally.differences.get(&(listed.reason, listed.theirs)).copied().unwrap_or(0);
        assert!(seen >= LEAST, "{listed:?} was seen {seen} times");
    }
}
