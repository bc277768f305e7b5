//! A server and a client that know each other, for tests.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::Records;

/// Each version alone.
pub(crate) const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// Both sides, with one version; the client's records hold no more than so many bytes.
#[derive(Debug)]
pub(crate) struct Pair {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Pair {
    pub(crate) fn new(version: &'static SupportedProtocolVersion, pieces: Option<usize>) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let cert = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(cert.clone()).unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone());
        let server = server.with_protocol_versions(&[version]).unwrap().with_no_client_auth();
        let client = ClientConfig::builder_with_provider(provider);
        let client = client.with_protocol_versions(&[version]).unwrap().with_root_certificates(roots);
        let mut client = client.with_no_client_auth();
        client.max_fragment_size = pieces;
        let mut server = server.with_single_cert(vec![cert], key).unwrap();
        // Not so in the server itself: it is how something can be sealed in the middle of a handshake.
        server.send_half_rtt_data = true;
        Self { server: Arc::new(server), client: Arc::new(client) }
    }

    /// Before the handshake.
    pub(crate) fn fresh(&self) -> (Records, ClientConnection) {
        let client = ClientConnection::new(self.client.clone(), "localhost".try_into().unwrap());
        (Records::new(self.server.clone()).unwrap(), client.unwrap())
    }

    /// After it.
    pub(crate) fn shaken(&self) -> (Records, ClientConnection) {
        let (mut records, mut client) = self.fresh();
        while records.is_handshaking() || client.is_handshaking() {
            records.open(&mut said(&mut client), &mut |_| panic!("nothing was said")).unwrap();
            assert_eq!(hear(&mut client, &mut records, usize::MAX), b"");
        }
        (records, client)
    }
}

/// The sealed bytes that the client has for the server.
pub(crate) fn said(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Gives the client what waits for it, in pieces of so many bytes; what it can read then.
pub(crate) fn hear(client: &mut ClientConnection, records: &mut Records, piece: usize) -> Vec<u8> {
    let mut heard = Vec::new();
    while !records.outgoing().is_empty() {
        let waiting = records.outgoing();
        let count = client.read_tls(&mut &waiting[..waiting.len().min(piece)]).unwrap();
        records.sent(count);
        client.process_new_packets().unwrap();
        // An error says that there is no more.
        let _ = std::io::Read::read_to_end(&mut client.reader(), &mut heard);
    }
    heard
}
