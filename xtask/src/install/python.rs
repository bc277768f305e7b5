//! Python packages, exactly those of the requirements file with its hashes, in an environment outside of the repository.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::call::Call;

/// The Python of the environment with these requirements, which is made if it isn't there. `imports` is a line that
/// works when they are.
pub(super) fn install(root: &Path, requirements: &str, imports: &str) -> Result<PathBuf> {
    let text = fs::read(root.join(requirements)).with_context(|| requirements.to_owned())?;
    let cache = user_cache()?;
    let folder = cache.join(format!("venv-{}", key(&text)));
    let python = python_of(&folder);
    // An environment outlives the Python that it was made with; then it is made anew.
    if has_packages(root, &python, imports) {
        return Ok(python);
    }
    // Made beside its place and put there whole: another run may be at the same work.
    let draft = cache.join(format!("venv-{}.{}", key(&text), std::process::id()));
    fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    Call::new(root, "python3 -m venv").arg(&draft).run()?;
    Call::new(root, "")
        .arg(python_of(&draft))
        .arg("-m")
        .arg("pip")
        .arg("install")
        .arg("--quiet")
        .arg("--disable-pip-version-check")
        .arg("--require-hashes")
        .arg("--requirement")
        .arg(requirements)
        .run()?;
    if folder.exists() && !has_packages(root, &python, imports) {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    if fs::rename(&draft, &folder).is_err() {
        fs::remove_dir_all(&draft).with_context(|| draft.display().to_string())?;
    }
    if !has_packages(root, &python, imports) {
        bail!(
            "{} was made and can't import the packages of {requirements}: remove it and try again",
            folder.display()
        );
    }
    Ok(python)
}

fn has_packages(root: &Path, python: &Path, imports: &str) -> bool {
    Call::new(root, "").arg(python).arg("-c").arg(imports).answer().is_some()
}

fn python_of(folder: &Path) -> PathBuf {
    folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

/// One environment per content of the file. The hash may change with a new Rust: then it is made once more.
fn key(text: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The user's cache folder for this project, as the environment says.
pub(super) fn user_cache() -> Result<PathBuf> {
    cache(|name| env::var_os(name).map(PathBuf::from))
}

/// The user's cache folder for this project.
fn cache(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    // The XDG base directory specification: a relative path there is to be ignored.
    let xdg = variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    match xdg.or_else(|| Some(variable("HOME").or_else(|| variable("USERPROFILE"))?.join(".cache"))) {
        Some(cache) => Ok(cache.join("everwire")),
        None => bail!("neither XDG_CACHE_HOME nor HOME is set: say where Python packages may be kept"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_environment_says() {
        let of = |set: &[(&str, &str)]| {
            cache(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| PathBuf::from(value)))
        };
        assert_eq!(of(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]).unwrap(), Path::new("/c/everwire"));
        assert_eq!(of(&[("XDG_CACHE_HOME", "c"), ("HOME", "/h")]).unwrap(), Path::new("/h/.cache/everwire"));
        assert_eq!(of(&[("HOME", "/h")]).unwrap(), Path::new("/h/.cache/everwire"));
        assert!(of(&[]).unwrap_err().to_string().contains("XDG_CACHE_HOME"));
    }

    #[test]
    fn other_requirements_are_another_environment() {
        assert_eq!(key(b"a==1"), key(b"a==1"));
        assert_ne!(key(b"a==1"), key(b"a==2"));
    }
}
