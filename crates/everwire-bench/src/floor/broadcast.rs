//! A bare epoll broadcast: what one read brings goes to everybody else.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

pub(super) fn run() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    super::say_port(&listener)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(u64::MAX), EventFlags::IN)?;
    let mut sockets: Vec<TcpStream> = Vec::new();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let place = event.data.u64();
            if place == u64::MAX {
                while let Ok((socket, _)) = listener.accept() {
                    socket.set_nodelay(true)?;
                    socket.set_nonblocking(true)?;
                    let data = EventData::new_u64(sockets.len() as u64);
                    epoll::add(&poll, &socket, data, EventFlags::IN | EventFlags::ET)?;
                    sockets.push(socket);
                }
                continue;
            }
            let from = usize::try_from(place).unwrap_or_default();
            let n = match (&sockets[from]).read(&mut buffer) {
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            if n == 0 {
                return Ok(());
            }
            for (place, mut socket) in sockets.iter().enumerate() {
                if place != from && socket.write(&buffer[..n])? < n {
                    return Err(io::Error::other("a socket was full: the readers do not keep up"));
                }
            }
        }
    }
}
