//! Programs of the system: by apt where that is possible, else by the person who is told what to type.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::call::Call;

/// Older ones lack `WebSocket`, even behind a flag.
const NODE: (u32, u32) = (20, 10);

/// The browser: where the environment says, or where Debian puts it.
pub(super) fn chromium() -> PathBuf {
    env::var_os("EVERWIRE_CHROMIUM").map_or_else(|| "/usr/bin/chromium".into(), PathBuf::from)
}

/// Installs what the browser tests lack, or says how.
pub(super) fn install(root: &Path) -> Result<()> {
    provide(root, missing, Wanted::Browser)?;
    let node = Call::new(root, "node --version").answer().unwrap_or_default();
    if version(&node).is_none_or(|version| version < NODE) {
        bail!("the tests need Node {}.{} or newer, and `node --version` says {node:?}", NODE.0, NODE.1);
    }
    Ok(())
}

/// Installs what counts instructions, or says how.
pub(super) fn install_valgrind(root: &Path) -> Result<()> {
    let missing = |root: &Path| if has(root, "valgrind --version") { vec![] } else { vec!["valgrind"] };
    provide(root, missing, Wanted::Counts)
}

/// Who wants packages.
#[derive(Clone, Copy)]
enum Wanted {
    Browser,
    Counts,
}

fn provide(root: &Path, lacks: impl Fn(&Path) -> Vec<&'static str>, wanted: Wanted) -> Result<()> {
    let missing = lacks(root);
    let apt = has(root, "apt-get --version");
    let is_root = Call::new(root, "id -u").answer().is_some_and(|id| id == "0");
    match plan(&missing, apt, is_root, wanted) {
        Plan::Nothing => {}
        Plan::Tell(words) => bail!(words),
        Plan::Install(words) => {
            // Another apt may be at work; it is waited for.
            let apt = |words: &str| {
                Call::new(root, &format!("apt-get -o DPkg::Lock::Timeout=300 {words}"))
                    .with("DEBIAN_FRONTEND", "noninteractive")
            };
            apt("update --quiet").run()?;
            apt(&words).run()?;
            let still = lacks(root);
            if !still.is_empty() {
                bail!(
                    "apt installed {}, and yet they can't be run: look at its output above",
                    still.join(", ")
                );
            }
        }
    }
    Ok(())
}

fn has(root: &Path, line: &str) -> bool {
    Call::new(root, line).answer().is_some()
}

/// The packages whose programs are not there, wherever those come from.
fn missing(root: &Path) -> Vec<&'static str> {
    let python = has(root, "python3 --version");
    // Debian takes these two out of its Python, into a package of their own.
    let venv = || Call::new(root, "python3 -c").arg("import ensurepip, venv").answer().is_some();
    let wanted = [
        ("chromium", chromium().exists()),
        ("curl", has(root, "curl --version")),
        ("nodejs", has(root, "node --version")),
        ("npm", has(root, "npm --version")),
        ("python3", python),
        ("python3-venv", python && venv()),
    ];
    wanted.into_iter().filter(|(_, there)| !there).map(|(package, _)| package).collect()
}

enum Plan {
    Nothing,
    /// The arguments of apt-get.
    Install(String),
    /// What a person has to do.
    Tell(String),
}

fn plan(missing: &[&str], apt: bool, is_root: bool, wanted: Wanted) -> Plan {
    if missing.is_empty() {
        return Plan::Nothing;
    }
    let packages = missing.join(" ");
    let (tests, again, chromium) = match wanted {
        Wanted::Browser => (
            "the browser tests need",
            "run the tests again",
            ", and name the browser where it is not /usr/bin/chromium:\n\n    \
             EVERWIRE_CHROMIUM=<path> cargo xtask test browser\n",
        ),
        Wanted::Counts => ("counting instructions needs", "count again", "\n"),
    };
    match (apt, is_root) {
        (true, true) => Plan::Install(format!("install --yes --quiet --no-install-recommends {packages}")),
        (true, false) => Plan::Tell(format!(
            "{tests} what this machine lacks. Type this, then {again}:\n\n    \
             sudo apt-get update && sudo apt-get install --yes --no-install-recommends {packages}\n"
        )),
        (false, _) => Plan::Tell(format!(
            "{tests} what this machine lacks, and there is no apt here. Install what Debian calls \
             {packages}\nwith the package manager of this system{chromium}"
        )),
    }
}

/// `v20.11.1` as numbers.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix('v')?.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_installed_that_is_there() {
        assert!(matches!(plan(&[], true, true, Wanted::Browser), Plan::Nothing));
    }

    #[test]
    fn root_with_apt_installs_what_is_missing() {
        let Plan::Install(words) = plan(&["chromium", "curl"], true, true, Wanted::Browser) else {
            panic!("a person is asked")
        };
        assert_eq!(words, "install --yes --quiet --no-install-recommends chromium curl");
    }

    #[test]
    fn others_are_told_the_line() {
        let Plan::Tell(words) = plan(&["chromium", "npm"], true, false, Wanted::Browser) else {
            panic!("not told")
        };
        assert!(words.contains(
            "sudo apt-get update && sudo apt-get install --yes --no-install-recommends chromium npm\n"
        ));
        for is_root in [true, false] {
            let Plan::Tell(words) = plan(&["chromium"], false, is_root, Wanted::Browser) else {
                panic!("not told")
            };
            assert!(words.contains("EVERWIRE_CHROMIUM=<path> cargo xtask test browser\n"));
            let Plan::Tell(words) = plan(&["valgrind"], false, is_root, Wanted::Counts) else {
                panic!("not told")
            };
            assert!(words.contains("valgrind") && !words.contains("browser"), "{words}");
        }
    }

    #[test]
    fn versions_of_node() {
        assert_eq!(version("v20.11.1"), Some((20, 11)));
        assert!(version("v18.19.0").unwrap() < NODE && version("v22.1.0").unwrap() > NODE);
        assert_eq!(version(""), None);
    }
}
