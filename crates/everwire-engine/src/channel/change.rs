//! Settings of a namespace that change while its channels live.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cell::{Cell, State};
use super::options::{HistoryLimits, Options};
use crate::inbox::Item;
use crate::time::Now;

impl Cell {
    /// The settings that it goes by now.
    pub fn options(&self) -> Arc<Options> {
        self.lock().options.clone()
    }

    /// Whether its messages are kept and numbered.
    pub fn keeps_history(&self) -> bool {
        self.keeps
    }

    /// How much is kept; `None`: nothing.
    pub fn history_limits(&self) -> Option<HistoryLimits> {
        self.lock().options.history
    }

    /// Whether its members are known.
    pub fn has_presence(&self) -> bool {
        self.presence.load(Ordering::Relaxed)
    }

    /// Goes by other settings from now on; what they no longer keep is dropped at once.
    ///
    /// One that keeps messages can't become one that keeps none, nor the other way: it is dead then, and its subscribers
    /// are to come to the next cell of the channel. Members that are to be known from now on enter by their shards.
    pub fn change(&self, options: &Arc<Options>, now: Now) {
        let mut state = self.lock();
        if self.is_dead() || Arc::ptr_eq(&state.options, options) {
            return;
        }
        if options.history.is_some() != self.keeps {
            self.die(&mut state);
            return;
        }
        if !options.presence {
            self.forget_members(&mut state);
        }
        self.presence.store(options.presence, Ordering::Relaxed);
        self.per_second.store(options.messages_per_second.unwrap_or(0), Ordering::Relaxed);
        state.options = options.clone();
        self.trim(&mut state, now);
    }

    /// Whoever watches is told to ask anew, and hears that presence is off.
    fn forget_members(&self, state: &mut State) {
        if state.presence.take().is_none() {
            return;
        }
        for interest in state.interest.iter_mut().filter(|i| i.watchers > 0 && !i.unheard) {
            interest.unheard = true;
            self.shared.inboxes[usize::from(interest.shard)].push(Item::Unheard(interest.key));
        }
    }
}
