//! The server's binary: built, and found wherever cargo puts it.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::call::Call;

/// Builds `everwire` and says where it is: the target folder may be set by variable, config or flag.
pub fn build(root: &Path, release: bool) -> Result<PathBuf> {
    let profile = if release { " --release" } else { "" };
    let words =
        format!("cargo build --locked -p everwire-server{profile} --message-format json-render-diagnostics");
    built(&Call::new(root, &words), "everwire")
}

/// Runs a call of cargo that builds the program `name` and tells of it in JSON; where that is.
pub fn built(call: &Call, name: &str) -> Result<PathBuf> {
    let messages = call.output()?;
    let executable = messages.lines().filter_map(|message| executable(message, name)).next_back();
    executable.with_context(|| format!("cargo built no `{name}`"))
}

/// The binary of this name that a message of cargo speaks of.
fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_ours = message["target"]["name"] == name && message["target"]["kind"][0] == "bin";
    message["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
}

/// A running server in dev mode, on a port of the system's choice; ended when dropped.
pub struct Running {
    child: Child,
    /// Kept open: a server whose standard output is gone may complain.
    _said: Lines<BufReader<ChildStdout>>,
    /// Where it listens.
    pub port: u16,
}

impl Running {
    /// Starts it and waits for its banner.
    pub fn start(binary: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(["dev", "--listen", "127.0.0.1:0"]).env("EVERWIRE_LOG", "error");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(child.stdout.take().context("it has no output")?).lines();
        let port = said.by_ref().map_while(Result::ok).find_map(|line| port(&line));
        let port = port.context("the server ended without an address in its banner")?;
        Ok(Self { child, _said: said, port })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn port(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("ws://localhost:")?;
    rest.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found_among_the_messages() {
        let message = |kind: &str, name: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"kind":["{kind}"],"name":"{name}"}},"executable":"t/{name}"}}"#
            )
        };
        assert_eq!(executable(&message("bin", "everwire"), "everwire"), Some("t/everwire".into()));
        assert_eq!(executable(&message("custom-build", "everwire"), "everwire"), None);
        assert_eq!(executable(&message("bin", "other"), "everwire"), None);
        assert_eq!(executable("not json", "everwire"), None);
    }

    #[test]
    fn the_port_is_read_from_the_banner() {
        assert_eq!(port("  socket ws://localhost:8765/ws"), Some(8765));
        assert_eq!(port("  home   http://localhost:8765/"), None);
    }
}
