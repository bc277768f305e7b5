//! One line that lives while the run goes on. Only for eyes: where standard error is no terminal there is none.

use std::io::{IsTerminal as _, Write as _};

use super::table::{count, millis};

/// The line.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
    /// Something stands there.
    drawn: bool,
}

impl Progress {
    /// A line that is empty yet.
    pub fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal(), drawn: false }
    }

    /// Whether anybody could see it.
    pub fn is_shown(&self) -> bool {
        self.shown
    }

    /// The words while it runs.
    pub fn running(&self, phase: &str, left_s: u64, rate: f64, p99: Option<f64>, errors: u64) -> String {
        let p99 = p99.map_or_else(|| "-".to_owned(), millis);
        format!("{phase:<8} {left_s:>4} s left   {:>9}/s   p99 {p99:>9}   errors {errors}", count(rate))
    }

    /// Draws it over the last one.
    pub fn draw(&mut self, words: &str) {
        self.drawn = true;
        // Nobody is hurt by a line that does not show. Cut at a width that every terminal has.
        let line: String = words.chars().take(79).collect();
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
    }

    /// Takes it away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
