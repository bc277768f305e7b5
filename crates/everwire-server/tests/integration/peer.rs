//! The client of [`everwire_client`], as tests want it: everything that is not what they wait for fails them. Its
//! stream is there for bytes that no client sends.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr};

use everwire_client::{Dial, Message, Socket, TalkError};
use everwire_proto::ws::Opcode;
use serde_json::Value;

use crate::wire::{PATIENCE, end_by_reset};

pub struct Peer {
    pub socket: Socket,
}

/// How tests open a WebSocket.
pub fn dial() -> Dial {
    Dial { timeout: PATIENCE, message_bytes: 64 << 20, ..Dial::default() }
}

impl Peer {
    pub fn open(addr: SocketAddr, path: &str) -> Self {
        Self::open_as(addr, path, &dial())
    }

    pub fn open_as(addr: SocketAddr, path: &str, dial: &Dial) -> Self {
        Self { socket: Socket::connect(&format!("ws://{addr}{path}"), dial).unwrap() }
    }

    /// With a session that stands.
    pub fn session(addr: SocketAddr) -> Self {
        let mut peer = Self::open(addr, "/ws");
        let connected = peer.ask(r#"{"type":"connect","id":1}"#);
        assert_eq!(connected["type"], "connected", "{connected}");
        peer
    }

    /// Speaks MessagePack.
    pub fn packed(addr: SocketAddr) -> Self {
        let protocols = vec!["everwire.v1.msgpack".to_owned()];
        Self::open_as(addr, "/ws", &Dial { protocols, ..dial() })
    }

    /// Sends bytes as they are. A server that has closed already is no fault of the test.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.socket.stream().write_all(bytes).is_ok()
    }

    /// Sends a frame. As with [`Peer::raw`], a server that has closed already is no fault.
    pub fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        let _ = self.socket.send(opcode, payload);
    }

    pub fn text(&mut self, text: &str) {
        self.send(Opcode::Text, text.as_bytes());
    }

    pub fn shut(&self) {
        self.socket.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// Ends with a reset instead of a goodbye.
    pub fn reset(self) {
        end_by_reset(self.socket.stream());
    }

    /// What the server says next; `None`: the connection ended.
    pub fn next(&mut self) -> Option<Message> {
        match self.socket.receive(PATIENCE) {
            Ok(message) => Some(message),
            Err(TalkError::Ended) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next JSON object; pings are passed over.
    pub fn json(&mut self) -> Value {
        loop {
            match self.next() {
                Some(Message::Text(text)) => return serde_json::from_str(&text).unwrap(),
                Some(Message::Ping(_)) => {}
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
                Some(Message::Close(close)) => {
                    assert_eq!(self.next(), None, "something follows the close frame");
                    return close.map_or(1005, |(code, _)| code);
                }
                None => panic!("the connection ended without a close frame"),
                Some(_) => {}
            }
        }
    }
}
