//! The gate: who is let in, from the accept on. An address is looked at first - its connections, its handshakes - so that
//! what is refused for its sake takes nothing of what the server has for all.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use everwire_engine::limits::ConnectionLimits;
use everwire_engine::session::Deny;
use everwire_engine::time::{Entropy, Now, SharedBucket};
use everwire_proto::codes::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::addresses::{Addresses, Crowded, Place, Waiting};

/// Whoever came too fast comes back after a time between these, ms: all at the same moment would be too fast again.
const COME_BACK_MS: [u64; 2] = [1_000, 5_000];
/// Whoever has too many connections may try again after this, ms: those that died in silence are gone by then.
const CROWDED_MS: u64 = 45_000;
/// So many connections beyond the limits of their addresses may have an answer at a time, and not more than one in
/// [`FEW`] of all that are no WebSocket; others are closed without one.
const ANSWERED: u32 = 64;
const FEW: u32 = 8;
/// Connections that are no WebSocket take one descriptor in so many, and an address one of theirs in [`SHARE`].
const DESCRIPTORS: u64 = 4;
const SHARE: u32 = 2;

/// The gate.
#[derive(Debug)]
pub struct Gate {
    handshakes: SharedBucket,
    per_second: u32,
    /// Connections that may be no WebSocket.
    waiting: u32,
    addresses: Arc<Addresses>,
    answered: Arc<Semaphore>,
    /// Handshakes refused because there were too many in a second.
    pub too_fast: AtomicU64,
    /// Handshakes, and asks for tickets, refused because there were too many in a second from one address.
    pub too_fast_here: AtomicU64,
    /// Connections refused because their address has too many.
    pub crowded: AtomicU64,
    /// Connections closed because too many are no WebSocket.
    pub full: AtomicU64,
    /// It was told that clients come without an address.
    nameless: AtomicBool,
}

/// What a connection is, after its first look.
#[derive(Debug)]
pub enum Standing {
    /// One of its address.
    Counted(Place),
    /// One whose requests say where they come from, or of which nobody says it.
    Unnamed,
    /// One more than its address may have. It may be answered once, and no more.
    Crowded(OwnedSemaphorePermit),
}

impl Gate {
    /// A gate that lets so many through in a second, and has room for so many connections that are no WebSocket, if the
    /// process may have four times as many descriptors.
    pub fn new(per_second: u32, waiting: u32, descriptors: Option<u64>) -> Self {
        let most = descriptors.map_or(u64::MAX, |descriptors| descriptors / DESCRIPTORS);
        let waiting = waiting.min(u32::try_from(most).unwrap_or(u32::MAX)).max(SHARE);
        let (handshakes, too_fast, too_fast_here, crowded, full, nameless) = Default::default();
        let answered = ANSWERED.min(waiting / FEW).max(1);
        let (addresses, answered) = (Arc::default(), Arc::new(Semaphore::new(answered as usize)));
        Self {
            handshakes,
            per_second,
            waiting,
            addresses,
            answered,
            too_fast,
            too_fast_here,
            crowded,
            full,
            nameless,
        }
    }

    /// Addresses, and connections that are no WebSocket.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// A connection was accepted; `None`: there is no room for it.
    pub fn come_in(&self) -> Option<Waiting> {
        let waiting = self.addresses.come_in(self.waiting);
        if waiting.is_none() {
            count(&self.full);
        }
        waiting
    }

    /// It comes from this address; `None`: it is to be closed.
    pub fn knock(
        &self,
        waiting: &mut Waiting,
        address: IpAddr,
        limits: &ConnectionLimits,
    ) -> Option<Standing> {
        match waiting.join(address, limits.address_connections, self.waiting / SHARE) {
            Ok(place) => Some(Standing::Counted(place)),
            Err(Crowded) => {
                count(&self.crowded);
                self.answered.clone().try_acquire_owned().ok().map(Standing::Crowded)
            }
        }
    }

    /// Counts a connection whose address was told later, as long as its place lives.
    ///
    /// # Errors
    /// The refusal, with a time to come back.
    pub fn join(&self, address: IpAddr, limits: &ConnectionLimits) -> Result<Place, Deny> {
        self.addresses.join(address, limits.address_connections).map_err(|Crowded| {
            count(&self.crowded);
            Self::too_many(limits)
        })
    }

    /// What whoever is [`Standing::Crowded`] is told.
    pub fn too_many(limits: &ConnectionLimits) -> Deny {
        let most = limits.address_connections;
        let text = format!("this address has as many connections as it may, at most {most}");
        Deny { retry_after_ms: Some(CROWDED_MS), ..Deny::new(ErrorCode::RateLimited, text) }
    }

    /// Charges an address for a handshake, or what costs as much.
    ///
    /// # Errors
    /// The refusal, with a time to come back.
    pub fn shake(
        &self,
        address: IpAddr,
        limits: &ConnectionLimits,
        entropy: &dyn Entropy,
        now: Now,
    ) -> Result<(), Deny> {
        self.addresses.shake(address, limits, now).map_err(|Crowded| {
            count(&self.too_fast_here);
            let most = limits.address_handshakes_per_second;
            let text = format!("more than {most} handshakes a second from this address; come back later");
            come_back(ErrorCode::RateLimited, text, entropy)
        })
    }

    /// Charges the server for a handshake.
    ///
    /// # Errors
    /// The refusal, with a time to come back.
    pub fn admit(&self, entropy: &dyn Entropy, now: Now) -> Result<(), Deny> {
        self.handshakes.take(now, self.per_second, self.per_second, 0).map(|_| ()).map_err(|_| {
            count(&self.too_fast);
            let text = format!("more than {} handshakes a second; come back later", self.per_second);
            come_back(ErrorCode::Overloaded, text, entropy)
        })
    }

    /// Once: it is a matter of the config, and the same for all who come so.
    pub fn tell_nameless(&self) {
        if !self.nameless.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "clients come by a Unix socket and nothing says from where, so the limits of addresses do not hold for them: \
                 write trusted_proxies = [\"unix\"], and have the proxy send the header that forwarded_header names"
            );
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn come_back(code: ErrorCode, text: String, entropy: &dyn Entropy) -> Deny {
    let [soon, late] = COME_BACK_MS;
    // Any 64 bits of them are random.
    let after_ms = soon + entropy.bits() as u64 % (late - soon);
    Deny { retry_after_ms: Some(after_ms), ..Deny::new(code, text) }
}
