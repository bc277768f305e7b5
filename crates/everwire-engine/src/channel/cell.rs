//! A channel's cell: everything this node knows of a channel, behind one short lock.
//!
//! A publish takes that lock, checks for a duplicate, numbers, appends and hands the entry to the inbox of each shard
//! that has listeners, and lets go. Nothing is delivered inside it, so nothing re-enters.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use everwire_proto::ids::Epoch;
use everwire_proto::payload::Payload;
use everwire_proto::position::Position;
use everwire_proto::reply::GapReason;

use super::foreign::Foreign;
use super::message_ids::{MessageIds, Publisher};
use super::options::Options;
use super::presence::Presence;
use super::window::{Evicted, Newest, Window};
use crate::entry::{Entry, Form, Kind, Publication, Sender};
use crate::inbox::{HubKey, Inbox, Item, Page, Pushed};
use crate::limits::NodeLimits;
use crate::name::ChannelName;
use crate::plant::{Bug, planted};
use crate::time::{Now, SharedBucket};

/// What all cells of a node share.
#[derive(Debug)]
pub struct Shared {
    /// One inbox a shard.
    pub inboxes: Vec<Arc<Inbox>>,
    /// The node's limits.
    pub limits: NodeLimits,
    /// Bytes of history over all cells.
    pub history_bytes: AtomicUsize,
    /// Message ids that are remembered over all cells.
    pub message_ids: AtomicUsize,
}

/// A publication before it has a place.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The payload.
    pub payload: Payload,
    /// The idempotency key.
    pub message_id: Option<Box<str>>,
    /// Whose key that is.
    pub publisher: Publisher,
    /// The sender; `None`: the backend.
    pub from: Option<Arc<Sender>>,
    /// Tags.
    pub tags: Box<[(Box<str>, Box<str>)]>,
    /// Live only.
    pub volatile: bool,
}

/// What became of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where it stands; `None` for volatile ones.
    pub position: Option<Position>,
    /// It was stored before.
    pub duplicate: bool,
}

/// Why a publish was not taken.
#[derive(Clone, Debug)]
pub enum Unpublished {
    /// The cell was evicted; here is the draft back, look the channel up again.
    Dead(Box<Draft>),
    /// The node keeps twice the history that it may: so many channels are in use that their newest messages alone do.
    Full,
}

/// One shard's interest in a channel.
#[derive(Clone, Copy, Debug)]
pub struct Interest {
    /// The shard.
    pub shard: u16,
    /// The channel's place in its hub.
    pub key: HubKey,
    /// Its inbox was full: it has a `Behind` mark and reads the window.
    behind: bool,
    /// The same for volatile entries, which are lost: it has a `Lost` mark.
    lost: bool,
    /// Listeners there that want presence events.
    pub(super) watchers: u32,
    /// The same for presence events: it has an `Unheard` mark.
    pub(super) unheard: bool,
    /// The numbers of members have changed: it has a `Counted` mark.
    pub(super) counted: bool,
}

/// What a subscriber asks of the past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Recover from here.
    pub since: Option<Position>,
    /// Begin with so many of the newest messages where there is no `since`, or it failed.
    pub rewind: Option<u64>,
}

/// Where a new subscriber begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The top of the stream, iff the channel has history.
    pub position: Option<Position>,
    /// Whether everything after `since` follows; `None` where `rewind` stands in, or nothing was asked.
    pub recovered: Option<bool>,
    /// Messages of replay.
    pub replaying: Option<u64>,
    /// The first entry it is sent.
    pub next_seq: u64,
    /// The first entry that did not exist yet.
    pub top_seq: u64,
    /// The position before `top_seq`; `position` is an older one where a page was read before this was found.
    pub top: Option<Position>,
    /// The position before `next_seq`.
    pub last: Option<Position>,
    /// What it must be told first.
    pub gap: Option<(Position, Position, GapReason)>,
    /// The past that it asked for is not in the window but may be at the broker.
    pub fetch: bool,
}

