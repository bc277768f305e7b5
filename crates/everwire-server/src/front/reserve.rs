//! One descriptor kept back for the day when there is none left. Without it a connection that can't be accepted stays
//! in the system's queue, is reported again at once, and nobody is told anything. Given up for a moment, it lets the
//! connection be taken and turned away with an answer.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use everwire_engine::session::Deny;
use everwire_proto::codes::ErrorCode;

use super::listener::Listener;
use super::stream::Stream;
use crate::http::api;

/// The log tells of it at most so often.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// They may come back after this, ms.
const BACK_MS: u64 = 2_000;

/// What is said to whom there is no descriptor for, or no room. The protocol's error object, like any other refusal.
fn full(base_path: &str) -> Box<[u8]> {
    let deny = Deny {
        retry_after_ms: Some(BACK_MS),
        ..Deny::new(ErrorCode::Overloaded, "this server has no room for another connection")
    };
    let body = api::error_line(&deny, base_path);
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Retry-After: {}\r\nConnection: close\r\n\r\n",
        body.len(),
        BACK_MS / 1_000
    );
    [head.into_bytes(), body].concat().into()
}

/// The descriptor, and how many were turned away since the log told of it.
#[derive(Debug)]
pub(super) struct Reserve {
    full: Box<[u8]>,
    spare: Option<File>,
    turned_away: u64,
    told: Option<Instant>,
}

impl Reserve {
    pub(super) fn new(base_path: &str) -> Self {
        Self { full: full(base_path), spare: spare(), turned_away: 0, told: None }
    }

    /// Turns away a connection for which there is a descriptor, but no room.
    ///
    /// # Errors
    /// The operating system's; then it is cut without a word.
    pub(super) fn refuse(&self, stream: Stream) -> io::Result<()> {
        let (socket, ..) = stream.into_parts()?;
        say(&self.full, &TcpStream::from(socket))
    }

    /// Takes the next connection off the queue and turns it away. `false`: that could not be done either, and only time
    /// helps.
    pub(super) async fn turn_away(&mut self, listener: &Listener, why: &io::Error) -> bool {
        self.spare = None;
        // Whoever else waits for a descriptor may be faster; then nothing is taken, and nothing is waited for.
        let taken = tokio::select! {
            biased;
            taken = listener.accept() => taken.ok(),
            () = std::future::ready(()) => None,
        };
        let turned = match taken {
            Some((stream, _)) => {
                self.turned_away += 1;
                self.refuse(stream).is_ok()
            }
            None => false,
        };
        self.spare = spare();
        if self.told.is_none_or(|at| at.elapsed() > TOLD_EVERY) {
            self.told = Some(Instant::now());
            let count = std::mem::take(&mut self.turned_away);
            tracing::warn!(error = %why, turned_away = count, "there is no descriptor for another connection");
        }
        turned && self.spare.is_some()
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// What the socket does not take at once is not said. What it was asked is read, because a socket that is closed over
/// unread bytes throws away what it was to send.
fn say(full: &[u8], mut stream: &TcpStream) -> io::Result<()> {
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write(full);
    stream.shutdown(std::net::Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::full;

    #[test]
    fn the_answer_is_as_long_as_it_says_and_stands_below_the_base_path() {
        for base_path in ["", "/realtime"] {
            let answer = String::from_utf8(full(base_path).into()).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
            assert!(head.contains("Retry-After: 2\r\n"), "{head}");
            let object: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!((&object["code"], &object["retry_after_ms"]), (&"overloaded".into(), &2_000.into()));
            assert_eq!(object["docs"], format!("{base_path}/docs/errors#overloaded"));
        }
    }
}
