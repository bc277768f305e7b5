//! What TLS costs: memory of a connection that does nothing, and the CPU of clients that come back.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use everwire_proto::ws::{Opcode, write_masked_frame};
use rustls::{ClientConfig, HandshakeKind};

use super::{Bench, Finding, memory, trust};
use crate::alternate::{Block, Side, alternate};
use crate::floor::{Program, Running};
use crate::server::Server;
use crate::swarm::Swarm;
use crate::tls::{Keys, open};
use crate::watched::Watched;

/// Clients that come back at the same time.
const AT_ONCE: usize = 32;
/// What the answer to `connect` has.
const CONNECTED: &[u8] = b"\"reconnect_spread_ms\"";

/// An upgrade and `connect`, in one write.
fn greeting(token: &str) -> Vec<u8> {
    let mut bytes = format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes();
    write_masked_frame(&mut bytes, Opcode::Text, [1, 2, 3, 4], br#"{"type":"connect","id":1}"#);
    bytes
}

/// Resident memory for each idle session over TLS: what nine tenths of them add to a tenth. The allocator gives little of
/// it back when they have gone, so a second round in the same process would show nothing.
pub(super) fn idle(bench: Bench, conns: usize, limit: f64) -> Result<Finding> {
    let keys = Keys::new()?;
    let quiet = format!("{}[times]\nheartbeat = \"1h\"\n", keys.table());
    let server = Server::start(bench.server_core, "", &quiet)?;
    let (client, greeting) = (keys.client()?, greeting(&server.token));
    let fresh = server.watched.resident_bytes()?;
    let mut sockets: Vec<TcpStream> = Vec::with_capacity(conns);
    let mut resident = |count: usize| -> Result<u64> {
        while sockets.len() < count {
            // The client's own TLS is not what is measured.
            sockets.push(open(server.address, &client, &greeting, CONNECTED)?.0.sock);
        }
        memory::rest(&mut Swarm::new()?, Duration::from_secs(10))?;
        Ok(server.watched.resident_bytes()?)
    };
    let tenth = conns / 10;
    let (few, all) = (resident(tenth)?, resident(conns)?);
    let value = all.saturating_sub(few) as f64 / (conns - tenth) as f64;
    Ok(Finding {
        goal: "S16",
        what: format!("{conns} sessions over TLS, connected and idle 10 s"),
        floor: String::new(),
        figure: format!("{value:.0} bytes a connection"),
        value,
        limit,
        more_is_better: false,
        note: format!(
            "resident: {} KiB fresh, {} KiB with {tenth} of them, {} KiB with all",
            fresh / 1024,
            few / 1024,
            all / 1024
        ),
    })
}

/// Clients that come back, each by a session of TLS that it resumes.
struct Storm {
    to: SocketAddr,
    watched: Watched,
    clients: Vec<Arc<ClientConfig>>,
    greeting: Vec<u8>,
    mark: &'static [u8],
    full: AtomicU64,
}

impl Storm {
    fn new(
        keys: &Keys,
        to: SocketAddr,
        watched: Watched,
        greeting: Vec<u8>,
        mark: &'static [u8],
    ) -> Result<Self> {
        let clients = (0..AT_ONCE).map(|_| keys.client()).collect::<Result<_>>()?;
        Ok(Self { to, watched, clients, greeting, mark, full: AtomicU64::new(0) })
    }

    /// Comes back once. Ends by a reset, so that no port is kept for a minute.
    fn come(&self, client: &Arc<ClientConfig>) -> Result<()> {
        let (sealed, _) = open(self.to, client, &self.greeting, self.mark)?;
        let resumed = sealed.conn.handshake_kind() == Some(HandshakeKind::Resumed);
        self.full.fetch_add(u64::from(!resumed), Ordering::Relaxed);
        rustix::net::sockopt::set_socket_linger(&sealed.sock, Some(Duration::ZERO))?;
        Ok(())
    }
}

impl Side for Storm {
    fn block(&mut self, length: Duration) -> Result<Block> {
        let (begun, cpu_ns) = (Instant::now(), self.watched.cpu_ns()?);
        let storm = &*self;
        let done = std::thread::scope(|scope| -> Result<u64> {
            let all: Vec<_> = storm
                .clients
                .iter()
                .map(|client| {
                    scope.spawn(move || -> Result<u64> {
                        let mut done = 0;
                        while begun.elapsed() < length {
                            storm.come(client)?;
                            done += 1;
                        }
                        Ok(done)
                    })
                })
                .collect();
            let done = all.into_iter().map(|one| one.join().ok().context("a client panicked")?);
            done.sum()
        })?;
        let wall_ns = u64::try_from(begun.elapsed().as_nanos())?;
        Ok(Block { done, cpu_ns: self.watched.cpu_ns()? - cpu_ns, wall_ns })
    }
}

/// Resumption, upgrade, token and `connect`, against a bare loop that resumes and answers as many bytes.
pub(super) fn storm(bench: Bench) -> Result<Finding> {
    let keys = Keys::new()?;
    let server = Server::start(bench.server_core, "", &keys.table())?;
    let greeting = greeting(&server.token);
    let (_, answer) = open(server.address, &keys.client()?, &greeting, CONNECTED)?;
    let program = Program::Tls { folder: keys.folder().to_owned(), answer };
    let floor = Running::start(program, bench.server_core)?;
    let mut bare = Storm::new(&keys, floor.address, floor.watched.clone(), greeting.clone(), b"xxxx")?;
    let mut ours = Storm::new(&keys, server.address, server.watched.clone(), greeting, CONNECTED)?;
    let pair = alternate(&mut bare, &mut ours, bench.rounds)?;
    let (bare_full, ours_full) = (bare.full.into_inner(), ours.full.into_inner());
    Ok(Finding {
        goal: "S17",
        what: format!(
            "{AT_ONCE} clients come back again and again: TLS 1.3 resumed, upgrade, HS256 token, connect"
        ),
        floor: format!("{:.1} µs each", pair.floor_ns / 1e3),
        figure: format!("{:.1} µs each", pair.figure_ns / 1e3),
        value: 1.0 / pair.ratio,
        limit: 0.85,
        more_is_better: true,
        note: format!(
            "{}; value: the floor's time by ours; full handshakes: {bare_full} and {ours_full}, the first of each client",
            trust(&pair)
        ),
    })
}
