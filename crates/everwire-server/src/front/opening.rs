//! What comes before the first request: the header of a proxy, and the handshake of TLS.

use std::io;

use tokio::io::AsyncReadExt as _;

use super::caller::Caller;
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

/// Opens a connection. Who waits for it sets the time.
///
/// # Errors
/// It ended, or the gate is shut, or what it said is no header of a proxy, or no TLS.
pub(super) async fn open(site: &Site, mut stream: Stream, mut caller: Caller) -> io::Result<Opened> {
    let proxies = &site.config().proxies;
    if proxies.protocol && proxies.trust(caller.peer.map(|peer| peer.ip())) {
        match proxied::read(&mut stream).await? {
            Says::Client(client) => caller.is_named(site, client)?,
            Says::Itself | Says::Nobody => {}
        }
    }
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
        caller.misdialled = true;
        return Ok(Opened { stream: Stream::begun(tcp, begun), caller });
    }
    if let Err(error) = caller.pay(site) {
        handshake.fails(Outcome::Refused);
        return Err(error);
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
