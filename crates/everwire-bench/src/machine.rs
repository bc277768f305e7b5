//! What the machine gives: cores to pin to, descriptors, and the words that a report says of it.

use std::io;
use std::process::Child;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this thread may run on.
///
/// # Errors
/// The operating system's.
pub fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// From now on this thread, and every process and thread that it starts, runs on these cores alone.
///
/// # Errors
/// The operating system's.
pub fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    Ok(sched_setaffinity(None, &set)?)
}

/// Starts a process on one core, and leaves this thread where it was.
///
/// # Errors
/// What `start` or the operating system says.
pub fn start_on(core: usize, start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
    let before = cores()?;
    pin(&[core])?;
    let child = start();
    pin(&before)?;
    child
}

/// Raises the limit of descriptors as far as it goes; how many there are.
pub fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.or(limit.current);
    if setrlimit(Resource::Nofile, Rlimit { current: most, maximum: limit.maximum }).is_ok() {
        return most.unwrap_or(u64::MAX);
    }
    limit.current.unwrap_or(u64::MAX)
}

/// How many local ports one source address has for one target.
pub fn ephemeral_ports() -> u64 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u64>().ok());
    match (ends.next(), ends.next()) {
        (Some(low), Some(high)) if high >= low => high - low + 1,
        _ => 28_232,
    }
}

/// Processor, cores and kernel, for the head of a report.
pub fn words() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{model}, {cores} cores, {} {}", std::env::consts::OS, kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_starts_on_one_core_and_the_thread_stays() {
        let before = cores().unwrap();
        let start = || {
            let mut command = std::process::Command::new("cat");
            command.arg("/proc/self/status").stdout(std::process::Stdio::piped()).spawn()
        };
        let child = start_on(before[0], start).unwrap();
        let output = child.wait_with_output().unwrap();
        let status = String::from_utf8(output.stdout).unwrap();
        let line = status.lines().find(|l| l.starts_with("Cpus_allowed_list:")).unwrap();
        assert_eq!(line.split_whitespace().last().unwrap(), before[0].to_string());
        assert_eq!(cores().unwrap(), before);
    }

    #[test]
    fn the_machine_has_words() {
        assert!(words().contains("cores"), "{}", words());
        assert!(ephemeral_ports() > 1_000);
        assert!(raise_descriptors() > 100);
    }
}
