//! Longer runs, for a night or before a release: more seeds, and the public conformance suite.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::call::Call;
use crate::server::{self, Running};

/// Runs the engine's simulator; what is not given is as in the tests.
pub fn simulate(root: &Path, seeds: Option<u64>, from: Option<u64>, steps: Option<u64>) -> Result<()> {
    simulation(root, seeds, from, steps).run()
}

fn simulation(root: &Path, seeds: Option<u64>, from: Option<u64>, steps: Option<u64>) -> Call {
    let words = "cargo test --locked -p everwire-engine --release --test simulation -- --nocapture";
    let given = [("EVERWIRE_SIM_SEEDS", seeds), ("EVERWIRE_SIM_FROM", from), ("EVERWIRE_SIM_STEPS", steps)];
    let given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
    given.fold(Call::new(root, words), |call, (name, value)| call.with(name, value.to_string()))
}

/// Ends a server by kill -9 so many times, and looks for what is lost.
pub fn crash(root: &Path, times: u64) -> Result<()> {
    let words = "cargo test --locked -p everwire-server --release --test integration -- kill_9 --nocapture";
    Call::new(root, words).with("EVERWIRE_CRASHES", times.to_string()).run()
}

/// Shows what an operation of the engine costs among more and more channels and connections, up to `most`.
pub fn growth(root: &Path, most: u32) -> Result<()> {
    let words = "cargo run --locked --release -p everwire-engine --features counts --bin everwire-growth --";
    Call::new(root, words).arg(most.to_string()).run()
}

/// Writes what the server says of its own settings.
pub fn docs(root: &Path) -> Result<()> {
    let server = server::build(root, false)?;
    for (what, file) in
        [("default", "everwire.example.toml"), ("schema", "everwire.schema.json"), ("reference", "config.md")]
    {
        let said = std::process::Command::new(&server).args(["config", what]).output()?;
        if !said.status.success() {
            bail!("everwire config {what} failed: {}", String::from_utf8_lossy(&said.stderr));
        }
        let path = root.join("docs").join(file);
        fs::write(&path, said.stdout).with_context(|| format!("{} can't be written", path.display()))?;
        println!("docs/{file}");
    }
    Ok(())
}

/// Runs the public Autobahn suite against the bare echo of a fresh release build. The suite is not ours and not
/// needed by any test: a folder brings it, with a script `run.sh URL OUT` that ends with its verdict.
pub fn conformance(root: &Path, suite: Option<PathBuf>) -> Result<()> {
    let Some(suite) = suite else {
        bail!(
            "say where the suite is: cargo xtask conformance DIR\nDIR is a folder with a script `run.sh URL OUT` that \
             runs the Autobahn test suite against URL, writes its report to OUT and ends with 1 if a case failed"
        );
    };
    let script = suite.join("run.sh");
    let script = fs::canonicalize(&script).with_context(|| format!("there is no {}", script.display()))?;
    let server = Running::start(&server::build(root, true)?)?;
    let report = root.join("target/conformance");
    let url = format!("ws://127.0.0.1:{}/echo/raw", server.port);
    Call::new(root, "bash").arg(script).arg(url).arg(&report).run()?;
    println!("\nall cases passed; the report is in {}", report.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_reaches_the_simulator() {
        let line = simulation(Path::new("."), Some(5), None, Some(9)).line();
        assert!(line.starts_with("EVERWIRE_SIM_SEEDS=5 EVERWIRE_SIM_STEPS=9 cargo test "), "{line}");
        assert!(line.contains(" --release --test simulation -- "), "{line}");
        assert!(
            simulation(Path::new("."), None, Some(7), None).line().starts_with("EVERWIRE_SIM_FROM=7 cargo")
        );
    }

    #[test]
    fn a_missing_suite_is_told_in_words() {
        let told = |suite: Option<&str>| {
            conformance(Path::new("."), suite.map(PathBuf::from)).unwrap_err().to_string()
        };
        assert!(told(None).contains("cargo xtask conformance DIR"));
        assert!(told(Some("no-such-folder")).contains("there is no no-such-folder"));
    }
}
