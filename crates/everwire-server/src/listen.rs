//! Where to listen, as people write it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// One place to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `localhost:port`: `127.0.0.1` and, where there is one, `[::1]`.
    BothLoopbacks(u16),
    /// An address and a port.
    At(SocketAddr),
}

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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!("localhost:0".parse(), Ok(Listen::BothLoopbacks(0)));
        assert_eq!("LocalHost:8765".parse(), Ok(Listen::BothLoopbacks(8765)));
        for text in ["127.0.0.1:0", "[::1]:8765", "0.0.0.0:80"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
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
        ] {
            let words = text.parse::<Listen>().unwrap_err().to_string();
            assert!(words.starts_with(&format!("{text:?} is no address")) && words.contains(hint), "{words}");
        }
    }
}
