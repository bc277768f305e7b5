//! A TCP connection that does what it is told, right or wrong.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use everwire_proto::ws::{Opcode, write_masked_frame};
use socket2::{Domain, Socket, Type};

/// Nothing here takes so long unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Wire {
    pub stream: TcpStream,
    unread: Vec<u8>,
    /// The head of the server's answer, in lower case.
    pub head: String,
}

/// What waiting for a little while brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Bytes,
    Nothing,
    End,
}

/// The lines of a good upgrade request, without the empty one.
pub fn upgrade_lines(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    )
}

/// A masked frame.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_masked_frame(&mut out, opcode, [0x11, 0x22, 0x33, 0x44], payload);
    out
}

/// Sends bytes without waiting; how many the system took.
pub fn push(mut stream: &TcpStream, bytes: &[u8]) -> usize {
    stream.set_nonblocking(true).unwrap();
    let taken = stream.write(bytes).unwrap_or(0);
    stream.set_nonblocking(false).unwrap();
    taken
}

/// Sends the same bytes again and again until the system has taken nothing more for a while, or `most` are through: the
/// server has stopped reading, or has ended the connection.
pub fn push_until_stuck(mut stream: &TcpStream, bytes: &[u8], most: usize) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let (mut sent, mut at) = (0, 0);
    while sent < most {
        match stream.write(&bytes[at..]) {
            Ok(n) => (sent, at) = (sent + n, (at + n) % bytes.len()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    sent
}

/// From now on the end of this connection is a reset instead of a goodbye.
pub fn end_by_reset(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

impl Wire {
    pub fn dial(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).unwrap())
    }

    /// From another address of this machine: 127.0.`network`.`host`.
    pub fn dial_from([network, host]: [u8; 2], addr: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, network, host], 0)).into()).unwrap();
        socket.connect(&addr.into()).unwrap();
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, unread: Vec::new(), head: String::new() }
    }

    /// Sends bytes as they are. A server that has closed already is no fault of the test.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn shut(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    pub fn reset(self) {
        end_by_reset(&self.stream);
    }

    /// Waits for a little while.
    pub fn listen(&mut self, patience: Duration) -> Heard {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 16 * 1024];
        let heard = match self.stream.read(&mut buffer) {
            Ok(0) => Heard::End,
            Ok(n) => {
                self.unread.extend_from_slice(&buffer[..n]);
                Heard::Bytes
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Heard::Nothing,
                _ => Heard::End,
            },
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        heard
    }

    /// Whether more came; `false` at the end.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(n) => {
                self.unread.extend_from_slice(&buffer[..n]);
                n > 0
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!(
                    "the server said nothing for {PATIENCE:?}; before: {:?}",
                    String::from_utf8_lossy(&self.unread)
                )
            }
            Err(_) => false,
        }
    }

    /// Reads a head; `false` when the server ended before it was whole.
    pub fn has_head(&mut self) -> bool {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill() {
                return false;
            }
        };
        let rest = self.unread.split_off(end);
        let head = std::mem::replace(&mut self.unread, rest);
        self.head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        true
    }

    pub fn read_head(&mut self) {
        assert!(
            self.has_head(),
            "the server ended within its head: {:?}",
            String::from_utf8_lossy(&self.unread)
        );
    }

    /// The status of the head that was read.
    pub fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// A header of it, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body that belongs to the head: as long as announced.
    pub fn read_body(&mut self) -> String {
        let len = self.header("content-length").map_or(0, |len| len.parse().unwrap());
        String::from_utf8(self.read_bytes(len)).unwrap()
    }

    /// Everything until the server ends, as it came.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.unread)
    }

    /// As many bytes as asked, as they came.
    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.fill(), "the server ended after {} of {count} bytes", self.unread.len());
        }
        let rest = self.unread.split_off(count);
        std::mem::replace(&mut self.unread, rest)
    }
}
