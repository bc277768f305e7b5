//! The opening handshake, RFC 6455 section 4.2.1, on a head that an HTTP library has parsed. Strict.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha1::{Digest, Sha1};

use super::deflate;

/// Appended to the key before it is hashed: RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that may be upgraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The `Sec-WebSocket-Accept` header.
    pub accept: String,
    /// The subprotocols offered, in order, without `bearer.` ones.
    pub protocols: Vec<String>,
    /// The token of a `bearer.<base64url>` subprotocol; a secret.
    pub bearer: Option<String>,
    /// The offer of permessage-deflate that can be accepted.
    pub deflate: Option<deflate::Agreed>,
}

/// Why a request is not upgraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status: 400, 405 or 426.
    pub status: u16,
    /// What is wrong and what is expected.
    pub reason: &'static str,
}

fn refused<T>(status: u16, reason: &'static str) -> Result<T, Refused> {
    Err(Refused { status, reason })
}

/// Whether a head asks for a WebSocket at all: only then is [`check`] the judge of it.
pub fn wants_websocket<'h>(headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> bool {
    headers.into_iter().any(|(name, value)| {
        (name.eq_ignore_ascii_case("upgrade") && has_token(value, "websocket"))
            || name.eq_ignore_ascii_case("sec-websocket-key")
    })
}

/// Checks a head. `headers` yields every header line, doubled ones included.
///
/// # Errors
/// [`Refused`] with the status for the answer; 426 wants `Sec-WebSocket-Version: 13` in it.
pub fn check<'h>(
    method: &str,
    is_http_11: bool,
    headers: impl Iterator<Item = (&'h str, &'h [u8])>,
) -> Result<Upgrade, Refused> {
    if method != "GET" {
        return refused(405, "a WebSocket is opened with GET");
    }
    if !is_http_11 {
        return refused(400, "a WebSocket is opened with HTTP/1.1");
    }
    let mut seen = Seen::default();
    for (name, value) in headers {
        seen.note(name, value)?;
    }
    if seen.hosts != 1 || !seen.good_host {
        return refused(400, "exactly one Host header with a host in it is needed");
    }
    if !seen.upgrade || !seen.connection {
        return refused(400, "the headers `Upgrade: websocket` and `Connection: Upgrade` are both needed");
    }
    if seen.versions != 1 || !seen.version_13 {
        return refused(426, "this server speaks WebSocket version 13 only (RFC 6455)");
    }
    let Some(accept) = seen.accept else {
        return refused(400, "exactly one Sec-WebSocket-Key of 16 bytes in base64 is needed");
    };
    Ok(Upgrade { accept, protocols: seen.protocols, bearer: seen.bearer, deflate: seen.deflate })
}

#[derive(Default)]
struct Seen {
    hosts: u32,
    good_host: bool,
    versions: u32,
    version_13: bool,
    upgrade: bool,
    connection: bool,
    keys: u32,
    accept: Option<String>,
    protocols: Vec<String>,
    bearer: Option<String>,
    deflate: Option<deflate::Agreed>,
}

impl Seen {
    fn note(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("host") {
            self.hosts += 1;
            self.good_host = is_host(value.trim_ascii());
        } else if is("upgrade") {
            self.upgrade |= has_token(value, "websocket");
        } else if is("connection") {
            self.connection |= has_token(value, "upgrade");
        } else if is("sec-websocket-version") {
            self.versions += 1;
            self.version_13 = value.trim_ascii() == b"13";
        } else if is("sec-websocket-key") {
            self.keys += 1;
            self.accept = if self.keys == 1 { accept_of(value.trim_ascii()) } else { None };
        } else if is("sec-websocket-protocol") {
            return self.note_protocols(value);
        } else if is("sec-websocket-extensions") {
            self.deflate = self.deflate.or_else(|| deflate::accept(std::str::from_utf8(value).ok()?));
        } else if is("transfer-encoding") {
            return refused(400, "an upgrade has no body, so no Transfer-Encoding");
        } else if is("content-length") && value.trim_ascii() != b"0" {
            return refused(400, "an upgrade has no body, so no Content-Length but 0");
        }
        Ok(())
    }

