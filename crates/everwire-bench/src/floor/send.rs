//! A dense array and `send`: the least that a fan-out can cost.

use std::io::{self, Read as _, Write as _};

pub(super) fn run(conns: usize, frame: usize) -> io::Result<()> {
    let (mut first, sockets) = super::crowd(conns)?;
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
