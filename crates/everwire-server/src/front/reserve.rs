//! One descriptor kept back for the day when there is none left. Without it a connection that can't be accepted stays
//! in the system's queue, is reported again at once, and nobody is told anything. Given up for a moment, it lets the
//! connection be taken and turned away with an answer.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::listener::Listener;
use super::stream::Stream;

/// The log tells of it at most so often.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What is said to whom there is no descriptor for. The protocol's error object, like any other refusal.
const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 168\r\n\
    Retry-After: 2\r\nConnection: close\r\n\r\n\
    {\"type\":\"error\",\"code\":\"overloaded\",\"message\":\"this server has no room for another connection\",\
    \"retryable\":true,\"docs\":\"/docs/errors#overloaded\",\"retry_after_ms\":2000}\n";

/// The descriptor, and how many were turned away since the log told of it.
#[derive(Debug)]
pub(super) struct Reserve {
    spare: Option<File>,
    turned_away: u64,
    told: Option<Instant>,
}

impl Reserve {
    pub(super) fn new() -> Self {
        Self { spare: spare(), turned_away: 0, told: None }
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
                stream.into_parts().and_then(|(socket, ..)| say_full(&TcpStream::from(socket))).is_ok()
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

/// Turns away a connection for which there is a descriptor, but no room.
pub(super) fn turn_away(stream: Stream) {
    let _ = stream.into_parts().and_then(|(socket, ..)| say_full(&TcpStream::from(socket)));
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// What the socket does not take at once is not said. What it was asked is read, because a socket that is closed over
/// unread bytes throws away what it was to send.
fn say_full(mut stream: &TcpStream) -> io::Result<()> {
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write(FULL.as_bytes());
    stream.shutdown(std::net::Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::FULL;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let (head, body) = FULL.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
        let object: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&object["code"], &object["retry_after_ms"]), (&"overloaded".into(), &2_000.into()));
    }
}
