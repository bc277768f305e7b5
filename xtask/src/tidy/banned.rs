//! What must not stand anywhere: queues without a bound, `unsafe`, paths of somebody's machine.

use super::Faults;
use crate::tree::Tree;

/// Files that may hold `unsafe`, each with the gain that was measured.
const UNSAFE: [&str; 1] = [
    // Half of the memory that a server has after a crowd: docs/decisions/0106-speed.md.
    "crates/everwire-server/src/heap.rs",
];

/// Where a home, a checkout or a scratch folder lies on somebody's machine.
const MACHINE: [&str; 12] = [
    "/root/",
    "/home/",
    "/Users/",
    "/tmp/",
    "/var/tmp/",
    "/mnt/",
    "/opt/",
    "/srv/",
    "/builds/",
    "/work/",
    "/workspace/",
    "C:\\",
];

/// This file names them all.
const OWN: &str = "xtask/src/tidy/banned.rs";

/// Looks through all Rust, and through every text for paths.
pub fn check(tree: &Tree, faults: &mut Faults) {
    for (file, scan) in tree.rust() {
        if !UNSAFE.contains(&file.path.as_str()) {
            for line in &scan.unsafes {
                let words = "`unsafe` needs a measured gain, a module of its own, and its place in the list of xtask/src/tidy/banned.rs";
                faults.refuse(&file.path, *line, words);
            }
        }
        let std_mpsc = scan.paths.iter().any(|path| path.starts(&["std", "sync", "mpsc"]));
        for path in &scan.paths {
            let last = path.parts.last().map(String::as_str).unwrap_or_default();
            let named = matches!(last, "unbounded_channel" | "unbounded" | "UnboundedSender" | "SegQueue");
            if named || std_mpsc && path.ends(&["mpsc", "channel"]) {
                let words = format!(
                    "`{}` has no bound: take a queue with a limit, and say what happens at it",
                    path.parts.join("::")
                );
                faults.refuse(&file.path, path.line, words);
            }
        }
    }
    for file in tree.files.iter().filter(|file| file.path != OWN) {
        for (at, line) in file.text.lines().enumerate() {
            if let Some(found) = MACHINE.iter().find(|path| names_path(line, path)) {
                let words = format!(
                    "`{found}…` is a path of one machine: make it relative, or ask the system for a folder"
                );
                faults.refuse(&file.path, at + 1, words);
            }
        }
    }
}

/// Whether a path begins here with that prefix: in the middle of an address or of a longer path it means something else.
fn names_path(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || "/._-~}>$*)".contains(c)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{caught, passes};

    #[test]
    fn queues_without_a_bound_and_unsafe() {
        caught(
            check,
            &[("a.rs", "\nfn f() { tokio::sync::mpsc::unbounded_channel::<u8>(); }")],
            "a.rs:2: `tokio::sync::mpsc::unbounded_channel`",
        );
        caught(check, &[("a.rs", "use crossbeam_channel::unbounded;")], "a.rs:1: ");
        caught(
            check,
            &[("a.rs", "use std::sync::mpsc; fn f() { mpsc::channel(); }")],
            "a.rs:1: `mpsc::channel`",
        );
        caught(check, &[("a.rs", "fn f() {\n unsafe { g() } }")], "a.rs:2: `unsafe` needs");
        passes(
            check,
            &[("a.rs", "use tokio::sync::mpsc; fn f() { mpsc::channel(1); } // unsafe unbounded_channel()")],
        );
    }

    #[test]
    fn paths_of_a_machine() {
        for line in
            ["const A: &str = \"/home/ann/x\";", "see `/root/.cache`", "X=/tmp/out", "/work/x", "(C:\\x)"]
        {
            caught(check, &[("docs/a.md", &format!("ok\n{line}"))], "docs/a.md:2: `");
        }
        passes(
            check,
            &[(
                "docs/a.md",
                "https://example.org/home/x ./tmp/x /usr/bin/chromium $HOME/opt/ ~/tmp/x /homework/ /proc/self",
            )],
        );
    }
}
