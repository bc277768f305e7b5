//! Programs of Go modules, built outside of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::python;
use crate::call::Call;

/// The program of a module in exactly this version, built unless it is there. Go checks what it fetches against its
/// database of sums.
pub(super) fn install(root: &Path, module: &str, version: &str, program: &str) -> Result<PathBuf> {
    let folder = python::user_cache()?.join(format!("{program}-{version}"));
    let built = folder.join(program);
    if built.exists() {
        return Ok(built);
    }
    if Call::new(root, "go version").answer().is_none() {
        bail!("there is no Go here to build it with");
    }
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let words = format!("timeout 1200 go install {module}@{version}");
    let call = Call::new(root, &words).with("GOBIN", &folder);
    println!("\n$ {}", call.line());
    // Its complaint is the reason that the table gives.
    call.both().with_context(|| format!("`go install {module}@{version}` failed"))?;
    if !built.exists() {
        bail!("`go install {module}@{version}` built no {program}");
    }
    Ok(built)
}
