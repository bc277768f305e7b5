//! What comes before the first request: the header of a proxy, and the handshake of TLS.

use std::io;

use tokio_rustls::TlsAcceptor;

use super::caller::Caller;
use super::proxied::{self, Says};
use super::stream::Stream;
use crate::site::Site;

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
    let (tls, tcp) = match (&site.tls, stream) {
        (Some(tls), Stream::Tcp(tcp)) => (tls, tcp),
        (_, stream) => return Ok(Opened { stream, caller }),
    };
    // A handshake begins with 0x16, a request with a letter. Whoever wrote http:// is told, and not left with a broken line.
    let mut first = [0];
    if tcp.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        caller.misdialled = true;
        return Ok(Opened { stream: Stream::Tcp(tcp), caller });
    }
    caller.pay(site)?;
    // In a box of its own: who speaks plainly is not to carry the room for it.
    let stream = Box::pin(TlsAcceptor::from(tls.config()).accept(tcp)).await?;
    Ok(Opened { stream: Stream::Tls(Box::new(stream)), caller })
}
