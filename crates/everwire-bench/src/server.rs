//! A server of our own, started for a measurement: on one core, with limits that a load tool does not meet.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::machine;
use crate::watched::Watched;

/// Everything allowed to users with a token, and rates that the bench does not reach: all limits stay enforced. The secret is
/// for measurements alone; nobody else ever trusts it.
const CONFIG: &str = r#"
listen = ["127.0.0.1:0"]
echo = true
[limits]
commands_per_second = 1_000_000
commands_burst = 1_000_000
channels = 100_000
user_connections = 1_000_000
user_commands_per_second = 1_000_000
user_commands_burst = 1_000_000
address_connections = 10_000_000
address_commands_per_second = 1_000_000
address_commands_burst = 1_000_000
address_handshakes_per_second = 1_000_000
address_handshakes_burst = 1_000_000
[node]
handshakes_per_second = 1_000_000
http_connections = 1_000_000
[history]
store = "memory"
[[tokens.keys]]
algorithm = "HS256"
secret = "0123456789abcdef0123456789abcdef"
[namespaces.default]
presence = true
history = { messages = 1_000 }
access = { subscribe = "authenticated", publish = "authenticated", presence = "authenticated", history = "authenticated" }
[namespaces.plain]
access = { subscribe = "authenticated", publish = "authenticated" }
"#;

/// A running server; ended when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    config: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its time and memory.
    pub watched: Watched,
    /// A token of a user who may do everything.
    pub token: String,
}

impl Server {
    /// Starts this very binary as a server on one core; `keys` go to the top of its config, `tables` to its end.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(core: usize, keys: &str, tables: &str) -> Result<Self> {
        let name = format!("everwire-bench-{}-{}.toml", std::process::id(), crate::clock::now_ns());
        let config = std::env::temp_dir().join(name);
        std::fs::File::create_new(&config)?.write_all(format!("{keys}\n{CONFIG}\n{tables}").as_bytes())?;
        let token = token(&config)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--insecure", "--config"]).arg(&config).env("EVERWIRE_LOG", "error");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = machine::start_on(core, || command.spawn())?;
        let said = BufReader::new(child.stdout.take().context("it has no output")?);
        let port = said.lines().map_while(Result::ok).find_map(|line| port(&line));
        let watched = Watched::new(child.id())?;
        let port = port.context("the server ended without an address in its banner")?;
        Ok(Self { child, config, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), watched, token })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and a file of a few lines in the temporary folder harms nobody.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}

/// A token that the server accepts, made by this very binary.
fn token(config: &Path) -> Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    let made = command.args(["token", "new", "--user", "ann", "--config"]).arg(config).output()?;
    ensure!(made.status.success(), "no token was made: {}", String::from_utf8_lossy(&made.stderr));
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}

fn port(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("ws://").or_else(|| line.split_once("wss://"))?;
    rest.split_once(':')?.1.split('/').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_banner() {
        assert_eq!(port("  socket   ws://localhost:8765/ws"), Some(8765));
        assert_eq!(port("  socket   ws://127.0.0.1:1/ws"), Some(1));
        assert_eq!(port("  socket wss://localhost:8765/ws"), Some(8765));
        assert_eq!(port("  home   http://localhost:8765/"), None);
    }
}
