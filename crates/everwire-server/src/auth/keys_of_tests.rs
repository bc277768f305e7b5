//! Keys that everybody can read, and signatures with them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use spki::der::Document;

use super::Algorithm;

pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(super) const OTHER_SECRET: &str = "fedcba9876543210fedcba9876543210";
pub(super) const RSA_PRIVATE: &str = include_str!("../../tests/keys/rsa.pem");
pub(super) const RSA_PUBLIC: &str = include_str!("../../tests/keys/rsa.pub.pem");
pub(super) const RSA_SHORT: &str = include_str!("../../tests/keys/rsa1024.pub.pem");
pub(super) const RSA_PKCS1: &str = include_str!("../../tests/keys/rsa.pkcs1.pub.pem");
pub(super) const EC_PUBLIC: &str = include_str!("../../tests/keys/ec.pub.pem");
pub(super) const ED_PUBLIC: &str = include_str!("../../tests/keys/ed.pub.pem");
const EC_PRIVATE: &str = include_str!("../../tests/keys/ec.pem");
const ED_PRIVATE: &str = include_str!("../../tests/keys/ed.pem");

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn der(pem: &str) -> Document {
    Document::from_pem(pem.trim()).unwrap().1
}

/// The signature of this text; `secret` is for the algorithms that have one.
pub(super) fn signature(algorithm: Algorithm, secret: &[u8], text: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let mac = |how| hmac::sign(&hmac::Key::new(how, secret), text).as_ref().to_vec();
    let rsa = |how: &'static dyn signature::RsaEncoding| {
        let pair = RsaKeyPair::from_pkcs8(der(RSA_PRIVATE).as_bytes()).unwrap();
        let mut out = vec![0; pair.public().modulus_len()];
        pair.sign(how, &random, text, &mut out).unwrap();
        out
    };
    match algorithm {
        Algorithm::Hs256 => mac(hmac::HMAC_SHA256),
        Algorithm::Hs384 => mac(hmac::HMAC_SHA384),
        Algorithm::Hs512 => mac(hmac::HMAC_SHA512),
        Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_SHA256),
        Algorithm::Ps256 => rsa(&signature::RSA_PSS_SHA256),
        Algorithm::Es256 => {
            let (how, key) = (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, der(EC_PRIVATE));
            let pair = EcdsaKeyPair::from_pkcs8(how, key.as_bytes(), &random).unwrap();
            pair.sign(&random, text).unwrap().as_ref().to_vec()
        }
        Algorithm::EdDsa => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der(ED_PRIVATE).as_bytes()).unwrap();
            pair.sign(text).as_ref().to_vec()
        }
    }
}

/// A token with this header and payload, signed by the key of the tests.
pub(super) fn forged(header: &str, payload: &str, algorithm: Algorithm) -> String {
    let signed = format!("{}.{}", b64(header), b64(payload));
    let signature = signature(algorithm, SECRET.as_bytes(), signed.as_bytes());
    format!("{signed}.{}", b64(signature))
}
