//! A cell whose stream is numbered by a broker: arrivals come late, twice, with holes, and the link comes and goes.
//! This turns them into the same contiguous window that a cell numbered here has, or into a told gap.
//!
//! The cell only says what it is missing ([`Cell::attached`], [`Cell::arrive`], [`Cell::filled`] return the position
//! after which a page is wanted); whoever owns the link to the broker fetches it.

use std::collections::BTreeMap;

use everwire_proto::codes::ErrorCode;
use everwire_proto::position::Position;
use everwire_proto::reply::GapReason;

use super::cell::{Cell, State};
use crate::entry::{Kind, Publication};
use crate::inbox::Item;
use crate::plant::{Bug, planted};
use crate::time::Now;

/// What the broker says came before a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prev {
    /// Nothing: it is the first of its stream.
    First,
    /// The message with this offset.
    After(u64),
    /// It does not know; settled by a position check, never by a gap alone.
    Unknown,
}

/// A publication as the broker delivers it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Where it stands.
    pub position: Position,
    /// What came before it.
    pub prev: Prev,
    /// What it says.
    pub publication: Publication,
}

/// Arrivals that wait for a page; more than this and the page is fetched again instead.
const BUFFER: usize = 1_024;

/// The state of the link, seen from one cell.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    /// Positions are known: subscribers can be answered.
    live: bool,
    /// The broker refused, and has not been asked since.
    refused: bool,
    /// A page is on its way.
    filling: bool,
    /// What arrived meanwhile, by offset; all of one epoch.
    early: BTreeMap<u64, Arrival>,
}

impl Cell {
    /// Whether subscribers can be answered: always, for a cell numbered here.
    pub fn is_live(&self) -> bool {
        self.lock().foreign.as_ref().is_none_or(|f| f.live)
    }

    /// The broker confirmed this node's interest; `position` is the stream's top, read after that. Also after each
    /// rebuild of the link. Returns the position after which a page is wanted, if something was missed.
    pub fn attached(&self, position: Position, now: Now) -> Option<Position> {
        let mut state = self.lock();
        if state.interest.is_empty() || self.is_dead() {
            return None;
        }
        let foreign = state.foreign.as_mut()?;
        if !foreign.live {
            self.restart(&mut state, position);
            return self.go_live(&mut state, now);
        }
        // Without history it has no positions that could have moved.
        if !self.keeps {
            return None;
        }
        let top = state.window.top().clone();
        if position.epoch != top.epoch || position.offset < top.offset {
            // Also an offset that went back under the same epoch: the broker lost its tail (brokers.md, rule 7).
            self.lose(&mut state, position, GapReason::EpochChanged, now);
            return self.merge(&mut state, now);
        }
        if position.offset > top.offset && !planted(Bug::TopUnchecked) {
            return Self::want(&mut state);
        }
        self.merge(&mut state, now)
    }

    /// The same, with what the broker has at hand of the past: all messages after `floor` up to `position`, oldest first.
    /// They stand in the window before anybody is answered, so that a recovery needs no page.
    pub fn attached_with(
        &self,
        floor: Position,
        past: Vec<Arrival>,
        position: Position,
        now: Now,
    ) -> Option<Position> {
        {
            let mut state = self.lock();
            let fresh = state.foreign.as_ref().is_some_and(|f| !f.live);
            if fresh && !state.interest.is_empty() && !self.is_dead() {
                self.restart(&mut state, floor);
                for arrival in past {
                    self.keep(&mut state, Some(arrival.position), Kind::Message(arrival.publication), now);
                }
                if *state.window.top() == position {
                    return self.go_live(&mut state, now);
                }
            }
        }
        self.attached(position, now)
    }

    /// Whoever waits is answered, from the window as it stands.
    fn go_live(&self, state: &mut State, now: Now) -> Option<Position> {
        let top = state.window.top().clone();
        let foreign = state.foreign.as_mut()?;
        foreign.live = true;
        foreign.refused = false;
        foreign.filling = false;
        foreign.early.retain(|offset, a| *offset > top.offset && a.position.epoch == top.epoch);
        self.tell_interested(state, Item::Live);
        self.merge(state, now)
    }

    /// Nobody on this node listens any more: what comes is not heard, so the window ages, and whoever comes next waits
    /// for the link like the first one.
    pub(super) fn go_quiet(state: &mut State) {
        if let Some(foreign) = &mut state.foreign {
            foreign.live = false;
            foreign.refused = false;
            foreign.early.clear();
        }
    }

    /// The broker refused: everybody who waits is told. A shard that comes before all of them have heard it asks again.
    pub fn attach_failed(&self, _why: ErrorCode) {
        let mut state = self.lock();
        if let Some(foreign) = state.foreign.as_mut().filter(|f| !f.live) {
            foreign.refused = true;
        }
        self.tell_interested(&state, Item::Failed);
    }

