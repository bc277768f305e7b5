//! The disk broker: an append-only log in a folder, and an index of it in memory.
//!
//! A publish is numbered by the writer's thread, appended together with all others that wait, and acknowledged and
//! delivered when the batch is stored as `sync` says: nobody hears of what a restart would forget. History comes from the
//! files, by a thread of its own. Why a log of our own: `docs/decisions/0104-the-disk-store.md`.
//!
//! Never here: presence, volatile messages (they pass by), anything of another node. Read first: [`Disk`], `writer`
//! (the batch), `recover` (the start).

// Bottom to top: a module uses only those above it in this list.
mod error;
mod record;
mod batch;
mod segment;
mod scan;
mod index;
mod recover;
mod queue;
mod pulse;
mod reader;
mod reclaim;
mod journal;
mod writer;
mod repair;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use everwire_engine::channel::{Cell, Namespaces, Options, Unpublished};
use everwire_engine::entry::Publication;
use everwire_engine::inbox::Answer;
use everwire_engine::limits::NodeLimits;
use everwire_engine::name::ChannelName;
use everwire_engine::ports::{Ask, Asked, Broker, Caps, Ticket};
use everwire_engine::time::{Entropy, Now};
use everwire_proto::codes::ErrorCode;
use everwire_proto::ids::Epoch;
use everwire_proto::position::Position;

use self::index::{AllIds, Index, Keep};
use self::journal::Journal;
use self::pulse::{Pulse, Trouble};
use self::queue::{Queue, Request};
use self::reader::Reader;
use self::reclaim::Reclaimer;
use self::record::Record;
use self::recover::Recovered;
use self::writer::{Parts, Writer};
use crate::answers::Answers;

pub use self::error::OpenError;
pub use self::journal::Wrap;
pub use self::pulse::{Figures, SYNC_BOUNDS_US};
pub use self::repair::{Checked, Repaired, check, repair};
pub use self::segment::Medium;

/// When a publish is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// When it is on the medium: it survives a loss of power.
    Always,
    /// When the operating system has it, which is told to put it on the medium so often: it survives the end of the
    /// process.
    Interval(Duration),
    /// When the operating system has it, which writes when it likes.
    None,
}

/// Settings of a store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When a publish is acknowledged.
    pub sync: Sync,
    /// What is kept of which channel.
    pub namespaces: Namespaces,
    /// How many channels and message ids are known.
    pub limits: NodeLimits,
    /// A segment that would be longer is followed by the next one.
    pub segment_bytes: u64,
    /// When all segments together have so many bytes, publishes are refused, as on a medium that is full; 0: the medium is
    /// the limit.
    pub max_bytes: u64,
}

/// A segment of this size is emptied in a second, and a store of a million channels has a few hundred of them.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// So many reads wait for their turn; above it pages of history are refused, and channels that begin wait longer.
const JOBS: usize = 16_384;

/// A list of channels looks at so many of them at a time: the writer waits meanwhile.
const LOOKED_AT: usize = 10_000;

/// The disk broker.
pub struct Disk {
    answers: Answers,
    entropy: Arc<dyn Entropy>,
    queue: Arc<Queue>,
    pulse: Arc<Pulse>,
    all_ids: Arc<AllIds>,
    given_up: Arc<AtomicU64>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    index: Arc<Mutex<Index>>,
    /// What a start found.
    pub start: Start,
    /// Held as long as the store is open.
    _lock: File,
}

/// What a start found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Channels.
    pub channels: usize,
    /// Segments.
    pub segments: usize,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Bytes of a write that was never finished, and that nobody was told of.
    pub torn: u64,
    /// The machine went down while messages were acknowledged that it had not put on the medium: every channel has a new
    /// epoch.
    pub renewed: bool,
}

