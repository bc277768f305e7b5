//! SIGHUP: another config for a server that runs. All of it holds, or nothing.

use std::sync::{Arc, PoisonError};

use crate::config::{Config, Gathered, History, Setting, differing};
use crate::log::{self, LogSettings};
use crate::site::Site;
use crate::tls::TlsError;
use crate::trust::Proxies;

/// Settings that hold at once, by what their paths begin with. All others wait for the next start.
const LIVE: [&str; 13] = [
    "origins",
    "api_keys",
    "connect_required",
    "compression",
    "trusted_proxies",
    "forwarded_header",
    "api.items",
    "api.body_bytes",
    "limits.",
    "times.",
    "tokens.",
    "namespaces.",
    "metrics.access",
];
/// But not these.
const NOT_LIVE: [&str; 1] = ["limits.unsent_bytes"];
/// And these, which have a place of their own.
const LIVE_ELSEWHERE: [&str; 2] = ["drain.", "log.level"];

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Settings that are others now.
    pub changed: Vec<String>,
    /// Settings that will be others after the next start.
    pub waiting: Vec<String>,
    /// All of them, for the next time.
    pub settings: Vec<Setting>,
}

/// Whether a setting holds at once.
pub fn is_live(path: &str) -> bool {
    let begins = |list: &[&str]| list.iter().any(|begin| path.starts_with(begin));
    begins(&LIVE_ELSEWHERE) || (begins(&LIVE) && !begins(&NOT_LIVE))
}

/// Takes over another config, which was `before`; certificates are read anew, whatever it says.
///
/// # Errors
/// [`TlsError`]: the certificates are no good, and nothing has changed.
pub fn reload(site: &Site, before: &[Setting], gathered: Gathered) -> Result<Reloaded, TlsError> {
    let Gathered { config: fresh, settings } = gathered;
    if let Some(tls) = &site.tls {
        tls.reload()?;
    }
    let config = merged(&site.config(), fresh);
    if let (Some(level), None) = (&config.log.level, std::env::var_os("EVERWIRE_LOG"))
        && let Ok(filter) = log::read_level(level)
        && let Err(words) = log::set_level(filter)
    {
        tracing::warn!(words, "the level of the log stays as it is");
    }
    site.keyring.change(config.tokens.clone());
    if config.keeps_history() && site.disk.is_none() && matches!(config.history, History::Disk { .. }) {
        tracing::warn!("history is kept in memory alone: the store on disk is opened at the next start");
    }
    site.node.change(config.settings(), site.clock.now());
    *site.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    let differing = differing(before, &settings).into_iter().map(str::to_owned);
    let (changed, waiting) = differing.partition(|path| is_live(path));
    Ok(Reloaded { changed, waiting, settings })
}

/// The new config, with what can't be changed as it was.
fn merged(old: &Config, new: Config) -> Config {
    let revoked = old.tokens.as_ref().map(|tokens| tokens.revoked.clone()).unwrap_or_default();
    // What was revoked stays so. It was just read, so nobody else has it.
    let tokens = new.tokens.and_then(Arc::into_inner).map(|tokens| Arc::new(tokens.that_know(revoked)));
    Config {
        origins: new.origins,
        api_keys: new.api_keys,
        connect_required: new.connect_required,
        compression: new.compression,
        proxies: Proxies { protocol: old.proxies.protocol, ..new.proxies },
        api_limits: new.api_limits,
        limits: new.limits,
        times: new.times,
        handshake_ms: new.handshake_ms,
        body_ms: new.body_ms,
        tokens,
        namespaces: new.namespaces,
        metrics_open: new.metrics_open,
        drain: new.drain,
        log: LogSettings { level: new.log.level, ..old.log.clone() },
        ..old.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::describe;

    /// Every setting is one or the other, and those that open something wait.
    #[test]
    fn what_opens_something_waits_for_the_next_start() {
        for path in [
            "listen",
            "shards",
            "history.data",
            "node.channels",
            "metrics.listen",
            "api.listen",
            "echo",
            "limits.unsent_bytes",
        ] {
            assert!(!is_live(path), "{path}");
            assert!(describe().iter().any(|setting| setting.path == path), "{path} is no setting");
        }
        for path in
            ["limits.channels", "namespaces.chat.presence", "api_keys", "tokens.keys.secret", "drain.window"]
        {
            assert!(is_live(path), "{path}");
        }
    }
}
