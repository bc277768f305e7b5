//! `cargo xtask counts`: instructions and allocations of one operation of the engine, held against committed figures.
//!
//! Counted and not timed, so that a busy machine changes nothing: valgrind runs each job of `everwire-counts` for N and
//! for 2 N, and the difference is what N operations cost. The figures stand in `crates/everwire-engine/counts.toml` and
//! are a ratchet: what costs more than that fails, what costs less asks to be written down.

mod figures;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::figures::{Cost, Figures};
use crate::call::Call;
use crate::{install, server};

const FILE: &str = "crates/everwire-engine/counts.toml";

/// The C library's plain routines: otherwise it picks by the processor, and each machine counts its own. The names are
/// glibc's; where it has others they do nothing.
const PLAIN_LIBC: &str =
    "glibc.cpu.hwcaps=-AVX2,-AVX_Fast_Unaligned_Load,-AVX512F,-AVX512VL,-ERMS,-FSRM,-SSE4_2,-EVEX";

/// Counts, and compares with the committed figures, or writes them anew.
pub fn run(root: &Path, renew: bool) -> Result<()> {
    install::for_counts(root)?;
    let words = "cargo build --locked --release -p everwire-engine --features counts --bin everwire-counts \
                 --message-format json-render-diagnostics";
    // Flags of the person's own would be counted too.
    let program = server::built(&Call::new(root, words).with("RUSTFLAGS", ""), "everwire-counts")?;
    let mut counted = Figures { built: built_by(root)?, costs: Vec::new() };
    println!("\n{:<20} {:>14} {:>10} {:>10}   per operation", "", "instructions", "blocks", "bytes");
    for (job, times) in jobs(root, &program)? {
        let cost = count(root, &program, &job, times).with_context(|| format!("job {job}"))?;
        println!("{job:<20} {:>14.1} {:>10.3} {:>10.1}", cost.instructions, cost.blocks, cost.bytes);
        counted.costs.push((job, cost));
    }
    let path = root.join(FILE);
    if renew {
        fs::write(&path, counted.text()).with_context(|| FILE)?;
        println!("\n{FILE} is written anew; look at what changed before you commit it");
        return Ok(());
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("no {FILE}: `cargo xtask counts --renew`"))?;
    let verdict = Figures::read(&text)?.judge(&counted);
    for line in &verdict.told {
        println!("\nnote: {line}");
    }
    for line in &verdict.refused {
        println!("\nREFUSED: {line}");
    }
    match verdict.refused.len() {
        0 => Ok(()),
        n => bail!(
            "{n} of the counts are worse than in {FILE}; mend it, or where it is worth its price write the new \
             figures with `cargo xtask counts --renew` and say why in the commit"
        ),
    }
}

/// A committed figure that something is promised of.
#[derive(Clone, Debug)]
pub struct Promise {
    /// The job.
    pub job: &'static str,
    /// The most instructions that it may cost.
    pub most: f64,
    /// Those that it costs.
    pub instructions: f64,
    /// Allocated blocks.
    pub blocks: f64,
    /// Allocated bytes.
    pub bytes: f64,
}

/// The committed figures that something is promised of, and what they were counted with.
pub fn promises(root: &Path) -> Result<(String, Vec<Promise>)> {
    let figures = Figures::read(&fs::read_to_string(root.join(FILE)).context(FILE)?)?;
    let promises = figures.promised().map(|(job, cost, most)| {
        let Cost { instructions, blocks, bytes } = cost;
        Promise { job, most, instructions, blocks, bytes }
    });
    let promises = promises.collect();
    Ok((figures.built, promises))
}

/// What the counts depend on beside the code.
fn built_by(root: &Path) -> Result<String> {
    let rustc = Call::new(root, "rustc -vV").answer().context("rustc -vV")?;
    let line = |name: &str| rustc.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown");
    let libc =
        Call::new(root, "getconf GNU_LIBC_VERSION").answer().unwrap_or_else(|| "another libc".to_owned());
    Ok(format!("rustc {}, {}, {libc}", line("release: "), line("host: ")))
}

/// The jobs, each with a number of times.
fn jobs(root: &Path, program: &Path) -> Result<Vec<(String, u64)>> {
    let list = Call::new(root, "").arg(program).answer().context("everwire-counts lists no jobs")?;
    let job = |line: &str| {
        let (name, times) = line.split_once(' ')?;
        Some((name.to_owned(), times.parse().ok()?))
    };
    list.lines().map(|line| job(line).with_context(|| format!("not a job: {line}"))).collect()
}

/// Runs one job for N and for 2 N under both tools.
fn count(root: &Path, program: &PathBuf, job: &str, times: u64) -> Result<Cost> {
    let run = |tool: &str, times: u64| -> Result<(f64, String)> {
        let call = Call::new(root, &format!("valgrind --tool={tool} --{tool}-out-file=/dev/null"));
        let call = call.arg(program).arg(job).arg(times.to_string()).with("GLIBC_TUNABLES", PLAIN_LIBC);
        let (said, log) = call.both()?;
        Ok((said.trim().parse().context("everwire-counts tells no operations")?, log))
    };
    let (once, log) = run("callgrind", times)?;
    let (twice, log_of_twice) = run("callgrind", 2 * times)?;
    let operations = twice - once;
    let instructions = instructions(&log_of_twice)? - instructions(&log)?;
    let (once, twice) = (heap(&run("dhat", times)?.1)?, heap(&run("dhat", 2 * times)?.1)?);
    Ok(Cost {
        instructions: instructions / operations,
        blocks: (twice.1 - once.1) / operations,
        bytes: (twice.0 - once.0) / operations,
    })
}

/// `==1== Collected : 23138436`
fn instructions(log: &str) -> Result<f64> {
    let count = log.lines().find_map(|line| line.split_once("Collected : "));
    count.and_then(|(_, n)| number(n)).with_context(|| format!("callgrind tells no count:\n{log}"))
}

/// `==1== Total:     2,501,156 bytes in 13,304 blocks`, as bytes and blocks.
fn heap(log: &str) -> Result<(f64, f64)> {
    let total = || {
        let (_, total) = log.lines().find_map(|line| line.split_once("Total: "))?;
        let (bytes, blocks) = total.split_once(" bytes in ")?;
        Some((number(bytes)?, number(blocks.strip_suffix(" blocks")?)?))
    };
    total().with_context(|| format!("dhat tells no total:\n{log}"))
}

fn number(text: &str) -> Option<f64> {
    text.trim().replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valgrind_is_understood() {
        let log = "==1== Events    : Ir\n==1== Collected : 23138436\n==1== \n";
        assert!((instructions(log).unwrap() - 23_138_436.0).abs() < 0.5);
        let log = "==2== Total:     2,501,156 bytes in 13,304 blocks\n==2== At t-gmax: 7 bytes in 5 blocks\n";
        let (bytes, blocks) = heap(log).unwrap();
        assert!((bytes - 2_501_156.0).abs() < 0.5 && (blocks - 13_304.0).abs() < 0.5);
        assert!(instructions("==1== killed").is_err() && heap("==1== killed").is_err());
    }
}
