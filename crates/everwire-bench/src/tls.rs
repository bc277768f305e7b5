//! A certificate of a measurement's own, and clients that know it.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A certificate for `localhost` and its key in a folder that is gone with this.
#[derive(Debug)]
pub struct Keys {
    folder: PathBuf,
}

/// A connection of TLS.
pub type Sealed = StreamOwned<ClientConnection, TcpStream>;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Keys {
    /// Makes them.
    ///
    /// # Errors
    /// The folder for temporary files can't be written.
    pub fn new() -> Result<Self> {
        let name = format!("everwire-bench-{}-{}", std::process::id(), crate::clock::now_ns());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder)?;
        let keys = Self { folder };
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        fs::write(keys.cert(), made.cert.pem())?;
        fs::write(keys.key(), made.signing_key.serialize_pem())?;
        Ok(keys)
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn cert(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// The table of a server's config.
    pub fn table(&self) -> String {
        format!("[tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\n", self.cert().display(), self.key().display())
    }

    /// A client that trusts the certificate, and resumes what it alone has begun.
    ///
    /// # Errors
    /// The certificate can't be read.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.cert())?)?;
        let builder =
            ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A folder of two files among temporary ones harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A server with the keys of a folder, as bare as it can be; tickets as ours gives them.
///
/// # Errors
/// There are no keys in it.
pub fn bare_server(folder: &Path) -> io::Result<Arc<ServerConfig>> {
    let config = || -> Result<ServerConfig> {
        let cert = CertificateDer::from_pem_file(folder.join("cert.pem"))?;
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"))?;
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_single_cert(vec![cert], key)?;
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(config)
    };
    config().map(Arc::new).map_err(io::Error::other)
}

/// Connects, says this, and reads until the answer has `mark`; the connection and the bytes of the answer.
///
/// # Errors
/// No connection, no handshake, no such answer.
pub fn open(
    to: SocketAddr,
    client: &Arc<ClientConfig>,
    request: &[u8],
    mark: &[u8],
) -> Result<(Sealed, usize)> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let tls = ClientConnection::new(client.clone(), "localhost".try_into().context("a name")?)?;
    let mut sealed = StreamOwned::new(tls, stream);
    sealed.write_all(request)?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while memchr::memmem::find(&answer, mark).is_none() {
        match sealed.read(&mut piece)? {
            0 => bail!("the server ended after {:?}", String::from_utf8_lossy(&answer)),
            n => answer.extend_from_slice(&piece[..n]),
        }
    }
    Ok((sealed, answer.len()))
}
