//! A bare loop of rustls: accepts, shakes hands, reads a request, answers with so many bytes, and waits for the end.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustls::ServerConnection;

struct Conn {
    stream: TcpStream,
    tls: ServerConnection,
    heard: Vec<u8>,
}

pub(super) fn run(folder: &Path, answer: usize) -> io::Result<()> {
    let config = crate::tls::bare_server(folder)?;
    let answer = vec![b'x'; answer];
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    super::say_port(&listener)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(u64::MAX), EventFlags::IN)?;
    let (mut conns, mut free): (Vec<Option<Conn>>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let place = event.data.u64();
            if place == u64::MAX {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    stream.set_nonblocking(true)?;
                    let tls = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                    let slot = free.pop().unwrap_or_else(|| {
                        conns.push(None);
                        conns.len() - 1
                    });
                    let data = EventData::new_u64(slot as u64);
                    epoll::add(&poll, &stream, data, EventFlags::IN | EventFlags::ET)?;
                    conns[slot] = Some(Conn { stream, tls, heard: Vec::new() });
                }
                continue;
            }
            let slot = usize::try_from(place).unwrap_or_default();
            if conns[slot].as_mut().is_some_and(|conn| talk(conn, &answer).is_err()) {
                conns[slot] = None;
                free.push(slot);
            }
        }
    }
}

/// Reads what is there and says what is due; an error is the end.
fn talk(conn: &mut Conn, answer: &[u8]) -> io::Result<()> {
    let Conn { stream, tls, heard } = conn;
    loop {
        match tls.read_tls(stream) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        if state.plaintext_bytes_to_read() > 0 {
            let from = heard.len();
            heard.resize(from + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut heard[from..])?;
            if memchr::memmem::find(heard, b"\r\n\r\n").is_some() {
                tls.writer().write_all(answer)?;
                *heard = Vec::new();
            }
        }
        while tls.wants_write() {
            tls.write_tls(stream)?;
        }
    }
}
