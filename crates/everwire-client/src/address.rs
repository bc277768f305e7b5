//! `ws://host[:port][/path][?query]`, or `wss://`, RFC 6455 section 3.

/// Where a WebSocket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address, without brackets.
    pub host: String,
    /// 80 where none was written; 443 with TLS.
    pub port: u16,
    /// It begins with `wss://`.
    pub tls: bool,
    /// The `Host` header: as it was written, without the port that goes without saying.
    pub authority: String,
    /// Path and query, never empty.
    pub target: String,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or("write ws://host:port/path")?;
        let tls = scheme.eq_ignore_ascii_case("wss");
        if !tls && !scheme.eq_ignore_ascii_case("ws") {
            return Err("it must begin with ws:// or wss://");
        }
        if rest.bytes().any(|b| !b.is_ascii_graphic()) {
            return Err("spaces, control characters and letters outside ASCII must be percent-encoded");
        }
        if rest.contains('#') {
            return Err("a WebSocket's address has no `#` (RFC 6455 section 3)");
        }
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(split);
        if authority.contains('@') {
            return Err("no user name may stand in it: send a token instead");
        }
        let usual = if tls { "443" } else { "80" };
        let (host, port) = split_port(authority, usual)?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let authority = authority.strip_suffix(&format!(":{usual}")).unwrap_or(authority).to_owned();
        Ok(Self { host: host.to_owned(), port, tls, authority, target })
    }
}

/// Host and port; the usual one where none is written. A v6 address stands in brackets, which are taken off.
fn split_port<'a>(authority: &'a str, usual: &'a str) -> Result<(&'a str, u16), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("a bracket is not closed")?;
            let port = after.strip_prefix(':').or(after.is_empty().then_some(usual));
            (host, port.ok_or("after the bracket comes :port or the path")?)
        }
        None => authority.split_once(':').unwrap_or((authority, usual)),
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let port =
        port.parse().ok().filter(|port| digits && *port > 0).ok_or("the port must be from 1 to 65535")?;
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ones() {
        for (url, host, port, authority, target) in [
            ("ws://localhost:8765/ws", "localhost", 8765, "localhost:8765", "/ws"),
            ("WS://Example.org", "Example.org", 80, "Example.org", "/"),
            ("ws://example.org:80/a?b=c", "example.org", 80, "example.org", "/a?b=c"),
            ("ws://[::1]:9?x", "::1", 9, "[::1]:9", "/?x"),
            ("ws://[::1]/", "::1", 80, "[::1]", "/"),
            ("wss://example.org/ws", "example.org", 443, "example.org", "/ws"),
            ("wss://example.org:443/", "example.org", 443, "example.org", "/"),
            ("wss://example.org:80/", "example.org", 80, "example.org:80", "/"),
        ] {
            let address = Address::parse(url).unwrap();
            let got =
                (address.host.as_str(), address.port, address.authority.as_str(), address.target.as_str());
            assert_eq!(got, (host, port, authority, target), "{url}");
            assert_eq!(address.tls, url.starts_with("wss"), "{url}");
        }
    }

    #[test]
    fn bad_ones_say_why() {
        for (url, words) in [
            ("localhost:8765", "ws://host"),
            ("http://x/", "ws://"),
            ("ws://", "host is missing"),
            ("ws://:80/", "host is missing"),
            ("ws://x:0/", "port"),
            ("ws://x:65536/", "port"),
            ("ws://x:+1/", "port"),
            ("ws://[::1/", "bracket"),
            ("ws://[::1]x/", "bracket"),
            ("ws://ann@x/", "user name"),
            ("ws://x/#top", "#"),
            ("ws://x/a b", "percent-encoded"),
            ("ws://x/\r\nHost: y", "percent-encoded"),
        ] {
            let reason = Address::parse(url).unwrap_err();
            assert!(reason.contains(words), "{url}: {reason}");
        }
    }
}
