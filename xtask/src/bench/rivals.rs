//! `cargo xtask bench rivals`: other servers, each beside Everwire and the floor in one run, by the same load tool.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::record::{Book, Conditions, PAGE, Rival, Standing, commit};
use super::{Blocks, bounded, report};
use crate::call::Call;
use crate::{install, server};

/// What `everwire bench rival` prints.
#[derive(Debug, Deserialize)]
struct Document {
    machine: String,
    rounds: usize,
    block_ms: u64,
    standings: Vec<Standing>,
}

/// What a server needs to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A script of rivals/node.
    Node(&'static str),
    /// A script of rivals/python.
    Python(&'static str),
    /// A binary of rivals/rust.
    Rust(&'static str),
    /// A module with a program.
    Go(&'static str),
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Known {
    name: &'static str,
    version: &'static str,
    kind: Kind,
    /// How it is set, for the reader.
    settings: &'static str,
    /// How it is spoken to.
    talk: &'static [&'static str],
}

/// An echo and a broadcast that need no words of their own.
const RAW: &[&str] = &["--echo", "ws://127.0.0.1:{port}/echo", "--fanout", "ws://127.0.0.1:{port}/fanout"];

const SOCKET_IO: &[&str] = &[
    "--echo",
    "ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket",
    "--echo-text",
    r#"42["echo","{data}"]"#,
    "--fanout",
    "ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket",
    "--first",
    "40",
    "--greeted",
    "40{",
    "--answer",
    "2=3",
    "--subscribe",
    r#"42["sub","{channel}"]"#,
    "--subscribed",
    r#""subbed""#,
    "--publish",
    r#"42["pub","{channel}","{data}"]"#,
];

const CENTRIFUGO: &[&str] = &[
    "--fanout",
    "ws://127.0.0.1:{port}/connection/websocket",
    "--first",
    r#"{"id":1,"connect":{}}"#,
    "--greeted",
    r#""connect":{"#,
    "--answer",
    "{}={}",
    "--subscribe",
    r#"{"id":2,"subscribe":{"channel":"{channel}"}}"#,
    "--subscribed",
    r#""subscribe":{"#,
    "--publish",
    r#"{"id":3,"publish":{"channel":"{channel}","data":"{data}"}}"#,
];

const KNOWN: [Known; 7] = [
    Known {
        name: "ws",
        version: "8.23.0",
        kind: Kind::Node("ws.mjs"),
        settings: "`bufferutil` beside it, compression off (its default); pings: none",
        talk: RAW,
    },
    Known {
        name: "socket.io",
        version: "4.8.4",
        kind: Kind::Node("socketio.mjs"),
        settings: "WebSocket alone, `bufferutil` beside it, compression off (its default), the first request let go; echo and \
                   broadcast as events, the broadcast to a room; pings every 25 s (its default), answered",
        talk: SOCKET_IO,
    },
    Known {
        name: "websockets",
        version: "17.4",
        kind: Kind::Python("websockets_server.py"),
        settings: "on uvloop 0.23.0, compression off, `broadcast()` for the broadcast; pings every 20 s (its default), answered",
        talk: RAW,
    },
    Known {
        name: "picows",
        version: "2.3.1",
        kind: Kind::Python("picows_server.py"),
        settings: "on uvloop 0.23.0; pings: none (its default)",
        talk: RAW,
    },
    Known {
        name: "tokio-tungstenite",
        version: "0.30.0",
        kind: Kind::Rust("tungstenite"),
        settings: "tokio on one thread, read buffers of 4 KiB as it advises for many connections, what waits for a \
                   connection is written at once; pings: none",
        talk: RAW,
    },
    Known {
        name: "axum",
        version: "0.8.9",
        kind: Kind::Rust("axum"),
        settings: "tokio on one thread, read buffers of 4 KiB as it advises for many connections, what waits for a \
                   connection is written at once; pings: none",
        talk: RAW,
    },
    Known {
        name: "centrifugo",
        version: "v6.9.1",
        kind: Kind::Go("github.com/centrifugal/centrifugo/v6"),
        settings: "memory engine, JSON, anonymous clients that may publish, no history, no presence, compression off (its \
                   default); it has no echo; pings every 25 s (its default), answered",
        talk: CENTRIFUGO,
    },
];

/// How long one takes with the usual blocks on a quiet machine, s.
const USUAL_S: u64 = 260;

/// Measures these, or all.
pub(super) fn run(root: &Path, names: &[String], blocks: Blocks) -> Result<()> {
    let mut book = Book::read(root)?;
    let wanted = left(&book, chosen(names)?, blocks.resume, commit(root).as_deref())?;
    let binary = server::build(root, true)?;
    let usual = report::scaled(USUAL_S, blocks);
    let minutes = (usual.as_secs() * wanted.len() as u64).div_ceil(60);
    println!(
        "\n{} servers, about {minutes} min on a quiet machine, and the time to install them",
        wanted.len()
    );
    let mut failed = Vec::new();
    for known in wanted {
        println!("\n== {} {}; about {} s", known.name, known.version, usual.as_secs());
        match measure(root, &binary, known, blocks, usual * 4) {
            Ok(rival) => {
                tell(&rival);
                book.rivals.insert(known.name.to_owned(), rival);
            }
            Err(error) => {
                println!("FAILED: {error:#}");
                failed.push(known.name);
                // What was measured before is worth more than the news that it can't be measured today.
                if book.rivals.get(known.name).is_none_or(|kept| kept.refused.is_some()) {
                    let reason = reason(root, &error);
                    book.rivals.insert(known.name.to_owned(), refused(root, known, blocks, reason)?);
                }
            }
        }
        book.write(root)?;
    }
    println!("\n{PAGE} is written");
    if !failed.is_empty() {
        bail!("{} could not be measured", failed.join(", "));
    }
    Ok(())
}

/// The first line of why, without the paths of this machine.
fn reason(root: &Path, error: &anyhow::Error) -> String {
    let words = format!("{error:#}").replace(&root.display().to_string(), ".");
    let home = std::env::var("HOME").unwrap_or_default();
    let words = if home.len() > 1 { words.replace(&home, "~") } else { words };
    words.lines().next().unwrap_or("no reason was told").to_owned()
}

fn chosen(names: &[String]) -> Result<Vec<&'static Known>> {
    if let Some(name) = names.iter().find(|name| !KNOWN.iter().any(|known| known.name == name.as_str())) {
        bail!("there is no server {name:?} here: the names are {}", KNOWN.map(|known| known.name).join(" "));
    }
    Ok(KNOWN.iter().filter(|known| names.is_empty() || names.iter().any(|name| name == known.name)).collect())
}

/// Those that are still to be measured.
fn left<'a>(
    book: &Book,
    wanted: Vec<&'a Known>,
    resume: bool,
    commit: Option<&str>,
) -> Result<Vec<&'a Known>> {
    report::can_resume(resume, commit)?;
    let is_there = |known: &Known| {
        let kept = book.rivals.get(known.name).filter(|kept| kept.refused.is_none());
        resume && kept.is_some_and(|kept| kept.conditions.commit.as_deref() == commit)
    };
    Ok(wanted.into_iter().filter(|known| !is_there(known)).collect())
}

