//! Looking at a store that no server has open, and saving what can be read of a damaged one.

use std::fmt;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::{self, Place, Tail};
use super::error::OpenError;
use super::journal::{Journal, Wrap};
use super::pulse::Pulse;
use super::record::{self, Head, Record, renewed};
use super::scan::{each_record, load_each, scan};
use super::segment::{self, HEADER_BYTES, Header};

/// A batch of a repair is written when it has so many bytes.
const BATCH_BYTES: usize = 1 << 20;

/// What a look at a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Segments.
    pub segments: usize,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Messages that can be read, those that are kept no longer included.
    pub messages: u64,
    /// Bytes of a write that was never finished: no damage, and dropped at the next start.
    pub torn: usize,
    /// Damaged segments, and where each is damaged first.
    pub damaged: Vec<(PathBuf, usize)>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segments, bytes, messages, torn, damaged } = self;
        let s = |many: u64| if many == 1 { "" } else { "s" };
        let (some, more) = (s(*segments as u64), s(*messages));
        write!(f, "{segments} segment{some}, {bytes} bytes, {messages} message{more}")?;
        if *torn > 0 {
            write!(f, "\n{torn} bytes of a write that was never finished; nobody was told of it")?;
        }
        for (path, at) in damaged {
            write!(f, "\n{}: damaged at byte {at}", path.display())?;
        }
        if damaged.is_empty() { f.write_str("\nno damage") } else { Ok(()) }
    }
}

/// Reads all of a store and changes nothing.
///
/// # Errors
/// It is not there, in use, or of another format.
pub fn check(dir: &Path) -> Result<Checked, OpenError> {
    let _lock = super::lock_folder_of(dir)?;
    look(dir)
}

fn look(dir: &Path) -> Result<Checked, OpenError> {
    let numbers = segment::list(dir).map_err(|error| OpenError::io(dir, error))?;
    let mut checked = Checked { segments: numbers.len(), ..Checked::default() };
    load_each(dir, &numbers, |number, bytes, file| {
        let newest = numbers.last() == Some(&number);
        let scanned = scan(dir, number, newest, bytes, file, |_, _, record| {
            checked.messages += u64::from(matches!(record, Record::Message { .. }));
        })?;
        checked.bytes += bytes.len() as u64;
        match scanned.tail {
            Tail::Clean => {}
            Tail::Torn => checked.torn = scanned.behind,
            Tail::Damaged => checked.damaged.push((segment::path(dir, number), scanned.end)),
        }
        Ok(())
    })?;
    Ok(checked)
}

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Messages that could be read, and are kept.
    pub messages: u64,
    /// Bytes that could not be read.
    pub unread: u64,
    /// Where the old segments are now; `None`: there was no damage, and nothing was done.
    pub aside: Option<PathBuf>,
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(aside) = &self.aside else { return f.write_str("no damage, so nothing was done") };
        write!(
            f,
            "saved {} messages; {} bytes could not be read. The old files are in {}.\nEvery channel has a new epoch: \
             clients are told that they may have missed something",
            self.messages,
            self.unread,
            aside.display()
        )
    }
}

/// Writes all that can be read of a damaged store anew, and puts the old segments aside.
///
/// Whenever it is cut off it can be run again: the old segments go last, and what is written anew stands behind them, so
/// it counts.
///
/// # Errors
/// It is not there, in use, of another format, or can't be written.
pub fn repair(dir: &Path, salt: u64, now_ms: u64) -> Result<Repaired, OpenError> {
    let _lock = super::lock_folder_of(dir)?;
    if look(dir)?.damaged.is_empty() {
        return Ok(Repaired::default());
    }
    let io = |error| OpenError::io(dir, error);
    let old = segment::list(dir).map_err(io)?;
    let part = dir.join("repair");
    let _ = std::fs::remove_dir_all(&part);
    let folder = |path: &Path| DirBuilder::new().mode(segment::FOLDER_MODE).create(path).map_err(io);
    folder(&part)?;
    let next = old.last().map_or(1, |newest| newest + 1);
    let mut saved = save(dir, &part, &old, next, salt).map_err(io)?;
    for number in segment::list(&part).map_err(io)? {
        std::fs::rename(segment::path(&part, number), segment::path(dir, number)).map_err(io)?;
    }
    segment::sync_dir(dir).map_err(io)?;
    let aside = dir.join(format!("damaged-{now_ms}"));
    folder(&aside)?;
    for number in old {
        std::fs::rename(segment::path(dir, number), segment::path(&aside, number)).map_err(io)?;
    }
    std::fs::remove_dir(&part).and_then(|()| segment::sync_dir(dir)).map_err(io)?;
    saved.aside = Some(aside);
    Ok(saved)
}

