//! The one thread that writes: it takes all that waits, numbers it, appends it as one batch, and only then tells anybody.
//!
//! So a batch is as large as what came while the one before was put on the medium (group commit), and nobody hears of a
//! message that a restart would not know.

use std::io;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use everwire_engine::channel::{Arrival, Cell, Draft};
use everwire_engine::entry::Publication;
use everwire_engine::inbox::Answer;
use everwire_engine::ports::Ticket;
use everwire_engine::time::{Entropy, Now};
use everwire_proto::codes::ErrorCode;
use everwire_proto::position::Position;

use super::Sync;
use super::batch::{self, HEAD_BYTES, Place};
use super::index::{Channel, Ids, Index, Spot, Stored, prev};
use super::journal::{Begun, Journal};
use super::pulse::{Pulse, Trouble};
use super::queue::{Moving, Queue, Request};
use super::reader::{Job, lock};
use super::record::{self, Head, IdKey, Record};
use crate::answers::Answers;

/// A batch is written when it has so many bytes, whatever waits.
const BATCH_BYTES: usize = 4 << 20;
/// The reader had no room: it is asked again after so long.
const FULL: Duration = Duration::from_millis(2);
/// Old messages are looked for so often.
const ROUND: Duration = Duration::from_secs(1);
/// All channels are looked at in so many rounds.
const ROUNDS: usize = 60;

/// What happens when the batch is written.
enum Staged {
    Message {
        slot: u32,
        offset: u64,
        at: usize,
        len: usize,
        born_ms: i64,
        key: Option<IdKey>,
        publication: Publication,
        ticket: Ticket,
    },
    /// Stored before, or in this very batch.
    Duplicate {
        position: Position,
        ticket: Ticket,
    },
    /// A channel that is known from now on.
    Top {
        slot: u32,
    },
    /// A channel that keeps nothing up to this offset.
    Cleared {
        slot: u32,
        offset: u64,
        ticket: Ticket,
    },
    Moved {
        moving: Moving,
        at: usize,
    },
}

/// The writer.
pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) index: Arc<Mutex<Index>>,
    pub(super) answers: Answers,
    pub(super) jobs: SyncSender<Job>,
    pub(super) reclaim: SyncSender<u32>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) journal: Journal,
    pub(super) dir: std::path::PathBuf,
    pub(super) sync: Sync,
    pub(super) segment_bytes: u64,
    max_bytes: u64,
    pulse: Arc<Pulse>,
    /// Bytes of all segments.
    held: u64,
    buffer: Vec<u8>,
    staged: Vec<Staged>,
    /// What is done after the batch, in the order asked.
    after: Vec<Job>,
    /// The newest reading of the clocks that came with an ask, and when.
    clock: (Now, Instant),
    synced: Instant,
    swept: Instant,
    failing: bool,
    /// The store has its `max_bytes`, and the log said so.
    at_limit: bool,
    /// Emptying a segment went wrong.
    unmoved: bool,
}

/// What a writer begins with.
pub(super) struct Parts {
    pub(super) queue: Arc<Queue>,
    pub(super) index: Arc<Mutex<Index>>,
    pub(super) answers: Answers,
    pub(super) jobs: SyncSender<Job>,
    pub(super) reclaim: SyncSender<u32>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) journal: Journal,
    pub(super) dir: std::path::PathBuf,
    pub(super) sync: Sync,
    pub(super) segment_bytes: u64,
    pub(super) max_bytes: u64,
    pub(super) pulse: Arc<Pulse>,
    pub(super) now: Now,
}

