//! Running programs, each shown as the line that a person would type.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};

use crate::secrets;

/// A program with its arguments. Words are never read by a shell.
#[derive(Clone, Debug)]
pub struct Call {
    words: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
    root: PathBuf,
    /// From the root; empty for the root itself.
    folder: &'static str,
}

impl Call {
    /// A call in the root of the repository; `words` stand apart by spaces.
    pub fn new(root: &Path, words: &str) -> Self {
        let words = words.split_whitespace().map(OsString::from).collect();
        Self { words, variables: Vec::new(), root: root.to_owned(), folder: "" }
    }

    /// One more argument, spaces and all.
    pub fn arg(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    /// In this folder of the repository.
    pub fn within(mut self, folder: &'static str) -> Self {
        self.folder = folder;
        self
    }

    /// With this variable in its environment.
    pub fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// The line to type in the root for the same effect.
    pub fn line(&self) -> String {
        let quoted = |word: &OsString| {
            let word = word.to_string_lossy();
            let plain = |c: char| c.is_alphanumeric() || "-_=./:,@+".contains(c);
            if word.chars().all(plain) && !word.is_empty() { word.into_owned() } else { format!("'{word}'") }
        };
        let variables = self.variables.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let line: Vec<_> = variables.chain(self.words.iter().map(quoted)).collect();
        let line = line.join(" ");
        if self.folder.is_empty() { line } else { format!("(cd {} && {line})", self.folder) }
    }

    /// The process, not yet started.
    pub fn command(&self) -> Command {
        // The cargo that runs us, not whichever comes first in the path.
        let own = env::var_os("CARGO").filter(|_| self.words[0] == "cargo");
        let mut command = Command::new(own.as_ref().unwrap_or(&self.words[0]));
        command.args(&self.words[1..]).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.root.join(self.folder)).stdin(Stdio::null());
        command
    }

    /// Runs it, its output going where ours goes.
    pub fn run(&self) -> Result<()> {
        println!("\n$ {}", self.line());
        self.ended(self.command().status().with_context(|| self.line())?)
    }

    /// The same; that its output has no secret is a part of its success.
    pub fn run_watched(&self) -> Result<()> {
        println!("\n$ {}", self.line());
        let found = Mutex::new(None);
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| self.line())?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            let found = &found;
            scope.spawn(move || out.map(|out| secrets::pass_on(out, std::io::stdout(), found)));
            scope.spawn(move || err.map(|err| secrets::pass_on(err, std::io::stderr(), found)));
        });
        self.ended(child.wait()?)?;
        match found.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(what) => bail!("`{}` printed {what}", self.line()),
        }
    }

    fn ended(&self, status: ExitStatus) -> Result<()> {
        if !status.success() {
            bail!("`{}` ended with {status}", self.line());
        }
        Ok(())
    }

    /// Runs it and takes what it prints; its errors go where ours go.
    pub fn output(&self) -> Result<String> {
        println!("\n$ {}", self.line());
        let output = self.command().stderr(Stdio::inherit()).output().with_context(|| self.line())?;
        self.ended(output.status)?;
        String::from_utf8(output.stdout).with_context(|| self.line())
    }

    /// Runs it quietly and takes what it prints and what it complains of.
    pub fn both(&self) -> Result<(String, String)> {
        let output = self.command().output().with_context(|| self.line())?;
        let [out, err] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        self.ended(output.status).with_context(|| err.clone())?;
        Ok((out, err))
    }

    /// What it prints, if it runs and succeeds; for asking what a machine has.
    pub fn answer(&self) -> Option<String> {
        let output = self.command().stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_can_be_typed() {
        let call = Call::new(Path::new("."), "npm run").arg("a b").with("X", "1").within("web/tests");
        assert_eq!(call.line(), "(cd web/tests && X=1 npm run 'a b')");
        assert_eq!(Call::new(Path::new("."), "cargo fmt --all").line(), "cargo fmt --all");
    }

    #[test]
    fn a_failure_is_told_with_its_line() {
        let root = crate::tree::root().unwrap();
        let good = Call::new(&root, "cargo --version");
        assert!(good.answer().is_some_and(|text| text.starts_with("cargo ")));
        let bad = Call::new(&root, "cargo no-such-task");
        let status = bad.command().stderr(Stdio::null()).status().unwrap();
        assert!(bad.ended(status).unwrap_err().to_string().starts_with("`cargo no-such-task` ended with "));
        assert!(bad.answer().is_none());
        let missing = Call::new(&root, "no-such-program-here").run().unwrap_err().to_string();
        assert_eq!(missing, "no-such-program-here");
        assert!(Call::new(&root, "no-such-program-here").answer().is_none());
    }
}
