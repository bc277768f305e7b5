//! One WebSocket: messages in and out, pings answered, a clean end. What the messages mean is not known here.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use everwire_proto::ws::{Decoder, Event, Inflater, Limits, Opcode, Violation, write_masked_frame};

use crate::address::Address;
use crate::error::{ConnectError, TalkError};
use crate::handshake::{self, Asked, HEAD_BYTES, Head};
use crate::wire::Wire;

/// Bytes that one read may bring.
const READ_BYTES: usize = 16 * 1024;
/// Words of a refusal that are read, bytes.
const REFUSAL_BYTES: usize = 64 * 1024;

/// How to open a WebSocket.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Connecting and the upgrade together may take so long; and so may each write later.
    pub timeout: Duration,
    /// Further lines of the request, such as `Origin`.
    pub headers: Vec<(String, String)>,
    /// Subprotocols to offer, in order.
    pub protocols: Vec<String>,
    /// Whether to offer permessage-deflate. What is sent is never compressed.
    pub compression: bool,
    /// The largest message to take, bytes.
    pub message_bytes: u32,
    /// Whether pings are answered by themselves.
    pub answers_pings: bool,
    /// With `wss://`: a file of certificates (PEM) that are trusted instead of the system's list.
    pub trust: Option<PathBuf>,
}

impl Default for Dial {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            headers: Vec::new(),
            protocols: Vec::new(),
            compression: false,
            message_bytes: 16 << 20,
            answers_pings: true,
            trust: None,
        }
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// A ping; it is answered already, unless [`Dial::answers_pings`] is off.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// The server's close frame, code and reason; it is answered already. Nothing but the end follows.
    Close(Option<(u16, String)>),
}

/// One open WebSocket.
#[derive(Debug)]
pub struct Socket {
    stream: Wire,
    head: Head,
    decoder: Decoder,
    inflater: Inflater,
    /// What was read; `start..end` of it is not decoded yet.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    out: Vec<u8>,
    masks: Masks,
    answers_pings: bool,
    /// Our close frame is out.
    closing: bool,
}

