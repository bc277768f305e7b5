//! The bytes below a connection of the swarm: TCP, or TLS over it. Neither blocks.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// TLS to one server, for many connections. Each is a client of its own: none resumes what another has begun.
#[derive(Clone, Debug)]
pub struct Seal {
    config: Arc<ClientConfig>,
    host: ServerName<'static>,
}

impl Seal {
    /// To this host; `trust` as in [`everwire_client::Dial`].
    ///
    /// # Errors
    /// There is nobody to trust, or the host is no name.
    pub fn new(host: &str, trust: Option<&Path>) -> io::Result<Self> {
        let mut config = everwire_client::trusting(trust)?;
        config.resumption = Resumption::disabled();
        let host = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Self { config: Arc::new(config), host })
    }

    /// A connection over this stream; its first bytes make the handshake.
    ///
    /// # Errors
    /// As rustls.
    pub fn over<S: Read + Write>(&self, stream: S) -> io::Result<StreamOwned<ClientConnection, S>> {
        let client =
            ClientConnection::new(self.config.clone(), self.host.clone()).map_err(io::Error::other)?;
        Ok(StreamOwned::new(client, stream))
    }
}

/// One connection.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(TcpStream),
    Sealed(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    pub(super) fn new(stream: TcpStream, seal: Option<&Seal>) -> io::Result<Self> {
        Ok(match seal {
            Some(seal) => Self::Sealed(Box::new(seal.over(stream)?)),
            None => Self::Plain(stream),
        })
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Sealed(stream) => &stream.sock,
        }
    }

    /// Whether a read that brought less than there was room for was the last one for now. TLS hands out what it has opened,
    /// and there may be more.
    pub(super) fn is_drained_by_short_reads(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Sends what was sealed and the kernel had no room for.
    pub(super) fn push(&mut self) {
        let Self::Sealed(stream) = self else { return };
        // An error shows as the end of the connection, which the next read tells.
        while stream.conn.wants_write() && stream.conn.write_tls(&mut stream.sock).is_ok_and(|n| n > 0) {}
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            // Who leaves without a word of TLS is gone all the same: a WebSocket has an end of its own.
            Self::Sealed(stream) => match stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
        }
    }
}

impl Write for Wire {
    /// As much as can be taken now. What TLS took and the kernel did not goes with [`Wire::push`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stream = match self {
            Self::Plain(stream) => return stream.write(bytes),
            Self::Sealed(stream) => stream,
        };
        let mut sent = 0;
        while sent < bytes.len() {
            match stream.write(&bytes[sent..]) {
                Ok(0) => break,
                Ok(n) => sent += n,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
