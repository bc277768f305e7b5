//! The real binary in a process of its own, where its memory and its descriptors can be seen.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::secrets::secret_in;

/// A file of this test run that is gone with it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str, text: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("everwire-{}-{count}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn read(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        // Where a server with this config keeps its history.
        let _ = std::fs::remove_dir_all(self.0.with_extension("data"));
    }
}

/// No test has a balancer that must see first that the server goes.
fn without_notice(config: &str) -> String {
    let more = if config.contains("[drain]") { "" } else { "\n[drain]\nnotice = \"0s\"\n" };
    format!("{config}{more}")
}

pub struct Process {
    child: Child,
    pub addr: SocketAddr,
    /// What it printed until it was ready.
    pub banner: String,
    log: Scratch,
    killed: bool,
    config: Option<Scratch>,
}

/// What the tests have in their own environment is no setting of the server.
fn without_ours(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let is_ours = name.to_string_lossy().starts_with("EVERWIRE_");
        if is_ours && !command.get_envs().any(|(given, _)| given == name) {
            command.env_remove(name);
        }
    }
}

impl Process {
    /// `everwire` with these arguments, which name a listener of port 0.
    pub fn run(args: &[&str]) -> Self {
        Self::start(Command::new(env!("CARGO_BIN_EXE_everwire")).args(args), None)
    }

    /// The same with these variables.
    pub fn run_in(args: &[&str], vars: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_everwire"));
        command.args(args).envs(vars.iter().copied());
        Self::start(&mut command, None)
    }

    /// `everwire serve` with this config.
    pub fn serve(config: &str) -> Self {
        let file = Scratch::new("serve.toml", &without_notice(config));
        let mut command = Command::new(env!("CARGO_BIN_EXE_everwire"));
        command.args(["serve", "--insecure", "--config"]).arg(file.path());
        Self::start(&mut command, Some(file))
    }

    /// The same, with everything in the log.
    pub fn serve_and_log_all(config: &str) -> Self {
        let file = Scratch::new("serve.toml", &without_notice(config));
        let mut command = Command::new(env!("CARGO_BIN_EXE_everwire"));
        command.args(["serve", "--insecure", "--config"]).arg(file.path()).env("EVERWIRE_LOG", "trace");
        Self::start(&mut command, Some(file))
    }

    /// The same, with so many descriptors and no way to get more.
    pub fn serve_with_descriptors(config: &str, count: u32) -> Self {
        let file = Scratch::new("serve.toml", &without_notice(config));
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {count}; exec \"$0\" serve --insecure --config \"$1\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_everwire")]).arg(file.path());
        Self::start(&mut command, Some(file))
    }

    /// This command, which becomes the server.
    pub fn start(command: &mut Command, config: Option<Scratch>) -> Self {
        let log = Scratch::new("log", "");
        let stderr = std::fs::File::create(log.path()).unwrap();
        without_ours(command);
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let (mut banner, mut addr) = (String::new(), None);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            banner.push_str(&line);
            banner.push('\n');
            if let Some(url) = line.trim().strip_prefix("socket ") {
                let port = url.rsplit(':').next().unwrap().trim_end_matches("/ws").parse().unwrap();
                addr = Some(SocketAddr::from(([127, 0, 0, 1], port)));
            }
            if line.contains("ready in ") {
                break;
            }
        }
        let addr = addr.unwrap_or_else(|| panic!("it did not start: {banner}{}", log.read()));
        Self { child, addr, banner, log, killed: false, config }
    }

    /// Writes another config, which it reads at a SIGHUP.
    pub fn rewrite(&self, config: &str) {
        std::fs::write(self.config.as_ref().unwrap().path(), config).unwrap();
        self.signal(Signal::HUP);
    }

    /// Where it keeps its history unless its config says otherwise.
    pub fn data(&self) -> PathBuf {
        self.config.as_ref().unwrap().path().with_extension("data")
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    pub fn resident_kb(&self) -> usize {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Hundredths of a second of a core that it has used.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(self.proc("stat")).unwrap();
        // The name, in parentheses, may hold anything; user and system time are the 12th and 13th behind it.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for an end that is not the one in order.
    pub fn ends_with(&mut self, code: i32) {
        self.killed = true;
        assert_eq!(self.wait(), Some(code), "{}", self.log());
    }

    /// Waits for its end; the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Ends it without a word, as a crash would.
    pub fn kill(&mut self) {
        self.killed = true;
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Puts a line into its log, as if it had written it.
    pub fn add_to_log(&self, line: &str) {
        std::fs::write(self.log.path(), self.log() + line + "\n").unwrap();
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.read()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.signal(Signal::TERM);
        }
        let code = self.wait();
        let log = self.log();
        if !std::thread::panicking() && !self.killed {
            assert_eq!(code, Some(0), "SIGTERM ends it cleanly: {log}");
            assert!(!log.contains("panicked") && !log.contains(" ERROR "), "{log}");
        }
        let config = self.config.as_ref().map(Scratch::read).unwrap_or_default();
        if !std::thread::panicking()
            && let Some((what, line)) = secret_in(&log, &config)
        {
            panic!("{what} stands in line {line} of the log");
        }
    }
}
