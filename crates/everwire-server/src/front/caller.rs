//! Who is at the other end of a connection, as the gate sees it, and what of its handshake is paid already.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use everwire_engine::session::Deny;

use crate::addresses::{Place, Waiting};
use crate::gate::{Gate, Standing};
use crate::site::Site;
use crate::told::Reason;

/// Who is at the other end, before a header says more.
#[derive(Debug)]
pub(super) struct Caller {
    /// `None`: somebody of this machine whom nothing names.
    pub(super) peer: Option<SocketAddr>,
    /// It speaks plainly where TLS is spoken.
    pub(super) misdialled: bool,
    /// It has shaken hands, and that was paid.
    pub(super) sealed: bool,
    standing: Mutex<Standing>,
    /// As long as it is no WebSocket.
    waiting: Waiting,
}

/// A connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// There is no room for any.
    Full,
    /// Its address has too many, and others wait for an answer already.
    Crowded,
}

impl Caller {
    /// Who was accepted. The address of a proxy whose word is taken is nobody's: whom it brings, it says later.
    ///
    /// # Errors
    /// It is to be closed.
    pub(super) fn let_in(site: &Site, peer: Option<SocketAddr>) -> Result<Self, Shut> {
        let Some(waiting) = site.gate.come_in() else {
            tell(site, "node.http_connections are here that are no WebSocket");
            return Err(Shut::Full);
        };
        let standing = Mutex::new(Standing::Unnamed);
        let mut caller = Self { peer, misdialled: false, sealed: false, standing, waiting };
        caller.knock(site)?;
        Ok(caller)
    }

    /// The header of a proxy names its client.
    ///
    /// # Errors
    /// It is to be closed.
    pub(super) fn is_named(&mut self, site: &Site, client: SocketAddr) -> io::Result<()> {
        self.peer = Some(client);
        self.knock(site).map_err(|_| shut())
    }

    fn knock(&mut self, site: &Site) -> Result<(), Shut> {
        let config = site.config();
        let address = self.peer.map(|peer| peer.ip()).filter(|ip| !config.proxies.trust(Some(*ip)));
        let Some(address) = address else { return Ok(()) };
        let Some(standing) = site.gate.knock(&mut self.waiting, address, &config.limits) else {
            tell(site, &Gate::too_many(&config.limits).message);
            return Err(Shut::Crowded);
        };
        self.standing = Mutex::new(standing);
        Ok(())
    }

    /// Pays for a handshake of TLS, which is about to begin.
    ///
    /// # Errors
    /// There were too many, or its address has too many connections. Without TLS nothing can be said to it.
    pub(super) fn pay(&mut self, site: &Site) -> io::Result<()> {
        let (config, now) = (site.config(), site.clock.now());
        let (limits, entropy) = (&config.limits, &*site.node.entropy);
        if self.is_crowded() {
            tell(site, &Gate::too_many(limits).message);
            return Err(shut());
        }
        let paid = match self.peer.filter(|_| self.is_counted()) {
            Some(peer) => site.gate.shake(peer.ip(), limits, entropy, now),
            None => Ok(()),
        };
        if let Err(deny) = paid.and_then(|()| site.gate.admit(entropy, now)) {
            tell(site, &deny.message);
            return Err(shut());
        }
        self.sealed = true;
        Ok(())
    }

    /// What its address has to say to an upgrade: whether it may have one more connection, if this one is not counted, and
    /// one more handshake.
    ///
    /// # Errors
    /// The refusal, with a time to come back.
    pub(super) fn approach(&self, site: &Site, from: Option<IpAddr>) -> Result<Option<Place>, Deny> {
        let (config, now) = (site.config(), site.clock.now());
        let limits = &config.limits;
        if self.is_crowded() {
            return Err(Gate::too_many(limits));
        }
        let Some(from) = from else {
            site.gate.tell_nameless();
            return Ok(None);
        };
        let is_counted = self.is_counted();
        let place = if is_counted { None } else { Some(site.gate.join(from, limits)?) };
        if !(self.sealed && is_counted) {
            site.gate.shake(from, limits, &*site.node.entropy, now)?;
        }
        Ok(place)
    }

    /// Takes one of the server's handshakes for an upgrade, unless TLS has.
    ///
    /// # Errors
    /// The refusal, with a time to come back.
    pub(super) fn enter(&self, site: &Site) -> Result<(), Deny> {
        if self.sealed { Ok(()) } else { site.gate.admit(&*site.node.entropy, site.clock.now()) }
    }

    /// Its place, which goes on with its socket.
    pub(super) fn take_place(&self) -> Option<Place> {
        let mut standing = self.standing();
        match std::mem::replace(&mut *standing, Standing::Unnamed) {
            Standing::Counted(place) => Some(place),
            other => {
                *standing = other;
                None
            }
        }
    }

    /// Whether it is one more than its address may have, and gets one answer.
    pub(super) fn is_crowded(&self) -> bool {
        matches!(*self.standing(), Standing::Crowded(_))
    }

    fn is_counted(&self) -> bool {
        matches!(*self.standing(), Standing::Counted(_))
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log tells why connections are turned away.
pub(super) fn tell(site: &Site, reason: &str) {
    if let Some(left_out) = site.may_tell(Reason::Gate) {
        tracing::warn!(reason, left_out, "connections are turned away");
    }
}

/// The end of a connection that can't be told why.
fn shut() -> io::Error {
    io::Error::new(io::ErrorKind::QuotaExceeded, "the gate is shut")
}
