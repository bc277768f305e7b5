//! Certificates of a test's own, and clients that know them.

use std::sync::Arc;

use everwire_server::tls::{ClientAuth, Files};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::process::Scratch;

pub const BOTH: [&[&SupportedProtocolVersion]; 2] = [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];

/// A certificate for localhost that signs itself, and its key.
pub struct Pair {
    cert: CertificateDer<'static>,
    key: Vec<u8>,
    cert_file: Scratch,
    key_file: Scratch,
}

impl Pair {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self {
            cert: cert.der().clone(),
            key: key.serialize_der(),
            cert_file: Scratch::new("cert.pem", &cert.pem()),
            key_file: Scratch::new("key.pem", &key.serialize_pem()),
        }
    }

    pub fn files(&self) -> Files {
        let (cert, key) = (self.cert_file.path().to_owned(), self.key_file.path().to_owned());
        Files { cert, key, client_ca: None, client_auth: ClientAuth::Off }
    }

    pub fn der(&self) -> &CertificateDer<'static> {
        &self.cert
    }

    /// Puts the files of another pair in place of these.
    pub fn replace_by(&self, other: &Self) {
        std::fs::write(self.cert_file.path(), other.cert_file.read()).unwrap();
        std::fs::write(self.key_file.path(), other.key_file.read()).unwrap();
    }

    pub fn spoil(&self) {
        std::fs::write(self.cert_file.path(), "spoiled").unwrap();
    }

    /// A client that trusts this certificate.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.client_of(rustls::ALL_VERSIONS, None)
    }

    /// The same, of these versions, with a certificate of its own or none.
    pub fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Self>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.key.clone()));
                builder.with_client_auth_cert(vec![own.cert.clone()], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}
