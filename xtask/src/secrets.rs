//! What must never be printed: tokens, keys and secrets, also those of tests. The output of every test goes through here.
//!
//! Of tests that pass their runner shows nothing, and servers that they start log to files. Those logs are searched where
//! the servers end: `everwire-server/tests/integration/secrets.rs`, `web/tests/secrets.mjs`.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::sync::Mutex;

/// Secrets that the tests sign and ask with.
const OF_TESTS: [&str; 5] = [
    "0123456789abcdef0123456789abcdef",
    "fedcba9876543210fedcba9876543210",
    "a-secret-of-the-tests-of-32-bytes",
    "the-secret-before-it-of-the-tests",
    "-----BEGIN PRIVATE KEY-----",
];

/// Passes everything on, and keeps the first line with a secret: its beginning, without the secret.
pub fn pass_on(from: impl Read, mut to: impl Write, found: &Mutex<Option<String>>) -> std::io::Result<()> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        if let Some(what) = secret_in(&String::from_utf8_lossy(&line)) {
            let mut first = found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            first.get_or_insert_with(|| what.to_owned());
        }
        line.clear();
    }
    Ok(())
}

/// What kind of secret stands in a line.
pub fn secret_in(line: &str) -> Option<&'static str> {
    if OF_TESTS.iter().any(|secret| line.contains(secret)) {
        return Some("a secret of the tests");
    }
    if line.match_indices("eyJ").any(|(at, _)| is_token(&line[at..])) {
        return Some("a token");
    }
    line.match_indices("dev-").any(|(at, _)| is_dev_key(&line[at + 4..])).then_some("a key of dev mode")
}

/// Two dots between three stretches of base64url: a JSON Web Token.
fn is_token(text: &str) -> bool {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(text.len());
    let parts: Vec<_> = text[..end].split('.').collect();
    parts.len() >= 3 && parts[..3].iter().all(|part| part.len() >= 10)
}

fn is_dev_key(text: &str) -> bool {
    text.len() >= 32 && text.bytes().take(32).all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_seen_and_the_rest_is_not() {
        let token = ["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiJhbm4ifQ", "c2lnbmF0dXJlLTEyMw"].join(".");
        let key = format!("dev-{}", "0af1".repeat(8));
        for (line, what) in [
            (format!("told {token} to all"), Some("a token")),
            (format!("key {key}"), Some("a key of dev mode")),
            (format!("x{}", OF_TESTS[2]), Some("a secret of the tests")),
            ("test a_token_is_refused ... ok".to_owned(), None),
            ("eyJhbGciOiJIUzI1NiJ9 alone".to_owned(), None),
            ("dev-server, dev-0".to_owned(), None),
        ] {
            assert_eq!(secret_in(&line), what, "{line}");
        }
    }

    #[test]
    fn everything_is_passed_on() {
        let found = Mutex::new(None);
        let mut out = Vec::new();
        let text = format!("one\n{}\nlast without an end", OF_TESTS[0]);
        pass_on(text.as_bytes(), &mut out, &found).unwrap();
        assert_eq!(out, text.as_bytes());
        assert_eq!(found.into_inner().unwrap().as_deref(), Some("a secret of the tests"));
    }
}
