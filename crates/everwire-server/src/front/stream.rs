//! What a connection is read and written through, as long as it is the front's.

use std::io::{self, Cursor, IoSlice};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, Chain, Join, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};

use super::sealed::{Hold, Sealed};
use crate::tls::Records;

/// One connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Sealed),
    /// Something was read of it already. It is answered, and does not go on.
    Begun(Box<Begun>),
}

/// What was read, and the rest.
type Begun = Join<Chain<Cursor<Vec<u8>>, OwnedReadHalf>, OwnedWriteHalf>;

impl Stream {
    /// One of which these bytes were read.
    pub(super) fn begun(tcp: TcpStream, bytes: Vec<u8>) -> Self {
        let (reader, writer) = tcp.into_split();
        Self::Begun(Box::new(tokio::io::join(Cursor::new(bytes).chain(reader), writer)))
    }

    /// Small answers leave at once.
    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            Self::Tls(stream) => stream.tcp().set_nodelay(true),
            Self::Begun(stream) => stream.writer().as_ref().set_nodelay(true),
            Self::Unix(_) => Ok(()),
        }
    }

    /// What keeps the last answer back, where it may travel with what the shard says.
    pub(super) fn hold(&self) -> Option<Hold> {
        match self {
            Self::Tls(stream) => Some(stream.hold()),
            Self::Tcp(_) | Self::Unix(_) | Self::Begun(_) => None,
        }
    }

    /// The socket, for a shard, the TLS that goes on over it, and what that has opened and nobody has read.
    pub(super) fn into_parts(self) -> io::Result<(OwnedFd, Option<Box<Records>>, Vec<u8>)> {
        match self {
            Self::Tcp(stream) => Ok((stream.into_std()?.into(), None, Vec::new())),
            Self::Unix(stream) => Ok((stream.into_std()?.into(), None, Vec::new())),
            Self::Tls(stream) => {
                let (stream, records, opened) = stream.into_parts();
                Ok((stream.into_std()?.into(), Some(records), opened))
            }
            Self::Begun(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

macro_rules! each {
    ($stream:expr, $inner:ident => $do:expr) => {
        match $stream.get_mut() {
            Stream::Tcp($inner) => $do,
            Stream::Unix($inner) => $do,
            Stream::Tls($inner) => $do,
            Stream::Begun($inner) => $do,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_read(cx, into))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        all: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write_vectored(cx, all))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Begun(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}