impl Disk {
    /// Opens the store in `dir`, which is made where it is not there.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(
        dir: &Path,
        settings: Settings,
        answers: Answers,
        entropy: Arc<dyn Entropy>,
        now: Now,
    ) -> Result<Arc<Self>, OpenError> {
        Self::open_on(dir, settings, answers, entropy, now, Box::new(|file| Box::new(file)))
    }

    /// The same with something between the store and its files, for tests.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_on(
        dir: &Path,
        settings: Settings,
        answers: Answers,
        entropy: Arc<dyn Entropy>,
        now: Now,
        wrap: Wrap,
    ) -> Result<Arc<Self>, OpenError> {
        let lock = lock_folder(dir)?;
        let keep = Keep {
            channels: settings.limits.channels,
            ids: settings.limits.message_ids,
            ids_in_all: settings.limits.message_ids_in_all,
            id_ms: i64::try_from(settings.limits.message_id_ms).unwrap_or(i64::MAX),
        };
        let recovered = recover::recover(dir, keep, &settings.namespaces, now)?;
        let pulse = Arc::new(Pulse::new());
        let (index, journal, start) = begin(dir, &settings, recovered, &*entropy, wrap, &pulse)
            .map_err(|error| OpenError::Io { path: dir.to_owned(), error })?;
        let queue = Arc::new(Queue::default());
        let (all_ids, given_up) = (index.all_ids.clone(), index.given_up.clone());
        let index = Arc::new(Mutex::new(index));
        let threads = spawn(dir, &settings, &index, journal, &queue, &pulse, &answers, &entropy, now)
            .map_err(|error| OpenError::Io { path: dir.to_owned(), error })?;
        let threads = Mutex::new(threads);
        Ok(Arc::new(Self {
            answers,
            entropy,
            queue,
            pulse,
            all_ids,
            given_up,
            threads,
            index,
            start,
            _lock: lock,
        }))
    }

    /// Why messages can't be stored now; `None`: they can.
    pub fn trouble(&self) -> Option<String> {
        self.pulse.words()
    }

    /// What it holds and does.
    pub fn figures(&self) -> Figures {
        let figures = self.pulse.figures(self.queue.waiting());
        let given_up = self.given_up.load(Ordering::Relaxed);
        Figures { message_ids: self.all_ids.count(), given_up, ..figures }
    }

    /// Where a channel has got to, as it is stored; `None`: nothing is stored of it.
    pub fn top(&self, channel: &str) -> Option<Position> {
        reader::lock(&self.index).top(channel)
    }

    /// Channels of which something is stored and that `wanted` takes, at most `most`, with where they have got to; `from` is
    /// 0, or where the page before says that it goes on. A page that has fewer may have a next one: so many are looked at
    /// as do not hold up the writer. What comes or goes meanwhile may be in it or not.
    pub fn channels(
        &self,
        from: usize,
        most: usize,
        wanted: impl FnMut(&ChannelName) -> bool,
    ) -> (Vec<(ChannelName, Position)>, Option<usize>) {
        reader::lock(&self.index).list(from, most, LOOKED_AT, wanted)
    }

    /// Stores what waits, ends the log in order, and returns when all is on the medium. What is asked after this is
    /// refused.
    pub fn close(&self) {
        self.queue.close();
        self.pulse.set_trouble(Some(Trouble::Closed));
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the history ended with a bug");
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("start", &self.start).finish_non_exhaustive()
    }
}

fn lock_folder(dir: &Path) -> Result<File, OpenError> {
    let made = DirBuilder::new().recursive(true).mode(segment::FOLDER_MODE).create(dir);
    made.map_err(|error| OpenError::io(dir, error))?;
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(segment::FILE_MODE);
    let lock = options.open(&path);
    let lock = lock.map_err(|error| OpenError::io(&path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::io(path, error)),
    }
}

/// The same for a folder that must be there, with a history in it: no other gets so much as a lock.
fn lock_folder_of(dir: &Path) -> Result<File, OpenError> {
    if segment::list(dir).map_err(|error| OpenError::io(dir, error))?.is_empty() {
        return Err(OpenError::Missing(dir.to_owned()));
    }
    lock_folder(dir)
}

/// The name of the machine's boot, where there is one: what was written in another one may not be on the medium.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Makes the log ready for more.
fn begin(
    dir: &Path,
    settings: &Settings,
    recovered: Recovered,
    entropy: &dyn Entropy,
    wrap: Wrap,
    pulse: &Arc<Pulse>,
) -> io::Result<(Index, Journal, Start)> {
    let Recovered { mut index, newest, torn, last } = recovered;
    let mut start = Start {
        channels: index.count(),
        segments: index.segments.len(),
        bytes: index.segments.values().map(|segment| segment.bytes).sum(),
        torn: torn as u64,
        renewed: false,
    };
    let bits = entropy.bits();
    let salt = u64::try_from(bits >> 64).unwrap_or_default();
    let mut journal = match newest.and_then(|number| Some((number, index.segments.get(&number)?))) {
        Some((number, stored)) => {
            Journal::resume(dir.to_owned(), wrap, number, stored.salt, stored.bytes, pulse.clone())?
        }
        None => {
            let (journal, begun) = Journal::begin(dir.to_owned(), wrap, 1, salt, pulse.clone())?;
            index.begin_segment(begun);
            journal
        }
    };
    let boot = boot();
    let mut bytes = Vec::new();
    batch::begin(&mut bytes);
    if !last.closed && last.lazy && last.boot != boot {
        start.renewed = true;
        let salt = u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
        record::put(&mut bytes, &Record::Renewed { salt });
        index.renew(salt, journal.number);
    }
    record::put(&mut bytes, &Record::Opened { boot: &boot, lazy: settings.sync != Sync::Always });
    journal.append(&mut bytes, true)?;
    Ok((index, journal, start))
}

