//! TLS in a shard: what goes in and out of a socket goes through [`Records`], without a task and without a wait.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::socket::Got;
use crate::tls::Records;

/// Sealed bytes of one read. With the record that an earlier read began they open to less than twice as much and a little,
/// so what is left of a shard's read buffer takes it all.
const SEALED_BYTES: usize = 16 * 1024;

/// One connection's TLS.
#[derive(Debug)]
pub(super) struct Seal {
    records: Records,
    /// The last byte of what was offered is sealed, and not said to be taken: so the turn knows that something still waits.
    withheld: bool,
    /// What waits is the front's answer, which the kernel was not shown yet: it may leave together with ours.
    unshown: bool,
    /// Nobody is there any more to hear a last word.
    gone: bool,
}

/// What became of the sealed bytes that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// The kernel has them all.
    Whole,
    /// The kernel is full.
    Full,
    /// The socket is broken.
    Broken,
}

impl Seal {
    /// After the front has shaken hands.
    pub(super) fn new(records: Records) -> Self {
        let unshown = !records.outgoing().is_empty();
        Self { records, withheld: false, unshown, gone: false }
    }

    /// Reads once, into a buffer of at least four records, and tells whether there may be more.
    pub(super) fn read(&mut self, socket: &OwnedFd, buffer: &mut [u8], shut: bool) -> (Got, bool) {
        if self.records.has_ended() {
            return (Got::End, true);
        }
        let open_bytes = buffer.len().saturating_sub(SEALED_BYTES);
        let (open, sealed) = buffer.split_at_mut(open_bytes);
        let n = loop {
            match recv(socket, &mut *sealed, RecvFlags::empty()) {
                Ok((0, _)) => return (Got::End, true),
                Ok((n, _)) => break n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return (Got::Nothing, false),
                Err(_) => {
                    self.gone = true;
                    return (Got::End, true);
                }
            }
        };
        let more = n == sealed.len() || shut;
        let mut filled = 0;
        let outcome = self.records.open(&mut sealed[..n], &mut |piece| {
            open[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        });
        if let Err(error) = outcome {
            tracing::debug!(%error, "a peer broke the rules of TLS");
        }
        if !self.unshown {
            // What is said to a renegotiation, or why this was no TLS. What the kernel does not take goes before the next
            // offer, or is not said.
            let _ = self.drain(socket);
        }
        let ended = self.records.has_ended();
        match filled {
            0 if ended => (Got::End, true),
            0 => (Got::Nothing, more),
            n => (Got::Bytes(n), more || ended),
        }
    }

    /// Offers bytes; how many of them were taken, or `None` when the socket is broken. All but one may be on their way to
    /// a kernel that is full, and that one is the first of the next offer.
    pub(super) fn offer(&mut self, socket: &OwnedFd, bytes: &[u8]) -> Option<usize> {
        if !self.unshown || bytes.is_empty() {
            match self.drain(socket) {
                Drained::Whole if !bytes.is_empty() => {}
                Drained::Whole | Drained::Full => return Some(0),
                Drained::Broken => return None,
            }
        }
        let mut taken = usize::from(std::mem::take(&mut self.withheld));
        while taken < bytes.len() {
            taken += self.records.seal(&bytes[taken..])?;
            match self.drain(socket) {
                Drained::Whole => {}
                Drained::Broken => return None,
                Drained::Full => {
                    // Where something is left the turn knows anyhow. It is always the last byte of a frame that is held
                    // back, never the first one: a frame that was begun is not left out or replaced.
                    self.withheld = taken == bytes.len();
                    return Some(taken - usize::from(self.withheld));
                }
            }
        }
        Some(taken)
    }

    /// Gives the kernel the sealed bytes that wait.
    pub(super) fn drain(&mut self, socket: &OwnedFd) -> Drained {
        self.unshown = false;
        loop {
            let waiting = self.records.outgoing();
            if waiting.is_empty() {
                return Drained::Whole;
            }
            match send(socket, waiting, SendFlags::empty()) {
                Ok(0) => return Drained::Broken,
                Ok(n) => self.records.sent(n),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Drained::Full,
                Err(_) => return Drained::Broken,
            }
        }
    }

    /// Says that nothing follows. What the kernel does not take at once is not said.
    pub(super) fn close(&mut self, socket: &OwnedFd) {
        if !self.gone {
            self.records.close();
            let _ = self.drain(socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use rustls::ClientConnection;

    use super::*;
    use crate::tls::pair_of_tests::{BOTH, Pair, said};

    /// A seal, its socket, and a client at the other end; their handshake is over.
    fn pair() -> (Seal, OwnedFd, ClientConnection, UnixStream) {
        let (records, client) = Pair::new(&rustls::version::TLS13, None).shaken();
        let (near, far) = sockets();
        (Seal::new(records), near, client, far)
    }

    fn sockets() -> (OwnedFd, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        (near.into(), far)
    }

    /// What the client can read now.
    fn hear(client: &mut ClientConnection, socket: &mut UnixStream, heard: &mut Vec<u8>) {
        while client.read_tls(socket).is_ok_and(|n| n > 0) {
            client.process_new_packets().unwrap();
            let _ = client.reader().read_to_end(heard);
        }
    }

    /// Offers of all sizes to a kernel that is full most of the time: what was taken whole has left, nothing is lost and
    /// nothing comes twice.
    #[test]
    fn what_counts_as_taken_has_left() {
        let (mut seal, socket, mut client, mut far) = pair();
        let (mut said, mut heard) = (Vec::new(), Vec::new());
        let (mut whole, mut short) = (0, 0);
        for (at, length) in
            [2, 100, 16_384, 16_385, 3, 70_000, 32_768, 300_000].into_iter().cycle().take(80).enumerate()
        {
            let offered: Vec<u8> = (0..length).map(|byte| ((byte * 31 + at) % 253) as u8).collect();
            said.extend_from_slice(&offered);
            let mut rest = &offered[..];
            while !rest.is_empty() {
                let taken = seal.offer(&socket, rest).unwrap();
                if taken == rest.len() {
                    assert!(seal.records.outgoing().is_empty(), "something waits, and nobody knows");
                    whole += 1;
                } else {
                    short += 1;
                    // Somebody reads, and the kernel tells of room.
                    hear(&mut client, &mut far, &mut heard);
                    assert_ne!(seal.drain(&socket), Drained::Broken);
                }
                rest = &rest[taken..];
            }
        }
        hear(&mut client, &mut far, &mut heard);
        assert!(heard == said, "{} bytes heard of {}", heard.len(), said.len());
        assert!(whole == 80 && short >= 10, "{whole} {short}");
        drop(far);
        assert_eq!(seal.offer(&socket, b"x"), None, "it is broken");
    }

    /// Records of all sizes, more of them than a read takes and cut by every read: a buffer of a shard has room for all.
    #[test]
    fn what_was_said_is_read() {
        let mut buffer = vec![0; 64 * 1024];
        for version in BOTH {
            for fragment in [None, Some(32), Some(1_000)] {
                let (records, mut client) = Pair::new(version, fragment).shaken();
                let (near, mut far) = sockets();
                let mut seal = Seal::new(records);
                let words: Vec<u8> = (0..400_000).map(|at| (at % 251) as u8).collect();
                let mut sealed = Vec::new();
                for piece in words.chunks(30_000) {
                    client.writer().write_all(piece).unwrap();
                    sealed.extend(said(&mut client));
                }
                let (mut heard, mut at) = (Vec::new(), 0);
                for step in [1, 5, 20_000, 16_383, 33_000, 3].into_iter().cycle() {
                    let end = sealed.len().min(at + step);
                    // The kernel may take less.
                    at += far.write(&sealed[at..end]).unwrap_or(0);
                    loop {
                        match seal.read(&near, &mut buffer, false) {
                            (Got::Bytes(n), _) => heard.extend_from_slice(&buffer[..n]),
                            (Got::Nothing, true) => {}
                            (Got::Nothing, false) => break,
                            (Got::End, _) => panic!("nobody ended it"),
                        }
                    }
                    if at == sealed.len() {
                        break;
                    }
                }
                assert!(heard == words, "{} bytes heard of {}", heard.len(), words.len());
                drop(far);
                assert!(matches!(seal.read(&near, &mut buffer, false), (Got::End, _)));
            }
        }
    }

    /// What the front has sealed leaves before what a shard says, and together with it; if there is nothing to say, alone.
    #[test]
    fn the_answer_of_the_front_goes_first() {
        for words in [&b"connected"[..], b""] {
            let (mut records, mut client) = Pair::new(&rustls::version::TLS13, None).shaken();
            assert_eq!(records.seal(b"101 "), Some(4));
            let (near, mut far) = sockets();
            let mut seal = Seal::new(records);
            assert!(matches!(seal.read(&near, &mut [0; 64 * 1024], false), (Got::Nothing, false)));
            let mut heard = Vec::new();
            hear(&mut client, &mut far, &mut heard);
            assert_eq!(heard, b"", "it waits");
            assert_eq!(seal.offer(&near, words), Some(words.len()));
            hear(&mut client, &mut far, &mut heard);
            assert_eq!(heard, [b"101 ", words].concat());
        }
    }
}
