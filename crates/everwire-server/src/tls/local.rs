//! A certificate for `localhost`, made on the spot: for development, and for nobody else than this machine.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use time::OffsetDateTime;

use super::{ClientAuth, Files};

const DAY_MS: u64 = 86_400_000;
/// Safari trusts none that is good for longer than 825 days, other browsers than 398.
const GOOD_DAYS: u64 = 397;
/// One that ends sooner is made anew.
const LEFT_DAYS: u64 = 14;
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why there is no certificate for development.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Nowhere to keep it.
    #[error("there is no folder to keep a certificate in: set HOME or XDG_DATA_HOME")]
    NoFolder,
    /// The folder can't be written.
    #[error("can't write the certificate to {path}: {why}", path = .0.display(), why = .1)]
    Write(PathBuf, io::Error),
    /// It could not be made.
    #[error("the certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// The certificate of this user, made anew if there is none, or if it ends soon. Whether it is new.
///
/// # Errors
/// [`LocalError`].
pub fn certificate(now_ms: u64) -> Result<(Files, bool), LocalError> {
    certificate_in(&folder(|name| std::env::var_os(name).map(PathBuf::from))?, now_ms)
}

fn certificate_in(folder: &Path, now_ms: u64) -> Result<(Files, bool), LocalError> {
    let known = in_folder(folder);
    if super::Tls::load(known.clone()).is_ok_and(|tls| tls.ends_ms() > now_ms + LEFT_DAYS * DAY_MS) {
        return Ok((known, false));
    }
    Ok((make(folder, now_ms)?, true))
}

/// Where a user's data is, after the XDG rules.
fn folder(var: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf, LocalError> {
    let set = |name| var(name).filter(|path: &PathBuf| path.is_absolute());
    let data = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")));
    Ok(data.ok_or(LocalError::NoFolder)?.join("everwire/tls"))
}

fn in_folder(folder: &Path) -> Files {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    Files { cert, key, client_ca: None, client_auth: ClientAuth::Off }
}

/// Makes one and writes it.
pub(super) fn make(folder: &Path, now_ms: u64) -> Result<Files, LocalError> {
    let mut params = CertificateParams::new(NAMES.map(str::to_owned).to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Everwire on this machine");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = at(now_ms.saturating_sub(DAY_MS));
    params.not_after = at(now_ms + GOOD_DAYS * DAY_MS);
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    let files = in_folder(folder);
    let failed = |path: &Path, error| LocalError::Write(path.to_owned(), error);
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    write(&files.key, &key.serialize_pem(), 0o600).map_err(|error| failed(&files.key, error))?;
    write(&files.cert, &cert.pem(), 0o644).map_err(|error| failed(&files.cert, error))?;
    Ok(files)
}

/// Replaces a file as a whole; nobody else ever sees a key.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let fresh = path.with_extension("new");
    // Left behind by somebody who was stopped in between, perhaps with another mode.
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&fresh, path)
}

fn at(unix_ms: u64) -> OffsetDateTime {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The day of a moment, as people write it: `2026-11-26`.
pub(super) fn day_of(unix_ms: u64) -> String {
    at(unix_ms).date().to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn folders() {
        let of = |data: Option<&str>, home: Option<&str>| {
            folder(|name| if name == "HOME" { home } else { data }.map(PathBuf::from)).ok()
        };
        assert_eq!(of(Some("/d"), Some("/h")).unwrap(), Path::new("/d/everwire/tls"));
        assert_eq!(of(None, Some("/h")).unwrap(), Path::new("/h/.local/share/everwire/tls"));
        assert_eq!(of(Some("d"), Some("/h")).unwrap(), Path::new("/h/.local/share/everwire/tls"));
        assert_eq!(of(Some(""), None), None);
    }

    #[test]
    fn days() {
        assert_eq!(day_of(0), "1970-01-01");
        assert_eq!(day_of(1_798_761_599_000), "2026-12-31");
    }

    #[test]
    fn it_is_kept_until_it_ends_soon() {
        let dir = std::env::temp_dir().join(format!("everwire-local-{}", std::process::id()));
        let now_ms = Clock::start().now().unix_ms;
        let (files, new) = certificate_in(&dir, now_ms).unwrap();
        assert!(new);
        let mode = fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else may read the key");
        let text = fs::read_to_string(&files.cert).unwrap();
        assert!(!certificate_in(&dir, now_ms).unwrap().1, "kept");
        assert!(certificate_in(&dir, now_ms + (GOOD_DAYS - LEFT_DAYS) * DAY_MS).unwrap().1, "it ends soon");
        assert_ne!(fs::read_to_string(&files.cert).unwrap(), text);
        fs::write(&files.key, "damaged").unwrap();
        assert!(certificate_in(&dir, now_ms).unwrap().1, "what can't be used is made anew");
        fs::remove_dir_all(dir).unwrap();
    }
}