#[expect(clippy::too_many_arguments, reason = "the parts of a store meet here and nowhere else")]
fn spawn(
    dir: &Path,
    settings: &Settings,
    index: &Arc<Mutex<Index>>,
    journal: Journal,
    queue: &Arc<Queue>,
    pulse: &Arc<Pulse>,
    answers: &Answers,
    entropy: &Arc<dyn Entropy>,
    now: Now,
) -> io::Result<Vec<JoinHandle<()>>> {
    let (jobs, to_read) = mpsc::sync_channel(JOBS);
    // One at a time.
    let (reclaim, to_empty) = mpsc::sync_channel(1);
    let reader = Reader { index: index.clone(), answers: answers.clone() };
    let reclaimer = Reclaimer { dir: dir.to_owned(), index: index.clone(), queue: queue.clone() };
    let writer = Writer::new(Parts {
        queue: queue.clone(),
        index: index.clone(),
        answers: answers.clone(),
        jobs,
        reclaim,
        entropy: entropy.clone(),
        journal,
        dir: dir.to_owned(),
        sync: settings.sync,
        segment_bytes: settings.segment_bytes,
        max_bytes: settings.max_bytes,
        pulse: pulse.clone(),
        now,
    });
    let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
    Ok(vec![
        named("history-write").spawn(move || writer.run())?,
        named("history-read").spawn(move || reader.run(&to_read))?,
        named("history-space").spawn(move || reclaimer.run(&to_empty))?,
    ])
}

impl Broker for Disk {
    fn caps(&self) -> Caps {
        Caps { in_process: false, durable: true }
    }

    fn cell(&self, name: ChannelName, options: Arc<Options>, now: Now) -> Cell {
        let shared = self.answers.shared().clone();
        if options.history.is_some() {
            return Cell::foreign(name, options, shared, now);
        }
        // Nothing is kept of it, so nothing of it is written: the cell numbers, as it does in memory.
        let bits = u64::try_from(self.entropy.bits() & u128::from(u64::MAX)).unwrap_or_default();
        Cell::new(name, options, shared, Epoch::from_random(bits), now)
    }

    fn ask(&self, cell: &Arc<Cell>, ask: Ask, ticket: Ticket, now: Now) -> Asked {
        if !cell.keeps_history() {
            return cell_answers(cell, ask, now);
        }
        let (request, bytes) = match ask {
            Ask::Publish(draft) if draft.volatile => {
                if cell.is_dead() {
                    return Asked::Dead(Ask::Publish(draft));
                }
                let publication = Publication {
                    payload: draft.payload,
                    message_id: draft.message_id,
                    from: draft.from,
                    time: now.unix_ms,
                    tags: draft.tags,
                };
                cell.arrive_volatile(publication, now);
                return Asked::Now(Answer::Published { position: None, duplicate: false });
            }
            Ask::Publish(draft) => {
                let bytes = draft.payload.len();
                (Request::Publish(cell.clone(), draft, ticket, now), bytes)
            }
            Ask::History(query) => (Request::History(cell.clone(), query, ticket, now), 0),
            Ask::Clear => (Request::Clear(cell.clone(), ticket, now), 0),
        };
        if self.queue.ask(request, bytes) {
            Asked::Later
        } else {
            Asked::Now(Answer::Failed(ErrorCode::Overloaded))
        }
    }

    fn attach(&self, cell: &Arc<Cell>, now: Now) {
        if cell.keeps_history() {
            self.queue.tell(Request::Attach(cell.clone(), now));
        }
    }

    fn detach(&self, cell: &Arc<Cell>, _now: Now) {
        if cell.keeps_history() {
            self.queue.tell(Request::Detach(cell.clone()));
        }
    }
}

/// What the memory broker would do.
fn cell_answers(cell: &Arc<Cell>, ask: Ask, now: Now) -> Asked {
    match ask {
        Ask::History(query) => match cell.history(&query, now) {
            Some(page) => Asked::Now(Answer::Page(page)),
            None => Asked::Dead(Ask::History(query)),
        },
        Ask::Clear => match cell.clear(now) {
            Some(position) => Asked::Now(Answer::Cleared(position)),
            None => Asked::Dead(Ask::Clear),
        },
        Ask::Publish(draft) => match cell.publish(draft, now) {
            Ok(done) => Asked::Now(Answer::Published { position: done.position, duplicate: done.duplicate }),
            Err(Unpublished::Dead(draft)) => Asked::Dead(Ask::Publish(*draft)),
            Err(Unpublished::Full) => Asked::Now(Answer::Failed(ErrorCode::Overloaded)),
        },
    }
}

/// Where a folder's files stand; for tools that look at a store.
pub fn segments(dir: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(segment::list(dir)?.into_iter().map(|number| segment::path(dir, number)).collect())
}
