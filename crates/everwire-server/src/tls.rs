//! TLS: what the certificate files hold, as rustls wants it, exchanged while connections live.
//!
//! Never here: sockets. The front shakes hands with [`Tls::config`] by way of [`Records`], the shards go on with those.

mod files;
mod validity;
mod handshakes;
mod records;
#[cfg(test)]
pub(crate) mod pair_of_tests;
pub mod local;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::{CipherSuite, RootCertStore, ServerConfig};

use crate::clock::Clock;

pub use self::files::TlsError;
pub use self::handshakes::{Handshakes, Outcome};
pub use self::records::Records;

/// Whether clients show a certificate of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// None is asked for.
    #[default]
    Off,
    /// One that is shown must be good; none is no fault.
    Optional,
    /// Without a good one nobody gets in.
    Required,
}

/// Where certificates and keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The server's own certificate, and behind it those that signed it (PEM).
    pub cert: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// Who signs the certificates of clients (PEM).
    pub client_ca: Option<PathBuf>,
    /// Whether clients show one.
    pub client_auth: ClientAuth,
}

/// The TLS of a server.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    tickets: Arc<dyn ProducesTickets>,
    current: RwLock<Loaded>,
    /// How they went.
    pub handshakes: Handshakes,
}

#[derive(Clone, Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    ends_ms: u64,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`], which names the file and what to do.
    pub fn load(files: Files) -> Result<Self, TlsError> {
        let tickets = tickets()?;
        let current = RwLock::new(read(&files, &tickets, unix_ms())?);
        Ok(Self { files, tickets, current, handshakes: Handshakes::default() })
    }

    /// Reads the files anew. Who shakes hands from now on sees what they hold; connections that live are not touched.
    ///
    /// # Errors
    /// [`TlsError`]; what was good before stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        // A ticket stands for the certificate that its client once showed, and who signs those may have changed.
        let tickets = match self.files.client_auth {
            ClientAuth::Off => self.tickets.clone(),
            ClientAuth::Optional | ClientAuth::Required => tickets()?,
        };
        let fresh = read(&self.files, &tickets, unix_ms())?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// What to shake hands with.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.loaded().config
    }

    /// When the server's certificate ends, ms since 1970.
    pub fn ends_ms(&self) -> u64 {
        self.loaded().ends_ms
    }

    fn loaded(&self) -> Loaded {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn unix_ms() -> u64 {
    Clock::start().now().unix_ms
}

/// ring, with AES of 128 bits first: as good against everybody who is not expected to have a quantum computer, and with it
/// comes SHA-256, which processors have an instruction for. With SHA-384 a tenth of a resumption went into hashing.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| !is_of_128_bits(suite.suite()));
    Arc::new(provider)
}

fn is_of_128_bits(suite: CipherSuite) -> bool {
    use CipherSuite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        TLS13_AES_128_GCM_SHA256,
    };
    matches!(
        suite,
        TLS13_AES_128_GCM_SHA256
            | TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

/// Sessions are resumed by what the client keeps, so that ten thousand that come back cost no memory here. The keys
/// change every six hours by themselves.
fn tickets() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    rustls::crypto::ring::Ticketer::new().map_err(TlsError::Rustls)
}