/// Where epochs were renewed before, in the order of the log.
type Renewals = Vec<(Place, u64)>;

fn save(dir: &Path, part: &Path, old: &[u32], next: u32, salt: u64) -> std::io::Result<Repaired> {
    let (mut saved, mut renewals) = (Repaired::default(), Renewals::new());
    let mut bytes = Vec::new();
    for number in old {
        segment::read_whole(&segment::path(dir, *number), &mut bytes)?;
        saved.unread += readable(*number, &bytes, |place, record| match record {
            Record::Renewed { salt } => renewals.push((place, salt)),
            Record::Message { .. } => saved.messages += 1,
            _ => {}
        });
    }
    let (wrap, pulse): (Wrap, _) = (Box::new(|file| Box::new(file)), Arc::new(Pulse::new()));
    let (mut journal, _) = Journal::begin(part.to_owned(), wrap, next, salt, pulse)?;
    let mut out = Vec::new();
    batch::begin(&mut out);
    for number in old {
        segment::read_whole(&segment::path(dir, *number), &mut bytes)?;
        let mut failed = Ok(());
        readable(*number, &bytes, |place, record| {
            if let Some(record) = with_new_epoch(place, record, &renewals, salt) {
                record::put(&mut out, &record);
            }
            if out.len() > BATCH_BYTES && failed.is_ok() {
                failed = write(&mut journal, &mut out, salt);
            }
        });
        failed?;
    }
    record::put(&mut out, &Record::Closed);
    write(&mut journal, &mut out, salt)?;
    Ok(saved)
}

fn write(journal: &mut Journal, out: &mut Vec<u8>, salt: u64) -> std::io::Result<()> {
    if journal.len() + out.len() as u64 > super::SEGMENT_BYTES {
        journal.roll(salt)?;
    }
    journal.append(out, true)?;
    batch::begin(out);
    Ok(())
}

/// Hands out every record of a segment that can be read; how many bytes can't.
fn readable(number: u32, bytes: &[u8], mut each: impl FnMut(Place, Record<'_>)) -> u64 {
    let Some(Header { salt, .. }) = Header::salvage(bytes) else { return bytes.len() as u64 };
    let (mut at, mut unread) = (HEADER_BYTES, 0);
    while let Some(start) = batch::next_whole(bytes, at, salt, |_| true) {
        unread += start - at;
        let Some(found) = batch::read(&bytes[start..], salt) else { break };
        let first = start + batch::HEAD_BYTES;
        each_record(number, first, found.records, &mut |place, _, record| each(place, record));
        at = start + found.len;
    }
    (unread + bytes.len().saturating_sub(at)) as u64
}

/// A record of a channel under the epoch that it has after the repair.
fn with_new_epoch<'r>(
    place: Place,
    record: Record<'r>,
    renewals: &Renewals,
    salt: u64,
) -> Option<Record<'r>> {
    let anew = |head: Head<'r>| {
        let later = renewals.iter().filter(|(at, _)| *at > place);
        let epoch = later.fold(head.epoch, |epoch, (_, salt)| renewed(epoch, *salt));
        Head { epoch: renewed(epoch, salt), ..head }
    };
    match record {
        Record::Message { head, id, rest } => Some(Record::Message { head: anew(head), id, rest }),
        Record::Top { head } => Some(Record::Top { head: anew(head) }),
        Record::Id { head, id } => Some(Record::Id { head: anew(head), id }),
        Record::Opened { .. } | Record::Closed | Record::Renewed { .. } => None,
    }
}
