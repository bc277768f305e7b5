//! The yardstick: programs that do nothing but what the kernel makes unavoidable. Each is at most 60 lines, speaks no
//! HTTP and knows no channel, and prints its port first.

mod broadcast;
mod echo;
mod hold;
pub(crate) mod pairs;
mod send;
mod tls;

use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use clap::Subcommand;

use crate::machine;
use crate::watched::Watched;

/// A floor program, as the load tool starts it.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Program {
    /// Sends each message that its first connection sends to all the others, one `send` each
    Send {
        /// Connections besides the first
        #[arg(long)]
        conns: usize,
        /// Bytes of a message
        #[arg(long)]
        frame: usize,
    },
    /// Sends each message of its first connection to two of the others, those of the channel that it names
    Pairs {
        /// Connections besides the first, and as many channels
        #[arg(long)]
        conns: usize,
        /// Bytes of a message
        #[arg(long)]
        frame: usize,
        /// So many messages are read at once
        #[arg(long)]
        burst: usize,
    },
    /// An epoll loop: whatever one read of any connection brings goes to all of them with one `send` each
    Broadcast,
    /// An epoll loop: unmasks the WebSocket frames that it reads and sends them back
    Echo,
    /// Accepts and holds connections
    Hold,
    /// An epoll loop of TLS: shakes hands, reads a request, answers it, waits for the end
    Tls {
        /// The folder with `cert.pem` and `key.pem`
        #[arg(long)]
        folder: PathBuf,
        /// Bytes of an answer
        #[arg(long)]
        answer: usize,
    },
}

impl Program {
    /// Is this program until its standard input ends.
    ///
    /// # Errors
    /// The operating system's.
    pub fn run(&self) -> io::Result<()> {
        // Whoever started it may be gone without having ended it.
        std::thread::spawn(|| {
            let _ = io::stdin().read_line(&mut String::new());
            std::process::exit(0);
        });
        match self {
            Self::Send { conns, frame } => send::run(*conns, *frame),
            Self::Pairs { conns, frame, burst } => pairs::run(*conns, *frame, *burst),
            Self::Broadcast => broadcast::run(),
            Self::Echo => echo::run(),
            Self::Hold => hold::run(),
            Self::Tls { folder, answer } => tls::run(folder, *answer),
        }
    }

    fn words(&self) -> Vec<String> {
        let numbers = |name: &str, numbers: &[(&str, usize)]| {
            let pairs = numbers.iter().flat_map(|(flag, number)| [format!("--{flag}"), number.to_string()]);
            std::iter::once(name.to_owned()).chain(pairs).collect()
        };
        match self {
            Self::Send { conns, frame } => numbers("send", &[("conns", *conns), ("frame", *frame)]),
            Self::Pairs { conns, frame, burst } => {
                numbers("pairs", &[("conns", *conns), ("frame", *frame), ("burst", *burst)])
            }
            Self::Broadcast => vec!["broadcast".to_owned()],
            Self::Echo => vec!["echo".to_owned()],
            Self::Hold => vec!["hold".to_owned()],
            Self::Tls { folder, answer } => {
                let folder = folder.display().to_string();
                vec![
                    "tls".to_owned(),
                    "--folder".to_owned(),
                    folder,
                    "--answer".to_owned(),
                    answer.to_string(),
                ]
            }
        }
    }
}

/// A floor program that runs; ended when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its time and memory.
    pub watched: Watched,
}

impl Running {
    /// Starts it on one core: this very binary, under another name of its command line.
    ///
    /// # Errors
    /// The operating system's; a program that says no port.
    pub fn start(program: Program, core: usize) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "floor-program"]).args(program.words());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = machine::start_on(core, || command.spawn())?;
        let mut line = String::new();
        if let Some(said) = child.stdout.take() {
            BufReader::new(said).read_line(&mut line)?;
        }
        let port = line.trim().parse().map_err(|_| io::Error::other("the floor program said no port"))?;
        let watched = Watched::new(child.id())?;
        Ok(Self { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), watched })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Listens, says where, and takes a first connection and so many others, which don't wait when they are written to.
fn crowd(conns: usize) -> io::Result<(TcpStream, Vec<TcpStream>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say_port(&listener)?;
    let first = listener.accept()?.0;
    let mut sockets = Vec::with_capacity(conns);
    for _ in 0..conns {
        let socket = listener.accept()?.0;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    Ok((first, sockets))
}

/// Says the port on standard output.
fn say_port(listener: &TcpListener) -> io::Result<()> {
    use std::io::Write as _;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_floor_is_at_most_sixty_lines() {
        let programs = [
            include_str!("floor/broadcast.rs"),
            include_str!("floor/echo.rs"),
            include_str!("floor/hold.rs"),
            include_str!("floor/pairs.rs"),
            include_str!("floor/send.rs"),
            include_str!("floor/tls.rs"),
        ];
        let lines = programs.map(|text| text.lines().count());
        assert!(lines.iter().all(|lines| *lines <= 60), "{lines:?}");
    }
}
