//! A process on this machine whose time and memory are read from `/proc`.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// The process.
#[derive(Clone, Debug)]
pub struct Watched {
    folder: PathBuf,
}

impl Watched {
    /// The process with this id.
    ///
    /// # Errors
    /// There is none, or this system tells nothing about it.
    pub fn new(pid: u32) -> io::Result<Self> {
        let watched = Self { folder: PathBuf::from(format!("/proc/{pid}")) };
        watched.cpu_ns()?;
        Ok(watched)
    }

    /// What all its threads have run so far, ns, in the kernel and outside. The scheduler's own figure, not a count of ticks.
    ///
    /// # Errors
    /// It has ended, or the kernel keeps no such figure.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        let mut sum = 0;
        for thread in fs::read_dir(self.folder.join("task"))? {
            let text = match fs::read_to_string(thread?.path().join("schedstat")) {
                Ok(text) => text,
                // It ended just now.
                Err(error) if error.raw_os_error() == Some(3) || error.kind() == ErrorKind::NotFound => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let ran = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
            sum += ran.ok_or_else(|| io::Error::other("schedstat of a thread is no number"))?;
        }
        Ok(sum)
    }

    /// Its resident memory, bytes.
    ///
    /// # Errors
    /// It has ended.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        let status = fs::read_to_string(self.folder.join("status"))?;
        Ok(figure(&status, "VmRSS:").ok_or_else(|| io::Error::other("it has no VmRSS: it is ending"))? * 1024)
    }

    /// How often its threads have gone to sleep by themselves so far. A thread that has ended is not in it.
    ///
    /// # Errors
    /// It has ended.
    pub fn waits(&self) -> io::Result<u64> {
        let mut sum = 0;
        for thread in fs::read_dir(self.folder.join("task"))? {
            // A thread that ended just now has nothing to tell.
            let text = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            sum += figure(&text, "voluntary_ctxt_switches:").unwrap_or(0);
        }
        Ok(sum)
    }

    /// `read` and `write` calls so far, of all kinds of files. `send` and `recv` of a socket are not in this count of the
    /// kernel's.
    ///
    /// # Errors
    /// It has ended, is another user's, or the kernel does not count.
    pub fn calls(&self) -> io::Result<u64> {
        let text = fs::read_to_string(self.folder.join("io"))?;
        let both = figure(&text, "syscr:").zip(figure(&text, "syscw:"));
        both.map(|(read, write)| read + write).ok_or_else(|| io::Error::other("it has no syscr"))
    }

    /// Its open descriptors.
    ///
    /// # Errors
    /// It has ended, or is another user's.
    pub fn descriptors(&self) -> io::Result<usize> {
        Ok(fs::read_dir(self.folder.join("fd"))?.count())
    }
}

/// The number behind this name at the start of a line.
fn figure(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_run_and_has_memory() {
        let own = Watched::new(std::process::id()).unwrap();
        let before = own.cpu_ns().unwrap();
        let mut sum = 0u64;
        while own.cpu_ns().unwrap() < before + 1_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(own.resident_bytes().unwrap() > 1 << 20);
        assert!(own.descriptors().unwrap() > 2);
        let calls = own.calls().unwrap();
        own.waits().unwrap();
        assert!(own.calls().unwrap() > calls, "reading its own status is a read");
        assert!(Watched::new(u32::MAX).is_err());
    }
}
