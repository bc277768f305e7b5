//! How a connection of the swarm begins: a socket that does not block, and the upgrade upon it.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};

use everwire_client::handshake::{self, Asked, Head};
use everwire_client::{Address, ConnectError};
use mio::net::TcpStream;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use super::wire::Wire;

/// The head of an answer is not read beyond this, bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// The request of an upgrade, made once for many connections: a key that is used twice harms nobody here.
#[derive(Clone, Debug)]
pub struct Upgrade(std::sync::Arc<Asked>);

impl Upgrade {
    /// For this address.
    ///
    /// # Errors
    /// As [`handshake::ask`].
    pub fn new(
        address: &Address,
        subprotocol: Option<&str>,
        compression: bool,
    ) -> Result<Self, ConnectError> {
        Self::with_headers(address, subprotocol, compression, &[])
    }

    /// The same with further lines, such as `Origin`.
    ///
    /// # Errors
    /// As [`handshake::ask`].
    pub fn with_headers(
        address: &Address,
        subprotocol: Option<&str>,
        compression: bool,
        headers: &[(String, String)],
    ) -> Result<Self, ConnectError> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let protocols: Vec<_> = subprotocol.map(str::to_owned).into_iter().collect();
        Ok(Self(handshake::ask(address, key, headers, &protocols, compression)?.into()))
    }
}

/// An upgrade on its way.
#[derive(Debug)]
pub(super) struct Dialing {
    asked: Option<Upgrade>,
    /// Bytes of the request that are out.
    sent: usize,
    head: Vec<u8>,
}

/// Begins to connect.
///
/// # Errors
/// No descriptor, no port, or the network's.
pub(super) fn begin(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(from) = from {
        rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
    }
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(TcpStream::from_std(std::net::TcpStream::from(socket)))
}

impl Dialing {
    pub(super) fn new(upgrade: Option<&Upgrade>) -> Self {
        Self { asked: upgrade.cloned(), sent: 0, head: Vec::new() }
    }

    /// Goes on; `Some`: it is open, and these bytes came behind the head.
    ///
    /// # Errors
    /// Why it can't be opened, in words.
    pub(super) fn step(&mut self, stream: &mut Wire) -> Result<Option<Vec<u8>>, String> {
        let said = |error: io::Error| error.to_string();
        if let Some(error) = stream.tcp().take_error().map_err(said)? {
            return Err(said(error));
        }
        match stream.tcp().peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(None),
            Err(error) => return Err(said(error)),
        }
        let Some(Upgrade(asked)) = &self.asked else { return Ok(Some(Vec::new())) };
        let request = asked.request.as_bytes();
        if self.sent < request.len() {
            match stream.write(&request[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(said(error)),
            }
        }
        let mut chunk = [0; 4_096];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => return Err("it ended before it answered the upgrade".to_owned()),
                Ok(n) => self.head.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(said(error)),
            }
            if let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") {
                let head = Head::parse(&self.head[..end + 4])?;
                if head.status != 101 {
                    return Err(format!("it answered the upgrade with {}", head.status));
                }
                asked.check(&head)?;
                return Ok(Some(self.head.split_off(end + 4)));
            }
            if self.head.len() > HEAD_BYTES {
                return Err("the head of its answer does not end".to_owned());
            }
        }
    }
}
