use std::io::Write as _;

use rustls::ClientConnection;

use super::*;
use crate::tls::pair_of_tests::{BOTH, Pair, hear, said};

fn numbered(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// Opens what the client has said, in pieces of so many bytes.
fn open(records: &mut Records, mut sealed: Vec<u8>, piece: usize) -> Result<Vec<u8>, Error> {
    let mut opened = Vec::new();
    for piece in sealed.chunks_mut(piece.min(16 * 1024)) {
        records.open(piece, &mut |bytes| opened.extend_from_slice(bytes))?;
    }
    Ok(opened)
}

fn holds_nothing(records: &Records) -> bool {
    records.came.capacity() == 0 && records.leaves.capacity() == 0
}

/// Records of all sizes in pieces of all sizes, both ways: what arrives is what was said, and nothing is held afterwards.
#[test]
fn pieces_of_any_size() {
    for version in BOTH {
        for (fragment, piece) in [
            (None, 1),
            (None, 2),
            (Some(64), 1),
            (Some(100), 7),
            (Some(1_000), 1_003),
            (None, 5_000),
            (None, 1 << 20),
        ] {
            let (mut records, mut client) = Pair::new(version, fragment).fresh();
            while records.is_handshaking() || client.is_handshaking() {
                let bytes = said(&mut client);
                assert_eq!(open(&mut records, bytes, piece).unwrap(), b"");
                assert_eq!(hear(&mut client, &mut records, piece), b"");
            }
            for length in [1, 300, 16_384, 16_385, 40_000] {
                let words = numbered(length);
                client.writer().write_all(&words).unwrap();
                let bytes = said(&mut client);
                assert!(open(&mut records, bytes, piece).unwrap() == words, "{length} in pieces of {piece}");
                assert!(holds_nothing(&records), "{records:?}");
                let mut rest = &words[..];
                while !rest.is_empty() {
                    rest = &rest[records.seal(rest).unwrap()..];
                }
                assert!(hear(&mut client, &mut records, piece) == words, "{length} in pieces of {piece}");
                assert!(holds_nothing(&records), "{records:?}");
            }
            client.send_close_notify();
            let last = said(&mut client);
            assert_eq!(open(&mut records, last, piece).unwrap(), b"");
            assert!(records.has_ended());
            assert_eq!(records.seal(b"half open"), Some(9), "the other way is still open");
            records.close();
            assert_eq!(hear(&mut client, &mut records, piece), b"half open");
            assert!(client.process_new_packets().unwrap().peer_has_closed());
            records.close();
            assert!(records.outgoing().is_empty(), "it is said once");
        }
    }
}

/// A message that came in part is kept while others leave.
#[test]
fn half_a_record_waits() {
    for version in BOTH {
        let (mut records, mut client) = Pair::new(version, None).shaken();
        client.writer().write_all(b"first").unwrap();
        client.writer().write_all(b"second").unwrap();
        let mut bytes = said(&mut client);
        let behind = bytes.split_off(bytes.len() - 3);
        assert_eq!(open(&mut records, bytes, usize::MAX).unwrap(), b"first");
        assert_eq!(records.seal(b"meanwhile"), Some(9));
        assert_eq!(hear(&mut client, &mut records, usize::MAX), b"meanwhile");
        assert_eq!(open(&mut records, behind, usize::MAX).unwrap(), b"second");
        assert!(holds_nothing(&records));
    }
}

/// A message of the handshake that came in part is kept, and opened once, while others leave: before the client's last word
/// something may be said to it already.
#[test]
fn half_a_handshake_waits() {
    let (mut records, mut client) = Pair::new(&rustls::version::TLS13, Some(32)).fresh();
    let hello = said(&mut client);
    open(&mut records, hello, usize::MAX).unwrap();
    let mut heard = hear(&mut client, &mut records, usize::MAX);
    let last = said(&mut client);
    for (at, byte) in last.iter().enumerate() {
        assert!(records.is_handshaking(), "{at} of {}", last.len());
        assert_eq!(records.seal(b"early "), Some(6));
        heard.extend(hear(&mut client, &mut records, usize::MAX));
        assert_eq!(open(&mut records, vec![*byte], 1).unwrap(), b"");
    }
    assert!(!records.is_handshaking() && records.came.capacity() == 0);
    heard.extend(hear(&mut client, &mut records, usize::MAX));
    assert_eq!(heard, b"early ".repeat(last.len()));
    client.writer().write_all(b"on").unwrap();
    let bytes = said(&mut client);
    assert_eq!(open(&mut records, bytes, 1).unwrap(), b"on");
}

#[test]
fn keys_change_both_ways() {
    let (mut records, mut client) = Pair::new(&rustls::version::TLS13, None).shaken();
    for round in 0..100 {
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(&[round]).unwrap();
        let bytes = said(&mut client);
        assert_eq!(open(&mut records, bytes, 1).unwrap(), [round]);
        // Ours change with our next word, as the client asked.
        assert_eq!(records.seal(&[round]), Some(1));
        assert_eq!(hear(&mut client, &mut records, 1), [round]);
    }
    assert!(holds_nothing(&records));
}

/// The alert that was made of a fault, as the client understands it.
fn alert(client: &mut ClientConnection, records: &mut Records) -> String {
    assert!(records.has_ended() && records.seal(b"x").is_none());
    open(records, b"more".to_vec(), 1).unwrap();
    records.close();
    let mut waiting = records.outgoing();
    assert!(!waiting.is_empty());
    client.read_tls(&mut waiting).unwrap();
    assert!(waiting.is_empty(), "one alert, and nothing behind it");
    client.process_new_packets().unwrap_err().to_string()
}

#[test]
fn who_breaks_the_rules_is_told() {
    let long = [&[0x17, 3, 3, 0xff, 0xff][..], &[1; 70_000]].concat();
    let spoiled = [&[0x17, 3, 3, 0, 40][..], &[7; 40]].concat();
    for version in BOTH {
        for (bytes, words) in [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "DecodeError"),
            (long.clone(), "DecodeError"),
            (vec![0xff; 40_000], "DecodeError"),
            (spoiled.clone(), "BadRecordMac"),
        ] {
            for piece in [1, usize::MAX] {
                let (mut records, mut client) = Pair::new(version, None).shaken();
                client.writer().write_all(b"good").unwrap();
                let before = said(&mut client);
                assert_eq!(open(&mut records, before, usize::MAX).unwrap(), b"good");
                open(&mut records, bytes.clone(), piece).unwrap_err();
                let said = alert(&mut client, &mut records);
                assert!(said.contains(words), "{said}");
            }
        }
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b"\x17\x03\x03\x00\x01\x00"] {
            let (mut records, mut client) = Pair::new(version, None).fresh();
            said(&mut client);
            open(&mut records, bytes.to_vec(), 1).unwrap_err();
            alert(&mut client, &mut records);
        }
    }
}

