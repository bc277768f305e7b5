//! A bare loop of rustls: accepts, shakes hands, answers a request of one record with so many bytes, waits for the end.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustls::ServerConnection;

pub(super) fn run(folder: &Path, answer: usize) -> io::Result<()> {
    let config = crate::tls::bare_server(folder)?;
    let answer = vec![b'x'; answer];
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    super::say_port(&listener)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(u64::MAX), EventFlags::IN)?;
    let (mut conns, mut free): (Vec<Option<_>>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut events = Vec::with_capacity(1024);
    loop {
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for place in events.drain(..).map(|event: epoll::Event| event.data.u64()) {
            if let Some(conn) = conns.get_mut(place as usize) {
                if conn.as_mut().is_some_and(|(stream, tls)| talk(stream, tls, &answer).is_err()) {
                    *conn = None;
                    free.push(place);
                }
                continue;
            }
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                let place = free.pop().unwrap_or(conns.len() as u64);
                epoll::add(&poll, &stream, EventData::new_u64(place), EventFlags::IN | EventFlags::ET)?;
                conns.resize_with(conns.len().max(place as usize + 1), || None);
                let tls = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                conns[place as usize] = Some((stream, tls));
            }
        }
    }
}

/// Reads what is there and says what is due; an error is the end.
fn talk(stream: &mut TcpStream, tls: &mut ServerConnection, answer: &[u8]) -> io::Result<()> {
    loop {
        match tls.read_tls(stream) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            read => read?,
        };
        let heard = tls.process_new_packets().map_err(io::Error::other)?.plaintext_bytes_to_read();
        if heard > 0 {
            tls.reader().read_exact(&mut vec![0; heard])?;
            tls.writer().write_all(answer)?;
        }
        while tls.wants_write() {
            tls.write_tls(stream)?;
        }
    }
}
