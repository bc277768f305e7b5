//! One session of the protocol: commands with their replies, and pushes.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use everwire_proto::payload::Format;
use everwire_proto::transcode;
use serde_json::{Value, json};

use crate::error::{ConnectError, Denied, TalkError};
use crate::socket::{Dial, Message, Socket};

/// How to begin a session.
#[derive(Clone, Debug)]
pub struct Options {
    /// How to open the WebSocket. The subprotocol is added to it.
    pub dial: Dial,
    /// The format on the wire; to the caller everything is JSON.
    pub format: Format,
    /// A secret that says who this is.
    pub token: Option<String>,
    /// What this client calls itself.
    pub name: Option<String>,
    /// How long to wait for a reply, or for the next push.
    pub patience: Duration,
    /// So many pushes are kept while a reply is waited for.
    pub kept_pushes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dial: Dial::default(),
            format: Format::Json,
            token: None,
            name: None,
            patience: Duration::from_secs(10),
            kept_pushes: 10_000,
        }
    }
}

/// A command that was sent, for its reply.
#[derive(Debug)]
#[must_use = "a reply that nobody asks for is kept for ever"]
pub struct Ticket(u64);

/// One session. Replies may overtake each other and pushes come in between: both are kept until they are asked for.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    format: Format,
    patience: Duration,
    last_id: u64,
    /// Commands that wait for their reply; those that have it.
    replies: HashMap<u64, Option<Value>>,
    pushes: VecDeque<Value>,
    kept_pushes: usize,
    connected: Value,
    out: Vec<u8>,
}

impl Client {
    /// Opens a WebSocket and connects.
    ///
    /// # Errors
    /// [`ConnectError`]; a refused `connect` is its `Talk`.
    pub fn connect(url: &str, options: &Options) -> Result<Self, ConnectError> {
        let mut dial = options.dial.clone();
        dial.protocols.push(protocol(options.format).to_owned());
        let socket = Socket::connect(url, &dial)?;
        if socket.header("sec-websocket-protocol") != Some(protocol(options.format)) {
            return Err(ConnectError::Handshake(
                "it did not choose our subprotocol: is this the path of a session?",
            ));
        }
        let mut client = Self {
            socket,
            format: options.format,
            patience: options.patience,
            last_id: 0,
            replies: HashMap::new(),
            pushes: VecDeque::new(),
            kept_pushes: options.kept_pushes,
            connected: Value::Null,
            out: Vec::new(),
        };
        let who =
            json!({ "token": options.token, "name": options.name, "version": env!("CARGO_PKG_VERSION") });
        client.connected = client.ask("connect", &who)?;
        Ok(client)
    }

    /// What the server said at the start: `client`, `session`, `limits` and more.
    pub fn connected(&self) -> &Value {
        &self.connected
    }

    /// The WebSocket below.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Sends a command and waits for its reply. `fields` is an object, or null where there are none.
    ///
    /// # Errors
    /// [`TalkError::Denied`] is the server's no; after it, and after a timeout, the connection lives.
    pub fn ask(&mut self, command: &str, fields: &Value) -> Result<Value, TalkError> {
        let ticket = self.send(command, fields)?;
        self.reply(ticket)
    }

    /// Sends a command without waiting.
    ///
    /// # Errors
    /// As [`Socket::send_text`]; [`TalkError::Base64`].
    pub fn send(&mut self, command: &str, fields: &Value) -> Result<Ticket, TalkError> {
        let id = self.last_id + 1;
        self.write(command, Some(id), fields)?;
        self.last_id = id;
        self.replies.insert(id, None);
        Ok(Ticket(id))
    }

