//! Keys that sign tokens. A key has one algorithm: what a token's header says is compared with it and never believed.

use std::fmt;

use ring::hmac;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use spki::der::Document;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

/// Shorter secrets can be guessed. RFC 7518 section 3.2 wants as much for HS256.
const SECRET_BYTES: usize = 32;
/// The secrets of examples begin so, and everybody knows them.
const EXAMPLE: &str = "change-me";

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// How a token is signed: RFC 7518 section 3.1, RFC 8037 section 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// ECDSA over P-256, SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Every algorithm by its name, for the config.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
        ("RS256", Self::Rs256),
        ("PS256", Self::Ps256),
        ("ES256", Self::Es256),
        ("EdDSA", Self::EdDsa),
    ];

    /// The name in a token's header.
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize].0
    }

    /// With a secret that both sides know; the others with a public key.
    pub fn is_secret(self) -> bool {
        self.hmac().is_some()
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            Self::Hs256 => Some(hmac::HMAC_SHA256),
            Self::Hs384 => Some(hmac::HMAC_SHA384),
            Self::Hs512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }
}

/// Why a key can't be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It can be guessed.
    #[error(
        "the secret has {0} bytes; it must have at least {SECRET_BYTES}, such as `openssl rand -hex 32` prints"
    )]
    Short(usize),
    /// From our example.
    #[error(
        "this is the secret of the example, which everybody knows; write one of your own, such as `openssl rand -hex 32` prints"
    )]
    Example,
    /// No PEM at all.
    #[error("this is no public key in PEM: it must begin with -----BEGIN PUBLIC KEY-----")]
    NoPem,
    /// A secret where none is wanted.
    #[error(
        "this is a private key, which has no business on this server: give the public one, as `openssl pkey -pubout` prints"
    )]
    Private,
    /// A key of another kind.
    #[error(
        "this key is none for {0}: RS256 and PS256 want RSA of 2048 bits or more, ES256 P-256, EdDSA Ed25519"
    )]
    Kind(&'static str),
}

enum Material {
    Secret(hmac::Key),
    Public(&'static dyn VerificationAlgorithm, Box<[u8]>),
}

/// One key. Its `Debug` shows no more than its id and algorithm.
pub struct Key {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    material: Material,
}

impl Key {
    /// A key from a secret for the algorithms that have one, or else from a public key in PEM.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn new(id: Option<&str>, algorithm: Algorithm, text: &[u8]) -> Result<Self, KeyFault> {
        let material = match algorithm.hmac() {
            Some(_) if text.starts_with(EXAMPLE.as_bytes()) => return Err(KeyFault::Example),
            Some(_) if text.len() < SECRET_BYTES => return Err(KeyFault::Short(text.len())),
            Some(hash) => Material::Secret(hmac::Key::new(hash, text)),
            None => public(algorithm, text)?,
        };
        Ok(Self { id: id.map(Into::into), algorithm, material })
    }

    /// Its id: the `kid` of the tokens it signs.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether it is the same key, under whatever id.
    pub(super) fn is(&self, other: &Self) -> bool {
        let same = match (&self.material, &other.material) {
            // What a secret makes of the same words tells it from others; it is not kept itself.
            (Material::Secret(one), Material::Secret(other)) => {
                let of = |key| hmac::sign(key, b"which key is this");
                of(one).as_ref() == of(other).as_ref()
            }
            (Material::Public(_, one), Material::Public(_, other)) => one == other,
            _ => false,
        };
        same && self.algorithm == other.algorithm
    }

    /// Whether a token whose header says this may be signed by it.
    pub(super) fn may_have_signed(&self, algorithm: &str, id: Option<&str>) -> bool {
        let named = match (&self.id, id) {
            (Some(own), Some(id)) => **own == *id,
            // A key that has no id is tried for every token, and a token without one is tried with every key.
            _ => true,
        };
        named && algorithm == self.algorithm.as_str()
    }

