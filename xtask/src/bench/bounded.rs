//! Running a measurement that must end: after its time it is ended together with everything that it started.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::call::Call;

/// How often it is asked whether it has ended.
const EVERY: Duration = Duration::from_millis(100);

/// Runs a call and takes what it prints; its errors go where ours go. Whether it succeeded is not looked at: a goal that
/// is missed is a result.
pub(super) fn output(call: &Call, limit: Duration) -> Result<String> {
    println!("\n$ {}", call.line());
    let mut child = call.command().stdout(Stdio::piped()).spawn().with_context(|| call.line())?;
    let mut said = child.stdout.take().context("it has no output")?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        said.read_to_string(&mut text).map(|_| text)
    });
    let end = Instant::now() + limit;
    while child.try_wait()?.is_none() {
        if Instant::now() > end {
            end_all(child.id());
            child.wait()?;
            // Ends when nobody is left who could write to it.
            let _ = reader.join();
            bail!("`{}` did not end within {} s and was stopped", call.line(), limit.as_secs());
        }
        thread::sleep(EVERY);
    }
    reader
        .join()
        .map_err(|_| anyhow!("the reader of its output ended with a bug"))?
        .with_context(|| call.line())
}

/// Ends a process and all that it started.
fn end_all(pid: u32) {
    let mut family = vec![pid.to_string()];
    let parents = parents();
    let mut at = 0;
    while at < family.len() {
        let of = family[at].clone();
        family.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(own, _)| own.clone()));
        at += 1;
    }
    // Those that have ended already are what is wanted.
    let _ = Command::new("kill").arg("-KILL").args(family).stderr(Stdio::null()).status();
}

/// Every process with its parent, as far as this system tells.
fn parents() -> Vec<(String, String)> {
    let of = |entry: fs::DirEntry| {
        let own = entry.file_name().into_string().ok().filter(|name| name.parse::<u32>().is_ok())?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        Some((own, parent.trim().to_owned()))
    };
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_it_prints_is_taken_even_if_it_fails() {
        let call = Call::new(Path::new("."), "sh -c").arg("echo seen; exit 1");
        assert_eq!(output(&call, Duration::from_secs(20)).unwrap(), "seen\n");
    }

    #[test]
    fn what_does_not_end_is_ended_with_its_children() {
        let begun = Instant::now();
        // The inner shell holds the output open as long as it lives.
        let call = Call::new(Path::new("."), "sh -c").arg("sh -c 'sleep 60; true'; true");
        let told = output(&call, Duration::from_millis(300)).unwrap_err().to_string();
        assert!(told.ends_with("did not end within 0 s and was stopped"), "{told}");
        assert!(begun.elapsed() < Duration::from_secs(50), "the inner shell went on");
    }
}
