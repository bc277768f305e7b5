//! Why a store can't be opened.

use std::io;
use std::path::PathBuf;

/// Why a store can't be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file of it can't be used.
    #[error("the history in {} can't be used: {error}", path.display())]
    Io {
        /// What was tried.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The folder is another one.
    #[error("there is no history in {}; that of a server is where [history] data says, or beside its config file", .0.display())]
    Missing(PathBuf),
    /// Another process has it.
    #[error("the history in {} is in use by another process; a folder belongs to one server", .0.display())]
    Locked(PathBuf),
    /// Written by another version.
    #[error("{} has format {found}, and this version reads format {known}: use the version that wrote it", path.display())]
    Version {
        /// The segment.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Bytes that were whole once are not any more.
    #[error(
        "{} is damaged at byte {at}: acknowledged messages stood there. A copy of the folder may have them. To go on with \
         what can be read:\n\n    everwire history repair {}\n\nwhich keeps the damaged files aside; clients are told the gap",
        path.display(), dir.display()
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where.
        at: usize,
        /// The store.
        dir: PathBuf,
    },
}

impl OpenError {
    pub(super) fn io(path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self::Io { path: path.into(), error }
    }
}
