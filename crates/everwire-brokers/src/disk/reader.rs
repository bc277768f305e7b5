//! Reading messages back: pages of history, and what a channel's cell begins with.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use everwire_engine::channel::{Arrival, Cell, HistoryQuery};
use everwire_engine::entry::{Entry, Form, Kind, Publication};
use everwire_engine::inbox::{Answer, Page};
use everwire_engine::ports::Ticket;
use everwire_engine::time::Now;
use everwire_proto::codes::ErrorCode;
use everwire_proto::position::Position;

use super::index::{Channel, Index, Spot, prev};
use super::record;
use crate::answers::Answers;

/// A cell begins with so many bytes of its channel's newest messages at most; older ones are read when they are asked
/// for.
const WINDOW_BYTES: usize = 16 << 20;
/// What a cell misses comes in pieces of so many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// One thing to read.
#[derive(Debug)]
pub(super) enum Job {
    Page(Arc<Cell>, HistoryQuery, Ticket, Now),
    Attach(Arc<Cell>, Now),
    /// What comes after this position.
    Fill(Arc<Cell>, Position, Now),
}

pub(super) fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A message that is to be read.
struct Found {
    offset: u64,
    spot: Spot,
    file: Arc<File>,
}

impl Found {
    fn read(&self) -> io::Result<Publication> {
        let mut bytes = vec![0; self.spot.len as usize];
        self.file.read_exact_at(&mut bytes, u64::from(self.spot.place.at))?;
        let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "a message can't be read any more");
        record::publication(&Bytes::from(bytes)).ok_or_else(unreadable)
    }
}

/// A piece of a channel's stream, not read yet.
struct Piece {
    found: Vec<Found>,
    epoch_and_top: Position,
    floor: Position,
}

/// Chooses messages of a channel under the index's lock; they are read after it.
fn choose(
    index: &Mutex<Index>,
    cell: &Cell,
    now: Now,
    which: impl Fn(&Channel) -> Vec<(u64, Spot)>,
) -> Option<Piece> {
    let limits = cell.history_limits();
    let mut index = lock(index);
    let slot = index.find(cell.name.as_str())?;
    index.channel(slot).limits = limits;
    index.trim(slot, i64::try_from(now.mono_ms).unwrap_or(i64::MAX));
    let channel = index.channel(slot);
    let (top, floor) = (channel.at(channel.top), channel.at(channel.floor()));
    let chosen = which(channel);
    let file = |spot: &Spot| index.segments.get(&spot.place.segment).map(|segment| segment.file.clone());
    let found = chosen
        .iter()
        .filter_map(|(offset, spot)| Some(Found { offset: *offset, spot: *spot, file: file(spot)? }));
    Some(Piece { found: found.collect(), epoch_and_top: top, floor })
}

/// The thread that reads.
pub(super) struct Reader {
    pub(super) index: Arc<Mutex<Index>>,
    pub(super) answers: Answers,
}

impl Reader {
    /// Works until nobody can ask any more.
    pub(super) fn run(&self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Page(cell, query, ticket, now) => {
                    let page = self.page(&cell, &query, now);
                    self.answers.give(ticket, page.unwrap_or_else(|error| failed(&error)));
                }
                Job::Attach(cell, now) => self.attach(&cell, now),
                Job::Fill(cell, after, now) => self.fill(&cell, after, now),
            }
        }
    }

    fn page(&self, cell: &Cell, query: &HistoryQuery, now: Now) -> io::Result<Answer> {
        let which = |channel: &Channel| {
            let (after, before) = query.bounds(&channel.at(0).epoch);
            let between = channel.between(after, before);
            // One more, to know whether there is one.
            let most = query.limit.saturating_add(1);
            if query.reverse { between.rev().take(most).collect() } else { between.take(most).collect() }
        };
        let Some(piece) = choose(&self.index, cell, now, which) else {
            return Ok(Answer::Failed(ErrorCode::Internal));
        };
        let (mut entries, mut bytes, mut more) = (Vec::new(), 0, false);
        for found in &piece.found {
            if entries.len() == query.limit {
                more = true;
                break;
            }
            let position = Position { offset: found.offset, ..piece.epoch_and_top.clone() };
            let entry = Entry::new(cell.name.clone(), 0, Some(position), Kind::Message(found.read()?));
            bytes += entry.ready(Form::Json).len();
            if !entries.is_empty() && bytes > query.max_bytes {
                more = true;
                break;
            }
            entries.push(Arc::new(entry));
        }
        Ok(Answer::Page(Page { position: piece.epoch_and_top, floor: piece.floor, entries, more }))
    }

    fn attach(&self, cell: &Arc<Cell>, now: Now) {
        let newest = |channel: &Channel| {
            let mut bytes = 0;
            let newest = channel.between(0, u64::MAX).rev().take_while(|(_, spot)| {
                bytes += spot.len as usize;
                bytes <= WINDOW_BYTES
            });
            newest.collect::<Vec<_>>()
        };
        let Some(mut piece) = choose(&self.index, cell, now, newest) else {
            return cell.attach_failed(ErrorCode::Internal);
        };
        piece.found.reverse();
        // The window is whole from the message before its first one.
        if let Some(first) = piece.found.first() {
            piece.floor.offset = first.offset - 1;
        }
        match arrivals(&piece) {
            Ok(past) => {
                let top = piece.epoch_and_top.clone();
                if let Some(after) = cell.attached_with(piece.floor, past, top, now) {
                    self.fill(cell, after, now);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a channel's history can't be read");
                cell.attach_failed(ErrorCode::Internal);
            }
        }
    }

    /// Brings a cell what it misses, until it misses nothing.
    fn fill(&self, cell: &Arc<Cell>, mut after: Position, now: Now) {
        loop {
            let missed = |channel: &Channel| {
                let same = channel.at(0).epoch == after.epoch;
                let mut bytes = 0;
                let missed =
                    channel.between(if same { after.offset } else { 0 }, u64::MAX).take_while(|(_, spot)| {
                        let first = bytes == 0;
                        bytes += spot.len as usize;
                        first || bytes <= PIECE_BYTES
                    });
                missed.collect()
            };
            let piece = choose(&self.index, cell, now, missed);
            let Some((arrivals, piece)) = piece.and_then(|p| Some((arrivals(&p).ok()?, p))) else {
                tracing::error!("a channel's history can't be read");
                return cell.fill_failed();
            };
            match cell.filled(arrivals, piece.floor, piece.epoch_and_top, now) {
                Some(further) => after = further,
                None => return,
            }
        }
    }
}

fn arrivals(piece: &Piece) -> io::Result<Vec<Arrival>> {
    let arrival = |found: &Found| {
        let position = Position { offset: found.offset, ..piece.epoch_and_top.clone() };
        Ok(Arrival { position, prev: prev(found.offset), publication: found.read()? })
    };
    piece.found.iter().map(arrival).collect()
}

fn failed(error: &io::Error) -> Answer {
    tracing::error!(%error, "a channel's history can't be read");
    Answer::Failed(ErrorCode::Internal)
}
