//! Where to listen, as people write it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// One place to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `localhost:port`: `127.0.0.1` and, where there is one, `[::1]`.
    BothLoopbacks(u16),
    /// An address and a port.
    At(SocketAddr),
    /// `unix:PATH`: a socket of the file system. It never speaks TLS: who may open it is said by its file's mode.
    Unix(PathBuf),
    /// `systemd`, or `systemd:NAME`: what was opened before we began, all of it or what has this name.
    Inherited(Option<String>),
}

/// A path of a Unix socket has room for so many bytes (`sun_path`), with a zero behind it.
const PATH_BYTES: usize = 107;

/// What was written is no place to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{written:?} is no address to listen on; {hint}")]
pub struct NoAddress {
    written: String,
    hint: String,
}

impl FromStr for Listen {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let refused = |hint: &str| NoAddress { written: text.to_owned(), hint: hint.to_owned() };
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                1..=PATH_BYTES => Ok(Self::Unix(path.into())),
                0 => Err(refused("write a path behind it, such as unix:everwire.sock")),
                _ => Err(refused("the path of a Unix socket has 107 bytes at most")),
            };
        }
        if let Some(name) = text.strip_prefix("systemd") {
            return match name.strip_prefix(':') {
                None if name.is_empty() => Ok(Self::Inherited(None)),
                Some(name) if !name.is_empty() => Ok(Self::Inherited(Some(name.to_owned()))),
                _ => Err(refused("write systemd, or systemd:NAME with a FileDescriptorName")),
            };
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let port = port.parse::<u16>().ok().filter(|_| port.bytes().all(|b| b.is_ascii_digit()));
        if host.eq_ignore_ascii_case("localhost")
            && let Some(port) = port
        {
            return Ok(Self::BothLoopbacks(port));
        }
        if let Ok(addr) = text.parse() {
            return Ok(Self::At(addr));
        }
        let hint = match (host, port) {
            ("", Some(port)) => {
                format!("write localhost:{port}, or 0.0.0.0:{port} for every network of this machine")
            }
            ("*", Some(port)) => format!("write 0.0.0.0:{port}, or [::]:{port}"),
            _ => {
                "write host:port, such as localhost:8765, 0.0.0.0:8765 or [::1]:8765; names are not looked up"
                    .to_owned()
            }
        };
        Err(NoAddress { written: text.to_owned(), hint })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BothLoopbacks(port) => write!(f, "localhost:{port}"),
            Self::At(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(None) => f.write_str("systemd"),
            Self::Inherited(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
}

/// What helps where the system refuses a listener, if that is known.
pub fn hint(addr: SocketAddr, refused: io::ErrorKind) -> Option<String> {
    match refused {
        io::ErrorKind::PermissionDenied if addr.port() < 1_024 => Some(
            "Ports below 1024 are for root. Take another one with a proxy in front; or under systemd write \
             AmbientCapabilities=CAP_NET_BIND_SERVICE into the unit."
                .to_owned(),
        ),
        io::ErrorKind::AddrNotAvailable => {
            let every = if addr.is_ipv4() { "0.0.0.0" } else { "[::]" };
            Some(format!(
                "This machine has no such address; `ip addr` shows those that it has. {every}:{} means all of them.",
                addr.port()
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!("localhost:0".parse(), Ok(Listen::BothLoopbacks(0)));
        assert_eq!("LocalHost:8765".parse(), Ok(Listen::BothLoopbacks(8765)));
        for text in [
            "127.0.0.1:0",
            "[::1]:8765",
            "0.0.0.0:80",
            "unix:/run/x.sock",
            "unix:x",
            "systemd",
            "systemd:api",
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_refusal_of_the_system_has_a_hint() {
        use io::ErrorKind::{AddrNotAvailable, OutOfMemory, PermissionDenied};
        for (addr, refused, words) in [
            ("127.0.0.1:80", PermissionDenied, Some("CAP_NET_BIND_SERVICE")),
            ("127.0.0.1:8080", PermissionDenied, None),
            ("192.0.2.1:80", AddrNotAvailable, Some("0.0.0.0:80 means all")),
            ("[2001:db8::1]:80", AddrNotAvailable, Some("[::]:80 means all")),
            ("127.0.0.1:80", OutOfMemory, None),
        ] {
            let told = hint(addr.parse().unwrap(), refused);
            assert_eq!(told.is_some(), words.is_some(), "{addr} {refused}");
            assert!(told.is_none_or(|told| told.contains(words.unwrap_or_default())), "{addr} {refused}");
        }
    }

    #[test]
    fn what_is_none_says_what_to_write() {
        for (text, hint) in [
            ("8765", "write localhost:8765"),
            (":8765", "write localhost:8765"),
            ("*:80", "write 0.0.0.0:80"),
            ("localhost", "such as localhost:8765"),
            ("localhost:65536", "such as localhost:8765"),
            ("localhost:+1", "such as localhost:8765"),
            ("example.org:80", "names are not looked up"),
            ("::1:80", "[::1]:8765"),
            ("", "such as localhost:8765"),
            ("unix:", "a path behind it"),
            ("systemd:", "systemd:NAME"),
            ("systemdx", "systemd:NAME"),
        ] {
            let words = text.parse::<Listen>().unwrap_err().to_string();
            assert!(words.starts_with(&format!("{text:?} is no address")) && words.contains(hint), "{words}");
        }
        let long = format!("unix:{}", "x".repeat(PATH_BYTES + 1));
        assert!(long.parse::<Listen>().unwrap_err().to_string().contains("107 bytes"));
    }
}
