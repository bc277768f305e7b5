//! `everwire doctor`: what usually goes wrong between a config that is good and a page that hears something.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use everwire_client::{Client, Dial, Options};
use serde_json::json;

use crate::config::Config;
use crate::descriptors;
use crate::tls::{Files, Tls};

use super::{From, Told, ports};

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before this the clock was never set: 2024, Unix ms.
const CLOCK_MS: u64 = 1_704_067_200_000;

/// What to look at.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Where the config comes from
    #[command(flatten)]
    pub from: From,
    /// The address that clients use, such as wss://live.example.com/ws: a WebSocket is opened through it
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Open it as a page of this origin would
    #[arg(long, value_name = "ORIGIN", requires = "url")]
    pub origin: Option<String>,
    /// Trust the certificates in this file (PEM) instead of the system's list
    #[arg(long, value_name = "FILE", requires = "url")]
    pub ca: Option<PathBuf>,
    /// With this token; `-` reads it from the standard input
    #[arg(long, requires = "url", allow_hyphen_values = true)]
    pub token: Option<String>,
}

/// One look: its name, and what was found.
pub(super) type Look = (&'static str, Result<String, String>);

impl Doctor {
    /// Looks at everything; `now_ms` is what the clock says, Unix ms.
    pub fn run(&self, now_ms: u64) -> Told {
        let config = match self.from.gather() {
            Ok(gathered) => gathered.config,
            Err(faults) => return Told::BadConfig(faults.to_string()),
        };
        let mut looks: Vec<Look> = vec![
            ("config", Ok(format!("{} is good", self.from.config.display()))),
            ("descriptors", many(descriptors::raise())),
            ("clock", clock(now_ms)),
        ];
        looks.extend(ports::looks(&config));
        looks.push(("folder", folder(&config)));
        looks.extend(config.tls.clone().map(|files| ("certificate", certificate(files, now_ms))));
        looks.extend(self.url.as_ref().map(|url| ("socket", self.socket(url))));
        let mut words = String::new();
        for (name, found) in &looks {
            let (mark, found) = match found {
                Ok(found) => ("ok  ", found),
                Err(found) => ("BAD ", found),
            };
            words.push_str(&format!("{mark} {name:<14} {found}\n"));
        }
        if self.url.is_none() {
            words.push_str("     socket         not tried; say --url wss://live.example.com/ws, or whatever address that clients use\n");
        }
        let words = words.trim_end().to_owned();
        if looks.iter().all(|(_, found)| found.is_ok()) { Told::Yes(words) } else { Told::No(words) }
    }

    /// Opens a session as a client would.
    fn socket(&self, url: &str) -> Result<String, String> {
        let mut dial = Dial { timeout: PATIENCE, trust: self.ca.clone(), ..Dial::default() };
        dial.headers.extend(self.origin.as_ref().map(|origin| ("Origin".to_owned(), origin.clone())));
        let token = match self.token.as_deref() {
            Some("-") => Some(super::token::token_of(None).map_err(|told| format!("{told:?}"))?),
            given => given.map(str::to_owned),
        };
        let options = Options { dial, token, patience: PATIENCE, ..Options::default() };
        let url = &of_socket(url);
        let mut client = Client::connect(url, &options)
            .map_err(|error| format!("{url}: {}", plainly(&error.to_string())))?;
        client.ask("ping", &json!({})).map_err(|error| format!("{url}: {error}"))?;
        let user = client.connected()["user"].as_str().map_or("nobody".to_owned(), str::to_owned);
        Ok(format!("{url} opens a session, as {user}, and answers"))
    }
}

/// The address of the socket, where that of the pages was given.
fn of_socket(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let scheme = match scheme {
        "http" => "ws",
        "https" => "wss",
        _ => return url.to_owned(),
    };
    let rest = rest.trim_end_matches('/');
    let path = if rest.contains('/') { "" } else { "/ws" };
    format!("{scheme}://{rest}{path}")
}

/// What the TLS library says in words of its own, in ours.
fn plainly(fault: &str) -> String {
    if fault.contains("InvalidContentType") {
        return "this port speaks no TLS; use ws://".to_owned();
    }
    if fault.contains("UnknownIssuer") {
        return format!(
            "{fault}. This machine does not trust who signed the certificate; name its file by --ca FILE, as `everwire dev --tls` \
             prints it"
        );
    }
    fault.to_owned()
}

fn many(descriptors: Option<u64>) -> Result<String, String> {
    match descriptors {
        Some(few) if few < descriptors::FEW => Err(format!(
            "at most {few}, so about that many connections; raise it with ulimit -n 65536, or LimitNOFILE= under systemd"
        )),
        Some(many) => Ok(format!("{many}, so about that many connections")),
        None => Ok("no limit".to_owned()),
    }
}

fn clock(now_ms: u64) -> Result<String, String> {
    if now_ms < CLOCK_MS {
        return Err(
            "the clock was never set, so every token is read at a wrong time; set it, and keep it with NTP"
                .to_owned(),
        );
    }
    Ok("it was set; whether it is right only another clock knows".to_owned())
}

/// Whether the certificate can be used, and how long.
fn certificate(files: Files, now_ms: u64) -> Result<String, String> {
    let name = files.cert.display().to_string();
    let tls = Tls::load(files).map_err(|error| error.to_string())?;
    match tls.ends_ms().saturating_sub(now_ms) / 86_400_000 {
        few @ 0..14 => Err(format!("{name} ends in {few} days: put a new one in its place, and send SIGHUP")),
        days => Ok(format!("{name} is good for {days} days")),
    }
}

/// Whether the history's folder can be written.
fn folder(config: &Config) -> Result<String, String> {
    let crate::config::History::Disk { data, .. } = &config.history else {
        return Ok("history is in memory".to_owned());
    };
    if !config.keeps_history() {
        return Ok("no channel keeps history, so nothing is written".to_owned());
    }
    let there: PathBuf = data.ancestors().find(|dir| dir.is_dir()).map_or_else(|| ".".into(), Into::into);
    let there = if there.as_os_str().is_empty() { PathBuf::from(".") } else { there };
    match rustix::fs::access(&there, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Ok(format!("{} can be written", data.display())),
        Err(error) => Err(format!("{} can't be written: {}: {error}", data.display(), there.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_page_leads_to_the_socket() {
        for (given, meant) in [
            ("http://localhost:8765", "ws://localhost:8765/ws"),
            ("https://live.example.com/", "wss://live.example.com/ws"),
            ("https://live.example.com/realtime/ws", "wss://live.example.com/realtime/ws"),
            ("ws://localhost:8765/ws", "ws://localhost:8765/ws"),
            ("localhost:8765", "localhost:8765"),
        ] {
            assert_eq!(of_socket(given), meant);
        }
    }
}
