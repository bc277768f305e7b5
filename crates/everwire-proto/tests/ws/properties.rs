//! What holds for every stream, however it is cut.

use everwire_proto::ws::{Decoder, Deflater, Inflater, Limits, Opcode, frame_payload};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::dice::Dice;
use crate::frames::{
    BINARY, CLOSE, CONTINUATION, FIN, Frame, Length, PING, PONG, RSV1, Seen, TEXT, decode, feed, wire,
};
use crate::streams::stream;

const LIMITS: Limits = Limits { message_bytes: 4_096 };

/// Something to be sent.
#[derive(Clone, Debug)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        any::<String>().prop_map(Said::Text),
        "[a-zäöü🦀]{0,900}".prop_map(Said::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Said::Binary),
        prop::collection::vec(0u8..3, 0..2_000).prop_map(Said::Binary),
        prop::collection::vec(any::<u8>(), 0..=125).prop_map(Said::Ping),
        prop::collection::vec(any::<u8>(), 0..=125).prop_map(Said::Pong),
    ]
}

/// How one message is sent: deflated or not, cut into fragments, with pings between them.
#[derive(Clone, Debug)]
struct Manner {
    deflate: bool,
    fragments: Vec<Index>,
    pings: bool,
    mask: [u8; 4],
}

fn manner() -> impl Strategy<Value = Manner> {
    let fragments = prop::collection::vec(any::<Index>(), 0..5);
    (any::<bool>(), fragments, any::<bool>(), any::<[u8; 4]>())
        .prop_map(|(deflate, fragments, pings, mask)| Manner { deflate, fragments, pings, mask })
}

