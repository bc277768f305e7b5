//! Where all parts meet: a checked config becomes a running server.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use everwire_brokers::answers::Answers;
use everwire_brokers::disk::{self, Disk};
use everwire_engine::channel::Shared;
use everwire_engine::inbox::Inbox;
use everwire_engine::memory::Memory;
use everwire_engine::node::Node;
use everwire_engine::ports::{Authority, Broker};
use everwire_engine::time::Entropy;
use everwire_engine::turn::Loopback;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::auth::{Keyring, Tickets};
use crate::clock::Clock;
use crate::config::{Config, History, PORT};
use crate::descriptors;
use crate::desk::Desk;
use crate::drain::DrainLimits;
use crate::flow::{Check, Flow};
use crate::front::{self, Inherited, Listener};
use crate::gate::Gate;
use crate::http;
use crate::listen::Listen;
use crate::notify::Notifier;
use crate::seats;
use crate::shard::{self, Intake};
use crate::site::Site;
use crate::tls::{Tls, TlsError};
use crate::told::Told;

/// Connections that wait to be accepted; a burst of reconnects is larger than the system's usual 128.
const BACKLOG: u32 = 4096;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port belongs to another program.
    #[error("port {} of {} is taken by another program", .0.port(), .0.ip())]
    Taken(SocketAddr),
    /// The port belongs to another address of the same list.
    #[error("{0} is asked for twice; [::] takes the addresses of IPv4 too")]
    Twice(SocketAddr),
    /// The operating system refuses to listen there.
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// Somebody answers at this path, or something else is there.
    #[error("{path} is taken: a server answers there, or it is no socket", path = .0.display())]
    TakenPath(PathBuf),
    /// The operating system refuses to listen at this path.
    #[error("can't listen on unix:{path}: {why}", path = .0.display(), why = .1)]
    Path(PathBuf, io::Error),
    /// No socket was handed over.
    #[error(
        "{0} is to be listened on, and no such socket was handed over: start the .socket unit, or see systemd.socket(5)"
    )]
    NotGiven(Listen),
    /// What was handed over can't be used.
    #[error("what systemd handed over can't be listened on: {0}")]
    Given(io::Error),
    /// Certificate or key can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The history can't be read or written.
    #[error(transparent)]
    History(#[from] disk::OpenError),
    /// No threads, no poll.
    #[error("the operating system gave no thread or poll: {0}")]
    System(#[from] io::Error),
}

/// A stopping shard waits for its peers so long, and requests that are under way may take so long after it.
const STOP: Patience = Patience { peers_ms: 3_000, answers_ms: 2_000 };

/// The same where nobody wants to wait: what is said already goes out, and that is all.
const AT_ONCE: Patience = Patience { peers_ms: 100, answers_ms: 100 };

/// How often it is looked whether the last client has left.
const LOOK: Duration = Duration::from_millis(20);

/// A free port that is taken on the other loopback: so many further ones are tried.
const PORT_TRIES: usize = 16;

/// Randomness of the operating system.
struct OsEntropy;

impl Entropy for OsEntropy {
    fn bits(&self) -> u128 {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("a system without randomness can't run a server");
        u128::from_le_bytes(bytes)
    }
}

/// How long the end of a server waits, ms.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For peers that are to answer the close.
    peers_ms: u64,
    /// For requests that are under way.
    answers_ms: u64,
}

impl Patience {
    /// What fits into the end of the window.
    fn within(limits: &DrainLimits) -> Self {
        let tail_ms = limits.tail_ms();
        Self { peers_ms: STOP.peers_ms.min(tail_ms / 2), answers_ms: STOP.answers_ms.min(tail_ms / 4) }
    }
}

