//! Where connections come in: ports, Unix sockets, and what was opened before we began.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use rustix::fs::Mode;
use tokio::net::{TcpListener, UnixListener};

use super::stream::Stream;

/// Owner and group may connect to a Unix socket of ours; nobody else.
const NOT_FOR_OTHERS: Mode = Mode::from_raw_mode(0o117);

/// One listener.
#[derive(Debug)]
pub(crate) enum Listener {
    /// Of a port.
    Tcp(TcpListener),
    /// Of a path, which goes with it unless somebody else has made it.
    Unix(UnixListener, #[expect(dead_code, reason = "it is there to be dropped")] Option<Name>),
}

/// The name of a socket of ours in the file system.
#[derive(Debug)]
pub(crate) struct Name {
    path: PathBuf,
    /// Its device and number: who comes after us may have put a socket of its own there already.
    file: (u64, u64),
}

fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

impl Drop for Name {
    fn drop(&mut self) {
        if file_at(&self.path).is_ok_and(|file| file == self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A socket that was opened before we began.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// Its `FileDescriptorName`, if it has one.
    pub(crate) name: String,
    /// The socket.
    pub(crate) listener: Listener,
}

impl Listener {
    /// Where it listens; `None`: at a path.
    pub(crate) fn local_addr(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Some),
            Self::Unix(..) => Ok(None),
        }
    }

    /// The next connection, and who it is; `None`: somebody of this machine, whom nothing names.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }

    /// A socket at this path. One that somebody has left there is replaced; one at which somebody answers is not, nor is
    /// anything that is no socket: both are `AddrInUse`.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        match bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(path) => {
                std::fs::remove_file(path)?;
                bind(path)
            }
            bound => bound,
        }
    }
}

/// The mask is the whole process's, and is only changed here, before anything runs. A mode that is set after binding would
/// leave a moment in which anybody gets in.
fn bind(path: &Path) -> io::Result<Listener> {
    let before = rustix::process::umask(NOT_FOR_OTHERS);
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let bound = bound?;
    let name = Name { path: path.to_owned(), file: file_at(path)? };
    Ok(Listener::Unix(bound, Some(name)))
}

fn is_left_behind(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let answer = std::os::unix::net::UnixStream::connect(path);
    is_socket && answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// What whoever started us has opened for us: sd_listen_fds(3). It can be asked for once.
///
/// # Errors
/// One of them is no stream socket that listens.
pub(crate) fn inherited() -> io::Result<Vec<Inherited>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut given = ListenFd::from_env();
    let mut all = Vec::new();
    for index in 0..given.len() {
        let name = names.next().unwrap_or_default().to_owned();
        let listener = if let Ok(Some(listener)) = given.take_tcp_listener(index) {
            check(&listener)?;
            listener.set_nonblocking(true)?;
            Listener::Tcp(TcpListener::from_std(listener)?)
        } else if let Some(listener) = given.take_unix_listener(index)? {
            check(&listener)?;
            listener.set_nonblocking(true)?;
            Listener::Unix(UnixListener::from_std(listener)?, None)
        } else {
            continue;
        };
        all.push(Inherited { name, listener });
    }
    Ok(all)
}

/// A connection that was accepted elsewhere (`Accept=yes`) is no listener, and accepting on it would fail for ever.
fn check(socket: impl AsFd) -> io::Result<()> {
    if rustix::net::sockopt::socket_acceptconn(socket)? {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen: in the .socket unit, Accept=no"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_path_is_taken_only_from_nobody() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _inside = runtime.enter();
        let dir = std::env::temp_dir().join(format!("everwire-listener-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("s");
        let first = Listener::at(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(Listener::at(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse, "somebody answers");
        drop(first);
        assert!(!path.exists(), "it goes with its name");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "one stays behind when its process is gone");
        let second = Listener::at(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let third = Listener::at(&path).unwrap();
        drop(second);
        assert!(path.exists(), "it is somebody else's");
        drop(third);
        let file = dir.join("file");
        std::fs::write(&file, "kept").unwrap();
        assert_eq!(Listener::at(&file).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
        assert!(Listener::at(&dir.join("absent/s")).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
