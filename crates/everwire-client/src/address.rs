//! `ws://host[:port][/path][?query]`, RFC 6455 section 3.

/// Where a WebSocket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address, without brackets.
    pub host: String,
    /// 80 where none was written.
    pub port: u16,
    /// The `Host` header: as it was written, without the port 80.
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
        if scheme.eq_ignore_ascii_case("wss") {
            return Err("this client speaks no TLS: write ws://");
        }
        if !scheme.eq_ignore_ascii_case("ws") {
            return Err("it must begin with ws://");
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
        let (host, port) = split_port(authority)?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let authority = authority.strip_suffix(":80").unwrap_or(authority).to_owned();
        Ok(Self { host: host.to_owned(), port, authority, target })
    }
}

/// Host and port; 80 where none is written. A v6 address stands in brackets, which are taken off.
fn split_port(authority: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("a bracket is not closed")?;
            let port = after.strip_prefix(':').or(after.is_empty().then_some("80"));
            (host, port.ok_or("after the bracket comes :port or the path")?)
        }
        None => authority.split_once(':').unwrap_or((authority, "80")),
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
        ] {
            let address = Address::parse(url).unwrap();
            let got =
                (address.host.as_str(), address.port, address.authority.as_str(), address.target.as_str());
            assert_eq!(got, (host, port, authority, target), "{url}");
        }
    }

    #[test]
    fn bad_ones_say_why() {
        for (url, words) in [
            ("localhost:8765", "ws://host"),
            ("wss://x/", "no TLS"),
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
