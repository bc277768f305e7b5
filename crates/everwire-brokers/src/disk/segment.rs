//! The files of a store: segments that are only ever appended to, each with a header of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::batch::Place;

/// The first bytes of every segment.
const MAGIC: &[u8; 16] = b"everwire history";
/// The format; another one is refused.
pub(super) const VERSION: u32 = 1;
/// Bytes of the header, which stands twice: without its salt no batch behind it could be read.
const COPY_BYTES: usize = 36;
/// Bytes before the first batch.
pub(super) const HEADER_BYTES: usize = 2 * COPY_BYTES;
const SUFFIX: &str = "log";
/// Messages are for whoever runs the server, and for nobody else of the machine.
pub(super) const FILE_MODE: u32 = 0o600;
/// The same for folders.
pub(super) const FOLDER_MODE: u32 = 0o700;

/// What the writer does to the segment that it appends to. Tests put a medium that fails between.
pub trait Medium: Send {
    /// Appends; may have written a part of it when it fails.
    ///
    /// # Errors
    /// Those of the operating system.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Everything that was appended is on the medium when this returns.
    ///
    /// # Errors
    /// Those of the operating system.
    fn sync(&mut self) -> io::Result<()>;
    /// Takes back everything behind so many bytes.
    ///
    /// # Errors
    /// Those of the operating system.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)?;
        self.sync_data()
    }
}

/// A segment's name and seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u32,
    /// What its checksums begin with.
    pub(super) salt: u64,
}

/// Why a header can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Written by another version.
    Version(u32),
    /// Not a header.
    Broken,
}

impl Header {
    fn bytes(self) -> [u8; HEADER_BYTES] {
        let mut out = [0; COPY_BYTES];
        out[..16].copy_from_slice(MAGIC);
        out[16..20].copy_from_slice(&VERSION.to_le_bytes());
        out[20..24].copy_from_slice(&self.number.to_le_bytes());
        out[24..32].copy_from_slice(&self.salt.to_le_bytes());
        let sum = crc32fast::hash(&out[..32]);
        out[32..].copy_from_slice(&sum.to_le_bytes());
        let mut twice = [0; HEADER_BYTES];
        twice[..COPY_BYTES].copy_from_slice(&out);
        twice[COPY_BYTES..].copy_from_slice(&out);
        twice
    }

    /// The header at the front of a segment, both of which are whole.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, BadHeader> {
        let first = Self::read_copy(bytes)?;
        let second = Self::read_copy(bytes.get(COPY_BYTES..).unwrap_or_default())?;
        if first == second { Ok(first) } else { Err(BadHeader::Broken) }
    }

    /// The header of a damaged segment, from whichever copy can be read.
    pub(super) fn salvage(bytes: &[u8]) -> Option<Self> {
        let second = || Self::read_copy(bytes.get(COPY_BYTES..)?).ok();
        Self::read_copy(bytes).ok().or_else(second)
    }

    fn read_copy(bytes: &[u8]) -> Result<Self, BadHeader> {
        let header = bytes.first_chunk::<COPY_BYTES>().ok_or(BadHeader::Broken)?;
        let number =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if &header[..16] != MAGIC || number(32) != crc32fast::hash(&header[..32]) {
            return Err(BadHeader::Broken);
        }
        if number(16) != VERSION {
            return Err(BadHeader::Version(number(16)));
        }
        let salt = u64::from(number(24)) | u64::from(number(28)) << 32;
        Ok(Self { number: number(20), salt })
    }
}

/// Where a segment stands.
pub(super) fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}.{SUFFIX}"))
}

/// The segments of a store, in the order of the log.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|s| s.to_str()).filter(|s| s.len() == 10);
        if path.extension().is_some_and(|e| e == SUFFIX)
            && let Some(number) = stem.and_then(|s| s.parse().ok())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes a segment; it and its name are on the medium when this returns.
pub(super) fn create(dir: &Path, header: Header) -> io::Result<File> {
    let path = path(dir, header.number);
    let made = (|| {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true).mode(FILE_MODE);
        let mut file = options.open(&path)?;
        file.write_all(&header.bytes())?;
        file.sync_all()?;
        sync_dir(dir)?;
        Ok(file)
    })();
    if made.as_ref().is_err_and(|error: &io::Error| error.kind() != io::ErrorKind::AlreadyExists) {
        // A part of a header would be taken for damage once there is a newer segment.
        let _ = std::fs::remove_file(&path);
    }
    made
}

/// Opens a segment for more.
pub(super) fn open(dir: &Path, number: u32) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).open(path(dir, number))
}

/// Names that came or went are on the medium when this returns.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// All bytes of a file, into a buffer that is used again.
pub(super) fn read_whole(path: &Path, into: &mut Vec<u8>) -> io::Result<File> {
    into.clear();
    let mut file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    into.reserve(len + 1);
    file.read_to_end(into)?;
    Ok(file)
}

/// The front of a segment's batches.
pub(super) fn first_place(number: u32) -> Place {
    Place { segment: number, at: u32::try_from(HEADER_BYTES).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_and_every_byte_of_it_counts() {
        let header = Header { number: 12, salt: 0x0123_4567_89ab_cdef };
        let bytes = header.bytes();
        assert_eq!(Header::read(&bytes), Ok(header));
        for at in 0..HEADER_BYTES {
            let mut flipped = bytes;
            flipped[at] ^= 1;
            assert_eq!(Header::read(&flipped), Err(BadHeader::Broken), "flipped at {at}");
            assert_eq!(Header::salvage(&flipped), Some(header), "flipped at {at}");
            assert_eq!(Header::read(&bytes[..at]), Err(BadHeader::Broken), "cut at {at}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = Header { number: 1, salt: 2 }.bytes();
        bytes[16] = 9;
        let sum = crc32fast::hash(&bytes[..32]);
        bytes[32..COPY_BYTES].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Header::read(&bytes), Err(BadHeader::Version(9)));
    }
}
