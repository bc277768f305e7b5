//! The end of the log: batches are appended to the newest segment, taken back when that failed, and put on the medium.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::batch::{self, Place};
use super::pulse::Pulse;
use super::segment::{self, HEADER_BYTES, Header, Medium};

/// What stands between the store and its files: nothing, but in tests.
pub type Wrap = Box<dyn Fn(File) -> Box<dyn Medium> + Send>;

/// The end of the log.
pub(super) struct Journal {
    dir: PathBuf,
    wrap: Wrap,
    medium: Box<dyn Medium>,
    pub(super) number: u32,
    salt: u64,
    len: u64,
    /// How far the log is on the medium.
    durable: Place,
    /// Bytes behind `len` could not be taken back.
    spoiled: bool,
    pulse: Arc<Pulse>,
}

/// What a probe writes: more than what is left in a block of a medium that is full.
static PROBE: [u8; 64 * 1024] = [0; 64 * 1024];

/// A segment that was begun.
pub(super) struct Begun {
    pub(super) number: u32,
    pub(super) salt: u64,
    pub(super) file: Arc<File>,
}

impl Journal {
    /// Begins a segment.
    pub(super) fn begin(
        dir: PathBuf,
        wrap: Wrap,
        number: u32,
        salt: u64,
        pulse: Arc<Pulse>,
    ) -> io::Result<(Self, Begun)> {
        let file = segment::create(&dir, Header { number, salt })?;
        let begun = Begun { number, salt, file: Arc::new(file.try_clone()?) };
        let medium = wrap(file);
        let (len, durable) = (HEADER_BYTES as u64, segment::first_place(number));
        Ok((Self { dir, wrap, medium, number, salt, len, durable, spoiled: false, pulse }, begun))
    }

    /// Goes on in a segment behind so many bytes; what stands there is taken away.
    pub(super) fn resume(
        dir: PathBuf,
        wrap: Wrap,
        number: u32,
        salt: u64,
        len: u64,
        pulse: Arc<Pulse>,
    ) -> io::Result<Self> {
        let mut medium = wrap(segment::open(&dir, number)?);
        medium.cut(len)?;
        let durable = Place { segment: number, at: u32::try_from(len).unwrap_or(u32::MAX) };
        Ok(Self { dir, wrap, medium, number, salt, len, durable, spoiled: false, pulse })
    }

    /// Bytes of the newest segment.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    fn end(&self) -> Place {
        Place { segment: self.number, at: u32::try_from(self.len).unwrap_or(u32::MAX) }
    }

    /// Whether everything is on the medium.
    pub(super) fn is_durable(&self) -> bool {
        self.durable == self.end()
    }

    /// Begins the next segment; the one before is on the medium first, so that only the newest can have a torn tail.
    pub(super) fn roll(&mut self, salt: u64) -> io::Result<Begun> {
        self.mend()?;
        self.sync()?;
        let number = self.number + 1;
        let file = segment::create(&self.dir, Header { number, salt })?;
        let begun = Begun { number, salt, file: Arc::new(file.try_clone()?) };
        self.medium = (self.wrap)(file);
        (self.number, self.salt, self.len) = (number, salt, HEADER_BYTES as u64);
        self.durable = self.end();
        Ok(begun)
    }

    /// Appends a batch (made with [`batch::begin`]) and, if told so, waits until it is on the medium. Where it begins.
    ///
    /// When this fails, nothing was appended; if not even that can be had, nothing more is until it can.
    pub(super) fn append(&mut self, bytes: &mut [u8], sync: bool) -> io::Result<u64> {
        self.mend()?;
        batch::seal(bytes, self.salt, self.durable);
        let start = self.len;
        let done = self.medium.append(bytes).and_then(|()| if sync { self.reach_medium() } else { Ok(()) });
        if let Err(error) = done {
            self.spoiled = true;
            // A second failure is told by the next append.
            let _ = self.mend();
            return Err(error);
        }
        self.len += bytes.len() as u64;
        self.pulse.wrote();
        if sync {
            self.durable = self.end();
        }
        Ok(start)
    }

    /// Takes away what a failed append left.
    fn mend(&mut self) -> io::Result<()> {
        if self.spoiled {
            self.medium.cut(self.len)?;
            self.spoiled = false;
        }
        Ok(())
    }

    /// Everything is on the medium when this returns.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if !self.is_durable() {
            self.reach_medium()?;
            self.durable = self.end();
        }
        Ok(())
    }

    fn reach_medium(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        let done = self.medium.sync();
        self.pulse.synced(begun.elapsed());
        done
    }

    /// Whether something can be written again: it is tried, and taken back.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        self.mend()?;
        let tried = self.medium.append(&PROBE).and_then(|()| self.medium.sync());
        self.spoiled = true;
        let mended = self.mend();
        tried.and(mended)
    }
}
