//! Where all parts meet: a checked config becomes a running server.

use std::io;
use std::net::SocketAddr;
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
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::auth::{Keyring, Revoked, RevokedError, Tickets};
use crate::clock::Clock;
use crate::config::{Config, History, PORT};
use crate::descriptors;
use crate::desk::Desk;
use crate::doors::{Doors, NoDoor};
use crate::drain::DrainLimits;
use crate::flow::{Check, Flow};
use crate::gate::Gate;
use crate::heap;
use crate::notify::Notifier;
use crate::seats;
use crate::shard::{self, Intake};
use crate::site::Site;
use crate::tls::{Tls, TlsError};
use crate::told::Told;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No listener.
    #[error(transparent)]
    Door(#[from] NoDoor),
    /// Certificate or key can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The history can't be read or written.
    #[error(transparent)]
    History(#[from] disk::OpenError),
    /// What was revoked is not known.
    #[error(transparent)]
    Revoked(#[from] RevokedError),
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
    let (addrs, api_addrs) = doors.addrs()?;
    let shards = if config.shards > 0 { config.shards } else { u16::try_from(cores).unwrap_or(u16::MAX) };
    let desk = Desk::new();
    let keyring = Arc::new(Keyring::new(config.tokens.as_deref(), revoked(&config, clock)?));
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
    runtime.spawn(heap::tend(site.clone()));
    Ok(Running { addrs, api_addrs, watch_addrs, site, runtime, stop, shards: threads, notifier: None })
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

/// What was revoked: where there is a folder for data, it is kept there, with history or without.
fn revoked(config: &Config, clock: Clock) -> Result<Revoked, RevokedError> {
    let revoked = match &config.history {
        History::Disk { data, .. } => Revoked::kept_in(data, clock.now())?,
        History::Memory => Revoked::default(),
    };
    revoked.set_most(config.revocations);
    Ok(revoked)
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
