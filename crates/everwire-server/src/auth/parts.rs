//! The three parts of a token: RFC 7515 section 7.1.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::key::Key;
use super::{Fault, TOKEN_BYTES};

/// What is read of a header. What else stands there - addresses of keys, keys, certificates - is never followed: keys
/// come from the config alone.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    typ: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    kid: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

/// Deepest nesting, as of all JSON that the server reads.
const DEPTH: usize = 64;

/// Reads one JSON object. Serde would take a list of the same values for it, and passes over any depth.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<T> {
    let is_one = text.trim_ascii_start().starts_with(b"{") && depth(text) <= DEPTH;
    is_one.then(|| serde_json::from_slice(text).ok())?
}

fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The payload of a token that one of the keys signed, and which. Nothing of the payload is looked at before.
pub(super) fn verified(token: &str, keys: &[Key]) -> Result<(usize, Vec<u8>), Fault> {
    if token.len() > TOKEN_BYTES {
        return Err(Fault::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Fault::Shape)?;
    let (header, payload) = signed.split_once('.').ok_or(Fault::Shape)?;
    // Strict: no padding, no bits left over, so that a token has one spelling. A third dot is no letter of it either.
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Shape);
    let header = decode(header)?;
    let header: Header<'_> = object(&header).ok_or(Fault::Header)?;
    if header.crit.is_some() {
        return Err(Fault::Critical);
    }
    let token_like = |typ: &str| typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt");
    if header.typ.as_deref().is_some_and(|typ| !token_like(typ)) {
        return Err(Fault::Typ);
    }
    let signature = decode(signature)?;
    let mut tried = false;
    for (at, key) in keys.iter().enumerate() {
        if !key.may_have_signed(&header.alg, header.kid.as_deref()) {
            continue;
        }
        tried = true;
        if key.has_signed(signed.as_bytes(), &signature) {
            return Ok((at, decode(payload)?));
        }
    }
    Err(if tried { Fault::Signature } else { Fault::NoKey })
}
