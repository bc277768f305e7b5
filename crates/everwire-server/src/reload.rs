//! SIGHUP: another config for a server that runs. All of it holds, or nothing.

use std::path::PathBuf;
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

/// Why another config is not taken over: nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The certificates are no good.
    #[error("the certificates are no good: {0}")]
    Tls(#[from] TlsError),
    /// There would be history, and no store that keeps it.
    #[error(
        "a namespace is to have history on disk, and the store in {folder} was not opened at the start, when none had: \
         restart the server for it", folder = .0.display()
    )]
    NoStore(PathBuf),
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Settings that are others now.
    pub changed: Vec<String>,
    /// Settings that will be others after the next start, as long as the config says so.
    pub waiting: Vec<String>,
    /// What the server goes by now, for the next time.
    pub settings: Vec<Setting>,
}

/// Whether a setting holds at once.
pub fn is_live(path: &str) -> bool {
    let begins = |list: &[&str]| list.iter().any(|begin| path.starts_with(begin));
    begins(&LIVE_ELSEWHERE) || (begins(&LIVE) && !begins(&NOT_LIVE))
}

/// What a server goes by that began with `before` and has read `fresh`: what waits is as it was at the start.
fn holding(before: &[Setting], fresh: Vec<Setting>) -> Vec<Setting> {
    let waits = before.iter().filter(|setting| !is_live(&setting.path)).cloned();
    fresh.into_iter().filter(|setting| is_live(&setting.path)).chain(waits).collect()
}

/// Takes over another config, where `before` is what the server goes by; certificates are read anew, whatever it says.
///
/// # Errors
/// [`ReloadError`]: nothing has changed.
pub fn reload(site: &Site, before: &[Setting], gathered: Gathered) -> Result<Reloaded, ReloadError> {
    let Gathered { config: fresh, settings } = gathered;
    if let Some(folder) = missing_store(site, &fresh) {
        return Err(ReloadError::NoStore(folder));
    }
    if let Some(tls) = &site.tls {
        tls.reload()?;
    }
    let config = merged(&site.config(), fresh);
    if let (Some(level), None | Some(Err(_))) = (&config.log.level, log::asked())
        && let Ok(filter) = log::read_level(level)
        && let Err(words) = log::set_level(filter)
    {
        tracing::warn!(words, "the level of the log stays as it is");
    }
    site.keyring.revoked().set_most(config.revocations);
    let gone = site.keyring.change(config.tokens.as_deref());
    site.node.change(config.settings(), site.clock.now());
    // Behind the change: whoever comes in by an old key meanwhile is among those who are told.
    site.node.end_keys(gone);
    *site.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    let differing = differing(before, &settings).into_iter().map(str::to_owned);
    let (changed, waiting) = differing.partition(|path| is_live(path));
    Ok(Reloaded { changed, waiting, settings: holding(before, settings) })
}

/// The folder of the store that the new config needs, and that this server did not open. Memory in its place would
/// acknowledge what the next start does not know.
fn missing_store(site: &Site, fresh: &Config) -> Option<PathBuf> {
    match &site.config().history {
        History::Disk { data, .. } if site.disk.is_none() && fresh.keeps_history() => Some(data.clone()),
        History::Disk { .. } | History::Memory => None,
    }
}

/// The new config, with what can't be changed as it was.
fn merged(old: &Config, new: Config) -> Config {
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
        tokens: new.tokens,
        revocations: new.revocations,
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
    use crate::config::{Sources, describe};

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

    /// A setting that waits is told as long as it is not what the server runs with, and no longer.
    #[test]
    fn what_waits_is_held_against_what_runs() {
        let read = |text: &str| {
            let sources = Sources { file: "f".into(), text: text.into(), ..Sources::default() };
            sources.gather().unwrap().settings
        };
        let started = read("shards = 1\n[limits]\nchannels = 5\n");
        let other = "shards = 2\n[limits]\nchannels = 6\n";
        assert_eq!(differing(&started, &read(other)), ["shards", "limits.channels"]);
        let holds = holding(&started, read(other));
        assert_eq!(differing(&holds, &read(other)), ["shards"], "it waits still");
        assert_eq!(differing(&holds, &read("shards = 1\n[limits]\nchannels = 6\n")), [""; 0]);
    }
}
