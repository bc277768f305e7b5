//! Giving space back: a segment that holds little of what is kept is emptied into the newest one, and removed.

use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use super::batch::Place;
use super::index::Index;
use super::queue::{Moving, Queue, Request};
use super::reader::lock;
use super::record::{self, Head, IdKey, Record};
use super::scan::{load_each, scan};

/// Records are moved in pieces of so many bytes, between which messages are published.
const PIECE_BYTES: usize = 1 << 20;

/// The thread that empties segments.
pub(super) struct Reclaimer {
    pub(super) dir: PathBuf,
    pub(super) index: Arc<Mutex<Index>>,
    pub(super) queue: Arc<Queue>,
}

impl Reclaimer {
    /// Works until nobody can ask any more.
    pub(super) fn run(&self, segments: &Receiver<u32>) {
        while let Ok(number) = segments.recv() {
            self.empty(number);
            self.queue.tell(Request::Remove(number));
        }
    }

    fn empty(&self, number: u32) {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        let mut take = |place: Place, _: usize, record: Record<'_>| {
            let Some(moving) = worth_moving(&mut lock(&self.index), place, record) else { return };
            bytes += moving.record.len();
            piece.push(moving);
            if bytes > PIECE_BYTES {
                self.queue.tell(Request::Move(std::mem::take(&mut piece)));
                bytes = 0;
            }
        };
        let scanned = load_each(&self.dir, &[number], |number, bytes, file| {
            scan(&self.dir, number, false, bytes, file, &mut take).map(|_| ())
        });
        self.queue.tell(Request::Move(piece));
        if let Err(error) = scanned {
            // What could not be read is still counted as kept, so the segment stays.
            tracing::error!(%error, "a segment of the history can't be read");
        }
    }
}

/// A record as it is written anew, if anything of it is still kept.
fn worth_moving(index: &mut Index, place: Place, record: Record<'_>) -> Option<Moving> {
    let (head, id, rest) = match record {
        Record::Message { head, id, rest } => (head, id, Some(rest)),
        Record::Top { head } => (head, None, None),
        Record::Id { head, id } => (head, Some(id), None),
        Record::Opened { .. } | Record::Closed | Record::Renewed { .. } => return None,
    };
    let slot = index.find(head.name)?;
    let channel = index.channel(slot);
    let head = Head { epoch: channel.epoch, ..head };
    let mut moving = Moving {
        slot,
        epoch: channel.epoch,
        offset: head.offset,
        from: None,
        segment: place.segment,
        record: Vec::new(),
    };
    let is_known = |id: &IdKey| channel.ids.as_ref().and_then(|ids| ids.find(id)) == Some(head.offset);
    let is_kept = channel.spot(head.offset).is_some_and(|spot| spot.place == place);
    if let Some(rest) = rest.filter(|_| is_kept) {
        moving.from = Some(place);
        record::put(&mut moving.record, &Record::Message { head, id, rest });
    } else if let Some(id) = id.filter(is_known) {
        record::put(&mut moving.record, &Record::Id { head, id });
    } else if channel.anchor == place.segment && channel.top == head.offset {
        record::put(&mut moving.record, &Record::Top { head });
    } else {
        return None;
    }
    Some(moving)
}