#[derive(Debug)]
pub(super) struct State {
    /// The settings of its namespace, which may become others.
    pub(super) options: Arc<Options>,
    pub(super) window: Window,
    pub(super) interest: Vec<Interest>,
    ids: Option<Box<MessageIds>>,
    pub(super) presence: Option<Box<Presence>>,
    pub(super) foreign: Option<Box<Foreign>>,
    last_used_ms: u64,
}

/// A channel on this node.
#[derive(Debug)]
pub struct Cell {
    /// Its name.
    pub name: ChannelName,
    /// Whether its messages are kept and numbered: for life, as whoever listens has a position, or has none.
    pub(super) keeps: bool,
    pub(super) shared: Arc<Shared>,
    /// Evicted: whoever still holds it looks the channel up again.
    dead: AtomicBool,
    /// The bucket of its publishes, and how many it gives a second; 0: as many as come.
    rate: SharedBucket,
    pub(super) per_second: AtomicU32,
    /// Whether its members are known.
    pub(super) presence: AtomicBool,
    state: Mutex<State>,
}

impl Cell {
    /// A cell whose stream is numbered here, beginning at offset 0 of `epoch`.
    pub fn new(
        name: ChannelName,
        options: Arc<Options>,
        shared: Arc<Shared>,
        epoch: Epoch,
        now: Now,
    ) -> Self {
        Self::with(name, options, shared, Position { epoch, offset: 0 }, None, now)
    }

    /// A cell whose stream is numbered by a broker; it is not live until [`Cell::attached`].
    pub fn foreign(name: ChannelName, options: Arc<Options>, shared: Arc<Shared>, now: Now) -> Self {
        let nowhere = Position { epoch: Epoch::from_random(0), offset: 0 };
        Self::with(name, options, shared, nowhere, Some(Box::default()), now)
    }