impl Socket {
    /// Connects to a `ws://` or `wss://` URL and upgrades.
    ///
    /// # Errors
    /// [`ConnectError`], all but its `Talk`.
    pub fn connect(url: &str, dial: &Dial) -> Result<Self, ConnectError> {
        let until = Instant::now() + dial.timeout;
        let address =
            Address::parse(url).map_err(|reason| ConnectError::Address { url: url.to_owned(), reason })?;
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let asked = handshake::ask(&address, key, &dial.headers, &dial.protocols, dial.compression)?;
        let stream = reach(&address, dial, until)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(dial.timeout))?;
        // What TLS reads and writes together has one patience at first.
        stream.set_read_timeout(Some(dial.timeout))?;
        let mut stream = match address.tls {
            true => Wire::sealed(stream, &address.host, dial.trust.as_deref())?,
            false => Wire::Plain(stream),
        };
        let timeout = |error: io::Error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => ConnectError::Timeout(dial.timeout),
            _ => ConnectError::Io(error),
        };
        stream.write_all(asked.request.as_bytes()).and_then(|()| stream.flush()).map_err(timeout)?;
        let (head, early) = read_head(&mut stream, until).map_err(timeout)?;
        let head = Head::parse(&head).map_err(ConnectError::Handshake)?;
        if head.status != 101 {
            let body = read_refusal(&mut stream, &head, early, until);
            return Err(ConnectError::Refused { status: head.status, body });
        }
        Self::upgraded(stream, head, &asked, early, dial)
    }

    fn upgraded(
        stream: Wire,
        head: Head,
        asked: &Asked,
        early: Vec<u8>,
        dial: &Dial,
    ) -> Result<Self, ConnectError> {
        let deflate = asked.check(&head).map_err(ConnectError::Handshake)?;
        let end = early.len();
        let mut buffer = early;
        buffer.resize(READ_BYTES.max(end), 0);
        Ok(Self {
            stream,
            head,
            decoder: Decoder::client(Limits { message_bytes: dial.message_bytes }, deflate),
            inflater: Inflater::new(),
            buffer,
            start: 0,
            end,
            out: Vec::new(),
            masks: Masks::default(),
            answers_pings: dial.answers_pings,
            closing: false,
        })
    }

    /// The TCP connection below: for its addresses and options, and for whoever must send what no client should.
    pub fn stream(&self) -> &TcpStream {
        self.stream.tcp()
    }

    /// A header of the server's answer to the upgrade, such as `Sec-WebSocket-Protocol`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// [`TalkError::Io`]; [`TalkError::Timeout`] when the server takes nothing, after which the connection is of no
    /// use: a part of the frame may be out.
    pub fn send_text(&mut self, text: &str) -> Result<(), TalkError> {
        self.send(Opcode::Text, text.as_bytes())
    }

    /// Sends a binary message.
    ///
    /// # Errors
    /// As [`Socket::send_text`].
    pub fn send_binary(&mut self, bytes: &[u8]) -> Result<(), TalkError> {
        self.send(Opcode::Binary, bytes)
    }

    /// Sends one whole frame of any kind. A control frame takes 125 bytes, which is not checked.
    ///
    /// # Errors
    /// As [`Socket::send_text`].
    pub fn send(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), TalkError> {
        self.closing |= opcode == Opcode::Close;
        self.out.clear();
        let mask = self.masks.next().map_err(TalkError::Io)?;
        write_masked_frame(&mut self.out, opcode, mask, payload);
        let sent = self.stream.write_all(&self.out).and_then(|()| self.stream.flush());
        if self.out.capacity() > 1 << 20 {
            self.out = Vec::new();
        }
        sent.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                TalkError::Timeout(self.stream.tcp().write_timeout().ok().flatten().unwrap_or_default())
            }
            _ => TalkError::Io(error),
        })
    }

    /// Waits for what the server says next.
    ///
    /// # Errors
    /// [`TalkError::Timeout`]: nothing came, and the connection lives. [`TalkError::Ended`] after the last word.
    /// [`TalkError::Violation`], [`TalkError::Io`].
    pub fn receive(&mut self, patience: Duration) -> Result<Message, TalkError> {
        let until = Instant::now() + patience;
        loop {
            if let Some(message) = self.decode()? {
                self.answer(&message)?;
                return Ok(message);
            }
            self.fill(until, patience)?;
        }
    }

    fn decode(&mut self) -> Result<Option<Message>, TalkError> {
        let mut window = &mut self.buffer[self.start..self.end];
        let event = self.decoder.next(&mut window, &mut self.inflater);
        self.start = self.end - window.len();
        match event {
            Ok(event) => Ok(event.map(owned)),
            Err(violation) => {
                self.complain(violation);
                Err(TalkError::Violation(violation))
            }
        }
    }

    /// RFC 6455 section 7.1.7: who breaks the protocol is told why, and cut.
    fn complain(&mut self, violation: Violation) {
        // Whether it still hears us changes nothing.
        let _ = self.send(Opcode::Close, &violation.code.to_be_bytes());
        self.stream.shut();
    }

    fn answer(&mut self, message: &Message) -> Result<(), TalkError> {
        match message {
            Message::Ping(bytes) if self.answers_pings => self.send(Opcode::Pong, bytes),
            Message::Close(close) if !self.closing => {
                let code = close.as_ref().map(|(code, _)| code.to_be_bytes());
                // A server that does not wait for our answer is no fault.
                let _ = self.send(Opcode::Close, code.as_ref().map_or(&[], |code| &code[..]));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn fill(&mut self, until: Instant, patience: Duration) -> Result<(), TalkError> {
        // Everything that was read has been decoded, so the buffer is free.
        (self.start, self.end) = (0, 0);
        match read_until(&mut self.stream, &mut self.buffer, until) {
            Ok(0) => Err(TalkError::Ended),
            Ok(n) => {
                self.end = n;
                Ok(())
            }
            Err(error) => Err(match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => TalkError::Timeout(patience),
                ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                    TalkError::Ended
                }
                _ => TalkError::Io(error),
            }),
        }
    }

    /// Ends it: our close frame, the server's, and then its end. What the server says in between is thrown away. Its
    /// close code and reason.
    ///
    /// # Errors
    /// [`TalkError::Timeout`] when the server does not close, and whatever else [`Socket::receive`] tells.
    pub fn close(
        mut self,
        code: u16,
        reason: &str,
        patience: Duration,
    ) -> Result<Option<(u16, String)>, TalkError> {
        let until = Instant::now() + patience;
        if !self.closing {
            let mut payload = code.to_be_bytes().to_vec();
            payload.extend_from_slice(reason.as_bytes());
            self.send(Opcode::Close, &payload)?;
        }
        let mut said = None;
        loop {
            match self.receive(until.saturating_duration_since(Instant::now())) {
                Ok(Message::Close(close)) => said = Some(close),
                Ok(_) => {}
                Err(error) => return said.ok_or(error),
            }
        }
    }
}

