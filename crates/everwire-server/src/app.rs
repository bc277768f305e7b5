//! Where all parts meet: a checked config becomes a running server.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use everwire_engine::channel::Shared;
use everwire_engine::inbox::Inbox;
use everwire_engine::memory::Memory;
use everwire_engine::node::{Node, Settings};
use everwire_engine::ports::NoTokens;
use everwire_engine::time::Entropy;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::{Config, Mode};
use crate::shard::{self, Intake};
use crate::site::Site;
use crate::{front, http};

/// The port of dev mode.
pub const PORT: u16 = 8765;

/// Connections that wait to be accepted; a burst of reconnects is larger than the system's usual 128.
const BACKLOG: u32 = 4096;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that can't be read or resolved.
    #[error("{0:?} is no address to listen on; write host:port, such as 127.0.0.1:8765 or [::1]:8765")]
    Address(String),
    /// The port belongs to another program.
    #[error("port {} of {} is taken by another program", .0.port(), .0.ip())]
    Taken(SocketAddr),
    /// The operating system refuses to listen there.
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// No threads, no poll.
    #[error("the operating system gave no thread or poll: {0}")]
    System(#[from] io::Error),
}

/// Randomness of the operating system.
struct OsEntropy;

impl Entropy for OsEntropy {
    fn bits(&self) -> u128 {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("a system without randomness can't run a server");
        u128::from_le_bytes(bytes)
    }
}

/// A running server. Dropping it without [`Running::stop`] leaves its threads to the process.
#[derive(Debug)]
pub struct Running {
    /// Where it listens, in the order asked.
    pub addrs: Vec<SocketAddr>,
    /// What it knows.
    pub site: Arc<Site>,
    runtime: Runtime,
    stop: watch::Sender<bool>,
    shards: Vec<JoinHandle<()>>,
}

/// Starts a server and returns when it answers.
///
/// # Errors
/// [`StartError`], before anything runs.
pub fn start(config: Config) -> Result<Running, StartError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(4))
        .thread_name("front")
        .enable_all()
        .build()?;
    let listeners = {
        let _inside = runtime.enter();
        listen(&config)?
    };
    let addrs = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    let clock = Clock::start();
    let shards = if config.shards > 0 { config.shards } else { u16::try_from(cores).unwrap_or(u16::MAX) };
    let node = node(&config, shards);
    let mut threads = Vec::new();
    let mut doors: Vec<Arc<Intake>> = Vec::new();
    for number in 0..shards {
        let (door, thread) = shard::start(number, &node, clock)?;
        doors.push(door);
        threads.push(thread);
    }
    let port = addrs.first().map_or(PORT, SocketAddr::port);
    let site = Arc::new(Site { config, node, clock, port, shards: doors });
    let (stop, stopped) = watch::channel(false);
    let router = http::router(site.clone());
    for listener in listeners {
        runtime.spawn(front::accept(listener, site.clone(), router.clone(), stopped.clone()));
    }
    Ok(Running { addrs, site, runtime, stop, shards: threads })
}

fn node(config: &Config, shards: u16) -> Arc<Node> {
    let inboxes = (0..shards).map(|_| Arc::new(Inbox::new(config.node_limits.inbox_bytes))).collect();
    let shared = Arc::new(Shared { inboxes, limits: config.node_limits, history_bytes: 0.into() });
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let settings = Settings {
        name: "everwire".into(),
        namespaces: config.namespaces.clone(),
        limits: config.limits,
        times: config.times,
        connect_required: config.connect_required,
    };
    let broker = Arc::new(Memory::new(shared.clone(), entropy.clone()));
    Arc::new(Node::new(settings, shared, broker, Arc::new(NoTokens), entropy))
}

/// Binds every address; in dev mode without one, both loopbacks on one port.
fn listen(config: &Config) -> Result<Vec<TcpListener>, StartError> {
    if config.listen.is_empty() && config.mode == Mode::Dev {
        return both_loopbacks(PORT);
    }
    let mut listeners = Vec::new();
    for address in &config.listen {
        match address.strip_prefix("localhost:") {
            Some(port) => {
                let port = port.parse().map_err(|_| StartError::Address(address.clone()))?;
                listeners.append(&mut both_loopbacks(port)?);
            }
            None => {
                let parsed = address.parse().map_err(|_| StartError::Address(address.clone()))?;
                listeners.push(bind(parsed)?);
            }
        }
    }
    Ok(listeners)
}

/// `127.0.0.1` and, where there is one, `[::1]`, on the same port also when any port was asked for.
fn both_loopbacks(port: u16) -> Result<Vec<TcpListener>, StartError> {
    let v4 = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let same = v4.local_addr()?.port();
    match bind(SocketAddr::from((Ipv6Addr::LOCALHOST, same))) {
        Ok(v6) => Ok(vec![v4, v6]),
        // A machine without IPv6 says so in several ways; a port that is taken is another matter.
        Err(StartError::Listen(..)) => Ok(vec![v4]),
        Err(taken) => Err(taken),
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::Taken(address),
        _ => StartError::Listen(address, error),
    })
}

impl Running {
    /// Waits for SIGTERM or SIGINT.
    ///
    /// # Errors
    /// The operating system can't tell about signals.
    pub fn wait_for_signal(&self) -> io::Result<&'static str> {
        self.runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            Ok(tokio::select! {
                _ = term.recv() => "SIGTERM",
                _ = int.recv() => "SIGINT",
            })
        })
    }

    /// Stops accepting, says goodbye to every connection, and returns when all is closed: a few seconds at most.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        for door in &self.site.shards {
            door.stop();
        }
        for shard in self.shards {
            if shard.join().is_err() {
                tracing::error!("a shard ended with a bug");
            }
        }
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
