//! What no log may hold, whatever a test did: every log of a server process is searched when the process ends. The test
//! runner shows nothing of a test that passed, so what it prints would not tell.

use crate::guarded::{OLD_SECRET, SECRET};
use crate::world::KEY;

/// Tokens begin so, `{"alg":` or `{"typ":`, and so when they are written in base64url once more, as browsers send them.
const TOKENS: [&str; 4] = ["eyJhbGci", "eyJ0eXAi", "ZXlKaGJHY2", "ZXlKMGVYQW"];

/// What kind of secret stands in a log, and in which line of it, from 1; `config`: what the server was told, with secrets
/// of its own. The secret itself is not told: a test that fails is shown.
pub fn secret_in(log: &str, config: &str) -> Option<(&'static str, usize)> {
    let told = told_in(config);
    log.lines().enumerate().find_map(|(at, line)| kind_of(line, &told).map(|kind| (kind, at + 1)))
}

fn kind_of(line: &str, told: &[&str]) -> Option<&'static str> {
    let has = |secrets: &[&str]| secrets.iter().any(|secret| line.contains(secret));
    if has(&[KEY, SECRET, OLD_SECRET, "-----BEGIN PRIVATE KEY-----"]) {
        return Some("a secret of the tests");
    }
    if has(told) {
        return Some("a secret of the config");
    }
    if has(&TOKENS) {
        return Some("a token");
    }
    let is_key = |text: &str| text.len() >= 32 && text.bytes().take(32).all(|byte| byte.is_ascii_hexdigit());
    line.match_indices("dev-").any(|(at, _)| is_key(&line[at + 4..])).then_some("a key of dev mode")
}

/// Keys and secrets that a config holds, and not the names of files that do.
fn told_in(config: &str) -> Vec<&str> {
    let mut told = Vec::new();
    for line in config.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        if ["secret", "api_keys", "key"].contains(&key.trim()) || value.contains("secret =") {
            told.extend(value.split('"').skip(1).step_by(2).filter(|text| text.len() >= 16));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use rustix::process::Signal;
    use serde_json::json;

    use super::*;
    use crate::guarded::{config, token};
    use crate::process::Process;

    #[test]
    fn every_kind_is_seen_and_the_rest_is_not() {
        let config = "api_keys = [\"a-key-of-this-config\"]\n[[tokens.keys]]\nsecret = \"a-secret-of-this-config\"\n\
                      secret_file = \"a-file-with-a-long-name\"\n";
        let token = token(Some("ann"), &json!({}));
        let (kind, secret) = (Some("a secret of the tests"), Some("a secret of the config"));
        for (line, what) in [
            (KEY.to_owned(), kind),
            (SECRET.to_owned(), kind),
            ("-----BEGIN PRIVATE KEY-----".to_owned(), kind),
            ("key=a-key-of-this-config".to_owned(), secret),
            ("a-secret-of-this-config".to_owned(), secret),
            (format!("bearer.{}", URL_SAFE_NO_PAD.encode(&token)), Some("a token")),
            (token, Some("a token")),
            (format!("dev-{}", "0af1".repeat(8)), Some("a key of dev mode")),
            ("a-file-with-a-long-name, dev-server, everwire".to_owned(), None),
        ] {
            let log = format!("INFO first\nWARN x={line} y\n");
            assert_eq!(secret_in(&log, config), what.map(|what| (what, 2)), "{line}");
        }
    }

    /// The search at the end of a process can fail, and nothing of what it found is told.
    #[test]
    fn a_server_that_logs_a_secret_fails_its_test() {
        let log_with = |line: &str| {
            let mut server = Process::serve(&config());
            server.signal(Signal::TERM);
            server.wait();
            server.add_to_log(line);
            catch_unwind(AssertUnwindSafe(|| drop(server)))
        };
        assert!(log_with("INFO nothing of interest").is_ok());
        let token = token(Some("ann"), &json!({}));
        let failed = log_with(&format!("INFO told {token}")).unwrap_err();
        let words = failed.downcast_ref::<String>().unwrap();
        assert!(words.contains("a token stands in line") && !words.contains(&token), "{words}");
    }
}
