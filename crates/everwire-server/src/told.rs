//! What the log tells of requests that were refused: enough for whoever looks for a mistake, and no more than that for a
//! scanner who makes a thousand.

use std::sync::{Mutex, PoisonError};

/// So many lines for each reason ...
const LINES: u32 = 5;
/// ... within so long, ms.
const SPAN_MS: u64 = 10_000;

/// Why a request was refused, as far as the log tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A WebSocket where there is none.
    Path,
    /// Everwire's subprotocol offered to an echo.
    EchoOffered,
    /// A page without an origin.
    NoOrigin,
    /// A page of a foreign origin.
    Origin,
    /// Too many handshakes, or connections of one address.
    Gate,
    /// What is no HTTP.
    NoHttp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    since_ms: u64,
    written: u32,
    left_out: u64,
}

/// The lines written of late, by reason.
#[derive(Debug, Default)]
pub struct Told(Mutex<[Line; 6]>);

impl Told {
    /// Whether a line may be written now, and how many were left out since the last one.
    pub fn may(&self, reason: Reason, now_ms: u64) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = &mut lines[reason as usize];
        if now_ms.saturating_sub(line.since_ms) >= SPAN_MS {
            (line.since_ms, line.written) = (now_ms, 0);
        }
        if line.written == LINES {
            line.left_out += 1;
            return None;
        }
        line.written += 1;
        Some(std::mem::take(&mut line.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_refusals_are_a_few_lines_and_a_count() {
        let told = Told::default();
        let burst =
            |from: u64| (0..1_000).filter_map(|i| told.may(Reason::Path, from + i)).collect::<Vec<_>>();
        assert_eq!(burst(0), [0; 5]);
        assert_eq!(told.may(Reason::Origin, 1_000), Some(0), "each reason has its own");
        assert_eq!(burst(SPAN_MS), [995, 0, 0, 0, 0]);
        assert_eq!(told.may(Reason::Path, 10 * SPAN_MS), Some(995));
        assert_eq!(told.may(Reason::Path, 10 * SPAN_MS), Some(0));
    }
}
