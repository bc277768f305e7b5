//! The server that is to be measured, and a first look at it: who can't be reached is told here, in words that say what
//! to do.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use everwire_client::{Address, ConnectError, Dial, Message, Socket};
use serde_json::Value;

use crate::dialect::Dialect;
use crate::swarm::{Opening, Seal, Upgrade};

/// The first look takes so long at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that answers.
#[derive(Debug)]
pub struct Target {
    /// Where it is.
    pub address: SocketAddr,
    /// Host and port as they are written.
    pub host: String,
    /// How a connection begins.
    pub opening: Opening,
    /// What its `connected` allows a connection, where it says so.
    pub limits: Limits,
}

/// What an Everwire server allows each connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Commands a second.
    pub commands_per_second: Option<u64>,
    /// Bytes of a message.
    pub message_bytes: Option<u64>,
}

impl Target {
    /// Opens one WebSocket there and says what is to be said first.
    ///
    /// # Errors
    /// Why a run would be in vain, and what to do about it.
    pub fn look(
        url: &str,
        dialect: &Dialect,
        headers: &[(String, String)],
        trust: Option<&Path>,
        from: Option<IpAddr>,
    ) -> Result<Self> {
        let address = Address::parse(url).map_err(|reason| anyhow!("{url:?} can't be used: {reason}"))?;
        let protocols: Vec<_> = dialect.subprotocol.clone().into_iter().collect();
        let trust = trust.map(Path::to_owned);
        let dial = Dial { timeout: PATIENCE, headers: headers.to_vec(), protocols, trust, ..Dial::default() };
        let mut socket = Socket::connect(url, &dial).map_err(|error| explain(url, &address, error))?;
        let limits = greet(&mut socket, dialect)?;
        let mut at = socket.stream().peer_addr()?;
        if let Some(from) = from.filter(|from| from.is_ipv4() != at.is_ipv4()) {
            let all = (address.host.as_str(), address.port).to_socket_addrs()?;
            let fits = all.into_iter().find(|at| at.is_ipv4() == from.is_ipv4());
            at = fits.ok_or_else(|| anyhow!("{} has no address that {from} could reach", address.host))?;
        }
        // The look is over; how it ends is of no interest.
        let _ = socket.send(everwire_proto::ws::Opcode::Close, &1000_u16.to_be_bytes());
        let upgrade = Upgrade::with_headers(&address, dialect.subprotocol.as_deref(), false, headers)?;
        let opening = match address.tls {
            true => Opening::Sealed(upgrade, Seal::new(&address.host, dial.trust.as_deref())?),
            false => Opening::WebSocket(upgrade),
        };
        Ok(Self { address: at, host: address.authority.clone(), opening, limits })
    }
}