    fn note_protocols(&mut self, value: &[u8]) -> Result<(), Refused> {
        let Ok(text) = std::str::from_utf8(value) else {
            return refused(400, "Sec-WebSocket-Protocol must be ASCII");
        };
        for offered in text.split(',').map(str::trim) {
            if !is_token(offered) {
                return refused(
                    400,
                    "Sec-WebSocket-Protocol is a list of names without spaces (RFC 6455 4.1)",
                );
            }
            match offered.strip_prefix("bearer.") {
                None => self.protocols.push(offered.to_owned()),
                Some(encoded) => {
                    let bytes = URL_SAFE_NO_PAD.decode(encoded).ok();
                    let Some(token) = bytes.and_then(|b| String::from_utf8(b).ok()) else {
                        return refused(
                            400,
                            "what follows `bearer.` must be a token in base64url without padding",
                        );
                    };
                    if self.bearer.replace(token).is_some() {
                        return refused(400, "one `bearer.` subprotocol is enough");
                    }
                }
            }
        }
        Ok(())
    }
}

/// The `Sec-WebSocket-Accept` for a key; `None` unless it is 16 bytes in base64.
fn accept_of(key: &[u8]) -> Option<String> {
    if STANDARD.decode(key).ok()?.len() != 16 {
        return None;
    }
    Some(accept_for(key))
}

/// The `Sec-WebSocket-Accept` that a server answers a key with; what a client compares.
pub fn accept_for(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Whether a comma-separated header value has this token, in any case.
fn has_token(value: &[u8], token: &str) -> bool {
    value.split(|b| *b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// The characters of a host and a port: RFC 3986 section 3.2. Anything else must be refused (RFC 9112 section 3.2).
fn is_host(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%[]:".contains(b))
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 5] = [
        ("Host", "x"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];

    fn run(headers: &[(&str, &str)]) -> Result<Upgrade, Refused> {
        check("GET", true, headers.iter().map(|(n, v)| (*n, v.as_bytes())))
    }

    fn with(name: &'static str, value: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
        let mut headers: Vec<_> = GOOD.into_iter().filter(|(n, _)| *n != name).collect();
        headers.extend(value.map(|v| (name, v)));
        headers
    }

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(run(&GOOD).unwrap().accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_thing_that_must_be_there() {
        for (name, value, status) in [
            ("Host", None, 400),
            ("Host", Some(""), 400),
            ("Host", Some("a b"), 400),
            ("Host", Some("user@x"), 400),
            ("Host", Some("x/y"), 400),
            ("Upgrade", None, 400),
            ("Upgrade", Some("websockets"), 400),
            ("Connection", None, 400),
            ("Connection", Some("keep-alive"), 400),
            ("Sec-WebSocket-Key", None, 400),
            ("Sec-WebSocket-Key", Some("c2hvcnQ="), 400),
            ("Sec-WebSocket-Key", Some("not base64 at all !!!!!!"), 400),
            ("Sec-WebSocket-Version", None, 426),
            ("Sec-WebSocket-Version", Some("8"), 426),
            ("Sec-WebSocket-Version", Some("13, 8"), 426),
            ("Content-Length", Some("1"), 400),
            ("Transfer-Encoding", Some("chunked"), 400),
            ("Sec-WebSocket-Protocol", Some("a b"), 400),
            ("Sec-WebSocket-Protocol", Some("a,,b"), 400),
            ("Sec-WebSocket-Protocol", Some("bearer.%%"), 400),
            ("Sec-WebSocket-Protocol", Some("bearer.YQ, bearer.Yg"), 400),
        ] {
            assert_eq!(run(&with(name, value)).unwrap_err().status, status, "{name}: {value:?}");
        }
        for name in ["Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version"] {
            let mut doubled = GOOD.to_vec();
            doubled.push(*GOOD.iter().find(|(n, _)| *n == name).unwrap());
            assert!(run(&doubled).is_err(), "{name} twice");
        }
        let ok = || GOOD.iter().map(|(n, v)| (*n, v.as_bytes()));
        assert_eq!(check("POST", true, ok()).unwrap_err().status, 405);
        assert_eq!(check("GET", false, ok()).unwrap_err().status, 400);
    }

    #[test]
    fn offers_are_gathered_from_every_header() {
        let mut headers = GOOD.to_vec();
        headers.push(("Sec-WebSocket-Protocol", "everwire.v1, bearer.dG9rZW4"));
        headers.push(("Sec-WebSocket-Protocol", "other"));
        headers.push(("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=8"));
        headers.push(("Sec-WebSocket-Extensions", "permessage-deflate"));
        headers.push(("Content-Length", "0"));
        let upgrade = run(&headers).unwrap();
        assert_eq!(upgrade.protocols, ["everwire.v1", "other"]);
        assert_eq!(upgrade.bearer.as_deref(), Some("token"));
        assert!(upgrade.deflate.is_some());
    }
}
