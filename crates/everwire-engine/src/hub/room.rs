//! A channel's listeners in one shard.

use std::sync::Arc;

use everwire_proto::position::Position;

use super::batch::Batch;
use crate::channel::{Cell, Located};
use crate::entry::{Entry, Form};
use crate::plant::{Bug, planted};

/// Subscribers whose place changed: (slot, new place).
#[derive(Debug, Default)]
pub(super) struct Moved([Option<(u32, u32)>; 2]);

impl Moved {
    pub(super) fn iter(&self) -> impl Iterator<Item = &(u32, u32)> {
        self.0.iter().flatten()
    }
}

/// A channel with listeners here.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) cell: Arc<Cell>,
    /// Plain subscribers by form, each list dense. The batch walks it backwards: below `Batch::left` stand those who
    /// have not been sent it, so whoever becomes plain meanwhile is appended behind the walk.
    plain: [Vec<u32>; Form::COUNT],
    pub(super) others: Vec<u32>,
    pub(super) watchers: Vec<u32>,
    /// The newest entry that stood in a batch; plain subscribers have everything up to it, or will with the walk.
    pub(super) delivered: u64,
    /// The position of that entry, where it is known.
    pub(super) position: Option<Position>,
    /// Nobody has subscribed yet.
    pub(super) fresh: bool,
    pub(super) pending: Vec<Arc<Entry>>,
    pub(super) pending_bytes: usize,
    pub(super) batch: Option<Box<Batch>>,
}

impl Room {
    pub(super) fn new(cell: Arc<Cell>) -> Self {
        Self {
            cell,
            plain: Default::default(),
            others: Vec::new(),
            watchers: Vec::new(),
            delivered: 0,
            position: None,
            fresh: true,
            pending: Vec::new(),
            pending_bytes: 0,
            batch: None,
        }
    }

    /// The first subscriber was located: entries below its top are no news to anybody here.
    pub(super) fn begin(&mut self, located: &Located) {
        self.fresh = false;
        self.delivered = located.top_seq - 1;
        self.position = located.top.clone();
        if planted(Bug::RoomBeginsEarly) {
            (self.delivered, self.position) = (located.next_seq - 1, located.last.clone());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.others.is_empty() && self.plain.iter().all(Vec::is_empty)
    }

    pub(super) fn plain(&self, form: Form) -> &[u32] {
        &self.plain[form.index()]
    }

    pub(super) fn plain_lengths(&self) -> [usize; Form::COUNT] {
        std::array::from_fn(|i| self.plain[i].len())
    }

    pub(super) fn everyone(&self) -> Vec<u32> {
        self.plain.iter().flatten().chain(&self.others).copied().collect()
    }

    pub(super) fn add_other(&mut self, slot: u32) -> u32 {
        self.others.push(slot);
        place(self.others.len() - 1)
    }

    pub(super) fn add_plain(&mut self, form: Form, slot: u32) -> u32 {
        let list = &mut self.plain[form.index()];
        list.push(slot);
        place(list.len() - 1)
    }

    pub(super) fn add_watcher(&mut self, slot: u32) -> u32 {
        self.watchers.push(slot);
        place(self.watchers.len() - 1)
    }

    /// Takes out a watcher; whoever stands in its place now.
    pub(super) fn remove_watcher(&mut self, at: u32) -> Option<u32> {
        self.watchers.swap_remove(at as usize);
        self.watchers.get(at as usize).copied()
    }

    pub(super) fn remove_other(&mut self, at: u32) -> Moved {
        self.others.swap_remove(at as usize);
        Moved([self.others.get(at as usize).map(|slot| (*slot, at)), None])
    }

    /// Takes out a plain subscriber without letting anybody cross the line between "not sent yet" and "sent".
    pub(super) fn remove_plain(&mut self, form: Form, at: u32) -> Moved {
        let list = &mut self.plain[form.index()];
        let mut moved = Moved::default();
        let mut hole = at as usize;
        if let Some(left) = self.batch.as_mut().map(|b| &mut b.left[form.index()])
            && hole < *left
        {
            *left -= 1;
            list[hole] = list[*left];
            if hole != *left {
                moved.0[0] = Some((list[hole], place(hole)));
            }
            hole = *left;
        }
        list.swap_remove(hole);
        moved.0[1] = list.get(hole).map(|slot| (*slot, place(hole)));
        moved
    }
}

fn place(index: usize) -> u32 {
    u32::try_from(index).expect("a shard has at most a few million connections")
}