/// SIGTERM, SIGINT and SIGHUP, from the moment of [`Running::signals`] on.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    /// The next one that asks for the end.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// A running server. Dropping it without [`Running::stop`] leaves its threads to the process.
#[derive(Debug)]
pub struct Running {
    /// Where it listens, in the order asked.
    pub addrs: Vec<SocketAddr>,
    /// Where the API has listeners of its own.
    pub api_addrs: Vec<SocketAddr>,
    /// Where it tells metrics, if that is somewhere else.
    pub watch_addrs: Vec<SocketAddr>,
    /// What it knows.
    pub site: Arc<Site>,
    runtime: Runtime,
    stop: watch::Sender<bool>,
    shards: Vec<JoinHandle<()>>,
    notifier: Option<Arc<Notifier>>,
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
    let clock = Clock::start();
    let tls = config.tls.clone().map(Tls::load).transpose()?;
    if let Some(days) = tls.as_ref().and_then(|tls| days_left(tls, clock)) {
        tracing::warn!(days, "the certificate ends soon; put a new one in its place");
    }
    let doors = {
        let _inside = runtime.enter();
        Doors::open(&config)?
    };
    let (public_addrs, api_addrs) = doors.clients.split_at(doors.public);
    let (addrs, api_addrs) = (addrs_of(public_addrs)?, addrs_of(api_addrs)?);
    let shards = if config.shards > 0 { config.shards } else { u16::try_from(cores).unwrap_or(u16::MAX) };
    let desk = Desk::new();
    let keyring = Arc::new(Keyring::new(config.tokens.clone()));
    let (node, disk) = node(&config, shards, &desk, &keyring, clock)?;
    take_sessions(&config, &node, disk.as_deref(), clock);
    let loopback = Loopback::new(&node, clock.now());
    let mut threads = Vec::new();
    let mut intakes: Vec<Arc<Intake>> = Vec::new();
    for number in 0..shards {
        let (intake, thread) = shard::start(number, &node, &loopback, clock)?;
        intakes.push(intake);
        threads.push(thread);
    }
    let port = addrs.first().map_or(PORT, SocketAddr::port);
    let (tickets, told) = (Tickets::default(), Told::default());
    let per_second = config.handshakes_per_second.saturating_mul(shards.into());
    let gate = Gate::new(per_second, config.http_connections, descriptors::most());
    let site = Arc::new(Site {
        config: RwLock::new(Arc::new(config)),
        keyring,
        node,
        loopback,
        tls,
        clock,
        port,
        shards: intakes,
        tickets,
        desk,
        told,
        gate,
        disk,
        flow: Flow::default(),
        draining: false.into(),
    });
    let (stop, stopped) = watch::channel(false);
    let watch_addrs = doors.serve(&runtime, &site, &stopped)?;
    Ok(Running { addrs, api_addrs, watch_addrs, site, runtime, stop, shards: threads, notifier: None })
}

/// Listeners that are bound; nobody is let in yet.
struct Doors {
    /// For clients; those from `public` on are the API's own.
    clients: Vec<Listener>,
    public: usize,
    /// For who watches.
    watchers: Vec<Listener>,
}

impl Doors {
    fn open(config: &Config) -> Result<Self, StartError> {
        let (mut clients, mut watchers) = (Vec::new(), Vec::new());
        listen(&config.listen, &mut clients)?;
        let public = clients.len();
        listen(&config.api_listen, &mut clients)?;
        listen(&config.metrics_listen, &mut watchers)?;
        for listener in &clients {
            hold_back(listener, config.unsent_bytes)?;
        }
        Ok(Self { clients, public, watchers })
    }

    /// Lets everybody in. Where the watchers' are.
    fn serve(
        self,
        runtime: &Runtime,
        site: &Arc<Site>,
        stopped: &watch::Receiver<bool>,
    ) -> io::Result<Vec<SocketAddr>> {
        // Where the API has listeners of its own, all others answer 404 to it.
        let everywhere = http::router(site.clone(), self.clients.len() == self.public);
        let with_api = http::router(site.clone(), true);
        for (at, listener) in self.clients.into_iter().enumerate() {
            let router = if at < self.public { &everywhere } else { &with_api };
            runtime.spawn(front::accept(listener, site.clone(), router.clone(), stopped.clone()));
        }
        let addrs = addrs_of(&self.watchers)?;
        for (listener, address) in self.watchers.into_iter().zip(&addrs) {
            // The config takes no other kind for it.
            let Listener::Tcp(listener) = listener else { continue };
            tracing::info!(%address, "metrics are told here");
            runtime.spawn(http::watch::accept(listener, site.clone()));
        }
        Ok(addrs)
    }
}

/// How many days the certificate is still good, if they are few.
fn days_left(tls: &Tls, clock: Clock) -> Option<u64> {
    let days = tls.ends_ms().saturating_sub(clock.now().unix_ms) / 86_400_000;
    (days < 14).then_some(days)
}

type Parts = (Arc<Node>, Option<Arc<Disk>>);

