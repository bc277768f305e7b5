//! Revocations on the medium: one a line, each with a checksum, behind a title.
//!
//! The newest line may be the beginning of one, after a crash or on a full medium: nobody was told of it, and it is
//! passed over. Damage before it is told: a revocation that is forgotten lets somebody in.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

/// The file, and what it is called until it is whole.
const NAME: &str = "revoked";
const UNFINISHED: &str = "revoked.new";
const TITLE: &str = "everwire revocations 1";
/// A larger file is none of ours: ten million lines with long names.
const MOST_BYTES: u64 = 8 << 30;
/// Digits of a checksum.
const SUM: usize = 16;
/// The file is made anew when it has twice the lines that it needs, and so many more.
const SLACK: usize = 100;

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A token by its id; until when it must be remembered, ms since 1970 UTC, `None`: for ever.
    Token(Box<str>, Option<u64>),
    /// What a user was given by then, ms since 1970 UTC; and until when.
    User(Box<str>, u64, Option<u64>),
}

/// Why what was revoked before is not known.
#[derive(Debug, thiserror::Error)]
pub enum RevokedError {
    /// The operating system does not give it.
    #[error("the revocations of tokens in {path} can't be read: {why}", path = .0.display(), why = .1)]
    Read(PathBuf, io::Error),
    /// It is not as it was written.
    #[error(
        "line {line} of {path} is damaged, and which tokens were revoked is not known for sure: take the line out to go on \
         without it, or put a copy of the file in its place", line = .1, path = .0.display()
    )]
    Damaged(PathBuf, usize),
}

/// The file of a running server.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    /// Open for more; `None`: nothing was written yet, or the last write failed, and it is made anew.
    file: Option<File>,
    /// Lines in it.
    lines: usize,
}

impl Journal {
    /// That of a folder, which need not be there.
    pub(super) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: None, lines: 0 }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// What stands in it.
    ///
    /// # Errors
    /// [`RevokedError`].
    pub(super) fn read(&self) -> Result<Vec<Entry>, RevokedError> {
        let path = self.path();
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(RevokedError::Read(path, error)),
            // Its end would be passed over, and with it who was revoked last.
            Ok(length) if length as u64 > MOST_BYTES => {
                Err(RevokedError::Read(path, io::ErrorKind::FileTooLarge.into()))
            }
            Ok(_) => entries(&bytes).map_err(|line| RevokedError::Damaged(path, line)),
        }
    }

    /// Whether it must be made anew before a line is added, so many being worth keeping.
    pub(super) fn is_due(&self, kept: usize) -> bool {
        self.file.is_none() || self.lines > 2 * kept + SLACK
    }

    /// Adds a line, which is on the medium when this returns.
    ///
    /// # Errors
    /// Those of the operating system; then the whole is made anew next time.
    pub(super) fn add(&mut self, entry: &Entry) -> io::Result<()> {
        let mut file = self.file.take().ok_or(io::ErrorKind::NotFound)?;
        file.write_all(line(entry).as_bytes())?;
        file.sync_data()?;
        self.file = Some(file);
        self.lines += 1;
        Ok(())
    }

    /// Keeps others out of the file that is there, until the new one stands in its place.
    ///
    /// # Errors
    /// Another process has it, or those of the operating system.
    pub(super) fn claim(&mut self) -> io::Result<Option<File>> {
        self.file = None;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        match OpenOptions::new().append(true).open(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => locked(file?).map(Some),
        }
    }

    /// Makes the file anew with these; they are on the medium when this returns.
    ///
    /// # Errors
    /// Those of the operating system; what was there stays.
    pub(super) fn begin(&mut self, entries: &[Entry]) -> io::Result<()> {
        let unfinished = self.folder.join(UNFINISHED);
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&unfinished)?;
        let file = locked(file)?;
        file.set_len(0)?;
        let mut out = BufWriter::new(&file);
        writeln!(out, "{TITLE}")?;
        for entry in entries {
            out.write_all(line(entry).as_bytes())?;
        }
        out.flush()?;
        drop(out);
        file.sync_all()?;
        fs::rename(unfinished, self.path())?;
        File::open(&self.folder)?.sync_all()?;
        self.file = Some(file);
        self.lines = entries.len();
        Ok(())
    }
}

/// Two servers that wrote here would each forget what the other knows.
fn locked(file: File) -> io::Result<File> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another server writes its revocations there")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn line(entry: &Entry) -> String {
    let json = match entry {
        Entry::Token(id, until) => serde_json::json!(["token", id, until]),
        Entry::User(user, since, until) => serde_json::json!(["user", user, since, until]),
    };
    let json = json.to_string();
    format!("{} {json}\n", sum(&json))
}

fn sum(json: &str) -> String {
    let hash = digest(&SHA256, json.as_bytes());
    hash.as_ref().iter().take(SUM / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// All entries, or the number of the line that is damaged.
fn entries(bytes: &[u8]) -> Result<Vec<Entry>, usize> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    // What stands behind the last line end was never finished; of a whole file that is nothing.
    lines.pop();
    let Some((title, lines)) = lines.split_first() else { return Ok(Vec::new()) };
    if *title != TITLE.as_bytes() {
        return Err(1);
    }
    let mut all = Vec::with_capacity(lines.len());
    for (at, line) in lines.iter().enumerate() {
        match read(line) {
            Some(entry) => all.push(entry),
            // A medium may write the end of a line before its beginning.
            None if at + 1 == lines.len() => {}
            None => return Err(at + 2),
        }
    }
    Ok(all)
}

fn read(line: &[u8]) -> Option<Entry> {
    let (told, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    if told != sum(json) {
        return None;
    }
    if let Ok(("token", id, until)) = serde_json::from_str::<(&str, String, Option<u64>)>(json) {
        return Some(Entry::Token(id.into(), until));
    }
    match serde_json::from_str::<(&str, String, u64, Option<u64>)>(json) {
        Ok(("user", user, since, until)) => Some(Entry::User(user.into(), since, until)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Entry> {
        vec![
            Entry::Token("t1".into(), None),
            Entry::Token("a \"b\"\\ é".into(), Some(5)),
            Entry::User("ann".into(), 7, None),
            Entry::User("token".into(), 8, Some(9)),
        ]
    }

    fn text() -> String {
        let lines: String = some().iter().map(line).collect();
        format!("{TITLE}\n{lines}")
    }

    #[test]
    fn a_tail_cut_at_any_byte_is_passed_over() {
        let text = text();
        assert_eq!(entries(text.as_bytes()), Ok(some()));
        let whole = |cut: &[u8]| cut.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
        for cut in 0..text.len() {
            let cut = &text.as_bytes()[..cut];
            assert_eq!(entries(cut), Ok(some()[..whole(cut)].to_vec()), "{}", cut.len());
        }
    }

    #[test]
    fn damage_before_the_last_line_is_told() {
        let text = text();
        let last = text.trim_end().rfind('\n').unwrap() + 1;
        for at in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] ^= 1;
            let line = 1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
            match entries(&damaged) {
                // Where a line end is no more, two lines are one.
                Err(told) => assert!(told == line || told == line + 1, "{at}: {told}"),
                Ok(all) => {
                    assert!(at >= last || line + 1 == 1 + some().len(), "{at} was not seen");
                    assert!(all.len() < some().len(), "{at}");
                }
            }
        }
        assert_eq!(entries(b"something else\n"), Err(1));
    }
}