fn measure(root: &Path, binary: &Path, known: &Known, blocks: Blocks, limit: Duration) -> Result<Rival> {
    let (command, runtime) = provide(root, known)?;
    let mut call = Call::new(root, "").arg(binary).arg("bench").arg("rival");
    let (rounds, block_ms) = (blocks.rounds.to_string(), blocks.block_ms.to_string());
    for word in ["--rounds", &rounds, "--block-ms", &block_ms].iter().chain(known.talk).chain(&["--"]) {
        call = call.arg(*word);
    }
    let call = command.into_iter().fold(call, Call::arg);
    let said = bounded::output(&call, limit)?;
    let Document { machine, rounds, block_ms, standings } =
        serde_json::from_str(&said).context("it printed no figures; what it complains of is above")?;
    Ok(Rival {
        conditions: Conditions::now(root, &typed(known, blocks), &machine)?,
        version: known.version.to_owned(),
        runtime,
        settings: known.settings.to_owned(),
        blocks: (rounds, block_ms),
        standings,
        refused: None,
    })
}

fn typed(known: &Known, blocks: Blocks) -> String {
    format!("cargo xtask bench rivals {}{}", known.name, report::options(blocks))
}

fn refused(root: &Path, known: &Known, blocks: Blocks, reason: String) -> Result<Rival> {
    Ok(Rival {
        conditions: Conditions::now(root, &typed(known, blocks), &report::machine())?,
        version: known.version.to_owned(),
        runtime: String::new(),
        settings: known.settings.to_owned(),
        blocks: (blocks.rounds, blocks.block_ms),
        standings: Vec::new(),
        refused: Some(reason),
    })
}

