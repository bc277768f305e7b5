//! The opening handshake from the client's side, RFC 6455 section 4.1: the request, and what its answer must be.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everwire_proto::ws::handshake::accept_for;

use crate::address::Address;
use crate::error::ConnectError;

/// The head of an answer is not read beyond this, bytes.
pub const HEAD_BYTES: usize = 16 * 1024;

/// Our one offer: no context is kept on either side, since each message stands alone.
const DEFLATE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The request, and what to hold the answer against.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What to send.
    pub request: String,
    accept: String,
    protocols: Vec<String>,
    compression: bool,
}

/// The head of the server's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// Names as they came, values without the white space around them.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Reads a head, which ends with an empty line.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "its head is not text")?;
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.and_then(|s| s.parse().ok()).ok_or("it is no HTTP/1.1")?;
        let mut headers = Vec::new();
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or("a header has no colon")?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        Ok(Self { status, headers })
    }
}

/// Writes the request.
///
/// # Errors
/// [`ConnectError::Header`].
pub fn ask(
    address: &Address,
    key: [u8; 16],
    headers: &[(String, String)],
    protocols: &[String],
    compression: bool,
) -> Result<Asked, ConnectError> {
    let key = STANDARD.encode(key);
    let mut request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n",
        address.target, address.authority
    );
    let mut line = |name: &str, value: &str| {
        let printable = |text: &str| text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        if !printable(name) || !printable(value) || name.contains([' ', ':']) || name.is_empty() {
            return Err(ConnectError::Header(format!("{name}: {value}")));
        }
        for part in [name, ": ", value, "\r\n"] {
            request.push_str(part);
        }
        Ok(())
    };
    if !protocols.is_empty() {
        line("Sec-WebSocket-Protocol", &protocols.join(", "))?;
    }
    if compression {
        line("Sec-WebSocket-Extensions", DEFLATE)?;
    }
    for (name, value) in headers {
        line(name, value)?;
    }
    request.push_str("\r\n");
    Ok(Asked { request, accept: accept_for(key.as_bytes()), protocols: protocols.to_vec(), compression })
}

impl Asked {
    /// Checks a 101. Whether compression was agreed to.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn check(&self, head: &Head) -> Result<bool, &'static str> {
        let has = |name: &str, token: &str| {
            let mut parts = head.all(name).into_iter().flat_map(|v| v.split(','));
            parts.any(|part| part.trim().eq_ignore_ascii_case(token))
        };
        if !has("upgrade", "websocket") || !has("connection", "upgrade") {
            return Err("`Upgrade: websocket` or `Connection: Upgrade` is missing");
        }
        if head.get("sec-websocket-accept") != Some(&self.accept) {
            return Err("Sec-WebSocket-Accept does not fit the key");
        }
        let chosen = head.get("sec-websocket-protocol");
        if chosen.is_some_and(|chosen| !self.protocols.iter().any(|offered| offered == chosen)) {
            return Err("it chose a subprotocol that was not offered");
        }
        let Some(extension) = head.get("sec-websocket-extensions") else { return Ok(false) };
        let mut parts = extension.split(';').map(str::trim);
        if !self.compression || parts.next() != Some("permessage-deflate") {
            return Err("it chose an extension that was not offered");
        }
        if !parts.any(|part| part == "server_no_context_takeover") {
            return Err("it would keep its compression context, which was not offered");
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the RFC's example, section 1.3.
    const KEY: [u8; 16] = *b"the sample nonce";

    fn asked(protocols: &[&str], compression: bool) -> Asked {
        let address = Address::parse("ws://localhost:8765/ws").unwrap();
        let protocols: Vec<_> = protocols.iter().map(|p| (*p).to_owned()).collect();
        ask(&address, KEY, &[("Origin".to_owned(), "http://x".to_owned())], &protocols, compression).unwrap()
    }

    fn answer(lines: &str) -> Head {
        let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n{accept}\r\n{lines}\r\n"
        );
        Head::parse(head.as_bytes()).unwrap()
    }

    #[test]
    fn a_request_has_everything_once() {
        let request = asked(&["a", "b"], true).request;
        assert!(request.starts_with("GET /ws HTTP/1.1\r\nHost: localhost:8765\r\n"), "{request}");
        assert!(request.contains("\r\nSec-WebSocket-Protocol: a, b\r\n"), "{request}");
        assert!(request.contains("\r\nSec-WebSocket-Extensions: permessage-deflate;"), "{request}");
        assert!(request.ends_with("\r\nOrigin: http://x\r\n\r\n"), "{request}");
        for (name, value) in [("A b", ""), ("", "x"), ("A:", "x"), ("A", "x\r\nB: y"), ("A", "\u{e4}")] {
            let address = Address::parse("ws://x").unwrap();
            let headers = [(name.to_owned(), value.to_owned())];
            let refused = ask(&address, KEY, &headers, &[], false);
            assert!(matches!(refused, Err(ConnectError::Header(_))), "{name}: {value}");
        }
    }

    #[test]
    fn a_good_answer() {
        assert_eq!(asked(&[], false).check(&answer("")), Ok(false));
        assert_eq!(asked(&["a"], false).check(&answer("Sec-WebSocket-Protocol: a\r\n")), Ok(false));
        let deflate = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
        assert_eq!(asked(&[], true).check(&answer(deflate)), Ok(true));
    }

    #[test]
    fn an_answer_that_was_not_asked_for() {
        for (lines, words) in [
            ("Sec-WebSocket-Protocol: other\r\n", "subprotocol"),
            ("Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n", "extension"),
        ] {
            let why = asked(&["a"], false).check(&answer(lines)).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
        let kept = answer("Sec-WebSocket-Extensions: permessage-deflate\r\n");
        assert!(asked(&[], true).check(&kept).unwrap_err().contains("context"));
        let mut wrong = answer("");
        wrong.headers[2].1.make_ascii_lowercase();
        assert!(asked(&[], false).check(&wrong).unwrap_err().contains("Accept"));
        wrong.headers.remove(0);
        assert!(asked(&[], false).check(&wrong).unwrap_err().contains("Upgrade"));
    }

    #[test]
    fn heads_that_are_none() {
        for bad in [
            &b"HTTP/2 101\r\n\r\n"[..],
            b"HTTP/1.1 x01 ok\r\n\r\n",
            b"HTTP/1.1 101 ok\r\nno colon\r\n\r\n",
            b"\xff\r\n\r\n",
            b"",
        ] {
            assert!(Head::parse(bad).is_err(), "{bad:?}");
        }
    }
}
