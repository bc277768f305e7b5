//! A client that does what it is told, right or wrong: raw bytes, frames, and what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use everwire_proto::ws::{Decoder, Event, Inflater, Limits, Opcode, write_masked_frame};
use serde_json::Value;

/// Nothing here takes so long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    /// The connection ended.
    End,
}

pub struct Client {
    stream: TcpStream,
    decoder: Decoder,
    inflater: Inflater,
    unread: Vec<u8>,
    /// The head of the server's answer, in lower case.
    pub head: String,
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

impl Client {
    pub fn dial(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let decoder = Decoder::client(Limits { message_bytes: 64 << 20 }, true);
        Self { stream, decoder, inflater: Inflater::new(), unread: Vec::new(), head: String::new() }
    }

    /// Sends an upgrade request with these further lines and expects 101.
    pub fn upgrade(mut self, path: &str, lines: &str) -> Self {
        self.raw(format!("{}{lines}\r\n", upgrade_lines(path)).as_bytes());
        self.read_head();
        assert!(self.head.starts_with("http/1.1 101 "), "{}", self.head);
        self
    }

    /// Sends bytes as they are. A server that has closed already is no fault of the test.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        self.raw(&frame(opcode, payload));
    }

    pub fn text(&mut self, text: &str) {
        self.send(Opcode::Text, text.as_bytes());
    }

    /// Sends bytes without waiting; how many the system took.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).unwrap();
        let taken = self.stream.write(bytes).unwrap_or(0);
        self.stream.set_nonblocking(false).unwrap();
        taken
    }

    pub fn shut(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends with a reset instead of a goodbye.
    pub fn reset(self) {
        let socket = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        socket.unwrap();
    }

    /// Bytes more of the server; 0 at the end.
    fn fill(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(n) => {
                self.unread.extend_from_slice(&buffer[..n]);
                n
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!(
                    "the server said nothing for {PATIENCE:?}; before: {:?}",
                    String::from_utf8_lossy(&self.unread)
                )
            }
            Err(_) => 0,
        }
    }

    pub fn read_head(&mut self) {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(
                self.fill() > 0,
                "the server ended within its head: {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        self.head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    }

    /// Everything until the server ends, as it came.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.unread)
    }

    /// As many bytes as asked, as they came.
    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.fill() > 0, "the server ended after {} of {count} bytes", self.unread.len());
        }
        self.unread.drain(..count).collect()
    }

    /// The next thing that the server says.
    pub fn next(&mut self) -> Said {
        loop {
            let len = self.unread.len();
            let mut window = &mut self.unread[..];
            let event =
                self.decoder.next(&mut window, &mut self.inflater).expect("a server keeps the protocol");
            let taken = len - window.len();
            let said = event.map(|event| match event {
                Event::Text(text) => Said::Text(String::from_utf8(text.to_vec()).unwrap()),
                Event::Binary(bytes) => Said::Binary(bytes.to_vec()),
                Event::Ping(_) => Said::Ping,
                Event::Pong(bytes) => Said::Pong(bytes.to_vec()),
                Event::Close(close) => Said::Close(close.map(|(code, reason)| (code, reason.to_owned()))),
            });
            self.unread.drain(..taken);
            if let Some(said) = said {
                return said;
            }
            if self.fill() == 0 {
                return Said::End;
            }
        }
    }

    /// The next JSON object; pings are passed over.
    pub fn json(&mut self) -> Value {
        loop {
            match self.next() {
                Said::Text(text) => return serde_json::from_str(&text).unwrap(),
                Said::Ping => {}
                other => panic!("{other:?} instead of an object"),
            }
        }
    }

    /// The next object of this type; others are passed over.
    pub fn wait(&mut self, kind: &str) -> Value {
        loop {
            let object = self.json();
            if object["type"] == kind {
                return object;
            }
        }
    }

    /// Sends a command and gives what comes next.
    pub fn ask(&mut self, command: &str) -> Value {
        self.text(command);
        self.json()
    }

    /// The close code that comes, whatever is said before, and the end after it.
    pub fn closed_with(&mut self) -> u16 {
        loop {
            match self.next() {
                Said::Close(close) => {
                    let code = close.map_or(1005, |(code, _)| code);
                    self.send(Opcode::Close, &code.to_be_bytes());
                    assert_eq!(self.next(), Said::End);
                    return code;
                }
                Said::End => panic!("the connection ended without a close frame"),
                _ => {}
            }
        }
    }
}
