//! What both servers share: the port they are given, and how they end.

use std::io::Result;
use std::net::Ipv4Addr;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;

/// Messages that a subscriber may be behind by. Nobody who is measured is: the next ones are sent when all are there.
pub const BEHIND: usize = 1024;

/// The read buffer of a connection, bytes: what the documentation of tungstenite recommends for many connections. Its
/// default is 128 KiB.
pub const READ_BUFFER: usize = 4 * 1024;

/// Listens on the port that stands on the command line, with a queue for thousands that connect at once.
pub fn listen() -> Result<TcpListener> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(4096)
}

/// Ends with the input: whoever started it holds it open.
pub fn end_with_input() {
    tokio::spawn(async {
        // An error is an end too.
        let _ = tokio::io::stdin().read(&mut [0]).await;
        std::process::exit(0);
    });
}
