//! The gate before every upgrade: how many handshakes a second this server takes, and how many connections from one
//! address.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use everwire_engine::node::Node;
use everwire_engine::party::AddressPart;
use everwire_engine::session::Deny;
use everwire_engine::time::{Now, SharedBucket};
use everwire_proto::codes::ErrorCode;

/// Whoever came too fast comes back after a time between these, ms: all at the same moment would be too fast again.
const COME_BACK_MS: [u64; 2] = [1_000, 5_000];
/// Whoever has too many connections may try again after this, ms: those that died in silence are gone by then.
const CROWDED_MS: u64 = 45_000;

/// The gate.
#[derive(Debug)]
pub struct Gate {
    handshakes: SharedBucket,
    per_second: u32,
    /// Handshakes refused because there were too many in a second.
    pub too_fast: AtomicU64,
    /// Handshakes refused because their address has too many connections.
    pub crowded: AtomicU64,
    /// It was told that clients come without an address.
    nameless: AtomicBool,
}

impl Gate {
    /// A gate that lets so many through in a second.
    pub fn new(per_second: u32) -> Self {
        let (handshakes, too_fast, crowded, nameless) = Default::default();
        Self { handshakes, per_second, too_fast, crowded, nameless }
    }

    /// Lets a connection from this address through, and counts it as long as its part lives. `None`: it came by a Unix
    /// socket and nobody says from where. Such ones may be all the world, and are not counted together.
    ///
    /// # Errors
    /// The refusal, with a time to come back.
    pub fn admit(&self, node: &Node, address: Option<IpAddr>, now: Now) -> Result<Option<AddressPart>, Deny> {
        if self.handshakes.take(now, self.per_second, self.per_second, 0).is_err() {
            self.too_fast.fetch_add(1, Ordering::Relaxed);
            let [soon, late] = COME_BACK_MS;
            // Any 64 bits of them are random.
            let after_ms = soon + node.entropy.bits() as u64 % (late - soon);
            let text = format!("more than {} handshakes a second; come back later", self.per_second);
            return Err(Deny { retry_after_ms: Some(after_ms), ..Deny::new(ErrorCode::Overloaded, text) });
        }
        let Some(address) = address else {
            self.tell_nameless();
            return Ok(None);
        };
        let part = node.addresses.join(&party_of(address), node.settings().limits.address_connections);
        part.map(Some).map_err(|crowded| {
            self.crowded.fetch_add(1, Ordering::Relaxed);
            let text = format!("this address has {} connections, which is the limit", crowded.most);
            Deny { retry_after_ms: Some(CROWDED_MS), ..Deny::new(ErrorCode::RateLimited, text) }
        })
    }

    /// Once: it is a matter of the config, and the same for all who come so.
    fn tell_nameless(&self) {
        if !self.nameless.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "clients come by a Unix socket and nothing says from where, so the limits of addresses do not hold for them: \
                 write trusted_proxies = [\"unix\"], and have the proxy send the header that forwarded_header names"
            );
        }
    }
}

/// By what addresses are told apart. A home has a /64 of IPv6, and may use another address of it for each connection.
fn party_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_one_address_and_its_neighbour_another() {
        let party = |text: &str| party_of(text.parse().unwrap());
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::1", "127.0.0.1", false),
            ("::ffff:0:0:1", "::1", true),
        ] {
            assert_eq!(party(one) == party(other), same, "{one} {other}");
        }
    }
}
