//! The header that a proxy puts before a connection: the PROXY protocol, version 2.
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, section 2.2. Version 1 is text, and is not taken.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const HEAD_BYTES: usize = 16;
/// What stands behind the addresses (certificates, names) is thrown away; more of it than this is no header of ours.
const REST_BYTES: usize = 4 * 1024;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// The proxy speaks for itself: a health check.
    Itself,
    /// It carries a client whose address it can't tell, such as one of its own Unix sockets.
    Nobody,
    /// It carries this client.
    Client(SocketAddr),
}

/// Reads a header, and not one byte behind it.
///
/// # Errors
/// The end of the connection, or words that say what is wrong with the header.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Says> {
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let length = check(&head).map_err(wrong)?;
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    says(&head, &rest).map_err(wrong)
}

fn wrong(words: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

/// How many bytes follow a head.
fn check(head: &[u8; HEAD_BYTES]) -> Result<usize, &'static str> {
    if head[..12] != SIGNATURE {
        return Err("it does not begin with a header of the PROXY protocol, version 2");
    }
    if head[12] >> 4 != 2 {
        return Err("the PROXY header is not of version 2");
    }
    match usize::from(u16::from_be_bytes([head[14], head[15]])) {
        length if length > REST_BYTES => Err("the PROXY header is over 4 KiB"),
        length => Ok(length),
    }
}

fn says(head: &[u8; HEAD_BYTES], rest: &[u8]) -> Result<Says, &'static str> {
    match head[12] & 0xf {
        0 => return Ok(Says::Itself),
        1 => {}
        _ => return Err("the command of the PROXY header is unknown"),
    }
    let short = "the addresses of the PROXY header are cut off";
    let (ip, ports) = match head[13] {
        // TCP over IPv4: two addresses, two ports, the client's first.
        0x11 => {
            let bytes = rest.first_chunk::<12>().ok_or(short)?;
            let [a, b, c, d, ..] = *bytes;
            (IpAddr::from(Ipv4Addr::new(a, b, c, d)), [bytes[8], bytes[9]])
        }
        0x21 => {
            let bytes = rest.first_chunk::<36>().ok_or(short)?;
            let address = bytes.first_chunk::<16>().ok_or(short)?;
            (IpAddr::from(Ipv6Addr::from(*address)), [bytes[32], bytes[33]])
        }
        // Unknown, and a stream of a Unix socket.
        0x00 | 0x31 => return Ok(Says::Nobody),
        _ => return Err("the PROXY header is not of a stream"),
    };
    Ok(Says::Client(SocketAddr::new(ip, u16::from_be_bytes(ports))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    /// What is read of bytes, and how many of them are left.
    fn told(bytes: &[u8]) -> (io::Result<Says>, usize) {
        let mut left = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let said = runtime.block_on(read(&mut left));
        (said, left.len())
    }

    fn v4() -> Vec<u8> {
        vec![192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0x01, 0xbb]
    }

    #[test]
    fn good_headers() {
        let mut v6 = vec![0; 36];
        (v6[0], v6[1], v6[15], v6[33]) = (0x20, 0x01, 9, 80);
        let with_more = [v4(), vec![4, 0, 1, 0]].concat();
        for (version, family, rest, says) in [
            (0x21, 0x11, v4(), Says::Client("192.0.2.7:8080".parse().unwrap())),
            (0x21, 0x11, with_more, Says::Client("192.0.2.7:8080".parse().unwrap())),
            (0x21, 0x21, v6, Says::Client("[2001::9]:80".parse().unwrap())),
            (0x21, 0x31, vec![0; 216], Says::Nobody),
            (0x21, 0x00, vec![], Says::Nobody),
            (0x20, 0x00, vec![], Says::Itself),
            (0x20, 0x11, v4(), Says::Itself),
        ] {
            let mut bytes = header(version, family, &rest);
            bytes.extend(b"GET /");
            let (said, left) = told(&bytes);
            assert_eq!((said.unwrap(), left), (says, 5), "{version:x} {family:x}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = vec![0; REST_BYTES + 1];
        for (bytes, words) in [
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "does not begin"),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(), "does not begin"),
            (header(0x11, 0x11, &v4()), "not of version 2"),
            (header(0x22, 0x11, &v4()), "command"),
            (header(0x21, 0x12, &v4()), "not of a stream"),
            (header(0x21, 0x11, &v4()[..11]), "cut off"),
            (header(0x21, 0x21, &[0; 35]), "cut off"),
            (header(0x21, 0x11, &long), "over 4 KiB"),
        ] {
            let error = told(&bytes).0.unwrap_err();
            assert!(error.to_string().contains(words), "{bytes:?}: {error}");
        }
        let whole = header(0x21, 0x11, &v4());
        for cut in 0..whole.len() {
            assert_eq!(told(&whole[..cut]).0.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
    }
}
