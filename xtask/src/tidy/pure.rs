//! The two lower floors have no clock, no I/O, no runtime and no chance of their own: all of it comes in as arguments.

use super::Faults;
use super::floors::{dependencies, line_of};
use crate::tree::Tree;

/// Where it holds.
const PURE: [&str; 2] = ["crates/everwire-proto/", "crates/everwire-engine/"];

/// Crates that bring what must come from outside.
const CRATES: [&str; 10] =
    ["tokio", "axum", "hyper", "mio", "rand", "getrandom", "fastrand", "chrono", "time", "async-std"];

/// Parts of the standard library that do. Plain data of `std::net`, such as an address, is no I/O.
const STD: [&str; 5] = ["fs", "net", "thread", "process", "env"];
const NET_DATA: [&str; 6] = ["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6"];

/// Holds the sources and manifests of the pure crates against the list. Tests may do what they like.
pub fn check(tree: &Tree, faults: &mut Faults) {
    for file in tree.files.iter().filter(|file| PURE.iter().any(|pure| file.path.starts_with(pure))) {
        if file.path.ends_with("/Cargo.toml") {
            for (kind, name) in file.text.parse().as_ref().map(dependencies).unwrap_or_default() {
                if kind != "dev-dependencies" && CRATES.contains(&name.as_str()) {
                    let words = format!("`{name}` has no place on a pure floor: pass in what it would give");
                    faults.refuse(&file.path, line_of(&file.text, &name), words);
                }
            }
        }
        let paths = file.scan().map(|scan| scan.paths.as_slice()).unwrap_or_default();
        for path in paths.iter().filter(|path| !path.test) {
            if let Some(what) = impure(&path.parts) {
                let words =
                    format!("{what} on a pure floor: pass it in as an argument, from the server or the test");
                faults.refuse(&file.path, path.line, words);
            }
        }
    }
}

fn impure(parts: &[String]) -> Option<String> {
    let [first, second, ..] = parts else { return None };
    if CRATES.contains(&first.as_str()) && first != "time" {
        return Some(format!("`{first}`"));
    }
    if first != "std" {
        return None;
    }
    let third = parts.get(2).map_or("", String::as_str);
    let clock = second == "time" && third != "Duration";
    let input = STD.contains(&second.as_str()) && !(second == "net" && NET_DATA.contains(&third));
    (clock || input).then(|| format!("`{}`", parts.join("::")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{caught, passes};

    const FILE: &str = "crates/everwire-engine/src/a.rs";

    #[test]
    fn a_clock_a_runtime_or_io() {
        for text in [
            "use tokio::sync::mpsc;",
            "fn f() { axum::serve(); }",
            "use hyper::body;",
            "use mio::Poll;",
            "use std::time::{Duration, Instant};",
            "use std::time;",
            "fn f() { std::time::SystemTime::now(); }",
            "use std::net::TcpStream;",
            "use std::{fs, fmt};",
            "use rand::Rng;",
            "use std::thread;",
        ] {
            caught(check, &[(FILE, text)], "crates/everwire-engine/src/a.rs:1: `");
        }
    }

    #[test]
    fn a_dependency_that_brings_one() {
        let text = "[dependencies]\nbytes = '1'\ntokio = '1'\n";
        caught(
            check,
            &[("crates/everwire-proto/Cargo.toml", text)],
            "crates/everwire-proto/Cargo.toml:3: `tokio`",
        );
    }

    #[test]
    fn tests_the_shell_and_durations_may() {
        passes(
            check,
            &[
                (
                    FILE,
                    "use std::time::Duration;\nuse std::net::Ipv6Addr;\n#[cfg(test)]\nmod tests { use std::time::Instant; }",
                ),
                ("crates/everwire-engine/tests/simulation.rs", "use std::time::Instant;"),
                ("crates/everwire-server/src/a.rs", "use tokio::net; use std::time::Instant;"),
                ("crates/everwire-engine/Cargo.toml", "[dev-dependencies]\nrand = '1'\n"),
            ],
        );
    }
}
