//! What the tests need beyond Rust, and how it comes here: Debian packages, npm packages, Python packages.
//!
//! Only what is missing is fetched, and only through locks with hashes. What can't be installed stops the run, with
//! the line to type: a test that can't run is a failure, never a pass.

mod debian;
mod golang;
mod npm;
mod python;

use std::path::{Path, PathBuf};

use anyhow::Result;

/// What the browser tests are handed.
#[derive(Clone, Debug)]
pub struct Browser {
    /// The browser itself.
    pub chromium: PathBuf,
    /// A Python that has the packages of `web/tests/requirements.txt`.
    pub python: PathBuf,
    /// A Python that has those of `web/tests/schemathesis.txt`.
    pub schemathesis: PathBuf,
}

/// Makes sure that everything is there for the tests in Node, Python and Chromium.
pub fn for_browser(root: &Path) -> Result<Browser> {
    debian::install(root)?;
    npm::install(root, "sdk/js")?;
    npm::install(root, "web/tests")?;
    let python = python::install(root, "web/tests/requirements.txt", "import websockets")?;
    let schemathesis = python::install(root, "web/tests/schemathesis.txt", "import schemathesis")?;
    Ok(Browser { chromium: debian::chromium(), python, schemathesis })
}

/// Makes sure that instructions can be counted.
pub fn for_counts(root: &Path) -> Result<()> {
    debian::install_valgrind(root)
}

/// Makes sure that the packages of rivals/node are there.
pub fn for_node_rivals(root: &Path) -> Result<()> {
    npm::install(root, "rivals/node")
}

/// A Python that has the packages of rivals/python.
pub fn for_python_rivals(root: &Path) -> Result<PathBuf> {
    python::install(root, "rivals/python/requirements.txt", "import picows, uvloop, websockets")
}

/// A program of a Go module, built.
pub fn for_go_rival(root: &Path, module: &str, version: &str, program: &str) -> Result<PathBuf> {
    golang::install(root, module, version, program)
}
