//! What comes before the first request: the header of a proxy, and the handshake of TLS.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncReadExt as _;

use super::proxied::{self, Says};
use super::sealed::Sealed;
use super::stream::Stream;
use crate::site::Site;
use crate::tls::Outcome;

/// Most clients' first words are shorter, bytes.
const FIRST_BYTES: usize = 2 * 1024;

/// A connection that may speak HTTP.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) caller: Caller,
}

/// Who is at the other end, before a header says more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// `None`: somebody of this machine whom nothing names.
    pub(super) peer: Option<SocketAddr>,
    /// It speaks plainly where TLS is spoken.
    pub(super) misdialled: bool,
}

/// Opens a connection. Who waits for it sets the time.
///
/// # Errors
/// It ended, or what it said is no header of a proxy, or no TLS.
pub(super) async fn open(
    site: &Site,
    mut stream: Stream,
    mut peer: Option<SocketAddr>,
) -> io::Result<Opened> {
    let proxies = &site.config().proxies;
    if proxies.protocol && proxies.trust(peer.map(|peer| peer.ip())) {
        match proxied::read(&mut stream).await? {
            Says::Client(client) => peer = Some(client),
            Says::Itself | Says::Nobody => {}
        }
    }
    let caller = Caller { peer, misdialled: false };
    let (tls, mut tcp) = match (&site.tls, stream) {
        (Some(tls), Stream::Tcp(tcp)) => (tls, tcp),
        (_, stream) => return Ok(Opened { stream, caller }),
    };
    let handshake = tls.handshakes.begin();
    let mut begun = Vec::with_capacity(FIRST_BYTES);
    if let Err(error) = tcp.read_buf(&mut begun).await {
        handshake.fails(Outcome::Cut);
        return Err(error);
    }
    // A handshake begins with 0x16, a request with a letter. Whoever wrote http:// is told, and not left with a broken line.
    if begun.first().is_some_and(u8::is_ascii_uppercase) {
        handshake.fails(Outcome::Plain);
        let caller = Caller { misdialled: true, ..caller };
        return Ok(Opened { stream: Stream::begun(tcp, begun), caller });
    }
    // In a box of its own: who speaks plainly is not to carry the room for it.
    match Box::pin(Sealed::accept(tcp, tls.config(), begun)).await {
        Ok(stream) => {
            handshake.succeeds(stream.records().is_resumed(), stream.records().version());
            Ok(Opened { stream: Stream::Tls(stream), caller })
        }
        Err(error) => {
            let refused = error.kind() == io::ErrorKind::InvalidData;
            handshake.fails(if refused { Outcome::Refused } else { Outcome::Cut });
            Err(error)
        }
    }
}
