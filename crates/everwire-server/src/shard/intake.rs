//! Where the front leaves connections for a shard.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use everwire_engine::turn::Peer;
use everwire_proto::ws::deflate::Agreed;
use mio::Waker;
use tokio::sync::watch;

use super::gauge::Gauge;
use crate::addresses::Place;
use crate::drain::Plan;
use crate::tls::Records;

/// What an upgraded connection is for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// An echo; `raw`: unchanged.
    Echo {
        /// Text comes back as it came, up to 16 MiB.
        raw: bool,
    },
    /// A session of the protocol.
    Session(Peer),
}

/// An upgraded connection on its way from the front to a shard.
#[derive(Debug)]
pub struct Arrival {
    /// The socket, non-blocking.
    pub stream: OwnedFd,
    /// Its TLS, after the handshake.
    pub tls: Option<Box<Records>>,
    /// What the HTTP library and TLS had read already.
    pub leftover: Bytes,
    /// What was negotiated of permessage-deflate.
    pub deflate: Option<Agreed>,
    /// What it is for.
    pub purpose: Purpose,
    /// Its place among all connections from its address, as long as it has a socket; `None`: nobody says from where it
    /// comes.
    pub place: Option<Place>,
}

/// One shard's door. The front pushes, the shard takes once a turn. What waits here is bounded by the descriptors that
/// it holds.
#[derive(Debug)]
pub struct Intake {
    /// `None`: the shard has ended, and whoever comes is cut.
    arrivals: Mutex<Option<VecDeque<Arrival>>>,
    /// Somebody may wait: so a turn that has no arrivals takes no lock.
    some: AtomicBool,
    waker: Arc<Waker>,
    connections: AtomicUsize,
    /// Connections that it had and has no more.
    ended: AtomicU64,
    plan: OnceLock<Plan>,
    /// ms; `u64::MAX`: nobody asked.
    stops_within: AtomicU64,
    /// What the shard tells of itself.
    pub gauge: Gauge,
    /// The newest number that the node published to itself and that came back here.
    pub came_back: watch::Sender<u64>,
}

impl Intake {
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        Self {
            arrivals: Mutex::new(Some(VecDeque::new())),
            some: AtomicBool::new(false),
            waker,
            connections: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
            plan: OnceLock::new(),
            stops_within: AtomicU64::new(u64::MAX),
            gauge: Gauge::default(),
            came_back: watch::Sender::new(0),
        }
    }

    /// Connections that the shard has, or will take.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections that the shard had and has no more.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Hands a connection over.
    pub fn push(&self, arrival: Arrival) {
        let mut known = false;
        if let Some(arrivals) = &mut *self.lock() {
            self.connections.fetch_add(1, Ordering::Relaxed);
            arrivals.push_back(arrival);
            known = self.some.swap(true, Ordering::AcqRel);
        }
        // Whoever came first has woken the shard, and it takes everybody who is there by then.
        if !known {
            self.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Arrival>>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the shard to let its connections go by this plan; once.
    pub fn drain(&self, plan: Plan) {
        let _ = self.plan.set(plan);
        self.wake();
    }

    pub(super) fn plan(&self) -> Option<Plan> {
        self.plan.get().copied()
    }

    /// Asks the shard to close everything, and to end when its peers have answered, or after so many ms. It may be asked
    /// again with less.
    pub fn stop_within(&self, ms: u64) {
        self.stops_within.fetch_min(ms, Ordering::AcqRel);
        self.wake();
    }

    /// The patience with which it was asked to end, ms.
    pub(crate) fn stops_within(&self) -> Option<u64> {
        Some(self.stops_within.load(Ordering::Acquire)).filter(|ms| *ms < u64::MAX)
    }

    pub(super) fn left(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the first ones, at most `most`, and tells whether more wait.
    pub(super) fn take(&self, most: usize, into: &mut Vec<Arrival>) -> bool {
        if !self.some.load(Ordering::Acquire) {
            return false;
        }
        let mut arrivals = self.lock();
        let Some(arrivals) = &mut *arrivals else { return false };
        into.extend(arrivals.drain(..most.min(arrivals.len())));
        // Under the lock, as in `push`: whoever comes after this sets it again.
        self.some.store(!arrivals.is_empty(), Ordering::Release);
        !arrivals.is_empty()
    }

    /// The shard ends: whoever waits is cut, and so is whoever comes.
    pub(super) fn close(&self) {
        let waiting = self.lock().take();
        self.connections.fetch_sub(waiting.map_or(0, |w| w.len()), Ordering::Relaxed);
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "a shard can't be woken");
        }
    }
}
