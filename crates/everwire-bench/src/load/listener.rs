//! Which process of this machine listens at an address, as far as `/proc` shows it to this user.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The state `LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Whom a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// These processes share the listening socket.
    Processes(Vec<u32>),
    /// The address belongs to another machine.
    Elsewhere,
    /// Somebody listens, but the process is not shown to this user.
    Hidden,
    /// Nobody is seen to listen: a port that is passed on to somewhere else, such as a container's.
    Nobody,
}

/// Looks for the processes that listen there.
pub fn find(address: SocketAddr) -> Found {
    if !is_of_this_machine(address.ip()) {
        return Found::Elsewhere;
    }
    let mut inodes = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        inodes.extend(text.lines().filter_map(|line| listening(line, address)));
    }
    if inodes.is_empty() {
        return Found::Nobody;
    }
    let links: Vec<_> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| holds(*pid, &links))
        .collect();
    pids.sort_unstable();
    if pids.is_empty() { Found::Hidden } else { Found::Processes(pids) }
}

/// Whether a socket could be bound to this address.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// The inode in a line of `/proc/net/tcp`, if it listens at this address or at all of them.
fn listening(line: &str, address: SocketAddr) -> Option<u64> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (ip, port) = local.split_once(':')?;
    let ip = parse_ip(ip)?;
    let fits = ip.is_unspecified() || ip.to_canonical() == address.ip().to_canonical();
    let here = *state == LISTEN && u16::from_str_radix(port, 16).ok()? == address.port();
    (here && fits).then(|| inode.parse().ok())?
}

/// The kernel prints each 32-bit word of an address in the machine's own byte order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (n, part) in bytes.chunks_mut(4).enumerate() {
                part.copy_from_slice(&word(n * 8)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

fn holds(pid: u32, links: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|descriptor| {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        target.to_str().is_some_and(|target| links.iter().any(|link| link == target))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn this_process_is_found_by_its_port() {
        for bound in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let listener = TcpListener::bind(bound).unwrap();
            let port = listener.local_addr().unwrap().port();
            let ip: IpAddr =
                if bound.starts_with('[') { Ipv6Addr::LOCALHOST.into() } else { [127, 0, 0, 1].into() };
            let found = find(SocketAddr::new(ip, port));
            assert_eq!(found, Found::Processes(vec![std::process::id()]), "{bound}");
            drop(listener);
            assert_eq!(find(SocketAddr::new(ip, port)), Found::Nobody, "{bound}");
        }
        // TEST-NET-1 of RFC 5737 is nobody's.
        assert_eq!(find(SocketAddr::from(([192, 0, 2, 1], 80))), Found::Elsewhere);
    }
}