fn read(files: &Files, tickets: &Arc<dyn ProducesTickets>, now_ms: u64) -> Result<Loaded, TlsError> {
    let chain = files::chain(&files.cert)?;
    let key = files::key(&files.key)?;
    let ends_ms = files::check_validity(&files.cert, &chain[0], now_ms)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Rustls)?;
    let builder = match (files.client_auth, &files.client_ca) {
        (ClientAuth::Off, _) => builder.with_no_client_auth(),
        (_, None) => return Err(TlsError::NoClientCa),
        (auth, Some(file)) => {
            let mut roots = RootCertStore::empty();
            for authority in files::chain(file)? {
                roots.add(authority).map_err(|error| TlsError::NotUsable(file.clone(), error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            let verifier =
                if auth == ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier };
            let verifier = verifier.build().map_err(|error| TlsError::ClientCa(file.clone(), error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|error| files::told(files, error))?;
    config.ignore_client_order = true;
    config.ticketer = tickets.clone();
    // A client that comes back takes one and is given the next one. Each costs microseconds, and they come by thousands.
    config.send_tls13_tickets = 1;
    // HTTP/2 would bring a WebSocket without an upgrade, which is not spoken yet.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), ends_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("everwire-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn written(name: &str) -> (PathBuf, Files) {
        let dir = folder(name);
        let made = local::make(&dir, unix_ms()).unwrap();
        (dir, made)
    }

    #[test]
    fn what_was_made_is_good_and_can_be_exchanged() {
        let (dir, files) = written("good");
        let tls = Tls::load(files.clone()).unwrap();
        assert!(tls.ends_ms() > unix_ms() + 300 * 86_400_000);
        let before = tls.config();
        tls.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.config()));
        std::fs::write(&files.cert, "nothing").unwrap();
        let kept = tls.config();
        let error = tls.reload().unwrap_err().to_string();
        assert!(error.contains("no certificate in"), "{error}");
        assert!(Arc::ptr_eq(&kept, &tls.config()), "what was good stays");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn each_fault_names_its_file_and_what_to_do() {
        let (dir, good) = written("faults");
        let (other_dir, other) = written("other");
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let key = std::fs::read_to_string(&good.key).unwrap();
        let cert = std::fs::read_to_string(&good.cert).unwrap();
        let cut = format!("{}\n-----END CERTIFICATE-----\n", &cert[..cert.len() / 2]);
        let nothing = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let with =
            |cert: &PathBuf, key: &PathBuf| Files { cert: cert.clone(), key: key.clone(), ..good.clone() };
        let auth = Files { client_auth: ClientAuth::Required, ..good.clone() };
        for (files, at, words) in [
            (with(&dir.join("absent"), &good.key), "absent", "No such file"),
            (with(&good.cert, &dir.join("gone")), "gone", "No such file"),
            (with(&good.key, &good.key), "key.pem", "that is a private key"),
            (with(&good.cert, &good.cert), "cert.pem", "-----BEGIN PRIVATE KEY-----"),
            (with(&good.cert, &other.key), "key.pem", "not that of the certificate"),
            (with(&good.cert, &file("locked", encrypted)), "locked", "openssl pkey"),
            (with(&file("half", &cut), &good.key), "half", ""),
            (with(&file("empty", ""), &good.key), "empty", "-----BEGIN CERTIFICATE-----"),
            (with(&file("nothing", nothing), &good.key), "nothing", "no certificate that can be read"),
            (auth.clone(), "client_ca_file", "client_auth"),
            (Files { client_ca: Some(file("ca", &key)), ..auth.clone() }, "ca", "that is a private key"),
        ] {
            let error = Tls::load(files).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(at) && error.contains(words), "{at}: {error}");
            assert!(!error.contains(key.lines().nth(1).unwrap()), "no key is told");
        }
        Tls::load(Files { client_ca: Some(good.cert.clone()), ..auth }).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        std::fs::remove_dir_all(other_dir).unwrap();
    }

    #[test]
    fn a_certificate_that_has_ended_or_not_begun_is_refused() {
        let (dir, files) = written("ended");
        let (now, tickets) = (unix_ms(), tickets().unwrap());
        let at = |ms: u64| read(&files, &tickets, ms).map(|_| ()).unwrap_err().to_string();
        let ended = at(now + 5 * 365 * 86_400_000);
        assert!(ended.contains("cert.pem") && ended.contains("ended"), "{ended}");
        let early = at(now - 5 * 365 * 86_400_000);
        assert!(early.contains("cert.pem") && early.contains("is not good before"), "{early}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