    fn with(
        name: ChannelName,
        options: Arc<Options>,
        shared: Arc<Shared>,
        start: Position,
        foreign: Option<Box<Foreign>>,
        now: Now,
    ) -> Self {
        let (keeps, presence) = (options.history.is_some(), options.presence.into());
        let per_second = options.messages_per_second.unwrap_or(0).into();
        let state = State {
            options,
            window: Window::new(start),
            interest: Vec::new(),
            ids: None,
            presence: None,
            foreign,
            last_used_ms: now.mono_ms,
        };
        let (dead, rate) = (AtomicBool::new(false), SharedBucket::default());
        Self { name, keeps, shared, dead, rate, per_second, presence, state: Mutex::new(state) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was evicted and must be looked up again.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Takes one of the publishes that the channel may have a second; the error is when there is the next one, ms.
    pub fn admit(&self, now: Now) -> Result<(), u64> {
        let per_second = self.per_second.load(Ordering::Relaxed);
        if per_second == 0 {
            return Ok(());
        }
        self.rate.take(now, per_second, per_second, 0).map(drop)
    }

    /// Numbers, appends and hands out: life of a message, stop 6.
    ///
    /// Only for cells numbered here; a foreign one's broker numbers.
    ///
    /// # Errors
    /// [`Unpublished`]; nothing happened.
    pub fn publish(&self, draft: Draft, now: Now) -> Result<Appended, Unpublished> {
        // life 6/9: one atomic step per channel: dedupe, number, append, hand to each interested shard.
        let mut state = self.lock();
        if self.is_dead() {
            return Err(Unpublished::Dead(Box::new(draft)));
        }
        if !draft.volatile && self.keeps && self.history_is_over(2) {
            return Err(Unpublished::Full);
        }
        state.last_used_ms = now.mono_ms;
        if let Some(id) = &draft.message_id
            && let Some(position) = self.stored_before(&mut state, &draft.publisher, id, now)
        {
            let wrong = u64::from(planted(Bug::WrongDuplicate));
            let position = position.map(|p| Position { offset: p.offset + wrong, ..p });
            return Ok(Appended { position, duplicate: true });
        }
        let position = self.numbered(&state, draft.volatile);
        if let Some(id) = &draft.message_id
            && !planted(Bug::ForgetMessageId)
        {
            self.remember(&mut state, draft.publisher, id, position.clone(), now);
        }
        if let Some(p) = &position
            && (planted(Bug::SkipOffset) || planted(Bug::AcknowledgeUnstored))
            && p.offset % 16 == 0
        {
            if planted(Bug::SkipOffset) {
                state.window.skip_offset();
            }
            return Ok(Appended { position, duplicate: false });
        }
        let publication = Publication {
            payload: draft.payload,
            message_id: draft.message_id,
            from: draft.from,
            time: now.unix_ms,
            tags: if planted(Bug::TagsLost) { Box::default() } else { draft.tags },
        };
        self.append(&mut state, position.clone(), Kind::Message(publication), now);
        Ok(Appended { position, duplicate: false })
    }

    /// Where a publication of this message id stands, if one was stored.
    fn stored_before(
        &self,
        state: &mut State,
        who: &Publisher,
        id: &str,
        now: Now,
    ) -> Option<Option<Position>> {
        let ids = state.ids.as_mut()?;
        let before = ids.len();
        let found = ids.find(who, id, ids_clock(now), self.shared.limits.message_id_ms);
        add_to(&self.shared.message_ids, before, ids.len());
        found
    }

    /// Remembers a message id. Where all cells together remember as many as they may, this one remembers no more than
    /// it does.
    fn remember(&self, state: &mut State, who: Publisher, id: &str, at: Option<Position>, now: Now) {
        let (all, limits) = (&self.shared.message_ids, &self.shared.limits);
        let ids = state.ids.get_or_insert_default();
        let before = ids.len();
        let full = all.load(Ordering::Relaxed) >= limits.message_ids_in_all;
        let keep = if full { limits.message_ids.min(before.max(1)) } else { limits.message_ids };
        ids.remember(who, id, at, ids_clock(now), keep);
        add_to(all, before, ids.len());
    }

    fn numbered(&self, state: &State, volatile: bool) -> Option<Position> {
        if (volatile && !planted(Bug::NumberedVolatile)) || !self.keeps {
            return None;
        }
        let top = state.window.top();
        Some(Position { epoch: top.epoch.clone(), offset: top.offset + 1 })
    }

    /// Makes the entry (its JSON frame included), keeps it, and hands it to each interested shard.
    pub(super) fn append(&self, state: &mut State, position: Option<Position>, kind: Kind, now: Now) {
        let stored = position.is_some();
        let entry = self.keep(state, position, kind, now);
        for interest in &mut state.interest {
            if stored && interest.behind {
                continue;
            }
            let inbox = &self.shared.inboxes[usize::from(interest.shard)];
            if inbox.push_within(Item::Entry(interest.key, entry.clone())) == Pushed::Full {
                // One mark each until the shard has seen it: an inbox that is full grows no further.
                let (mark, item) = if stored {
                    (&mut interest.behind, Item::Behind(interest.key))
                } else {
                    (&mut interest.lost, Item::Lost(interest.key))
                };
                let forgotten = if stored { Bug::BehindForgotten } else { Bug::LostUntold };
                if !std::mem::replace(mark, true) && !planted(forgotten) {
                    inbox.push(item);
                }
            }
        }
    }

    /// Makes the entry and keeps it in the window if it has a place; nobody hears of it.
    pub(super) fn keep(
        &self,
        state: &mut State,
        position: Option<Position>,
        kind: Kind,
        now: Now,
    ) -> Arc<Entry> {
        let stored = position.is_some();
        let seq = if stored { state.window.next_seq() } else { 0 };
        let entry = Arc::new(Entry::new(self.name.clone(), seq, position, kind));
        if stored && let Some(limits) = state.options.history {
            let before = state.window.bytes();
            state.window.push(entry.clone(), now);
            state.window.trim(&limits, now);
            if self.history_is_over(1) {
                // Idle channels are evicted, but there may be none: then no channel grows.
                state.window.shrink_to(before);
            }
            self.account(before, state.window.bytes());
        }
        entry
    }

    /// Whether all cells together keep more than so many times the node's limit.
    fn history_is_over(&self, times: usize) -> bool {
        let limit = self.shared.limits.history_bytes.saturating_mul(times);
        self.shared.history_bytes.load(Ordering::Relaxed) > limit
    }

    fn account(&self, before: usize, after: usize) {
        add_to(&self.shared.history_bytes, before, after);
    }

    /// Forgets what it has and begins at `position`: what came before is the broker's to tell.
    pub(super) fn restart(&self, state: &mut State, position: Position) {
        let before = state.window.bytes();
        state.window.start_at(position);
        self.account(before, state.window.bytes());
    }

    /// Forgets what is kept; the position before which nothing is. `None`: dead. Only for cells numbered here.
    ///
    /// It takes a number of its own: what has a number below it is gone for good, also where a cursor still looks for it.
    pub fn clear(&self, now: Now) -> Option<Position> {
        let mut state = self.lock();
        if self.is_dead() {
            return None;
        }
        state.last_used_ms = now.mono_ms;
        let top = state.window.top();
        let position = Position { epoch: top.epoch.clone(), offset: top.offset + 1 };
        self.restart(&mut state, position.clone());
        Some(position)
    }

    pub(super) fn trim(&self, state: &mut State, now: Now) {
        if let Some(limits) = state.options.history {
            let before = state.window.bytes();
            state.window.trim(&limits, now);
            self.account(before, state.window.bytes());
        }
    }

    /// A shard begins to listen. `None`: dead; else whether the broker is to be asked for the channel: the shard is the
    /// node's first, or the broker refused those before it.
    pub fn enter_interest(&self, shard: u16, key: HubKey, now: Now) -> Option<bool> {
        let mut state = self.lock();
        if self.is_dead() {
            return None;
        }
        state.last_used_ms = now.mono_ms;
        state.interest.push(Interest {
            shard,
            key,
            behind: false,
            lost: false,
            watchers: 0,
            unheard: false,
            counted: false,
        });
        let refused = Self::take_refused(&mut state);
        Some(state.interest.len() == 1 || refused)
    }

    /// A shard stops listening; whether it was the node's last.
    pub fn leave_interest(&self, shard: u16, now: Now) -> bool {
        let mut state = self.lock();
        state.interest.retain(|i| i.shard != shard);
        state.last_used_ms = now.mono_ms;
        let last = state.interest.is_empty();
        if last {
            Self::go_quiet(&mut state);
        }
        last
    }

    /// Whether any shard listens.
    pub fn has_interest(&self) -> bool {
        !self.lock().interest.is_empty()
    }

    pub(super) fn tell_interested(&self, state: &State, item: impl Fn(HubKey) -> Item) {
        for interest in &state.interest {
            self.shared.inboxes[usize::from(interest.shard)].push(item(interest.key));
        }
    }

    /// The top of its stream.
    pub fn top(&self) -> Position {
        self.lock().window.top().clone()
    }

    /// Whether its broker numbers it.
    pub fn is_foreign(&self) -> bool {
        self.lock().foreign.is_some()
    }

    /// A shard answers its `Behind` mark: from now on it is handed entries again, beginning with this number, which
    /// follows this position.
    pub fn catch_up(&self, shard: u16) -> (u64, Position) {
        let mut state = self.lock();
        if let Some(interest) = state.interest.iter_mut().find(|i| i.shard == shard) {
            interest.behind = false;
        }
        (state.window.next_seq(), state.window.top().clone())
    }

    /// A shard answers its `Lost` mark.
    pub fn told_lost(&self, shard: u16) {
        if let Some(interest) = self.lock().interest.iter_mut().find(|i| i.shard == shard) {
            interest.lost = false;
        }
    }

    /// Where a new subscriber begins: protocol section 2, "subscribe".
    pub fn locate(&self, wanted: &Wanted, now: Now) -> Located {
        let mut state = self.lock();
        self.trim(&mut state, now);
        let window = &state.window;
        let next_seq = window.next_seq();
        let top = window.top().clone();
        let mut located = Located {
            position: None,
            recovered: None,
            replaying: None,
            next_seq,
            top_seq: next_seq,
            top: None,
            last: None,
            gap: None,
            fetch: false,
        };
        if !self.keeps {
            located.recovered = wanted.since.is_some().then_some(false);
            return located;
        }
        located.position = Some(top.clone());
        located.top = Some(top.clone());
        located.last = Some(top.clone());
        let Some(since) = &wanted.since else {
            rewind(window, wanted.rewind, &mut located);
            return located;
        };
        let found = if since.epoch == top.epoch || planted(Bug::ForeignAccepted) {
            window.seq_after(since.offset)
        } else {
            None
        };
        if let Some(mut seq) = found {
            if planted(Bug::ReplayTwice) && window.position_before(seq).offset > window.floor().offset {
                seq -= 1;
            }
            if planted(Bug::ReplayShort) && seq < next_seq {
                seq += 1;
            }
            located.recovered = Some(true);
            located.replaying = Some(window.count_from(seq));
            located.next_seq = seq;
            // And not the place of the message before: where a broker leaves numbers out, that is another one.
            located.last = Some(since.clone());
            return located;
        }
        let foreign_epoch = since.epoch != top.epoch || since.offset > top.offset;
        // Ahead of what this node knows: another node may have heard it from the broker first.
        let ask = since.epoch == top.epoch && !(foreign_epoch && planted(Bug::AheadUnasked));
        located.fetch = ask && state.foreign.is_some();
        let reason = if foreign_epoch { GapReason::EpochChanged } else { GapReason::HistoryExpired };
        if wanted.rewind.is_some() {
            rewind(window, wanted.rewind, &mut located);
        } else {
            located.recovered = Some(false);
        }
        let to = located.last.clone().unwrap_or(top);
        located.gap = Some((since.clone(), to, reason));
        located
    }

    /// Appends entries from `seq` on for a cursor; none at the top. The caller's list, as there may be as many cursors
    /// as subscribers.
    ///
    /// # Errors
    /// The window begins behind the cursor.
    pub fn read(&self, seq: u64, max_bytes: usize, into: &mut Vec<Arc<Entry>>) -> Result<(), Evicted> {
        self.lock().window.read(seq, max_bytes, into)
    }

    /// The same, but of messages of one key only the newest.
    ///
    /// # Errors
    /// The window begins behind the cursor.
    pub fn read_newest(&self, seq: u64, of: &Newest<'_>, into: &mut Vec<Arc<Entry>>) -> Result<(), Evicted> {
        self.lock().window.read_newest(seq, of, into)
    }

    /// Where the entry after this offset of the current epoch stands, if everything after it is in the window.
    pub fn seq_after(&self, position: &Position) -> Option<u64> {
        let state = self.lock();
        if state.window.top().epoch != position.epoch {
            return None;
        }
        state.window.seq_after(position.offset)
    }

    /// Messages with `after < offset < before` of the window, at most `limit` and `max_bytes`. `None`: dead.
    pub fn history(&self, query: &HistoryQuery, now: Now) -> Option<Page> {
        let mut state = self.lock();
        if self.is_dead() {
            return None;
        }
        self.trim(&mut state, now);
        let window = &state.window;
        let (after, before) = query.bounds(&window.top().epoch);
        let between = window.messages_between(after, before);
        let mut page = Page {
            position: window.top().clone(),
            floor: window.floor().clone(),
            entries: vec![],
            more: false,
        };
        let mut bytes = 0;
        let mut take = |entry: &Arc<Entry>| {
            bytes += entry.ready(Form::Json).len();
            let fits =
                page.entries.len() < query.limit && (page.entries.is_empty() || bytes <= query.max_bytes);
            if fits {
                page.entries.push(entry.clone());
            } else {
                page.more = !planted(Bug::PageForgetsMore);
            }
            fits
        };
        if query.reverse {
            between.rev().all(&mut take);
        } else {
            let mut between = between;
            between.all(&mut take);
        }
        Some(page)
    }

    /// Kills the cell if nobody needs it; then whoever looks the channel up gets a new one, with a new epoch.
    pub fn evict_if_idle(&self) -> bool {
        let mut state = self.lock();
        if self.is_dead() {
            return true;
        }
        let held = state.presence.as_ref().is_some_and(|p| !p.is_empty());
        if held || !state.interest.is_empty() {
            return false;
        }
        self.die(&mut state);
        true
    }

    /// From now on whoever looks the channel up gets a new cell.
    pub(super) fn die(&self, state: &mut State) {
        // Emptied too: a sweep that still holds the cell must not give its bytes back a second time.
        let top = state.window.top().clone();
        self.restart(state, top);
        add_to(&self.shared.message_ids, state.ids.take().map_or(0, |ids| ids.len()), 0);
        // Nor may what its broker still brings be kept.
        Self::go_quiet(state);
        self.dead.store(true, Ordering::Release);
    }

    /// When it was last published to or subscribed to, by the clock that never jumps.
    pub fn last_used_ms(&self) -> u64 {
        self.lock().last_used_ms
    }

    /// Drops what is too old; for the node's sweep.
    pub fn sweep(&self, now: Now) {
        let mut state = self.lock();
        if !state.window.is_empty() {
            self.trim(&mut state, now);
        }
        if let Some(ids) = &mut state.ids {
            let before = ids.len();
            let none = ids.forget_old(ids_clock(now), self.shared.limits.message_id_ms);
            add_to(&self.shared.message_ids, before, ids.len());
            if none {
                state.ids = None;
            }
        }
    }
}

/// What one cell has of a sum over all of them went from here to there.
fn add_to(sum: &AtomicUsize, before: usize, after: usize) {
    if after >= before {
        sum.fetch_add(after - before, Ordering::Relaxed);
    } else {
        sum.fetch_sub(before - after, Ordering::Relaxed);
    }
}

/// The clock that message ids age by: one that nobody can set.
fn ids_clock(now: Now) -> u64 {
    if planted(Bug::WallClockIds) { now.unix_ms } else { now.mono_ms }
}

fn rewind(window: &Window, count: Option<u64>, located: &mut Located) {
    let Some(count) = count else { return };
    let seq = window.seq_of_newest(count);
    located.replaying = Some(window.count_from(seq));
    located.next_seq = seq;
    located.last = Some(window.position_before(seq));
}

/// What to read of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The life of the stream that the offsets below belong to; in another one they bound nothing.
    pub epoch: Option<Epoch>,
    /// Only messages after this offset.
    pub after: Option<u64>,
    /// Only messages before this offset.
    pub before: Option<u64>,
    /// Newest first.
    pub reverse: bool,
    /// At most so many.
    pub limit: usize,
    /// At most so many bytes, but one message at least.
    pub max_bytes: usize,
}

impl HistoryQuery {
    /// The exclusive bounds in a stream of this epoch.
    pub fn bounds(&self, epoch: &Epoch) -> (u64, u64) {
        if self.epoch.as_ref().is_some_and(|asked| asked != epoch) {
            return (0, u64::MAX);
        }
        let after = self.after.unwrap_or(0);
        (after.saturating_sub(u64::from(planted(Bug::PageOffByOne))), self.before.unwrap_or(u64::MAX))
    }

    /// Everything after a position, one page of it.
    pub fn page_after(position: &Position, max_bytes: usize) -> Self {
        Self {
            epoch: Some(position.epoch.clone()).filter(|_| !planted(Bug::PageOfAnyEpoch)),
            after: Some(position.offset),
            limit: 1_000,
            max_bytes,
            ..Self::default()
        }
    }
}
