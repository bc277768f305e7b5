//! One connection's TLS without a socket: sealed bytes come in and are opened, others are sealed and wait to leave. The
//! front drives it through tokio, a shard through its own calls.
//!
//! It is rustls's API without buffers. Of what came only the beginning of a record is kept, of what leaves only what the
//! kernel has not taken, and both are given back when they are empty: a connection that does nothing holds neither.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use rustls::{Error, HandshakeKind, InvalidMessage, ProtocolVersion, ServerConfig};

/// The most that one record holds, bytes.
const RECORD_BYTES: usize = 16 * 1024;
/// What a record may be longer than what it holds: its header, and what sealing adds (RFC 5246 6.2.3, which allows more
/// than RFC 8446 5.2).
const EXTRA_BYTES: usize = 5 + 2048;
/// What is kept of a message of the handshake that is not whole yet: a long chain of certificates comes in many records.
const HANDSHAKE_BYTES: usize = 64 * 1024;
/// Sealing adds less than this to a record. If it ever adds more, it says so and is asked again.
const SEALING_BYTES: usize = 64;

/// What has left is kept up to so many bytes, as long as something behind it has not.
const LEFT_BYTES: usize = 64 * 1024;

/// What comes of one connection's bytes.
pub struct Records {
    tls: UnbufferedServerConnection,
    /// What came and can't be opened yet.
    came: Vec<u8>,
    /// What is sealed and has not left, from `left` on.
    leaves: Vec<u8>,
    left: usize,
    /// The peer said that nothing follows.
    ended: bool,
    /// It broke the rules: nothing is opened or sealed any more. Of what waits to leave the last is why.
    failed: bool,
}

/// What is wanted of a connection that has dealt with everything that came.
enum Wish<'b> {
    Nothing,
    Seal(&'b [u8]),
    Close,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { came, ended, failed, .. } = self;
        let (came, leaves) = (came.len(), self.outgoing().len());
        write!(f, "Records {{ came: {came}, leaves: {leaves}, ended: {ended}, failed: {failed} }}")
    }
}