    /// Sends a command that gets no reply unless it fails; that error then comes as a push.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn tell(&mut self, command: &str, fields: &Value) -> Result<(), TalkError> {
        self.write(command, None, fields)
    }

    fn write(&mut self, command: &str, id: Option<u64>, fields: &Value) -> Result<(), TalkError> {
        let mut object = json!({ "type": command });
        if let Some(id) = id {
            object["id"] = id.into();
        }
        for (key, value) in fields.as_object().into_iter().flatten() {
            object[key] = value.clone();
        }
        let text = object.to_string();
        match self.format {
            Format::Json => self.socket.send_text(&text),
            Format::MsgPack => {
                self.out.clear();
                transcode::command_to_msgpack(text.as_bytes(), &mut self.out).ok_or(TalkError::Base64)?;
                self.socket.send_binary(&self.out)
            }
        }
    }

    /// Waits for the reply to a command; pushes that come first are kept.
    ///
    /// # Errors
    /// As [`Client::ask`]. After a timeout the ticket is spent, and a late reply is thrown away.
    pub fn reply(&mut self, ticket: Ticket) -> Result<Value, TalkError> {
        let until = Instant::now() + self.patience;
        loop {
            if let Some(reply) = self.replies.get_mut(&ticket.0).and_then(Option::take) {
                self.replies.remove(&ticket.0);
                let denied = reply["type"] == "error";
                return if denied { Err(Box::new(Denied::of(reply)).into()) } else { Ok(reply) };
            }
            let crowded = self.pushes.len() > self.kept_pushes;
            let taken =
                if crowded { Err(TalkError::Flooded(self.kept_pushes)) } else { self.take_one(until) };
            if let Err(error) = taken {
                self.replies.remove(&ticket.0);
                return Err(error);
            }
        }
    }

    /// The next push: one that was kept, or one that is waited for.
    ///
    /// # Errors
    /// [`TalkError::Timeout`] when none came, and the connection lives; whatever ends it.
    pub fn push(&mut self) -> Result<Value, TalkError> {
        let until = Instant::now() + self.patience;
        loop {
            if let Some(push) = self.pushes.pop_front() {
                return Ok(push);
            }
            self.take_one(until)?;
        }
    }

    /// The next push of this type; those before it are thrown away.
    ///
    /// # Errors
    /// As [`Client::push`].
    pub fn wait_for(&mut self, kind: &str) -> Result<Value, TalkError> {
        loop {
            let push = self.push()?;
            if push["type"] == kind {
                return Ok(push);
            }
        }
    }

    /// Takes one message of the server to where it belongs.
    fn take_one(&mut self, until: Instant) -> Result<(), TalkError> {
        let left = until.saturating_duration_since(Instant::now());
        let message = self.socket.receive(left).map_err(|error| match error {
            TalkError::Timeout(_) => TalkError::Timeout(self.patience),
            other => other,
        })?;
        let object = match (message, self.format) {
            (Message::Text(text), Format::Json) => serde_json::from_str(&text),
            (Message::Binary(bytes), Format::MsgPack) => {
                self.out.clear();
                transcode::object_to_json(&bytes, &mut self.out).map_err(TalkError::Unreadable)?;
                serde_json::from_slice(&self.out)
            }
            (Message::Text(_) | Message::Binary(_), _) => {
                return Err(TalkError::Unreadable("a message of the other format".to_owned()));
            }
            (Message::Ping(_) | Message::Pong(_), _) => return Ok(()),
            (Message::Close(close), _) => {
                let (code, reason) =
                    close.map_or((None, String::new()), |(code, reason)| (Some(code), reason));
                return Err(TalkError::Closed { code, reason });
            }
        };
        let object: Value = object.map_err(|error| TalkError::Unreadable(error.to_string()))?;
        if !object["type"].is_string() {
            return Err(TalkError::Unreadable("an object without a type".to_owned()));
        }
        if object["type"] == "ping" {
            // The heartbeat that a browser could see; this client did not ask for it, but it is easily answered.
            return self.tell("pong", &Value::Null);
        }
        match object["id"].as_u64() {
            None => self.pushes.push_back(object),
            // A reply that nobody waits for any more is thrown away.
            Some(id) => {
                if let Some(place) = self.replies.get_mut(&id) {
                    *place = Some(object);
                }
            }
        }
        Ok(())
    }

    /// Ends the session in peace: the server forgets it at once.
    ///
    /// # Errors
    /// As [`Socket::close`].
    pub fn close(self) -> Result<(), TalkError> {
        self.socket.close(1000, "", self.patience).map(|_| ())
    }
}

fn protocol(format: Format) -> &'static str {
    match format {
        Format::Json => "everwire.v1",
        Format::MsgPack => "everwire.v1.msgpack",
    }
}
