//! A bare epoll echo of WebSocket frames: short ones, whole ones, nothing checked.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use everwire_proto::ws;
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
    let mut answer = Vec::with_capacity(64 * 1024);
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
            let mut socket = &sockets[usize::try_from(place).unwrap_or_default()];
            let n = socket.read(&mut buffer)?;
            answer.clear();
            let mut rest = &mut buffer[..n];
            while let [first, second, ..] = *rest {
                // The loader sends whole frames of less than 64 KiB, masked.
                let short = usize::from(second & 0x7f);
                let head = if short == 126 { 4 } else { 2 };
                let len =
                    if short == 126 { usize::from(u16::from_be_bytes([rest[2], rest[3]])) } else { short };
                let mask = [rest[head], rest[head + 1], rest[head + 2], rest[head + 3]];
                let (frame, after) = rest.split_at_mut(head + 4 + len);
                answer.extend_from_slice(&[first, second & 0x7f]);
                answer.extend_from_slice(&frame[2..head]);
                ws::unmask(&mut frame[head + 4..], mask);
                answer.extend_from_slice(&frame[head + 4..]);
                rest = after;
            }
            if socket.write(&answer)? < answer.len() {
                return Err(io::Error::other("a socket was full: the reader does not keep up"));
            }
        }
    }
}
