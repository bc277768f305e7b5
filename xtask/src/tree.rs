//! The files of the repository, in memory: what every rule of [`tidy`](crate::tidy) looks at.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::scan::Scan;

/// Folders that are made, not written. Corpora hold bytes, not text.
const SKIPPED: [&str; 5] = ["target", "node_modules", "types", "corpus", "artifacts"];

/// The dot folders and files that are ours; others belong to an editor or to git.
const DOTTED: [&str; 4] = [".cargo", ".ci", ".github", ".gitignore"];

/// One file that is text.
pub struct File {
    /// From the root, with `/` on every system.
    pub path: String,
    /// As it stands on the disk.
    pub text: String,
    /// Its tokens, if it is Rust; the reason, if it can't be read as Rust.
    pub rust: Option<Result<Scan, String>>,
}

impl File {
    /// A file that need not exist.
    pub fn new(path: &str, text: &str) -> Self {
        let rust = path.ends_with(".rs").then(|| Scan::of(text, is_test_file(path)));
        Self { path: path.to_owned(), text: text.to_owned(), rust }
    }

    /// Its tokens, if it is Rust that can be read.
    pub fn scan(&self) -> Option<&Scan> {
        self.rust.as_ref()?.as_ref().ok()
    }

    /// What stands behind the last dot of its name; for `.ci/run` nothing.
    pub fn extension(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }
}

/// Whether everything in a file is test code: the folders that cargo builds for tests alone.
fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "benches")) || path.ends_with("/tests.rs")
}

/// All files that are text, sorted by path.
pub struct Tree {
    /// The files.
    pub files: Vec<File>,
}

impl Tree {
    /// Reads the repository at `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("can't list {}", folder.display()))? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let kind = entry.file_type()?;
                if name.starts_with('.') && !DOTTED.contains(&name.as_str()) {
                    continue;
                }
                if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                    folders.push(entry.path());
                } else if kind.is_file()
                    && let Ok(text) = fs::read_to_string(entry.path())
                {
                    files.push(File::new(&relative(root, &entry.path()), &text));
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    /// A repository that need not exist.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| File::new(path, text)).collect() }
    }

    /// The file at `path`.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Every Rust file that can be read, with its tokens.
    pub fn rust(&self) -> impl Iterator<Item = (&File, &Scan)> {
        self.files.iter().filter_map(|file| Some((file, file.scan()?)))
    }
}

fn relative(root: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(root).unwrap_or(path).components();
    parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// The root of the repository: the folder above the package that cargo runs, or the first above the current one.
///
/// Asked for at run time: a path fixed at build time would be wrong in a folder that was moved together with `target`.
pub fn root() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let start = package.map_or_else(std::env::current_dir, Ok)?;
    let is_root = |folder: &&Path| {
        fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("[workspace]"))
    };
    match start.ancestors().find(is_root) {
        Some(root) => Ok(root.to_owned()),
        None => bail!("there is no Everwire repository above {}: change into it first", start.display()),
    }
}
