//! npm packages, exactly those of the lock file.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::call::Call;

/// A copy of the lock file that was installed. npm's own copy is in another order.
const STAMP: &str = "node_modules/.installed-lock.json";

/// Installs the packages of a folder, unless they are those of its lock file already.
pub(super) fn install(root: &Path, folder: &'static str) -> Result<()> {
    let at = root.join(folder);
    let lock = at.join("package-lock.json");
    let wanted = fs::read(&lock).with_context(|| lock.display().to_string())?;
    if fs::read(at.join(STAMP)).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    // Packages run no code of their own when they are installed: none of ours needs to.
    Call::new(root, "npm ci --ignore-scripts --no-audit --no-fund").within(folder).run()?;
    fs::write(at.join(STAMP), wanted).with_context(|| STAMP.to_owned())
}