    /// Whether the broker is to be asked again, by whoever sees it first.
    pub(super) fn take_refused(state: &mut State) -> bool {
        state.foreign.as_mut().is_some_and(|f| std::mem::take(&mut f.refused))
    }

    /// A publication arrives. Returns the position after which a page is wanted, if it shows a hole.
    pub fn arrive(&self, arrival: Arrival, now: Now) -> Option<Position> {
        let mut state = self.lock();
        let top = state.window.top().clone();
        let foreign = state.foreign.as_mut()?;
        if foreign.live && arrival.position.epoch != top.epoch {
            let offset = match arrival.prev {
                Prev::After(offset) => offset,
                Prev::First | Prev::Unknown => arrival.position.offset.saturating_sub(1),
            };
            let start = Position { epoch: arrival.position.epoch.clone(), offset };
            self.lose(&mut state, start, GapReason::EpochChanged, now);
        } else if foreign.live && arrival.position.offset <= top.offset {
            return None;
        }
        let foreign = state.foreign.as_mut()?;
        foreign.early.insert(arrival.position.offset, arrival);
        if foreign.early.len() > BUFFER {
            foreign.early.pop_last();
        }
        if !foreign.live || foreign.filling {
            return None;
        }
        self.merge(&mut state, now)
    }

    /// A volatile publication arrives; it has no place, so nothing can be missing.
    pub fn arrive_volatile(&self, publication: Publication, now: Now) {
        let mut state = self.lock();
        self.append(&mut state, None, Kind::Message(publication), now);
    }

    /// The wanted page: everything after the asked position, oldest first, as far as the broker had it. `floor` is
    /// the position from which it is whole, `top` where the broker's stream ended. Returns the next wanted one.
    pub fn filled(
        &self,
        arrivals: Vec<Arrival>,
        floor: Position,
        top: Position,
        now: Now,
    ) -> Option<Position> {
        let mut state = self.lock();
        let foreign = state.foreign.as_mut()?;
        // A page that nobody waits for any more is as old as the link it was asked on.
        if !std::mem::take(&mut foreign.filling) || !foreign.live {
            return None;
        }
        let here = state.window.top().clone();
        if top.epoch != here.epoch || top.offset < here.offset {
            self.lose(&mut state, floor, GapReason::EpochChanged, now);
        } else if floor.offset > here.offset {
            self.lose(&mut state, floor, GapReason::HistoryExpired, now);
        }
        let mut last = state.window.top().offset;
        for arrival in arrivals {
            if arrival.position.offset > last && arrival.position.epoch == top.epoch {
                last = arrival.position.offset;
                self.append(&mut state, Some(arrival.position), Kind::Message(arrival.publication), now);
            }
        }
        if last < top.offset {
            return Self::want(&mut state);
        }
        self.merge(&mut state, now)
    }

    /// The broker has forgotten everything before this position. Returns the position after which a page is wanted.
    pub fn cleared(&self, position: Position, now: Now) -> Option<Position> {
        let mut state = self.lock();
        let foreign = state.foreign.as_mut().filter(|f| f.live)?;
        // A page on its way is as old as what is forgotten.
        foreign.filling = false;
        foreign.early.retain(|offset, _| *offset > position.offset);
        self.restart(&mut state, position);
        self.merge(&mut state, now)
    }

    /// The page could not be read: it is wanted again after the next [`Cell::attached`] or arrival.
    pub fn fill_failed(&self) {
        if let Some(foreign) = &mut self.lock().foreign {
            foreign.filling = false;
        }
    }

    fn want(state: &mut State) -> Option<Position> {
        let foreign = state.foreign.as_mut()?;
        if std::mem::replace(&mut foreign.filling, true) {
            return None;
        }
        Some(state.window.top().clone())
    }

    /// Appends what waits as far as it is contiguous.
    fn merge(&self, state: &mut State, now: Now) -> Option<Position> {
        loop {
            let top = state.window.top().clone();
            let foreign = state.foreign.as_mut()?;
            let (offset, arrival) = foreign.early.pop_first()?;
            if offset <= top.offset || arrival.position.epoch != top.epoch {
                continue;
            }
            let follows = match arrival.prev {
                Prev::First => top.offset == 0,
                Prev::After(before) => before <= top.offset,
                Prev::Unknown => planted(Bug::UnknownFollows),
            };
            if !follows {
                foreign.early.insert(offset, arrival);
                return Self::want(state);
            }
            self.append(state, Some(arrival.position), Kind::Message(arrival.publication), now);
        }
    }

    /// Tells everybody that what lies between the top and `to` will never come, and goes on there.
    fn lose(&self, state: &mut State, to: Position, reason: GapReason, now: Now) {
        let from = state.window.top().clone();
        if from.epoch != to.epoch || to.offset < from.offset {
            state.window.clear();
            if let Some(foreign) = &mut state.foreign {
                foreign.early.retain(|_, a| a.position.epoch == to.epoch);
            }
        }
        self.append(state, Some(to), Kind::Gap { from, reason }, now);
    }
}