/// The frames of one message and what must be seen of them.
fn frames_of(said: &Said, manner: &Manner, masked: bool, frames: &mut Vec<Frame>, expected: &mut Vec<Seen>) {
    let mask = masked.then_some(manner.mask);
    let frame =
        |first, payload: &[u8]| Frame { first, mask, length: Length::Shortest, payload: payload.to_vec() };
    let (opcode, bytes, seen) = match said {
        Said::Text(text) => (TEXT, text.as_bytes(), Seen::Text(text.as_bytes().to_vec())),
        Said::Binary(bytes) => (BINARY, &bytes[..], Seen::Binary(bytes.clone())),
        Said::Ping(bytes) => {
            frames.push(frame(FIN | PING, bytes));
            return expected.push(Seen::Ping(bytes.clone()));
        }
        Said::Pong(bytes) => {
            frames.push(frame(FIN | PONG, bytes));
            return expected.push(Seen::Pong(bytes.clone()));
        }
    };
    let mut deflated = Vec::new();
    let (rsv1, bytes) = if manner.deflate {
        Deflater::new().write_frame(&mut deflated, Opcode::Binary, bytes);
        (RSV1, frame_payload(&deflated))
    } else {
        (0, bytes)
    };
    let mut cuts: Vec<_> = manner.fragments.iter().map(|at| at.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let last = cuts.len() - 2;
    for (i, pair) in cuts.windows(2).enumerate() {
        let first = if i == 0 { opcode | rsv1 } else { CONTINUATION };
        frames.push(frame(first | if i == last { FIN } else { 0 }, &bytes[pair[0]..pair[1]]));
        if manner.pings && i < last {
            frames.push(frame(FIN | PING, &[7; 9]));
            expected.push(Seen::Ping(vec![7; 9]));
        }
    }
    expected.push(seen);
}

fn decoder(masked: bool, deflate: bool) -> Decoder {
    if masked { Decoder::server(LIMITS, deflate) } else { Decoder::client(LIMITS, deflate) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_is_sent_arrives(
        messages in prop::collection::vec((said(), manner()), 0..6),
        masked in any::<bool>(),
        deflate in any::<bool>(),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
        close in any::<Option<u8>>(),
    ) {
        let (mut frames, mut expected) = (Vec::new(), Vec::new());
        for (said, mut manner) in messages {
            manner.deflate &= deflate;
            frames_of(&said, &manner, masked, &mut frames, &mut expected);
        }
        if let Some(len) = close {
            let reason = "é".repeat(usize::from(len % 60));
            let payload = [&4_000u16.to_be_bytes()[..], reason.as_bytes()].concat();
            frames.push(Frame { first: FIN | CLOSE, mask: masked.then_some([9; 4]), length: Length::Shortest, payload });
            expected.push(Seen::Close(Some((4_000, reason))));
        }
        let stream = wire(&frames);
        let mut cuts: Vec<_> = cuts.iter().map(|at| at.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let mut decoder = decoder(masked, deflate);
        let (seen, violation) = decode(&mut decoder, &stream, cuts);
        prop_assert_eq!(violation, None);
        prop_assert_eq!(seen, expected);
        prop_assert!(decoder.is_idle());
    }

    #[test]
    fn any_cut_gives_the_same(
        seed in any::<u64>(),
        deflate in any::<bool>(),
        cuts in prop::collection::vec(any::<Index>(), 0..20),
    ) {
        // Streams with a fault in most of them; with deflate a set RSV1 is none, but what follows is.
        let made = stream(&mut Dice::new(seed));
        let limits = Limits { message_bytes: made.limit };
        let bytes = &made.bytes[..made.arrived];
        let new = || if made.masked { Decoder::server(limits, deflate) } else { Decoder::client(limits, deflate) };
        let mut whole = new();
        let uncut = decode(&mut whole, bytes, []);
        let mut cuts: Vec<_> = cuts.iter().map(|at| at.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut in_pieces = new();
        prop_assert_eq!(&decode(&mut in_pieces, bytes, cuts), &uncut);
        prop_assert_eq!(in_pieces.is_idle(), whole.is_idle());
        // Byte by byte it fails, if it fails, at the first byte that can't be right; and not one byte later.
        let (mut seen, mut inflater, mut slow) = (Vec::new(), Inflater::new(), new());
        let failed = bytes.chunks(1).position(|byte| feed(&mut slow, &mut inflater, byte, &mut seen).is_err());
        prop_assert_eq!(failed.is_some(), uncut.1.is_some());
        prop_assert_eq!(&seen, &uncut.0);
        if let Some(at) = failed {
            prop_assert_eq!(&decode(&mut new(), &bytes[..=at], []), &uncut);
            prop_assert_eq!(decode(&mut new(), &bytes[..at], []).1, None);
        }
    }

    #[test]
    fn a_bad_byte_fails_before_its_frame_is_whole(
        mut text in any::<String>().prop_map(String::into_bytes),
        at in any::<Index>(),
        bad in any::<u8>(),
        fragments in prop::collection::vec(any::<Index>(), 0..3),
    ) {
        if !text.is_empty() {
            let at = at.index(text.len());
            text[at] = bad;
        }
        // As far as any text may begin like this.
        let hopeless = (0..=text.len()).find(|end| {
            std::str::from_utf8(&text[..*end]).is_err_and(|e| e.error_len().is_some())
        });
        let mut cuts: Vec<_> = fragments.iter().map(|at| at.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let (mut decoder, mut inflater) = (Decoder::server(LIMITS, false), Inflater::new());
        let mut fed = 0;
        let mut failed = None;
        'all: for (i, pair) in cuts.windows(2).enumerate() {
            // Every frame says that more is to come, so none ever becomes the end of the text, and the last not even whole.
            let last = pair[1] == text.len();
            let mut payload = text[pair[0]..pair[1]].to_vec();
            payload.extend_from_slice(if last { b"more" } else { b"" });
            let first = if i == 0 { TEXT } else { CONTINUATION };
            let frame = Frame { first, mask: Some([1, 2, 3, 4]), length: Length::Shortest, payload };
            let bytes = wire(std::slice::from_ref(&frame));
            let head = bytes.len() - frame.payload.len();
            prop_assert_eq!(feed(&mut decoder, &mut inflater, &bytes[..head], &mut Vec::new()), Ok(()));
            for byte in &bytes[head..head + pair[1] - pair[0]] {
                fed += 1;
                if let Err(violation) = feed(&mut decoder, &mut inflater, &[*byte], &mut Vec::new()) {
                    failed = Some((fed, violation.code));
                    break 'all;
                }
            }
            if last {
                break;
            }
        }
        prop_assert_eq!(failed, hopeless.map(|end| (end, 1007)));
    }
}

#[test]
fn an_idle_connection_costs_48_bytes() {
    assert!(size_of::<Decoder>() <= 48, "{}", size_of::<Decoder>());
}

#[test]
fn fragments_are_counted_empty_ones_too() {
    for (limit, most) in [(100, 16), (1_024, 16), (1_088, 17), (65_536, 1_024)] {
        for (fragments, good) in [(most, true), (most + 1, false)] {
            let mut frames: Vec<_> = (0..fragments)
                .map(|_| Frame { first: 0, mask: None, length: Length::Shortest, payload: Vec::new() })
                .collect();
            frames[0].first = TEXT;
            frames[fragments - 1].first |= FIN;
            let mut decoder = Decoder::client(Limits { message_bytes: limit }, false);
            let (seen, violation) = decode(&mut decoder, &wire(&frames), []);
            assert_eq!(seen.len(), usize::from(good), "{limit}: {fragments}");
            assert_eq!(violation.map(|v| v.code), (!good).then_some(1009), "{limit}: {fragments}");
        }
    }
}

#[test]
fn a_message_over_the_limit_is_refused_for_its_header() {
    for (first, len) in [(FIN | BINARY, 4_097u64), (TEXT, 4_097), (BINARY | FIN, u64::MAX >> 1)] {
        let mut header = vec![first, 0x80 | 127];
        if len < 1 << 16 {
            header[1] = 0x80 | 126;
            header.extend_from_slice(&(len as u16).to_be_bytes());
        } else {
            header.extend_from_slice(&len.to_be_bytes());
        }
        header.extend_from_slice(&[0; 4]);
        let (_, violation) = decode(&mut Decoder::server(LIMITS, false), &header, []);
        assert_eq!(violation.map(|v| v.code), Some(1009), "{first:x} {len}");
    }
    let fragment = |first, len| Frame { first, mask: None, length: Length::Shortest, payload: vec![0; len] };
    let whole = [fragment(BINARY, 4_000), fragment(CONTINUATION, 96), fragment(FIN | CONTINUATION, 0)];
    assert_eq!(decode(&mut Decoder::client(LIMITS, false), &wire(&whole), []).1, None);
    let over = wire(&[fragment(BINARY, 4_000), fragment(CONTINUATION, 97)]);
    let (_, violation) = decode(&mut Decoder::client(LIMITS, false), &over[..over.len() - 97], []);
    assert_eq!(violation.map(|v| v.code), Some(1009));
}

/// Which byte of a server's stream fails it, counted from 1.
fn fails_at(stream: &[u8]) -> Option<usize> {
    let (mut decoder, mut inflater) = (Decoder::client(LIMITS, true), Inflater::new());
    let fails = |byte: &[u8]| feed(&mut decoder, &mut inflater, byte, &mut Vec::new()).is_err();
    stream.chunks(1).position(fails).map(|at| at + 1)
}

#[test]
fn a_fault_fails_with_the_first_byte_that_shows_it() {
    for (stream, byte) in [
        // Opcodes and bits are in the first byte; RSV1 is for the first frame of a message alone.
        (&[FIN | 3][..], Some(1)),
        (&[FIN | 11], Some(1)),
        (&[FIN | TEXT | 0x20], Some(1)),
        (&[FIN | TEXT | 0x10], Some(1)),
        (&[FIN | TEXT | RSV1, 1, 0], None),
        (&[FIN | PING | RSV1], Some(1)),
        (&[TEXT | RSV1, 0, FIN | CONTINUATION | RSV1], Some(3)),
        (&[PING], Some(1)),
        (&[FIN | CONTINUATION], Some(1)),
        (&[TEXT, 0, FIN | CONTINUATION, 0, FIN | CONTINUATION], Some(5)),
        (&[TEXT, 0, FIN | PING, 0, TEXT], Some(5)),
        // The mask bit and a control frame's length are in the second.
        (&[FIN | TEXT, 0x80], Some(2)),
        (&[FIN | PING, 126], Some(2)),
        (&[FIN | PING, 125], None),
        // A length is known when its last byte is here.
        (&[FIN | TEXT, 126, 0, 125], Some(4)),
        (&[FIN | TEXT, 126, 0, 126], None),
        (&[FIN | TEXT, 126, 0x10, 0x00], None),
        (&[FIN | TEXT, 126, 0x10, 0x01], Some(4)),
        (&[FIN | TEXT, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Some(10)),
        (&[FIN | TEXT, 127, 0x80, 0, 0, 0, 0, 1, 0, 0], Some(10)),
        // A close frame is judged whole; text at the first byte that can't go on.
        (&[FIN | CLOSE, 1, 3], Some(3)),
        (&[FIN | CLOSE, 2, 3, 0xed], Some(4)),
        (&[FIN | CLOSE, 3, 3, 0xe8, 0xff], Some(5)),
        (&[FIN | TEXT, 9, b'a', 0xe2, 0x82, 0x28], Some(6)),
        (&[TEXT, 1, 0xe2, CONTINUATION, 1, 0x82, FIN | CONTINUATION, 2, b'x'], Some(9)),
        (&[FIN | TEXT, 2, 0xe2, 0x82], Some(4)),
    ] {
        assert_eq!(fails_at(stream), byte, "{stream:x?}");
    }
    // 65 536 is the least that 64 bits may hold, and far under a larger limit.
    let header = [FIN | TEXT, 127, 0, 0, 0, 0, 0, 1, 0, 0];
    let (_, violation) = decode(&mut Decoder::client(Limits { message_bytes: 1 << 20 }, false), &header, []);
    assert_eq!(violation, None);
}
