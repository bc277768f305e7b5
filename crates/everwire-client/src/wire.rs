//! The bytes below a WebSocket: TCP, or TLS over it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A connection, plain or sealed. Its timeouts are those of the TCP below.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Sealed(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// TLS to this host over `stream`; the handshake itself is made by the first bytes.
    pub(crate) fn sealed(stream: TcpStream, host: &str, trust: Option<&Path>) -> io::Result<Self> {
        let config = trusting(trust)?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let client = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        Ok(Self::Sealed(Box::new(StreamOwned::new(client, stream))))
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Sealed(stream) => &stream.sock,
        }
    }

    /// Ends our side; the peer may still send.
    pub(crate) fn shut(&mut self) {
        if let Self::Sealed(stream) = self {
            stream.conn.send_close_notify();
            // Whether it still hears us changes nothing.
            let _ = stream.flush();
        }
        let _ = self.tcp().shutdown(Shutdown::Write);
    }
}

/// TLS of a client that trusts the system's list, or the certificates in a file (PEM) alone.
///
/// # Errors
/// The file can't be read, or the system has no list.
pub fn trusting(trust: Option<&Path>) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(io::Error::other)?.with_root_certificates(roots(trust)?).with_no_client_auth())
}

/// Whom to trust: the system's list, or the certificates in a file alone.
fn roots(trust: Option<&Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(path) = trust else {
        let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if added > 0 {
            Ok(roots)
        } else {
            Err(io::Error::other("the system has no list of certificates to trust; name a file"))
        };
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    Ok(roots)
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            // A peer that leaves without a word of TLS is gone all the same: the frames of a WebSocket have an end of
            // their own.
            Self::Sealed(stream) => match stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Sealed(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Sealed(stream) => stream.flush(),
        }
    }
}
