//! TLS on tokio: the handshake, and requests and answers behind it. What was sealed leaves when the HTTP library asks for
//! that, or before anything is waited for: so a ticket travels with the first answer.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::Records;

/// Sealed bytes of one read.
const SEALED_BYTES: usize = 16 * 1024;
/// Where so many sealed bytes wait, they leave before more are sealed.
const WAITING_BYTES: usize = 64 * 1024;

/// A connection of TLS.
#[derive(Debug)]
pub(super) struct Sealed {
    tcp: TcpStream,
    records: Box<Records>,
    /// What was opened and not read yet. It is empty before more is read of the socket.
    opened: Vec<u8>,
    hold: Hold,
}

/// Raised when the last answer was given, and what is sealed from then on waits for the shard: what it says first may
/// leave with the answer, in one call and one packet.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold(Arc<AtomicBool>);

impl Hold {
    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Sealed {
    /// Shakes hands with whoever has begun with these bytes. The last words of a handshake leave with the first answer.
    ///
    /// # Errors
    /// The peer is gone, or broke the rules, and was told so if it listens.
    pub(super) async fn accept(
        tcp: TcpStream,
        config: Arc<ServerConfig>,
        mut begun: Vec<u8>,
    ) -> io::Result<Self> {
        let records = Box::new(Records::new(config).map_err(io::Error::other)?);
        let mut sealed = Self { tcp, records, opened: Vec::new(), hold: Hold::default() };
        std::future::poll_fn(|cx| Poll::Ready(sealed.open(&mut begun, cx))).await?;
        drop(begun);
        while sealed.records.is_handshaking() {
            std::future::poll_fn(|cx| sealed.poll_send(cx)).await?;
            if std::future::poll_fn(|cx| sealed.poll_open(cx)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(sealed)
    }

    pub(super) fn records(&self) -> &Records {
        &self.records
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    pub(super) fn hold(&self) -> Hold {
        self.hold.clone()
    }

    /// The socket, what goes on over it, and what was opened already.
    pub(super) fn into_parts(self) -> (TcpStream, Box<Records>, Vec<u8>) {
        (self.tcp, self.records, self.opened)
    }

    /// Reads once and opens that; how many sealed bytes came, 0: the end.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); SEALED_BYTES];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut space))?;
        Poll::Ready(self.open(space.filled_mut(), cx))
    }

    /// Opens what was read; how much that was.
    fn open(&mut self, sealed: &mut [u8], cx: &mut Context<'_>) -> io::Result<usize> {
        let Self { records, opened, .. } = self;
        let outcome = records.open(sealed, &mut |piece| opened.extend_from_slice(piece));
        if let Err(error) = outcome {
            // It says why, to whoever takes it at once.
            let _ = self.poll_send(cx);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(sealed.len())
    }

    /// Sends what waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.records.outgoing().is_empty() {
            match ready!(Pin::new(&mut self.tcp).poll_write(cx, self.records.outgoing()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.records.sent(n),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Sealed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.opened.is_empty() && !this.records.has_ended() {
            match this.poll_open(cx) {
                // Without a last word of TLS too: HTTP knows by itself where a body ends.
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if !this.hold.is_raised()
                        && let Poll::Ready(Err(error)) = this.poll_send(cx)
                    {
                        return Poll::Ready(Err(error));
                    }
                    return Poll::Pending;
                }
            }
        }
        let count = this.opened.len().min(into.remaining());
        into.put_slice(&this.opened[..count]);
        if count == this.opened.len() {
            this.opened = Vec::new();
        } else {
            this.opened.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sealed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.records.outgoing().len() >= WAITING_BYTES {
            ready!(this.poll_send(cx))?;
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let sealed = this.records.seal(bytes).ok_or_else(|| io::ErrorKind::BrokenPipe.into());
        Poll::Ready(sealed)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.hold.is_raised() { Poll::Ready(Ok(())) } else { this.poll_send(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.records.close();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}