    /// In a time that does not tell how much was right.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Public(how, key) => {
                UnparsedPublicKey::new(*how, key).verify(message, signature).is_ok()
            }
        }
    }

    /// A signature, where the secret is here.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.material {
            Material::Secret(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            Material::Public(..) => None,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

fn public(algorithm: Algorithm, pem: &[u8]) -> Result<Material, KeyFault> {
    let text = std::str::from_utf8(pem).map_err(|_| KeyFault::NoPem)?;
    if text.contains("PRIVATE KEY-----") {
        return Err(KeyFault::Private);
    }
    let (label, document) = Document::from_pem(text.trim()).map_err(|_| KeyFault::NoPem)?;
    let wrong = || KeyFault::Kind(algorithm.as_str());
    let (kind, curve, bytes) = match label {
        // PKCS #1: what stands inside of the other form.
        "RSA PUBLIC KEY" => (RSA, None, document.as_bytes().to_vec()),
        "PUBLIC KEY" => {
            let info = SubjectPublicKeyInfoRef::try_from(document.as_bytes()).map_err(|_| wrong())?;
            let bytes = info.subject_public_key.as_bytes().ok_or_else(wrong)?;
            (info.algorithm.oid, info.algorithm.parameters_oid().ok(), bytes.to_vec())
        }
        _ => return Err(KeyFault::NoPem),
    };
    let (how, fits): (&'static dyn VerificationAlgorithm, bool) = match algorithm {
        // 2048 bits and what DER says around them; the library itself takes no shorter ones.
        Algorithm::Rs256 => (&signature::RSA_PKCS1_2048_8192_SHA256, kind == RSA && bytes.len() > 2048 / 8),
        Algorithm::Ps256 => (&signature::RSA_PSS_2048_8192_SHA256, kind == RSA && bytes.len() > 2048 / 8),
        Algorithm::Es256 => {
            let point = bytes.len() == 65 && bytes[0] == 4;
            (&signature::ECDSA_P256_SHA256_FIXED, kind == EC && curve == Some(P256) && point)
        }
        _ => (&signature::ED25519, kind == ED25519 && bytes.len() == 32),
    };
    if !fits {
        return Err(wrong());
    }
    Ok(Material::Public(how, bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::super::keys_of_tests::{EC_PUBLIC, ED_PUBLIC, RSA_PKCS1, RSA_PRIVATE, RSA_PUBLIC, SECRET};
    use super::*;

    #[test]
    fn names_and_order_agree() {
        for (name, algorithm) in Algorithm::NAMES {
            assert_eq!(algorithm.as_str(), name);
        }
    }

    #[test]
    fn a_key_is_of_its_kind() {
        use Algorithm::{EdDsa, Es256, Hs256, Hs512, Ps256, Rs256};
        let private: String = RSA_PRIVATE.into();
        for (algorithm, text, good) in [
            (Hs256, SECRET, Ok(())),
            (Hs512, "0123456789abcdef0123456789abcde", Err(KeyFault::Short(31))),
            (Hs256, "", Err(KeyFault::Short(0))),
            (Hs256, "change-me-0123456789abcdef0123456789", Err(KeyFault::Example)),
            (Rs256, RSA_PUBLIC, Ok(())),
            (Ps256, RSA_PKCS1, Ok(())),
            (Es256, EC_PUBLIC, Ok(())),
            (EdDsa, ED_PUBLIC, Ok(())),
            (Rs256, EC_PUBLIC, Err(KeyFault::Kind("RS256"))),
            (Es256, ED_PUBLIC, Err(KeyFault::Kind("ES256"))),
            (Es256, RSA_PKCS1, Err(KeyFault::Kind("ES256"))),
            (EdDsa, RSA_PUBLIC, Err(KeyFault::Kind("EdDSA"))),
            (Rs256, &private, Err(KeyFault::Private)),
            (Rs256, SECRET, Err(KeyFault::NoPem)),
            (EdDsa, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", Err(KeyFault::NoPem)),
        ] {
            assert_eq!(Key::new(None, algorithm, text.as_bytes()).map(|_| ()), good, "{algorithm:?} {text}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = Key::new(Some("2026"), Algorithm::Hs256, SECRET.as_bytes()).unwrap();
        assert_eq!(format!("{key:?}"), "Key { id: Some(\"2026\"), algorithm: Hs256, .. }");
    }
}