fn owned(event: Event<'_>) -> Message {
    match event {
        Event::Text(text) => Message::Text(String::from_utf8_lossy(text).into_owned()),
        Event::Binary(bytes) => Message::Binary(bytes.to_vec()),
        Event::Ping(bytes) => Message::Ping(bytes.to_vec()),
        Event::Pong(bytes) => Message::Pong(bytes.to_vec()),
        Event::Close(close) => Message::Close(close.map(|(code, reason)| (code, reason.to_owned()))),
    }
}

/// Connects to the first address of the host that answers.
fn reach(address: &Address, dial: &Dial, until: Instant) -> Result<TcpStream, ConnectError> {
    let resolve = |source| ConnectError::Resolve { host: address.host.clone(), source };
    let mut last = None;
    for addr in (address.host.as_str(), address.port).to_socket_addrs().map_err(resolve)? {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ConnectError::Timeout(dial.timeout));
        }
        match TcpStream::connect_timeout(&addr, left) {
            Ok(stream) => return Ok(stream),
            Err(source) => last = Some(ConnectError::Unreachable { addr, source }),
        }
    }
    Err(last.unwrap_or_else(|| resolve(ErrorKind::NotFound.into())))
}

/// Reads once; a deadline that has passed is a timeout.
fn read_until(stream: &mut Wire, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        // A timeout of zero would mean none at all; one of a millisecond still takes what is there already.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.tcp().set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The head of the answer, and what came behind it.
fn read_head(stream: &mut Wire, until: Instant) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let from = bytes.len().saturating_sub(3);
        match read_until(stream, &mut piece, until)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&piece[..n]),
        }
        if let Some(at) = bytes[from..].windows(4).position(|w| w == b"\r\n\r\n") {
            let early = bytes.split_off(from + at + 4);
            return Ok((bytes, early));
        }
        if bytes.len() > HEAD_BYTES {
            return Err(io::Error::new(ErrorKind::InvalidData, "the head of the answer is over 16 KiB"));
        }
    }
}

/// The words of a refusal: as many as are announced, or until the end; what fails on the way only shortens them.
fn read_refusal(stream: &mut Wire, head: &Head, mut body: Vec<u8>, until: Instant) -> String {
    let announced = head.get("content-length").and_then(|v| v.parse().ok()).unwrap_or(REFUSAL_BYTES);
    let most = announced.min(REFUSAL_BYTES);
    let mut piece = [0; 4096];
    while body.len() < most {
        match read_until(stream, &mut piece, until) {
            Ok(n) if n > 0 => body.extend_from_slice(&piece[..n]),
            _ => break,
        }
    }
    body.truncate(most);
    String::from_utf8_lossy(&body).trim_end().to_owned()
}

/// Masks nobody can foretell (RFC 6455 section 5.3), fetched from the system many at a time.
#[derive(Debug)]
struct Masks {
    bytes: [u8; 256],
    at: usize,
}

impl Default for Masks {
    fn default() -> Self {
        Self { bytes: [0; 256], at: 256 }
    }
}

impl Masks {
    fn next(&mut self) -> io::Result<[u8; 4]> {
        if self.at == self.bytes.len() {
            getrandom::fill(&mut self.bytes).map_err(io::Error::other)?;
            self.at = 0;
        }
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.bytes[self.at..self.at + 4]);
        self.at += 4;
        Ok(mask)
    }
}