/// Says what a connection says first, and waits for the answer where one is known to come.
fn greet(socket: &mut Socket, dialect: &Dialect) -> Result<Limits> {
    for text in &dialect.first {
        socket.send_text(text)?;
    }
    if dialect.greeted.is_empty() {
        return Ok(Limits::default());
    }
    let until = Instant::now() + PATIENCE;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        match socket.receive(left) {
            Ok(Message::Text(text)) if dialect.is_greeted(text.as_bytes()) => {
                let said: Value = serde_json::from_str(&text).unwrap_or_default();
                let limit = |name: &str| said["limits"][name].as_u64();
                return Ok(Limits {
                    commands_per_second: limit("commands_per_second"),
                    message_bytes: limit("message_bytes"),
                });
            }
            Ok(Message::Text(text)) if dialect.is_refused(text.as_bytes()) => {
                return Err(anyhow!("the server refused the first words: {}", refusal(text.as_bytes())));
            }
            Ok(Message::Close(close)) => {
                let words = close.map_or_else(String::new, |(code, reason)| format!(": {code} {reason}"));
                return Err(anyhow!("the server closed the first connection{words}"));
            }
            Ok(_) => {}
            Err(everwire_client::TalkError::Timeout(_)) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let words = &dialect.greeted;
    Err(anyhow!("no answer with {words} came to the first words: is it the right --protocol?"))
}

/// Why there is no WebSocket, and what to do.
fn explain(url: &str, address: &Address, error: ConnectError) -> anyhow::Error {
    let path = &address.target;
    match error {
        ConnectError::Unreachable { addr, source } if source.kind() == ErrorKind::ConnectionRefused => {
            anyhow!(
                "nothing listens at {addr}: start a server (`everwire dev`), or name another one with --url"
            )
        }
        ConnectError::Refused { status, body } => {
            let hint = match status {
                404 => {
                    " Everwire speaks at /ws, and its bare echo is /echo/raw where the config says `echo = true`."
                }
                403 => " It does not take this origin or this client; a header can be added with --header.",
                401 => " It wants to know who asks; a header can be added with --header.",
                400 => " It may not know the subprotocol; another can be named with --subprotocol.",
                503 => " It is full, or out of descriptors.",
                _ => "",
            };
            let body = refusal(body.as_bytes());
            let said = if body.is_empty() { String::new() } else { format!(": {body}") };
            anyhow!("there is no WebSocket at {url}: the path {path} answered {status}{said}.{hint}")
        }
        ConnectError::Io(error) if is_of_trust(&error) => anyhow!(
            "{url}: {error}. This machine does not trust the certificate: name the file (PEM) of who signed it by --ca, and the host as \
             the certificate does"
        ),
        other => anyhow!("{url}: {other}"),
    }
}

/// Whether TLS takes the server's certificate for none that it may trust.
fn is_of_trust(error: &std::io::Error) -> bool {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

/// Why a connection could not even begin.
pub fn dialing(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrNotAvailable => {
            "no local port is free, or the source address is not of this machine: give more --source addresses, such as 127.0.0.2".to_owned()
        }
        _ if error.raw_os_error() == Some(24) => {
            "no descriptor is left: raise the limit with `ulimit -n`".to_owned()
        }
        _ => error.to_string(),
    }
}

/// A refusal as one line: the words of an error object, or what was said.
pub fn refusal(said: &[u8]) -> String {
    let object: Value = serde_json::from_slice(said).unwrap_or_default();
    if let Some(code) = object["code"].as_str() {
        let message = object["message"].as_str().unwrap_or_default();
        return format!("{code}: {message}{}", advice(code));
    }
    let text = String::from_utf8_lossy(said);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > 300 { format!("{}…", line.chars().take(300).collect::<String>()) } else { line }
}

/// Which key of the server's config an error code leads to.
fn advice(code: &str) -> &'static str {
    match code {
        "rate_limited" => {
            " (a connection may send `commands_per_second` of [limits] in the server's config: raise it, or spread the load with --publishers or --conns; all from one address together have `address_commands_per_second`, `address_handshakes_per_second` and `address_connections`)"
        }
        "permission_denied" | "unknown_channel" => {
            " (the channel's namespace needs `access = { subscribe = \"anyone\", publish = \"anyone\", … }` in the server's config; --channel names another one)"
        }
        "limit_exceeded" => " (see [limits] in the server's config)",
        "too_large" => " (see `message_bytes` in the server's config, or --size)",
        "overloaded" => " (see [node] in the server's config)",
        "not_available" => {
            " (the channel's namespace has not got that: see `history` and `presence` in the server's config)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// What is said when the server answers the upgrade with this.
    fn told(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/chat", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let mut socket = listener.accept().unwrap().0;
            let _ = socket.read(&mut [0; 1024]).unwrap();
            socket.write_all(answer.as_bytes()).unwrap();
        });
        let error = Target::look(&url, &Dialect::raw(), &[], None, None).unwrap_err().to_string();
        server.join().unwrap();
        error
    }

    #[test]
    fn a_refused_upgrade_says_the_path_and_what_to_do() {
        let missing = told("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");
        assert!(missing.contains("/chat answered 404: no.") && missing.contains("/ws"), "{missing}");
        let foreign = told("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        assert!(foreign.contains("answered 403.") && foreign.contains("--header"), "{foreign}");
        assert!(told("SSH-2.0-x\r\n\r\n").contains("no HTTP/1.1"));
    }

    #[test]
    fn nothing_listens() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error =
            Target::look(&format!("ws://127.0.0.1:{port}/"), &Dialect::raw(), &[], None, None).unwrap_err();
        let words = error.to_string();
        assert!(words.contains("nothing listens at") && words.contains("everwire dev"), "{words}");
        let bad = Target::look("http://x", &Dialect::raw(), &[], None, None).unwrap_err();
        assert!(bad.to_string().contains("ws://"), "{bad}");
    }

    #[test]
    fn refusals_name_the_key_of_the_config() {
        let said = br#"{"type":"error","code":"rate_limited","message":"too fast"}"#;
        assert!(refusal(said).contains("commands_per_second"), "{}", refusal(said));
        assert_eq!(refusal(b" plain\n words "), "plain words");
        assert!(refusal(&[b'x'; 1_000]).chars().count() == 301);
    }
}
