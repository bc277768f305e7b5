//! Another server's process: on one core, on a port that was free a moment ago.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::machine;
use crate::watched::Watched;

/// So long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server of somebody else; ended when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Its time and memory.
    pub(super) watched: Watched,
}

impl Process {
    /// Starts it with `{port}` filled in and waits until it listens. Its standard input stays open as long as it is
    /// wanted: a program may end with it.
    pub(super) fn start(words: &[String], core: usize) -> Result<Self> {
        // Another program may take the port meanwhile; then this one says so and ends.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let words: Vec<_> = words.iter().map(|word| word.replace("{port}", &port.to_string())).collect();
        let (program, rest) = words.split_first().context("no command is given")?;
        let mut command = Command::new(program);
        command.args(rest).stdin(Stdio::piped()).stdout(Stdio::null());
        let child = machine::start_on(core, || command.spawn()).with_context(|| program.clone())?;
        let watched = Watched::new(child.id())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut process = Self { child, address, watched };
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.child.try_wait()? {
                bail!("`{}` ended with {status}", words.join(" "));
            }
            if Instant::now() > end {
                bail!("`{}` does not listen on {address}", words.join(" "));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_start_is_told() {
        let core = machine::cores().unwrap()[0];
        let start = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            Process::start(&words, core).unwrap_err().to_string()
        };
        assert!(start(&["sh", "-c", "exit 3"]).contains("ended with exit status: 3"));
        assert_eq!(start(&["no-such-program-here"]), "no-such-program-here");
        assert_eq!(start(&[]), "no command is given");
    }
}
