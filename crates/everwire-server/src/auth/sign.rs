//! Making a token: for trying out, and for tests. Backends have libraries for it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::Key;

/// What the token is to say.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// `sub`
    pub user: Option<String>,
    /// `iat`, seconds since 1970 UTC.
    pub issued_s: u64,
    /// `exp`, seconds since 1970 UTC.
    pub expires_s: Option<u64>,
    /// Any other claims.
    pub others: Map<String, Value>,
}

/// A token; `None` where the key can only verify.
pub fn sign(key: &Key, wanted: &Wanted) -> Option<String> {
    let mut header = json!({ "alg": key.algorithm().as_str(), "typ": "JWT" });
    if let Some(id) = key.id() {
        header["kid"] = id.into();
    }
    let mut claims = wanted.others.clone();
    claims.insert("iat".into(), wanted.issued_s.into());
    if let Some(user) = &wanted.user {
        claims.insert("sub".into(), user.as_str().into());
    }
    if let Some(end) = wanted.expires_s {
        claims.insert("exp".into(), end.into());
    }
    let [header, claims] =
        [header.to_string(), Value::Object(claims).to_string()].map(|p| URL_SAFE_NO_PAD.encode(p));
    let signed = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())?);
    Some(format!("{signed}.{signature}"))
}
