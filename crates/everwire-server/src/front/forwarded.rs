//! Where a client is, as far as proxies are believed. The list of addresses grows at its right end, where our own proxy
//! writes; whatever stands left of the last one that we don't trust is hearsay.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{FORWARDED, HeaderMap};

use crate::trust::{Proxies, Told};

/// The client of a request that came from `peer`; `None`: somebody of this machine whom nothing names.
pub(super) fn client(proxies: &Proxies, peer: Option<SocketAddr>, headers: &HeaderMap) -> Option<SocketAddr> {
    if proxies.trusted.is_empty() || !proxies.trust(peer.map(|peer| peer.ip())) {
        return peer;
    }
    let mut client = peer;
    for told in lines(proxies.told, headers).iter().rev() {
        // Where somebody hides, or what can't be read: whoever told it is the last one that is known.
        let Some(address) = address(told) else { break };
        client = Some(address);
        if !proxies.trust(Some(address.ip())) {
            break;
        }
    }
    client
}

/// The addresses that were told, oldest first.
fn lines(told: Told, headers: &HeaderMap) -> Vec<&str> {
    let all = match told {
        Told::XForwardedFor => headers.get_all("x-forwarded-for"),
        Told::Forwarded => headers.get_all(FORWARDED),
    };
    // A line that is no text counts, as one that can't be read.
    let all = all.iter().flat_map(|line| line.to_str().unwrap_or("?").split(','));
    match told {
        Told::XForwardedFor => all.collect(),
        Told::Forwarded => all.map(|element| named_for(element).unwrap_or("?")).collect(),
    }
}

/// What stands behind `for=` in an element of `Forwarded`.
fn named_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// An address with or without a port; one of IPv6 in brackets or not.
fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, 0));
    }
    if let Some(ip) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return ip.parse().ok().map(|ip| SocketAddr::new(IpAddr::V6(ip), 0));
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn told(trusted: &[&str], told: Told, peer: &str, lines: &[&str]) -> String {
        let trusted = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let proxies = Proxies { trusted, told, protocol: false };
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let peer = (peer != "unix").then(|| SocketAddr::new(peer.parse().unwrap(), 5));
        client(&proxies, peer, &headers).map_or_else(|| "nobody".to_owned(), |client| client.ip().to_string())
    }

    #[test]
    fn the_last_one_that_is_not_trusted_is_the_client() {
        let near = &["10.0.0.0/8", "fd00::/8"][..];
        for (peer, lines, client) in [
            ("192.0.2.1", &["x-forwarded-for: 203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["x-forwarded-for: 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["x-forwarded-for: 127.0.0.1, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["x-forwarded-for: 127.0.0.1", "x-forwarded-for: 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["x-forwarded-for: 203.0.113.9 , 10.0.0.2,fd00::3"], "203.0.113.9"),
            ("10.0.0.1", &["x-forwarded-for: 203.0.113.9:1234"], "203.0.113.9"),
            ("10.0.0.1", &["x-forwarded-for: [2001:db8::1]:1234"], "2001:db8::1"),
            ("10.0.0.1", &["x-forwarded-for: 2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", &["x-forwarded-for: 10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["x-forwarded-for: 203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["x-forwarded-for: 203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["x-forwarded-for: "], "10.0.0.1"),
            ("10.0.0.1", &["x-forwarded-for: \u{e4}, 203.0.113.9"], "10.0.0.1"),
            ("10.0.0.1", &["forwarded: for=203.0.113.9"], "10.0.0.1"),
            ("unix", &["x-forwarded-for: 203.0.113.9"], "nobody"),
        ] {
            assert_eq!(told(near, Told::XForwardedFor, peer, lines), client, "{peer} {lines:?}");
        }
        let unix = &["unix"];
        assert_eq!(told(unix, Told::XForwardedFor, "unix", &["x-forwarded-for: 127.0.0.1"]), "127.0.0.1");
        assert_eq!(told(unix, Told::XForwardedFor, "unix", &[]), "nobody");
    }

    #[test]
    fn rfc_7239() {
        for (lines, client) in [
            (&["forwarded: for=192.0.2.43"][..], "192.0.2.43"),
            (&["forwarded: For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
            (&["forwarded: for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
            (&["forwarded: proto=https ; for=192.0.2.60"], "192.0.2.60"),
            (&["forwarded: for=192.0.2.43, for=\"10.0.0.9:1\""], "192.0.2.43"),
            (&["forwarded: for=192.0.2.43, for=_hidden"], "10.0.0.1"),
            (&["forwarded: for=192.0.2.43, proto=https"], "10.0.0.1"),
            (&["x-forwarded-for: 203.0.113.9"], "10.0.0.1"),
        ] {
            assert_eq!(told(&["10.0.0.0/8"], Told::Forwarded, "10.0.0.1", lines), client, "{lines:?}");
        }
    }
}