impl Writer {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { queue, index, answers, jobs, reclaim, entropy, journal, dir, sync, .. } = parts;
        let Parts { segment_bytes, max_bytes, pulse, now, .. } = parts;
        let begun = Instant::now();
        let mut buffer = Vec::new();
        batch::begin(&mut buffer);
        Self {
            queue,
            index,
            answers,
            jobs,
            reclaim,
            entropy,
            journal,
            dir,
            sync,
            segment_bytes,
            max_bytes,
            pulse,
            held: 0,
            buffer,
            staged: Vec::new(),
            after: Vec::new(),
            clock: (now, begun),
            synced: begun,
            swept: begun,
            failing: false,
            at_limit: false,
            unmoved: false,
        }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let mut requests = Vec::new();
        self.pulse.beat();
        self.weigh();
        loop {
            let last = self.queue.take(&mut requests, self.patience());
            for request in requests.drain(..) {
                self.take(request);
                if self.buffer.len() >= BATCH_BYTES {
                    self.commit();
                }
            }
            self.commit();
            self.look_around();
            if last {
                break;
            }
        }
        self.close();
    }

    fn patience(&self) -> Duration {
        match self.sync {
            _ if !self.after.is_empty() => FULL,
            Sync::Interval(every) if !self.journal.is_durable() => {
                every.saturating_sub(self.synced.elapsed())
            }
            _ => ROUND,
        }
    }

    fn now(&self) -> Now {
        let (now, at) = self.clock;
        let since = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { mono_ms: now.mono_ms.saturating_add(since), unix_ms: now.unix_ms.saturating_add(since) }
    }

    fn read_clock(&mut self, now: Now) {
        if now.mono_ms >= self.clock.0.mono_ms {
            self.clock = (now, Instant::now());
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Publish(cell, draft, ticket, now) => {
                self.read_clock(now);
                self.publish(&cell, draft, ticket, now);
            }
            Request::History(cell, query, ticket, now) => {
                self.read_clock(now);
                match self.known(&cell, now) {
                    Ok(_) => self.after.push(Job::Page(cell, query, ticket, now)),
                    Err(code) => self.answers.give(ticket, Answer::Failed(code)),
                }
            }
            Request::Clear(cell, ticket, now) => {
                self.read_clock(now);
                self.clear(&cell, ticket, now);
            }
            Request::Attach(cell, now) => {
                self.read_clock(now);
                match self.known(&cell, now) {
                    Ok(slot) => {
                        lock(&self.index).channel(slot).listening = Some(cell.clone());
                        self.after.push(Job::Attach(cell, now));
                    }
                    Err(code) => cell.attach_failed(code),
                }
            }
            Request::Detach(cell) => self.detach(&cell),
            Request::Move(list) => list.into_iter().for_each(|moving| self.stage_moving(moving)),
            Request::Remove(number) => self.remove(number),
        }
    }

    fn detach(&self, cell: &Arc<Cell>) {
        // Somebody came meanwhile: the attach is here already, or on its way behind this.
        if cell.has_interest() {
            return;
        }
        let mut index = lock(&self.index);
        let Some(slot) = index.find(cell.name.as_str()) else { return };
        let channel = index.channel(slot);
        if channel.listening.as_ref().is_some_and(|listening| Arc::ptr_eq(listening, cell)) {
            channel.listening = None;
        }
    }

    fn slot(&self, cell: &Cell) -> Result<u32, ErrorCode> {
        let limits = cell.history_limits();
        let mut index = lock(&self.index);
        let slot = match index.find(cell.name.as_str()) {
            Some(slot) => slot,
            None if index.make_room() => {
                let bits = self.entropy.bits() & u128::from(u64::MAX);
                let epoch = u64::try_from(bits).unwrap_or_default();
                index.add(Channel::new(cell.name.clone(), epoch))
            }
            None => return Err(ErrorCode::Overloaded),
        };
        index.channel(slot).limits = limits;
        Ok(slot)
    }

    /// The channel, which a restart will know too.
    fn known(&mut self, cell: &Cell, now: Now) -> Result<u32, ErrorCode> {
        let slot = self.slot(cell)?;
        let index = self.index.clone();
        let mut index = lock(&index);
        let channel = index.channel(slot);
        if channel.anchor == 0 && channel.given == 0 {
            let name = channel.name.clone();
            let head = Head { name: name.as_str(), epoch: channel.epoch, offset: 0, time: now.unix_ms };
            record::put(&mut self.buffer, &Record::Top { head });
            self.staged.push(Staged::Top { slot });
        }
        Ok(slot)
    }

    fn publish(&mut self, cell: &Cell, draft: Draft, ticket: Ticket, now: Now) {
        let slot = match self.slot(cell) {
            Ok(slot) => slot,
            Err(code) => return self.answers.give(ticket, Answer::Failed(code)),
        };
        let index = self.index.clone();
        let mut index = lock(&index);
        let now_ms = i64::try_from(now.mono_ms).unwrap_or(i64::MAX);
        let (keep, all_ids) = (index.keep, index.all_ids.clone());
        let channel = index.channel(slot);
        let key = draft.message_id.clone().map(|id| (draft.publisher.clone(), id));
        if let Some(key) = &key {
            let ids = channel.ids.get_or_insert_with(|| Box::new(Ids::new(&all_ids)));
            ids.forget(now_ms - keep.id_ms, keep.ids);
            if let Some(offset) = ids.find(key) {
                let position = channel.at(offset);
                self.staged.push(Staged::Duplicate { position, ticket });
                return;
            }
        }
        if self.at_limit {
            return self.answers.give(ticket, Answer::Failed(ErrorCode::Overloaded));
        }
        if let Some(key) = &key {
            let ids = channel.ids.get_or_insert_with(|| Box::new(Ids::new(&all_ids)));
            ids.remember(key.clone(), channel.given + 1, now_ms);
        }
        channel.given += 1;
        let offset = channel.given;
        let head = Head { name: cell.name.as_str(), epoch: channel.epoch, offset, time: now.unix_ms };
        let at = self.buffer.len();
        let len = record::put_message(&mut self.buffer, &head, &draft);
        let Draft { payload, message_id, from, tags, .. } = draft;
        let publication = Publication { payload, message_id, from, time: now.unix_ms, tags };
        self.staged.push(Staged::Message {
            slot,
            offset,
            at,
            len,
            born_ms: now_ms,
            key,
            publication,
            ticket,
        });
    }

    /// Takes a number that no message has: a start lets go of what stands before a hole.
    fn clear(&mut self, cell: &Cell, ticket: Ticket, now: Now) {
        let slot = match self.slot(cell) {
            Ok(slot) => slot,
            Err(code) => return self.answers.give(ticket, Answer::Failed(code)),
        };
        let index = self.index.clone();
        let mut index = lock(&index);
        let channel = index.channel(slot);
        channel.given += 1;
        let offset = channel.given;
        let head = Head { name: cell.name.as_str(), epoch: channel.epoch, offset, time: now.unix_ms };
        record::put(&mut self.buffer, &Record::Top { head });
        self.staged.push(Staged::Cleared { slot, offset, ticket });
    }

    fn stage_moving(&mut self, moving: Moving) {
        let index = self.index.clone();
        let mut index = lock(&index);
        // Given up or trimmed while it was on its way: a record that nobody wants would only confuse a start.
        let wanted = index.get(moving.slot).is_some_and(|channel| {
            let there = |from: Place| channel.spot(moving.offset).is_some_and(|spot| spot.place == from);
            channel.epoch == moving.epoch && moving.from.is_none_or(there)
        });
        if wanted {
            let at = self.buffer.len();
            self.buffer.extend_from_slice(&moving.record);
            self.staged.push(Staged::Moved { moving, at });
        }
    }

    /// Writes what is staged, and tells everybody what became of it.
    fn commit(&mut self) {
        if self.buffer.len() > HEAD_BYTES {
            let sync = matches!(self.sync, Sync::Always);
            match self.make_room_in_segment().and_then(|()| self.journal.append(&mut self.buffer, sync)) {
                Ok(start) => {
                    self.recovered();
                    self.stored(start);
                    self.held += self.buffer.len() as u64;
                    self.judge();
                }
                Err(error) => self.not_stored(&error),
            }
            batch::begin(&mut self.buffer);
        } else {
            // Duplicates alone.
            self.stored(0);
        }
        self.hand_over();
    }

    /// It can be written again.
    fn recovered(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!("the history can be written again");
            self.pulse.set_trouble(self.at_limit.then_some(Trouble::AtLimit));
        }
    }

    /// Looks how much there is.
    fn weigh(&mut self) {
        let (bytes, segments) = lock(&self.index).size();
        self.held = bytes;
        self.pulse.has_segments(segments);
        self.judge();
    }

    /// Holds what is there against the limit. What is beyond it is refused, and not the oldest let go: that was
    /// acknowledged, and its channel promises to keep it.
    fn judge(&mut self) {
        self.pulse.has_bytes(self.held);
        let at_limit = self.max_bytes > 0 && self.held >= self.max_bytes;
        if at_limit == self.at_limit {
            return;
        }
        self.at_limit = at_limit;
        let (bytes, max_bytes) = (self.held, self.max_bytes);
        if at_limit {
            tracing::error!(
                bytes,
                max_bytes,
                "the history has its max_bytes; publishes are refused until old messages go"
            );
        } else {
            tracing::info!(bytes, max_bytes, "the history has room again");
        }
        if !self.failing {
            self.pulse.set_trouble(at_limit.then_some(Trouble::AtLimit));
        }
    }

    /// Gives the reader what it has room for. Pages beyond that are refused; what channels wait for is one thing for each of
    /// them, and waits here.
    fn hand_over(&mut self) {
        for job in std::mem::take(&mut self.after) {
            match self.jobs.try_send(job) {
                Err(TrySendError::Full(Job::Page(_, _, ticket, _))) => {
                    self.answers.give(ticket, Answer::Failed(ErrorCode::Overloaded));
                }
                Err(TrySendError::Full(job)) => self.after.push(job),
                // The reader ends after this thread.
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            }
        }
    }

    fn make_room_in_segment(&mut self) -> io::Result<()> {
        let full = self.journal.len() + self.buffer.len() as u64 > self.segment_bytes;
        if full && self.journal.len() > super::segment::HEADER_BYTES as u64 {
            let salt = u64::try_from(self.entropy.bits() >> 64).unwrap_or_default();
            let begun = self.journal.roll(salt)?;
            lock(&self.index).begin_segment(begun);
        }
        Ok(())
    }

    fn stored(&mut self, start: u64) {
        let now = self.now();
        let segment = self.journal.number;
        let place = |at: usize| Place { segment, at: u32::try_from(start + at as u64).unwrap_or(u32::MAX) };
        let mut wanted = Vec::new();
        let shared = self.index.clone();
        let mut index = lock(&shared);
        index.grow(segment, self.journal.len());
        for staged in self.staged.drain(..) {
            match staged {
                Staged::Message { slot, offset, at, len, born_ms, publication, ticket, .. } => {
                    let len = u32::try_from(len).unwrap_or(u32::MAX);
                    index.append(slot, offset, Spot { place: place(at), len, born_ms });
                    index.trim(slot, i64::try_from(now.mono_ms).unwrap_or(i64::MAX));
                    let channel = index.channel(slot);
                    let position = channel.at(offset);
                    if let Some(cell) = channel.listening.clone() {
                        let arrival = Arrival { position: position.clone(), prev: prev(offset), publication };
                        let missed = cell.arrive(arrival, now);
                        wanted.extend(missed.map(|after| Job::Fill(cell, after, now)));
                    }
                    let position = Some(position);
                    self.answers.give(ticket, Answer::Published { position, duplicate: false });
                }
                Staged::Duplicate { position, ticket } => {
                    let position = Some(position);
                    self.answers.give(ticket, Answer::Published { position, duplicate: true });
                }
                Staged::Top { slot } => index.anchor(slot, segment),
                Staged::Cleared { slot, offset, ticket } => {
                    index.clear(slot, offset, segment);
                    let channel = index.channel(slot);
                    let position = channel.at(offset);
                    if let Some(cell) = channel.listening.clone() {
                        let missed = cell.cleared(position.clone(), now);
                        wanted.extend(missed.map(|after| Job::Fill(cell, after, now)));
                    }
                    self.answers.give(ticket, Answer::Cleared(position));
                }
                Staged::Moved { moving, at } => match moving.from {
                    Some(from) => index.moved(moving.slot, moving.offset, from, place(at)),
                    None => {
                        let channel = index.channel(moving.slot);
                        if channel.anchor == moving.segment && channel.top == moving.offset {
                            index.anchor(moving.slot, segment);
                        }
                    }
                },
            }
        }
        drop(index);
        self.after.extend(wanted);
    }

    fn not_stored(&mut self, error: &io::Error) {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let code = if full { ErrorCode::Overloaded } else { ErrorCode::Internal };
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(%error, "the history can't be written; publishes are refused until it can");
        }
        self.pulse.set_trouble(Some(Trouble::of(error)));
        let shared = self.index.clone();
        let mut index = lock(&shared);
        // The newest first, so that each id that is taken back is the newest of its channel.
        for staged in self.staged.drain(..).rev() {
            match staged {
                Staged::Message { slot, offset, key, ticket, .. } => {
                    let channel = index.channel(slot);
                    channel.given = offset - 1;
                    if let Some((ids, key)) = channel.ids.as_mut().zip(key) {
                        ids.take_back(&key);
                    }
                    self.answers.give(ticket, Answer::Failed(code));
                }
                // Perhaps of a message of this batch.
                Staged::Duplicate { ticket, .. } => self.answers.give(ticket, Answer::Failed(code)),
                Staged::Top { .. } => {}
                Staged::Cleared { slot, offset, ticket } => {
                    index.channel(slot).given = offset - 1;
                    self.answers.give(ticket, Answer::Failed(code));
                }
                Staged::Moved { .. } => self.unmoved = true,
            }
        }
        // Epochs that a restart would not know are not told.
        self.after.retain(|job| {
            let cell = match job {
                Job::Page(cell, ..) | Job::Attach(cell, ..) | Job::Fill(cell, ..) => cell,
            };
            let known = index.find(cell.name.as_str()).is_some_and(|slot| index.channel(slot).anchor > 0);
            match job {
                _ if known => {}
                Job::Page(_, _, ticket, _) => self.answers.give(*ticket, Answer::Failed(code)),
                Job::Attach(cell, _) | Job::Fill(cell, ..) => cell.attach_failed(code),
            }
            known
        });
    }

    /// Removes a segment out of which everything was moved, if all of that is on the medium.
    fn remove(&mut self, number: u32) {
        self.commit();
        let synced = self.journal.sync();
        let unmoved = std::mem::take(&mut self.unmoved);
        let mut index = lock(&self.index);
        if synced.is_err() || unmoved || !index.is_empty(number) {
            index.leaving(number, false);
            return;
        }
        index.segments.remove(&number);
        drop(index);
        let path = super::segment::path(&self.dir, number);
        // A file that stays is emptied again after the next start.
        if let Err(error) = std::fs::remove_file(&path).and_then(|()| super::segment::sync_dir(&self.dir)) {
            tracing::warn!(%error, "an empty segment of the history can't be removed");
        }
        self.weigh();
        // The next one at once: much may have been written meanwhile.
        self.reclaim_space();
    }

    /// What is due by the clock.
    fn look_around(&mut self) {
        self.pulse.beat();
        if let Sync::Interval(every) = self.sync
            && self.synced.elapsed() >= every
        {
            self.synced = Instant::now();
            if let Err(error) = self.journal.sync() {
                tracing::error!(%error, "the history can't be put on the medium");
            }
        }
        if self.swept.elapsed() >= ROUND {
            self.swept = Instant::now();
            let now_ms = i64::try_from(self.now().mono_ms).unwrap_or(i64::MAX);
            lock(&self.index).sweep(ROUNDS, now_ms);
            self.weigh();
            self.reclaim_space();
            // Who is told that it fails sends nothing, so nothing would show that it does not any more.
            if self.failing && self.journal.probe().is_ok() {
                self.recovered();
            }
        }
    }

    /// Has a segment emptied that holds little of what is kept, if there is one; one at a time.
    fn reclaim_space(&self) {
        let mut index = lock(&self.index);
        // Near the limit there is no room to waste.
        let is_near = self.max_bytes > 0 && self.held > self.max_bytes / 10 * 9;
        let slack = if is_near { 0 } else { 4 * self.segment_bytes };
        if let Some(number) = index.worth_emptying(self.journal.number, slack) {
            index.leaving(number, true);
            // The thread that empties ends after this one.
            let _ = self.reclaim.try_send(number);
        }
    }

    /// The end in order: everything is on the medium, and the log says so.
    fn close(mut self) {
        let closed = self.journal.sync().and_then(|()| {
            record::put(&mut self.buffer, &Record::Closed);
            self.journal.append(&mut self.buffer, true)
        });
        if let Err(error) = closed {
            tracing::error!(%error, "the history could not be closed in order");
        }
    }
}

impl Index {
    /// A segment is there.
    pub(super) fn begin_segment(&mut self, begun: Begun) {
        let Begun { number, salt, file } = begun;
        let bytes = super::segment::HEADER_BYTES as u64;
        let stored = Stored { file, salt, bytes, live: 0, anchors: 0, leaving: false, renews: false };
        self.segments.insert(number, stored);
    }

    /// Bytes of all segments, and how many there are.
    fn size(&self) -> (u64, usize) {
        (self.segments.values().map(|segment| segment.bytes).sum(), self.segments.len())
    }

    fn grow(&mut self, number: u32, bytes: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.bytes = bytes;
        }
    }

    fn leaving(&mut self, number: u32, leaving: bool) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.leaving = leaving;
        }
    }
}