/// Installs what it needs; the words that start it, and what runs it.
fn provide(root: &Path, known: &Known) -> Result<(Vec<PathBuf>, String)> {
    let asked = |words: &str| Call::new(root, words).answer().unwrap_or_default();
    Ok(match known.kind {
        Kind::Node(script) => {
            install::for_node_rivals(root)?;
            let words = ["node".into(), Path::new("rivals/node").join(script), "{port}".into()];
            (words.into(), format!("Node {}", asked("node --version")))
        }
        Kind::Python(script) => {
            let python = install::for_python_rivals(root)?;
            let runtime = Call::new(root, "").arg(&python).arg("--version").answer().unwrap_or_default();
            (vec![python, Path::new("rivals/python").join(script), "{port}".into()], runtime)
        }
        Kind::Rust(name) => {
            let words = "cargo build --locked --release --manifest-path rivals/rust/Cargo.toml \
                         --message-format json-render-diagnostics";
            let call = Call::new(root, words).with("CARGO_TARGET_DIR", root.join("target/rivals"));
            (vec![server::built(&call, name)?, "{port}".into()], asked("rustc --version"))
        }
        Kind::Go(module) => {
            let program = install::for_go_rival(root, module, known.version, known.name)?;
            // Its port comes from the environment, all else from the file.
            let words = ["env", "CENTRIFUGO_HTTP_SERVER_PORT={port}"].map(PathBuf::from);
            let rest = [program, "--config".into(), "rivals/centrifugo/config.json".into()];
            (words.into_iter().chain(rest).collect(), asked("go env GOVERSION"))
        }
    })
}

fn tell(rival: &Rival) {
    for standing in &rival.standings {
        let of =
            |ratio: Option<f64>| ratio.map_or(String::new(), |ratio| format!(", {ratio:.2} of the floor"));
        println!(
            "{}: {:.0} {}{}; Everwire {:.0}{}",
            standing.what,
            standing.rival,
            standing.unit,
            of(standing.rival_ratio),
            standing.ours,
            of(standing.ours_ratio)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_of_the_locks() {
        let root = crate::tree::root().unwrap();
        let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
        for Known { name, version, kind, .. } in KNOWN {
            let (lock, line) = match kind {
                Kind::Node(_) => ("rivals/node/package.json", format!("\"{name}\": \"{version}\"")),
                Kind::Python(_) => ("rivals/python/requirements.txt", format!("\n{name}=={version} ")),
                Kind::Rust(_) => {
                    ("rivals/rust/Cargo.lock", format!("name = \"{name}\"\nversion = \"{version}\""))
                }
                // It has no lock of ours: the version is the lock, and Go checks its sum.
                Kind::Go(_) => continue,
            };
            assert!(format!("\n{}", read(lock)).contains(&line), "{name} {version} is not in {lock}");
        }
    }

    #[test]
    fn servers_are_chosen_by_name() {
        let of = |names: &[&str]| chosen(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        let names: Vec<_> = of(&["axum", "ws"]).unwrap().iter().map(|known| known.name).collect();
        assert_eq!(names, ["ws", "axum"]);
        assert_eq!(of(&[]).unwrap().len(), KNOWN.len());
        assert!(of(&["wss"]).unwrap_err().to_string().starts_with("there is no server \"wss\" here: "));
    }

    #[test]
    fn what_could_not_be_measured_is_tried_again() {
        let root = crate::tree::root().unwrap();
        let blocks = Blocks { rounds: 1, block_ms: 1, resume: true };
        let mut book = Book::default();
        for (known, reason) in KNOWN.iter().zip([None, Some("no".to_owned())]) {
            let mut rival = refused(&root, known, blocks, String::new()).unwrap();
            (rival.conditions.commit, rival.refused) = (Some("abc".to_owned()), reason);
            book.rivals.insert(known.name.to_owned(), rival);
        }
        let names = |resume| {
            let left = left(&book, chosen(&[]).unwrap(), resume, Some("abc")).unwrap();
            left.iter().map(|known| known.name).collect::<Vec<_>>()
        };
        assert_eq!((names(true).len(), names(true)[0], names(false).len()), (6, "socket.io", 7));
        assert!(left(&book, chosen(&[]).unwrap(), true, None).is_err());
    }
}
