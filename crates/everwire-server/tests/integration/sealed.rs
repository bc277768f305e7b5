//! A TLS connection that does what it is told, right or wrong.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use everwire_proto::ws::Opcode;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

use crate::wire::{PATIENCE, frame, upgrade_lines};

pub struct Sealed {
    pub tls: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
    /// The head of the server's answer, in lower case.
    pub head: String,
}

/// How the server's side ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a word that nothing follows.
    Clean,
    /// Without one.
    Cut,
}

impl Sealed {
    pub fn dial(addr: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::over(TcpStream::connect(addr).unwrap(), config)
    }

    pub fn over(stream: TcpStream, config: &Arc<ClientConfig>) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let tls = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
        Self { tls: StreamOwned::new(tls, stream), unread: Vec::new(), head: String::new() }
    }

    /// The handshake alone; what the server has against it.
    pub fn shake_hands(&mut self) -> Result<(), String> {
        while self.tls.conn.is_handshaking() {
            self.tls.conn.complete_io(&mut self.tls.sock).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Upgraded, at this path.
    pub fn open(addr: SocketAddr, config: &Arc<ClientConfig>, path: &str) -> Self {
        let mut sealed = Self::dial(addr, config);
        sealed.upgrade(path);
        sealed
    }

    pub fn upgrade(&mut self, path: &str) {
        self.raw(format!("{}\r\n", upgrade_lines(path)).as_bytes());
        self.read_head();
        assert_eq!(self.status(), "101", "{}", self.head);
    }

    /// With a session that stands.
    pub fn session(addr: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let mut sealed = Self::open(addr, config, "/ws");
        assert_eq!(sealed.ask(r#"{"type":"connect","id":1}"#)["type"], "connected");
        sealed
    }

    /// Sends bytes as they are, in as few records as they fit. A server that has closed is no fault of the test.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.tls.write_all(bytes).and_then(|()| self.tls.flush()).is_ok()
    }

    pub fn text(&mut self, text: &str) {
        self.raw(&frame(Opcode::Text, text.as_bytes()));
    }

    /// What came; how the server ended if nothing did.
    fn fill(&mut self) -> Result<(), Ended> {
        let mut buffer = [0; 16 * 1024];
        match self.tls.read(&mut buffer) {
            Ok(0) => Err(Ended::Clean),
            Ok(n) => {
                self.unread.extend_from_slice(&buffer[..n]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the server said nothing for {PATIENCE:?}")
            }
            Err(_) => Err(Ended::Cut),
        }
    }

    pub fn read_head(&mut self) {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().unwrap();
        };
        let rest = self.unread.split_off(end);
        let head = std::mem::replace(&mut self.unread, rest);
        self.head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    }

    pub fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// As many bytes as asked.
    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            self.fill().unwrap();
        }
        let rest = self.unread.split_off(count);
        std::mem::replace(&mut self.unread, rest)
    }

    /// Everything until the server ends, and how it does.
    pub fn read_to_end(&mut self) -> (Vec<u8>, Ended) {
        loop {
            if let Err(ended) = self.fill() {
                return (std::mem::take(&mut self.unread), ended);
            }
        }
    }

    /// The next frame of the server: its first byte and its payload.
    pub fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.read_bytes(2);
        let len = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.read_bytes(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.read_bytes(8).try_into().unwrap()),
            short => u64::from(short),
        };
        (head[0], self.read_bytes(usize::try_from(len).unwrap()))
    }

    /// The next JSON object; pings are passed over.
    pub fn json(&mut self) -> Value {
        loop {
            match self.frame() {
                (0x81, text) => return serde_json::from_slice(&text).unwrap(),
                (0x89, _) => {}
                other => panic!("{other:?} instead of an object"),
            }
        }
    }

    pub fn ask(&mut self, command: &str) -> Value {
        self.text(command);
        self.json()
    }
}