fn node(
    config: &Config,
    shards: u16,
    desk: &Desk,
    keyring: &Arc<Keyring>,
    clock: Clock,
) -> Result<Parts, StartError> {
    let inboxes = (0..shards).map(|_| Arc::new(Inbox::new(config.node_limits.inbox_bytes))).collect();
    let shared = Arc::new(Shared {
        inboxes,
        limits: config.node_limits,
        history_bytes: 0.into(),
        message_ids: 0.into(),
    });
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    everwire_engine::hashes::seed([entropy.bits(), entropy.bits()]);
    let settings = config.settings();
    let answers = Answers::new(shared.clone(), desk.inbox().clone());
    let disk = open_disk(config, answers, &entropy, clock)?;
    let broker: Arc<dyn Broker> = match &disk {
        Some(disk) => disk.clone(),
        None => Arc::new(Memory::new(shared.clone(), entropy.clone())),
    };
    let authority: Arc<dyn Authority> = keyring.clone();
    let node = Arc::new(Node::new(settings, shared, broker, authority, entropy));
    Ok((node, disk))
}

/// Goes on with the sessions of the server before this one, if it ended in order.
fn take_sessions(config: &Config, node: &Node, disk: Option<&Disk>, clock: Clock) {
    let (Some(_), History::Disk { data, .. }) = (disk, &config.history) else { return };
    match seats::take(data, node, clock.now()) {
        Ok(0) => {}
        Ok(sessions) => tracing::info!(sessions, "sessions of the server before this one can go on"),
        Err(error) => tracing::warn!(%error, "the sessions of the server before this one are not known"),
    }
}

/// The store of a server that keeps history on disk; without any history there is nothing to store.
fn open_disk(
    config: &Config,
    answers: Answers,
    entropy: &Arc<dyn Entropy>,
    clock: Clock,
) -> Result<Option<Arc<Disk>>, StartError> {
    let History::Disk { data, sync } = &config.history else { return Ok(None) };
    if !config.keeps_history() {
        return Ok(None);
    }
    let settings = disk::Settings {
        sync: *sync,
        namespaces: config.namespaces.clone(),
        limits: config.node_limits,
        segment_bytes: disk::SEGMENT_BYTES,
        max_bytes: config.history_max_bytes,
    };
    let disk = Disk::open(data, settings, answers, entropy.clone(), clock.now())?;
    let disk::Start { channels, bytes, torn, renewed, .. } = disk.start;
    tracing::info!(data = %data.display(), channels, bytes, "the history is open");
    if torn > 0 {
        tracing::warn!(
            torn,
            "the last write was never finished; nobody had been told of it, and it is dropped"
        );
    }
    if renewed {
        tracing::warn!(
            "the machine went down while acknowledged messages were not on the medium: every channel has a new epoch"
        );
    }
    Ok(Some(disk))
}

/// What the kernel may take for a connection before it goes out; connections have it from their listener. Without it the
/// kernel takes megabytes for a peer that reads nothing, and only then does the socket look full.
fn hold_back(listener: &Listener, unsent_bytes: u32) -> io::Result<()> {
    let Listener::Tcp(listener) = listener else { return Ok(()) };
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(listener).set_tcp_notsent_lowat(unsent_bytes)?;
    #[cfg(not(target_os = "linux"))]
    let _ = (listener, unsent_bytes);
    Ok(())
}

