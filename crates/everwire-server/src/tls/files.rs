//! Reading certificates and keys, with words for whoever must put a file right.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::VerifierBuilderError;
use rustls::{Error, InconsistentKeys};

use super::Files;
use super::local::day_of;
use super::validity::validity;

/// No file of these is larger; what is, is some other file.
const FILE_BYTES: u64 = 1 << 20;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("TLS: can't read {path}: {why}", path = .0.display(), why = .1)]
    Unreadable(PathBuf, io::Error),
    /// A file is larger than certificates are.
    #[error("TLS: {path} is larger than 1 MiB, which no certificate or key is", path = .0.display())]
    Large(PathBuf),
    /// A file has something else than certificates.
    #[error("TLS: there is no certificate in {path}{why}; it must have PEM, `-----BEGIN CERTIFICATE-----`, the server's own first and behind it those that signed it", path = .0.display(), why = .1)]
    NoCertificate(PathBuf, &'static str),
    /// A certificate that is none.
    #[error("TLS: {path} has no certificate that can be read ({why}); write it anew from where you have it", path = .0.display(), why = .1)]
    BadCertificate(PathBuf, String),
    /// A file has something else than a key.
    #[error("TLS: there is no private key in {path}; it must have PEM, `-----BEGIN PRIVATE KEY-----`", path = .0.display())]
    NoKey(PathBuf),
    /// A key that wants a passphrase.
    #[error("TLS: the key in {file} is locked by a passphrase, which nobody could type at each start; write it without: openssl pkey -in {file} -out FILE", file = .0.display())]
    Locked(PathBuf),
    /// Certificate and key are not of one pair.
    #[error("TLS: the key in {} is not that of the certificate in {}, the first one there: it must be the server's own, and those that signed it behind it", .key.display(), .cert.display())]
    Mismatch {
        /// The file with the certificate.
        cert: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// The certificate has ended.
    #[error("TLS: the certificate in {path} ended on {why}: every client refuses it; put a new one there", path = .0.display(), why = .1)]
    Ended(PathBuf, String),
    /// The certificate has not begun.
    #[error("TLS: the certificate in {path} is not good before {why}; is this machine's clock right?", path = .0.display(), why = .1)]
    Early(PathBuf, String),
    /// Client certificates are wanted, and nobody is named who signs them.
    #[error("TLS: client_auth asks for certificates of clients, so client_ca_file must name who signs them")]
    NoClientCa,
    /// Who signs the certificates of clients can't be used.
    #[error("TLS: {path} can't be used for the certificates of clients: {why}", path = .0.display(), why = .1)]
    ClientCa(PathBuf, VerifierBuilderError),
    /// rustls takes nothing of the file.
    #[error("TLS: {path} can't be used: {why}", path = .0.display(), why = .1)]
    NotUsable(PathBuf, Error),
    /// rustls itself.
    #[error("TLS: {0}")]
    Rustls(Error),
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error| TlsError::Unreadable(file.to_owned(), error);
    if std::fs::metadata(file).map_err(unreadable)?.len() > FILE_BYTES {
        return Err(TlsError::Large(file.to_owned()));
    }
    std::fs::read(file).map_err(unreadable)
}

/// The certificates of a file, at least one.
pub(super) fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(file)?;
    let all: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| TlsError::BadCertificate(file.to_owned(), error.to_string()))?;
    if all.is_empty() {
        let is_key = PrivateKeyDer::from_pem_slice(&text).is_ok();
        return Err(TlsError::NoCertificate(
            file.to_owned(),
            if is_key { ": that is a private key" } else { "" },
        ));
    }
    Ok(all)
}

/// The private key of a file.
pub(super) fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(file)?;
    // What a key's bytes say is told to nobody.
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let locked = |mark: &[u8]| text.windows(mark.len()).any(|part| part == mark);
        if locked(b"ENCRYPTED") {
            TlsError::Locked(file.to_owned())
        } else {
            TlsError::NoKey(file.to_owned())
        }
    })
}

/// When the certificate ends, ms since 1970.
pub(super) fn check_validity(file: &Path, own: &CertificateDer<'_>, now_ms: u64) -> Result<u64, TlsError> {
    let times =
        validity(own).map_err(|error| TlsError::BadCertificate(file.to_owned(), error.to_string()))?;
    match times {
        (_, last) if last < now_ms => Err(TlsError::Ended(file.to_owned(), day_of(last))),
        (first, _) if first > now_ms => Err(TlsError::Early(file.to_owned(), day_of(first))),
        (_, last) => Ok(last),
    }
}

/// What rustls has against a pair of certificate and key.
pub(super) fn told(files: &Files, error: Error) -> TlsError {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { cert: files.cert.clone(), key: files.key.clone() }
        }
        Error::InvalidCertificate(why) => {
            TlsError::BadCertificate(files.cert.clone(), Error::InvalidCertificate(why).to_string())
        }
        other => TlsError::NotUsable(files.key.clone(), other),
    }
}
