//! TLS in a shard: what goes in and out of a socket goes through rustls, without a task and without a wait. Between two
//! calls it holds no more than one record each way.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::ServerConnection;

use super::socket::Got;

/// The most that one record holds, bytes.
const RECORD_BYTES: usize = 16 * 1024;
/// Sealed bytes of one read. With the record that an earlier read began they open to less than twice as much, so what is
/// left of a shard's read buffer takes it all.
const SEALED_BYTES: usize = 16 * 1024;

/// One connection's TLS.
#[derive(Debug)]
pub(super) struct Seal {
    tls: ServerConnection,
    /// The last byte of what was offered is sealed, and not said to be taken: so the turn knows that something still waits.
    withheld: bool,
    /// Nothing more can be opened: the peer said so, or broke the rules.
    ended: bool,
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

struct Kernel<'s>(&'s OwnedFd);

impl io::Write for Kernel<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(self.0, bytes, SendFlags::empty()) {
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seal {
    /// After the front has shaken hands.
    pub(super) fn new(mut tls: ServerConnection) -> Self {
        // Nothing is sealed while something waits, so this is never met; it bounds what a mistake of ours could cost.
        tls.set_buffer_limit(Some(2 * RECORD_BYTES));
        Self { tls, withheld: false, ended: false }
    }

    /// Reads once, into a buffer of at least four records, and tells whether there may be more.
    pub(super) fn read(&mut self, socket: &OwnedFd, buffer: &mut [u8], shut: bool) -> (Got, bool) {
        // What the front's library had opened already nobody will report.
        match self.tls.reader().read(buffer) {
            Ok(n) if n > 0 => return (Got::Bytes(n), true),
            Err(error) if error.kind() == ErrorKind::WouldBlock && !self.ended => {}
            Ok(_) | Err(_) => return (Got::End, true),
        }
        let open_bytes = buffer.len().saturating_sub(SEALED_BYTES);
        let (open, sealed) = buffer.split_at_mut(open_bytes);
        let n = loop {
            match recv(socket, &mut *sealed, RecvFlags::empty()) {
                Ok((0, _)) => return (Got::End, true),
                Ok((n, _)) => break n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return (Got::Nothing, false),
                Err(_) => return (Got::End, true),
            }
        };
        let more = n == sealed.len() || shut;
        let opened = self.open(&sealed[..n], open);
        if self.tls.wants_write() {
            // A key that is to be changed, or why this was no TLS. Who does not take it is told by the next offer.
            let _ = self.drain(socket);
        }
        match opened {
            0 if self.ended => (Got::End, true),
            0 => (Got::Nothing, more),
            n => (Got::Bytes(n), more || self.ended),
        }
    }

    /// Opens what came; how much that brought.
    fn open(&mut self, mut sealed: &[u8], open: &mut [u8]) -> usize {
        let mut filled = 0;
        while !sealed.is_empty() && !self.ended {
            let read = self.tls.read_tls(&mut sealed);
            match read.map_err(drop).and_then(|_| {
                self.tls.process_new_packets().map_err(|error| {
                    tracing::debug!(%error, "a peer broke the rules of TLS");
                })
            }) {
                Ok(state) => self.ended = state.peer_has_closed(),
                Err(()) => self.ended = true,
            }
            // An error says that there is nothing, or no more.
            filled += self.tls.reader().read(&mut open[filled..]).unwrap_or(0);
        }
        filled
    }

    /// Offers bytes; how many of them were taken, or `None` when the socket is broken. All but one may be on their way to
    /// a kernel that is full, and that one is the first of the next offer.
    pub(super) fn offer(&mut self, socket: &OwnedFd, bytes: &[u8]) -> Option<usize> {
        match self.drain(socket) {
            Drained::Whole if !bytes.is_empty() => {}
            Drained::Whole | Drained::Full => return Some(0),
            Drained::Broken => return None,
        }
        let mut taken = usize::from(std::mem::take(&mut self.withheld));
        while taken < bytes.len() {
            let record = &bytes[taken..bytes.len().min(taken + RECORD_BYTES)];
            let sealed = self.tls.writer().write(record).ok().filter(|sealed| *sealed > 0)?;
            taken += sealed;
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
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Kernel(socket)) {
                Ok(n) if n > 0 => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Drained::Full,
                Ok(_) | Err(_) => return Drained::Broken,
            }
        }
        Drained::Whole
    }

    /// Says that nothing follows. What the kernel does not take at once is not said.
    pub(super) fn close(&mut self, socket: &OwnedFd) {
        self.tls.send_close_notify();
        let _ = self.drain(socket);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

    use super::*;

    /// A seal, its socket, and a client at the other end; their handshake is over.
    fn pair() -> (Seal, OwnedFd, ClientConnection, UnixStream) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let cert = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(cert.clone()).unwrap();
        let ours = ServerConfig::builder_with_provider(provider.clone());
        let ours = ours.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let theirs = ClientConfig::builder_with_provider(provider);
        let theirs = theirs.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut server =
            ServerConnection::new(Arc::new(ours.with_single_cert(vec![cert], key).unwrap())).unwrap();
        let theirs = Arc::new(theirs.with_no_client_auth());
        let mut client = ClientConnection::new(theirs, "localhost".try_into().unwrap()).unwrap();
        while server.is_handshaking() || client.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut &bytes[..]).unwrap();
            server.process_new_packets().unwrap();
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut bytes = &bytes[..];
            while !bytes.is_empty() {
                client.read_tls(&mut bytes).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        (Seal::new(server), near.into(), client, far)
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
                    assert!(!seal.tls.wants_write(), "something waits, and nobody knows");
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
}
