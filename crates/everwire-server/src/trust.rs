//! Whose word is taken for where a client is: proxies that the operator names.

use std::net::IpAddr;
use std::str::FromStr;

/// A network: an address, and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

/// One of `trusted_proxies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Network(Network),
    /// Whoever may open our Unix sockets.
    Unix,
}

/// What was written names no proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no proxy; write an address (10.0.0.7), a network (10.0.0.0/8, fd00::/8), or unix for whoever comes by a Unix socket"
)]
pub struct NoProxy(String);

/// Which header a proxy writes its clients' addresses into. One that it does not write it may pass on as it came, so only
/// the one that is named here is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

/// What the config says of proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Those whose word is taken.
    pub trusted: Vec<Proxy>,
    /// Where they tell it.
    pub told: Told,
    /// Whether their connections begin with a header of the PROXY protocol, version 2.
    pub protocol: bool,
}

impl FromStr for Proxy {
    type Err = NoProxy;

    fn from_str(text: &str) -> Result<Self, NoProxy> {
        let refused = || NoProxy(text.to_owned());
        if text == "unix" {
            return Ok(Self(Kind::Unix));
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|bits| *bits <= most).ok_or_else(refused)?
            }
            Some(_) => return Err(refused()),
        };
        Ok(Self(Kind::Network(Network { address, bits })))
    }
}

impl Network {
    fn has(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl Proxies {
    /// Whether the word of this address is taken; `None` came by a Unix socket. An IPv4 address that came to a listener
    /// of IPv6 is an IPv4 address.
    pub fn trust(&self, address: Option<IpAddr>) -> bool {
        let address = address.map(|address| address.to_canonical());
        self.trusted.iter().any(|Proxy(kind)| match (kind, address) {
            (Kind::Network(network), Some(address)) => network.has(address),
            (Kind::Unix, None) => true,
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusting(all: &[&str]) -> Proxies {
        Proxies { trusted: all.iter().map(|text| text.parse().unwrap()).collect(), ..Proxies::default() }
    }

    #[test]
    fn networks() {
        for (proxy, address, trusted) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.6", false),
            ("10.0.0.7", "::ffff:10.0.0.7", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe80::1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("unix", "127.0.0.1", false),
        ] {
            assert_eq!(
                trusting(&[proxy]).trust(Some(address.parse().unwrap())),
                trusted,
                "{proxy} {address}"
            );
        }
        assert!(trusting(&["10.0.0.0/8", "unix"]).trust(None));
        assert!(!trusting(&["0.0.0.0/0", "::/0"]).trust(None));
        assert!(!trusting(&[]).trust(Some("127.0.0.1".parse().unwrap())));
    }

    #[test]
    fn what_names_no_proxy() {
        for text in
            ["", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/", "::/129", "proxy", "10.0.0/8", "*"]
        {
            let error = text.parse::<Proxy>().unwrap_err().to_string();
            assert!(error.contains("10.0.0.0/8"), "{text}: {error}");
        }
    }
}
