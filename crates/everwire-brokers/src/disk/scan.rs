//! Reading segments from front to back: what a start, a check and a repair have in common.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc;

use super::batch::{self, Place, Tail};
use super::error::OpenError;
use super::record::{self, Record};
use super::segment::{self, BadHeader, HEADER_BYTES, Header};

/// A segment that was read.
#[derive(Debug)]
pub(super) struct Scanned {
    /// `None`: its header was never finished, so nothing of it was ever acknowledged.
    pub(super) header: Option<Header>,
    pub(super) file: File,
    /// Bytes up to the end of the last whole batch.
    pub(super) end: usize,
    /// Bytes behind that.
    pub(super) behind: usize,
    pub(super) tail: Tail,
}

/// Loads segments one after the other, the next one while this one is looked at: half of a start is waiting for the
/// operating system to copy.
pub(super) fn load_each(
    dir: &Path,
    numbers: &[u32],
    mut each: impl FnMut(u32, &[u8], File) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    std::thread::scope(|scope| {
        let (give, loaded) = mpsc::sync_channel::<(u32, Vec<u8>, io::Result<File>)>(1);
        let (give_back, spare) = mpsc::channel();
        scope.spawn(move || {
            for number in numbers {
                let mut bytes = spare.try_recv().unwrap_or_default();
                let file = segment::read_whole(&segment::path(dir, *number), &mut bytes);
                if give.send((*number, bytes, file)).is_err() {
                    // An earlier one was refused.
                    return;
                }
            }
        });
        for (number, bytes, file) in loaded {
            let file = file.map_err(|error| OpenError::io(segment::path(dir, number), error))?;
            each(number, &bytes, file)?;
            let _ = give_back.send(bytes);
        }
        Ok(())
    })
}

/// Reads a segment batch by batch, as far as they are whole. Only the newest segment may end with a torn tail: the
/// others were on the medium before the next one was made.
pub(super) fn scan(
    dir: &Path,
    number: u32,
    newest: bool,
    bytes: &[u8],
    file: File,
    mut each: impl FnMut(Place, usize, Record<'_>),
) -> Result<Scanned, OpenError> {
    let path = segment::path(dir, number);
    let header = match Header::read(bytes) {
        Ok(header) if header.number == number => header,
        Err(BadHeader::Version(found)) => {
            return Err(OpenError::Version { path, found, known: segment::VERSION });
        }
        Ok(_) | Err(BadHeader::Broken) => {
            // A crash while it was made: it has nothing behind its header.
            let unborn = newest && bytes.len() <= HEADER_BYTES;
            let tail = if unborn { Tail::Torn } else { Tail::Damaged };
            return Ok(Scanned { header: None, file, end: 0, behind: bytes.len(), tail });
        }
    };
    let mut end = HEADER_BYTES;
    while let Some(batch) = batch::read(&bytes[end..], header.salt) {
        if !each_record(number, end + batch::HEAD_BYTES, batch.records, &mut each) {
            let behind = bytes.len() - end;
            return Ok(Scanned { header: Some(header), file, end, behind, tail: Tail::Damaged });
        }
        end += batch.len;
    }
    let tail = match batch::judge(bytes, end, number, header.salt) {
        Tail::Torn if !newest => Tail::Damaged,
        tail => tail,
    };
    Ok(Scanned { header: Some(header), file, end, behind: bytes.len() - end, tail })
}

/// Hands out the records of a batch; whether all of them could be read.
pub(super) fn each_record(
    segment: u32,
    mut at: usize,
    mut records: &[u8],
    each: &mut impl FnMut(Place, usize, Record<'_>),
) -> bool {
    while !records.is_empty() {
        let Some((len, record)) = record::read(records) else { return false };
        each(Place { segment, at: u32::try_from(at).unwrap_or(u32::MAX) }, len, record);
        at += len;
        records = &records[len..];
    }
    true
}