/// The first words of a handshake, cut or spoiled at any byte: no bug, and no end to the handshake.
#[test]
fn a_handshake_cut_or_spoiled_anywhere() {
    for version in BOTH {
        let pair = Pair::new(version, None);
        let hello = said(&mut pair.fresh().1);
        for at in 0..hello.len() {
            let (mut records, _) = pair.fresh();
            assert_eq!(open(&mut records, hello[..at].to_vec(), usize::MAX).unwrap(), b"");
            assert!(records.is_handshaking() && records.outgoing().is_empty() && !records.has_ended());
            let mut spoiled = hello.clone();
            spoiled[at] ^= 0x41;
            let (mut records, _) = pair.fresh();
            // It may be as good as another.
            let outcome = open(&mut records, spoiled, 50);
            assert_eq!(outcome.is_err(), records.has_ended());
            assert!(records.is_handshaking());
        }
    }
}

/// A message of a handshake that goes on for ever, in records of any size.
#[test]
fn no_message_is_kept_without_end() {
    for length in [1_u16, 100, 16_384] {
        let (mut records, _) = Pair::new(&rustls::version::TLS13, None).fresh();
        // A hello that is as long as one may be.
        let mut message = vec![1, 0, 0xff, 0xff];
        message.resize(usize::from(length).max(4), 0);
        let (mut most, mut ended) = (0, false);
        for _ in 0..80_000 {
            let mut record = vec![0x16, 3, 1];
            record.extend(length.to_be_bytes());
            record.extend(&message[..usize::from(length)]);
            message = if length == 1 && message.len() > 1 {
                message.split_off(1)
            } else {
                vec![0; usize::from(length)]
            };
            ended = open(&mut records, record, usize::MAX).is_err();
            most = most.max(records.came.len());
            if ended {
                break;
            }
        }
        assert!(ended && most <= HANDSHAKE_BYTES, "{length}: {most}");
    }
}