/// Binds every address.
fn listen(places: &[Listen], listeners: &mut Vec<Listener>) -> Result<(), StartError> {
    let mut given = None;
    for place in places {
        let tcp = |all: Vec<TcpListener>| all.into_iter().map(Listener::Tcp).collect();
        let bound: Result<Vec<Listener>, StartError> = match place {
            Listen::BothLoopbacks(port) => both_loopbacks(*port, bind).map(tcp),
            Listen::At(addr) => bind(*addr).map(|listener| vec![Listener::Tcp(listener)]),
            Listen::Unix(path) => match Listener::at(path) {
                Ok(listener) => Ok(vec![listener]),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    Err(StartError::TakenPath(path.clone()))
                }
                Err(error) => Err(StartError::Path(path.clone(), error)),
            },
            Listen::Inherited(name) => take_given(&mut given, place, name.as_deref()),
        };
        let own = |listener: &Listener| listener.local_addr().ok().flatten();
        let ours = |port| listeners.iter().filter_map(own).any(|own| own.port() == port);
        match bound {
            Ok(mut bound) => listeners.append(&mut bound),
            Err(StartError::Taken(addr)) if ours(addr.port()) => return Err(StartError::Twice(addr)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The addresses of those that have one.
fn addrs_of(listeners: &[Listener]) -> io::Result<Vec<SocketAddr>> {
    let addrs = listeners.iter().map(Listener::local_addr).collect::<io::Result<Vec<_>>>()?;
    Ok(addrs.into_iter().flatten().collect())
}

/// What was handed over under this name, or all that is left of it. It is asked for once.
fn take_given(
    given: &mut Option<Vec<Inherited>>,
    place: &Listen,
    name: Option<&str>,
) -> Result<Vec<Listener>, StartError> {
    let given = match given {
        Some(given) => given,
        None => given.insert(front::inherited().map_err(StartError::Given)?),
    };
    let wanted = |socket: &mut Inherited| name.is_none_or(|name| name == socket.name);
    let taken: Vec<Listener> = given.extract_if(.., wanted).map(|socket| socket.listener).collect();
    if taken.is_empty() { Err(StartError::NotGiven(place.clone())) } else { Ok(taken) }
}

/// `127.0.0.1` and, where there is one, `[::1]`, on the same port also when any port was asked for.
fn both_loopbacks(
    port: u16,
    bind: impl Fn(SocketAddr) -> Result<TcpListener, StartError>,
) -> Result<Vec<TcpListener>, StartError> {
    let mut tries = if port == 0 { PORT_TRIES } else { 1 };
    loop {
        let v4 = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let same = v4.local_addr()?.port();
        tries -= 1;
        match bind(SocketAddr::from((Ipv6Addr::LOCALHOST, same))) {
            Ok(v6) => return Ok(vec![v4, v6]),
            // A machine without IPv6 says so in several ways; a port that is taken is another matter.
            Err(StartError::Listen(..)) => return Ok(vec![v4]),
            Err(taken) if tries == 0 => return Err(taken),
            Err(_) => {}
        }
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
    /// Begins to listen for SIGTERM and SIGINT, which end the process from then on only if somebody waits.
    ///
    /// # Errors
    /// The operating system can't tell about signals.
    pub fn signals(&self) -> io::Result<Signals> {
        let _inside = self.runtime.enter();
        let of = |kind| signal(kind);
        let (term, int) = (of(SignalKind::terminate())?, of(SignalKind::interrupt())?);
        Ok(Signals { term, int, hup: of(SignalKind::hangup())? })
    }

    /// Waits for the first signal that asks for the end. At each SIGHUP `reload` is done.
    pub fn wait_for(&self, signals: &mut Signals, mut reload: impl FnMut(&Site)) -> &'static str {
        loop {
            let asked = self.runtime.block_on(async {
                tokio::select! {
                    _ = signals.term.recv() => Some("SIGTERM"),
                    _ = signals.int.recv() => Some("SIGINT"),
                    _ = signals.hup.recv() => None,
                }
            });
            if let Some(signal) = asked {
                return signal;
            }
            if let Some(notifier) = &self.notifier {
                notifier.reloading();
            }
            reload(&self.site);
            if let Some(notifier) = &self.notifier {
                notifier.ready();
            }
        }
    }

    /// Tells systemd that the server answers, and from then on, if its watchdog wants to know, that messages flow.
    pub fn notify(&mut self, notifier: Notifier) {
        let notifier = Arc::new(notifier);
        notifier.ready();
        if let Some(every) = notifier.beat() {
            self.runtime.spawn(beat(self.site.clone(), notifier.clone(), every));
        }
        self.notifier = Some(notifier);
    }

    /// Lets the node be left as section 6 of the protocol says: it takes nobody new, each client is told when to go, and
    /// returns when all have gone and everything is stored, within the window. `Some`: a signal came meanwhile, and
    /// whoever was still there was cut.
    pub fn drain(self, signals: &mut Signals) -> Option<&'static str> {
        let limits = self.site.config().drain;
        self.site.draining.store(true, Ordering::Relaxed);
        if let Some(notifier) = &self.notifier {
            notifier.stopping();
        }
        let clients = self.site.connections();
        let plan = limits.plan(clients, self.site.clock.now().mono_ms);
        tracing::info!(clients, groups = plan.groups, window_ms = limits.window_ms, "the node is left");
        for door in &self.site.shards {
            door.drain(plan);
        }
        let second = self.runtime.block_on(async {
            tokio::select! {
                () = self.until_left(&limits) => None,
                signal = signals.next() => Some(signal),
            }
        });
        if let Some(signal) = second {
            tracing::warn!(
                signal,
                clients = self.site.connections(),
                "a second signal: whoever is left is cut"
            );
        }
        self.end(if second.is_some() { AT_ONCE } else { Patience::within(&limits) });
        second
    }

    /// The last client has left, or there is no more time.
    async fn until_left(&self, limits: &DrainLimits) {
        let begun = tokio::time::Instant::now();
        let end = begun + Duration::from_millis(limits.window_ms - limits.tail_ms());
        let notice = begun + Duration::from_millis(limits.notice_ms);
        tokio::time::sleep_until(notice.min(end)).await;
        let _ = self.stop.send(true);
        let mut looks = tokio::time::interval(LOOK);
        while self.site.connections() > 0 && tokio::time::Instant::now() < end {
            looks.tick().await;
        }
    }

    /// Stops accepting, says goodbye to every connection, lets the requests that are under way have their answers, and
    /// returns when all is closed: a few seconds at most.
    pub fn stop(self) {
        self.site.draining.store(true, Ordering::Relaxed);
        self.end(STOP);
    }

    fn end(self, patience: Patience) {
        let _ = self.stop.send(true);
        for door in &self.site.shards {
            door.stop_within(patience.peers_ms);
        }
        for shard in self.shards {
            if shard.join().is_err() {
                tracing::error!("a shard ended with a bug");
            }
        }
        // Each listener and each plain connection holds a receiver until its end.
        let answers = Duration::from_millis(patience.answers_ms);
        let all_ended = async { tokio::time::timeout(answers, self.stop.closed()).await };
        if self.runtime.block_on(all_ended).is_err() {
            tracing::info!("some HTTP connections were cut");
        }
        self.runtime.shutdown_timeout(answers / 2);
        if let (Some(disk), History::Disk { data, .. }) = (&self.site.disk, &self.site.config().history) {
            if let Err(error) = seats::write(data, &self.site.node, self.site.clock.now()) {
                tracing::warn!(%error, "the sessions could not be kept: clients will begin new ones");
            }
            // Last: whatever was taken is stored.
            disk.close();
        }
    }
}

/// Tells the watchdog that messages flow, as long as they do. A store that can't be written is no reason for a restart,
/// which would not help it.
async fn beat(site: Arc<Site>, notifier: Arc<Notifier>, every: Duration) {
    let mut beats = tokio::time::interval(every);
    loop {
        beats.tick().await;
        let checks = site.flow.look(site.way()).await;
        let stuck = checks.iter().find(|check| !check.is_well() && check.name != Check::STORE);
        match stuck {
            None => notifier.alive(),
            Some(check) => {
                tracing::error!(
                    check.name,
                    check.words,
                    "messages do not flow, and the watchdog is not told otherwise"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Binds v4 for real; v6 fails so many times in this way, and then succeeds.
    fn tried(port: u16, failures: usize, how: fn(SocketAddr) -> StartError) -> Result<usize, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _inside = runtime.enter();
        let left = std::cell::Cell::new(failures);
        let bind = |addr: SocketAddr| {
            if addr.is_ipv6() && left.get() > 0 {
                left.set(left.get() - 1);
                return Err(how(addr));
            }
            bind(if addr.is_ipv6() { SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) } else { addr })
        };
        both_loopbacks(port, bind).map(|listeners| listeners.len())
    }

    #[test]
    fn a_machine_without_ipv6_has_one_loopback() {
        for kind in [io::ErrorKind::AddrNotAvailable, io::ErrorKind::Unsupported, io::ErrorKind::Other] {
            let absent = match kind {
                io::ErrorKind::AddrNotAvailable => {
                    |a| StartError::Listen(a, io::ErrorKind::AddrNotAvailable.into())
                }
                io::ErrorKind::Unsupported => |a| StartError::Listen(a, io::ErrorKind::Unsupported.into()),
                // EAFNOSUPPORT has no kind of its own.
                _ => |a| StartError::Listen(a, io::Error::from_raw_os_error(97)),
            };
            assert_eq!(tried(0, usize::MAX, absent).unwrap(), 1, "{kind:?}");
        }
        assert_eq!(tried(0, 0, StartError::Taken).unwrap(), 2);
    }

    #[test]
    fn a_port_that_is_taken_on_one_loopback_is_told_unless_any_would_do() {
        assert_eq!(tried(0, PORT_TRIES - 1, StartError::Taken).unwrap(), 2);
        assert!(matches!(tried(0, usize::MAX, StartError::Taken), Err(StartError::Taken(_))));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(matches!(tried(free, 1, StartError::Taken), Err(StartError::Taken(a)) if a.port() == free));
    }

    #[test]
    fn one_address_twice_is_no_other_program() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let place = Listen::At(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let places = [place.clone(), place];
        assert!(matches!(listen(&places, &mut Vec::new()), Err(StartError::Twice(a)) if a.port() == port));
    }
}
