//! The listeners of a server: bound before anything runs, and open when all of it does.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::config::Config;
use crate::front::{self, Inherited, Listener};
use crate::http;
use crate::listen::Listen;
use crate::site::Site;

/// Connections that wait to be accepted; a burst of reconnects is larger than the system's usual 128.
const BACKLOG: u32 = 4096;

/// A free port that is taken on the other loopback: so many further ones are tried.
const PORT_TRIES: usize = 16;

/// Why a server can't listen.
#[derive(Debug, thiserror::Error)]
pub enum NoDoor {
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
    /// No socket at all.
    #[error("the operating system gave no socket: {0}")]
    System(#[from] io::Error),
}

/// Listeners that are bound; nobody is let in yet.
pub(crate) struct Doors {
    /// For clients; those from `public` on are the API's own.
    clients: Vec<Listener>,
    public: usize,
    /// For who watches.
    watchers: Vec<Listener>,
}

impl Doors {
    /// Binds every address.
    pub(crate) fn open(config: &Config) -> Result<Self, NoDoor> {
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

    /// Where clients come in, and where the API has listeners of its own.
    pub(crate) fn addrs(&self) -> io::Result<(Vec<SocketAddr>, Vec<SocketAddr>)> {
        let (public, api) = self.clients.split_at(self.public);
        Ok((addrs_of(public)?, addrs_of(api)?))
    }

    /// Lets everybody in. Where the watchers' are.
    pub(crate) fn serve(
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
fn listen(places: &[Listen], listeners: &mut Vec<Listener>) -> Result<(), NoDoor> {
    let mut given = None;
    for place in places {
        let tcp = |all: Vec<TcpListener>| all.into_iter().map(Listener::Tcp).collect();
        let bound: Result<Vec<Listener>, NoDoor> = match place {
            Listen::BothLoopbacks(port) => both_loopbacks(*port, bind).map(tcp),
            Listen::At(addr) => bind(*addr).map(|listener| vec![Listener::Tcp(listener)]),
            Listen::Unix(path) => match Listener::at(path) {
                Ok(listener) => Ok(vec![listener]),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    Err(NoDoor::TakenPath(path.clone()))
                }
                Err(error) => Err(NoDoor::Path(path.clone(), error)),
            },
            Listen::Inherited(name) => take_given(&mut given, place, name.as_deref()),
        };
        let own = |listener: &Listener| listener.local_addr().ok().flatten();
        let ours = |port| listeners.iter().filter_map(own).any(|own| own.port() == port);
        match bound {
            Ok(mut bound) => listeners.append(&mut bound),
            Err(NoDoor::Taken(addr)) if ours(addr.port()) => return Err(NoDoor::Twice(addr)),
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
) -> Result<Vec<Listener>, NoDoor> {
    let given = match given {
        Some(given) => given,
        None => given.insert(front::inherited().map_err(NoDoor::Given)?),
    };
    let wanted = |socket: &mut Inherited| name.is_none_or(|name| name == socket.name);
    let taken: Vec<Listener> = given.extract_if(.., wanted).map(|socket| socket.listener).collect();
    if taken.is_empty() { Err(NoDoor::NotGiven(place.clone())) } else { Ok(taken) }
}

/// `127.0.0.1` and, where there is one, `[::1]`, on the same port also when any port was asked for.
fn both_loopbacks(
    port: u16,
    bind: impl Fn(SocketAddr) -> Result<TcpListener, NoDoor>,
) -> Result<Vec<TcpListener>, NoDoor> {
    let mut tries = if port == 0 { PORT_TRIES } else { 1 };
    loop {
        let v4 = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let same = v4.local_addr()?.port();
        tries -= 1;
        match bind(SocketAddr::from((Ipv6Addr::LOCALHOST, same))) {
            Ok(v6) => return Ok(vec![v4, v6]),
            // A machine without IPv6 says so in several ways; a port that is taken is another matter.
            Err(NoDoor::Listen(..)) => return Ok(vec![v4]),
            Err(taken) if tries == 0 => return Err(taken),
            Err(_) => {}
        }
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, NoDoor> {
    let bound = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => NoDoor::Taken(address),
        _ => NoDoor::Listen(address, error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Binds v4 for real; v6 fails so many times in this way, and then succeeds.
    fn tried(port: u16, failures: usize, how: fn(SocketAddr) -> NoDoor) -> Result<usize, NoDoor> {
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
                    |a| NoDoor::Listen(a, io::ErrorKind::AddrNotAvailable.into())
                }
                io::ErrorKind::Unsupported => |a| NoDoor::Listen(a, io::ErrorKind::Unsupported.into()),
                // EAFNOSUPPORT has no kind of its own.
                _ => |a| NoDoor::Listen(a, io::Error::from_raw_os_error(97)),
            };
            assert_eq!(tried(0, usize::MAX, absent).unwrap(), 1, "{kind:?}");
        }
        assert_eq!(tried(0, 0, NoDoor::Taken).unwrap(), 2);
    }

    #[test]
    fn a_port_that_is_taken_on_one_loopback_is_told_unless_any_would_do() {
        assert_eq!(tried(0, PORT_TRIES - 1, NoDoor::Taken).unwrap(), 2);
        assert!(matches!(tried(0, usize::MAX, NoDoor::Taken), Err(NoDoor::Taken(_))));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(matches!(tried(free, 1, NoDoor::Taken), Err(NoDoor::Taken(a)) if a.port() == free));
    }

    #[test]
    fn one_address_twice_is_no_other_program() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let place = Listen::At(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let places = [place.clone(), place];
        assert!(matches!(listen(&places, &mut Vec::new()), Err(NoDoor::Twice(a)) if a.port() == port));
    }
}