impl Records {
    /// Before the handshake.
    ///
    /// # Errors
    /// The config is of no use.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let tls = UnbufferedServerConnection::new(config)?;
        Ok(Self { tls, came: Vec::new(), leaves: Vec::new(), left: 0, ended: false, failed: false })
    }

    /// Whether the handshake is not over. Its last words may still wait to leave.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// After the handshake: whether it was by a ticket.
    pub(crate) fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// After the handshake: what is spoken.
    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        self.tls.protocol_version()
    }

    /// Whether nothing more can be opened: the peer said so, or broke the rules.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended || self.failed
    }

    /// Opens what came, in place, and gives each piece of what it held. That is never longer than what came now and the
    /// record that came in part before. What is to be said to it waits to leave.
    ///
    /// # Errors
    /// The peer broke the rules. What came before it did was given; why waits to leave.
    pub(crate) fn open(&mut self, sealed: &mut [u8], opened: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        if self.has_ended() {
            return Ok(());
        }
        let outcome = if self.came.is_empty() {
            self.run(sealed, Wish::Nothing, opened).map(|(used, _)| {
                self.came.extend_from_slice(sealed.get(used..).unwrap_or_default());
            })
        } else {
            let mut came = std::mem::take(&mut self.came);
            came.extend_from_slice(sealed);
            self.run(&mut came, Wish::Nothing, opened).map(|(used, _)| {
                came.drain(..used.min(came.len()));
                self.came = came;
            })
        };
        let outcome = outcome.and_then(|()| self.check_length());
        // What stands behind the last word is ignored (RFC 8446 6.1), and an empty buffer is given back.
        if self.ended || outcome.is_err() || self.came.is_empty() {
            self.came = Vec::new();
        }
        outcome.inspect_err(|_| self.fail())
    }

    /// A record says how long it is, and rustls bounds that. A message that comes in many is bounded here.
    fn check_length(&self) -> Result<(), Error> {
        let most = if self.is_handshaking() { HANDSHAKE_BYTES } else { RECORD_BYTES + EXTRA_BYTES };
        if self.came.len() > most {
            return Err(InvalidMessage::HandshakePayloadTooLarge.into());
        }
        Ok(())
    }

    /// Seals the first of these bytes, as many as one record holds; how many. `None`: nothing can be sealed any more.
    pub(crate) fn seal(&mut self, bytes: &[u8]) -> Option<usize> {
        let record = &bytes[..bytes.len().min(RECORD_BYTES)];
        self.wish(Wish::Seal(record)).then_some(record.len())
    }

    /// Says that nothing follows; once.
    pub(crate) fn close(&mut self) {
        self.wish(Wish::Close);
    }

    /// Whether a wish was granted.
    fn wish(&mut self, wish: Wish<'_>) -> bool {
        if self.failed {
            return false;
        }
        // What came in part has to be shown each time: rustls remembers how far it has looked.
        let mut came = std::mem::take(&mut self.came);
        // All that can be opened is, so nothing is given here.
        let outcome = self.run(&mut came, wish, &mut |_| {});
        self.came = came;
        match outcome {
            Ok((used, granted)) => {
                debug_assert_eq!(used, 0, "what could be opened was not");
                granted
            }
            Err(_) => {
                self.fail();
                false
            }
        }
    }

    /// What is sealed and waits to leave.
    pub(crate) fn outgoing(&self) -> &[u8] {
        &self.leaves[self.left..]
    }

    /// So many bytes of it have left.
    pub(crate) fn sent(&mut self, count: usize) {
        self.left += count;
        if self.left >= self.leaves.len() {
            (self.leaves, self.left) = (Vec::new(), 0);
        } else if self.left >= LEFT_BYTES {
            self.leaves.drain(..self.left);
            self.left = 0;
        }
    }

    /// Lets rustls look at what came until it has dealt with all that is whole, then asks for what is wished; how many
    /// bytes it has done with, and whether it could grant it.
    fn run(
        &mut self,
        sealed: &mut [u8],
        wish: Wish<'_>,
        opened: &mut dyn FnMut(&[u8]),
    ) -> Result<(usize, bool), Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(&mut sealed[used..]);
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        opened(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    put(&mut self.leaves, 0, |into| data.encode(into).map_err(Refused::from));
                }
                // It counts as sent: whoever drives this sends what waits, in order.
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.ended = true,
                ConnectionState::WriteTraffic(traffic) => {
                    return Ok((used + discard, grant(&mut self.leaves, traffic, wish)));
                }
                // More has to come first, or both have said their last word. Early data is not offered, so none comes.
                _ => return Ok((used + discard, false)),
            }
            used += discard;
        }
    }

    /// Nothing more is opened or sealed. An error owes the peer an alert, which rustls has made; it is asked for nothing
    /// else, because it would look at the same bytes again.
    fn fail(&mut self) {
        self.failed = true;
        while self.tls.wants_write() {
            let state = self.tls.process_tls_records(&mut []).state;
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            put(&mut self.leaves, 0, |into| data.encode(into).map_err(Refused::from));
        }
    }
}

fn grant(leaves: &mut Vec<u8>, mut traffic: WriteTraffic<'_, ServerConnectionData>, wish: Wish<'_>) -> bool {
    match wish {
        Wish::Nothing => true,
        Wish::Seal(bytes) => {
            put(leaves, bytes.len() + SEALING_BYTES, |into| Ok(traffic.encrypt(bytes, into)?))
        }
        Wish::Close => put(leaves, SEALING_BYTES, |into| Ok(traffic.queue_close_notify(into)?)),
    }
}

/// Why nothing was written.
enum Refused {
    /// It needs so many bytes of room.
    Needs(usize),
    /// It can't be.
    ForEver,
}

impl From<EncodeError> for Refused {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Needs(required_size)
            }
            EncodeError::AlreadyEncoded => Self::ForEver,
        }
    }
}

impl From<EncryptError> for Refused {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Needs(required_size)
            }
            // These keys have sealed as much as they may.
            EncryptError::EncryptExhausted => Self::ForEver,
        }
    }
}

/// Appends what `write` writes into as much room as it needs; whether it did.
fn put(
    leaves: &mut Vec<u8>,
    expected: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Refused>,
) -> bool {
    let from = leaves.len();
    let mut room = expected;
    loop {
        leaves.resize(from + room, 0);
        match write(&mut leaves[from..]) {
            Ok(written) => {
                leaves.truncate(from + written);
                return true;
            }
            Err(Refused::Needs(required)) if required > room => room = required,
            Err(Refused::Needs(_) | Refused::ForEver) => {
                leaves.truncate(from);
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests;
