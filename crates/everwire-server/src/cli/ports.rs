//! Whether the listeners of a config can be had. Nothing is listened on: each is bound, and let go when all were looked at.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use everwire_bench::load::listener::{self, Found};

use super::doctor::Look;
use crate::config::Config;
use crate::listen::Listen;

/// A look at each of them.
pub(super) fn looks(config: &Config) -> Vec<Look> {
    let all = [
        ("listen", &config.listen),
        ("api.listen", &config.api_listen),
        ("metrics.listen", &config.metrics_listen),
    ];
    let mut held = Vec::new();
    let mut looks = Vec::new();
    for (name, places) in all {
        for place in places {
            let found = match place {
                Listen::At(addr) => vec![look(*addr, &mut held)],
                Listen::BothLoopbacks(port) => both_loopbacks(*port, &mut held),
                Listen::Unix(_) | Listen::Inherited(_) => {
                    vec![Ok(format!("{place} is looked at when the server starts"))]
                }
            };
            looks.extend(found.into_iter().map(|found| (name, found)));
        }
    }
    looks
}

/// A machine without `[::1]` listens on the other one alone, as the server does.
fn both_loopbacks(port: u16, held: &mut Vec<TcpListener>) -> Vec<Result<String, String>> {
    let v4 = look((Ipv4Addr::LOCALHOST, port).into(), held);
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    match TcpListener::bind(v6) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => vec![v4],
        bound => {
            // It is bound again below.
            drop(bound);
            vec![v4, look(v6, held)]
        }
    }
}

/// One that can be had is held from now on, so that one that is asked for twice shows.
fn look(addr: SocketAddr, held: &mut Vec<TcpListener>) -> Result<String, String> {
    match TcpListener::bind(addr) {
        Ok(listener) => {
            held.push(listener);
            Ok(format!("{addr} is free"))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken(addr),
        Err(error) => Err(format!("can't listen on {addr}: {error}")),
    }
}

/// By whom: a server of ours may be the very one that is looked at, anybody else keeps it from starting.
fn taken(addr: SocketAddr) -> Result<String, String> {
    let port = addr.port();
    let Found::Processes(pids) = listener::find(addr) else {
        return Ok(format!(
            "{addr} is taken, by this server if it runs; `ss -ltnp 'sport = :{port}'` as root says by whom"
        ));
    };
    if pids.contains(&std::process::id()) {
        return Err(format!("{addr} is asked for twice; [::] takes the addresses of IPv4 too"));
    }
    let ours = name_of(std::process::id());
    match pids.iter().find(|pid| name_of(**pid) != ours) {
        None => Ok(format!("{addr} is taken, by this server if it runs: process {}", pids[0])),
        Some(pid) => {
            let name = name_of(*pid).unwrap_or_else(|| "another program".to_owned());
            Err(format!("{addr} is taken by {name}, process {pid}: stop it, or listen elsewhere"))
        }
    }
}

/// What a process calls itself.
fn name_of(pid: u32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .ok()
        .map(|name| name.trim().escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listener_is_looked_at() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let own = format!("127.0.0.1:{port}");
        let text = format!(
            "listen = [\"{own}\"]\n[api]\nlisten = [\"{own}\"]\n[metrics]\nlisten = [\"127.0.0.1:0\"]\n"
        );
        let looks = looks(&Config::read("f", &text).unwrap());
        let [first, api, metrics] = looks.as_slice() else { panic!("{looks:?}") };
        assert_eq!(first, &("listen", Ok(format!("{own} is free"))));
        let twice = Err(format!("{own} is asked for twice; [::] takes the addresses of IPv4 too"));
        assert_eq!(api, &("api.listen", twice));
        assert_eq!(metrics, &("metrics.listen", Ok("127.0.0.1:0 is free".to_owned())));
    }

    #[test]
    fn the_loopback_of_ipv6_is_looked_at_too() {
        let looks =
            |port: u16| looks(&Config::read("f", &format!("listen = [\"localhost:{port}\"]\n")).unwrap());
        let Ok(v6) = TcpListener::bind("[::1]:0") else {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            assert_eq!(looks(port).len(), 1, "a machine without it listens on the other one alone");
            return;
        };
        let looks = looks(v6.local_addr().unwrap().port());
        let told = looks.iter().find_map(|(_, found)| found.as_ref().err());
        assert!(
            told.is_some_and(|told| told.starts_with(&format!("{} is asked for", v6.local_addr().unwrap()))),
            "{looks:?}"
        );
    }
}
