//! What systemd is told of the server: that it is ready, that it stops, and, for its watchdog, that messages flow. By the
//! protocol of sd_notify(3): a datagram of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// How often in the time that the watchdog gives it is told that all is well.
const BEATS: u32 = 3;

/// The way to systemd.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Where the environment says; `None`: nobody wants to know.
    pub fn from_env() -> Option<Self> {
        let to = std::env::var_os("NOTIFY_SOCKET").filter(|to| !to.is_empty())?;
        let var = |name| std::env::var(name).ok();
        let watchdog = watchdog(var("WATCHDOG_USEC"), var("WATCHDOG_PID"), std::process::id());
        match Self::to(&to, watchdog) {
            Ok(notifier) => Some(notifier),
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET names no socket that can be used");
                None
            }
        }
    }

    /// To this socket: a path, or with a leading `@` a name without a file.
    ///
    /// # Errors
    /// There can be no such socket.
    pub fn to(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let to = match name.as_bytes() {
            [b'@', name @ ..] => without_file(name)?,
            _ => SocketAddr::from_pathname(Path::new(name))?,
        };
        let socket = UnixDatagram::unbound()?;
        // Nobody waits for a systemd that does not listen.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to, watchdog })
    }

    /// How often the watchdog is to be told that all is well, if it wants to know.
    pub fn beat(&self) -> Option<Duration> {
        self.watchdog.map(|within| within / BEATS)
    }

    /// It answers.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// It stops.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// It reads its config anew; [`Notifier::ready`] follows when that is done.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let us = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
    }

    /// Messages flow.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, state: &str) {
        if let Err(error) = self.socket.send_to_addr(state.as_bytes(), &self.to) {
            tracing::debug!(%error, state, "systemd could not be told");
        }
    }
}

#[cfg(target_os = "linux")]
fn without_file(name: &[u8]) -> io::Result<SocketAddr> {
    <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn without_file(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The time that the watchdog gives, if it is this process that is watched.
fn watchdog(within_us: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let us = within_us?.parse::<u64>().ok().filter(|us| *us > 0 && ours)?;
    Some(Duration::from_micros(us))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let n = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..n].to_vec()).unwrap()
    }

    #[test]
    fn what_is_told_arrives_at_a_file() {
        let path = std::env::temp_dir().join(format!("everwire-notify-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let notifier = Notifier::to(path.as_os_str(), None).unwrap();
        notifier.ready();
        assert_eq!(heard(&socket), "READY=1");
        notifier.reloading();
        let said = heard(&socket);
        let us = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(us.parse::<u64>().unwrap() > 0, "{said}");
        notifier.stopping();
        assert_eq!(heard(&socket), "STOPPING=1");
        std::fs::remove_file(&path).unwrap();
        notifier.alive();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_told_arrives_at_a_name() {
        let name = format!("everwire-notify-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&without_file(name.as_bytes()).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Notifier::to(OsStr::new(&format!("@{name}")), None).unwrap().alive();
        assert_eq!(heard(&socket), "WATCHDOG=1");
    }

    #[test]
    fn a_watchdog_is_this_processes_own_or_none() {
        let told = |us: &str, pid: Option<&str>| watchdog(Some(us.to_owned()), pid.map(str::to_owned), 7);
        assert_eq!(told("3000000", None), Some(Duration::from_secs(3)));
        assert_eq!(told("3000000", Some("7")), Some(Duration::from_secs(3)));
        for (us, pid) in [("3000000", Some("8")), ("3000000", Some("")), ("0", None), ("soon", None)] {
            assert_eq!(told(us, pid), None, "{us} {pid:?}");
        }
        assert_eq!(watchdog(None, None, 7), None);
    }
}
