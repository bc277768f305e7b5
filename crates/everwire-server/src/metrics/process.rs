//! What the process takes of the machine, under the names that all libraries of Prometheus agree on. Where the system does
//! not tell, a metric is left out.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::families::{Family, counter, gauge};

pub(super) fn families() -> Vec<Family> {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    let mut all = vec![counter("process_cpu_seconds", "CPU time, of the user and of the system", seconds)];
    let mut tell = |name, help, value: Option<u64>| {
        all.extend(value.map(|value| gauge(name, help, value as f64)));
    };
    tell("process_resident_memory_bytes", "Memory that is resident", status("VmRSS:").map(|kb| kb * 1024));
    tell("process_virtual_memory_bytes", "Memory that is mapped", status("VmSize:").map(|kb| kb * 1024));
    tell("process_threads", "Threads", status("Threads:"));
    // The listing holds one of them open itself.
    let open = fs::read_dir("/proc/self/fd").map(|all| (all.count() as u64).saturating_sub(1));
    tell("process_open_fds", "Descriptors that are open", open.ok());
    tell("process_max_fds", "Descriptors that may be open", getrlimit(Resource::Nofile).current);
    all
}

/// A number of `/proc/self/status`.
fn status(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_threads_and_no_nonsense() {
        assert!(status("Threads:").is_some_and(|n| n >= 1));
        assert_eq!(status("NoSuchKey:"), None);
    }
}
