//! A dense array and `send`: the least that a fan-out can cost.

use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;

pub(super) fn run(conns: usize, frame: usize) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    super::say_port(&listener)?;
    let mut first = listener.accept()?.0;
    let mut sockets = Vec::with_capacity(conns);
    for _ in 0..conns {
        let socket = listener.accept()?.0;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    let mut message = vec![0; frame];
    while first.read_exact(&mut message).is_ok() {
        for mut socket in &sockets {
            if socket.write(&message)? < frame {
                return Err(io::Error::other("a socket was full: the next message came too early"));
            }
        }
    }
    Ok(())
}
