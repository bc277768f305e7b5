//! The walk over a room: each plain subscriber is sent the batch as it is.

use super::Hub;
use super::flush::{Carrier, FORMS, Sent};
use crate::entry::Form;
use crate::plant::{Bug, planted};
use crate::time::Now;

impl Hub {
    /// Goes on with the batches: plain subscribers are sent them as they are. Rooms that the budget does not reach are
    /// not looked at: there may be as many as channels.
    pub(super) fn walk(&mut self, carrier: &mut impl Carrier, now: Now, budget: &mut usize) {
        while *budget > 0
            && let Some(index) = self.walking.pop_front()
        {
            for form in FORMS {
                // life 8/9: plain subscribers get the batch itself.
                self.walk_form(index, form, carrier, now, budget);
            }
            let Some(room) = self.rooms[index as usize].as_deref() else { continue };
            let batch = room.batch.as_deref();
            if batch.is_some_and(|b| !b.is_done()) {
                // It goes on where it stopped: the budget is used up.
                self.walking.push_front(index);
            } else {
                self.figures.fanout.count(batch.map_or(0, |b| b.age_ms(now)));
                self.end_batch(index);
            }
        }
    }

    /// A room's batch is over, and the next one may open.
    pub(super) fn end_batch(&mut self, index: u32) {
        let Some(room) = self.rooms[index as usize].as_deref_mut() else { return };
        let batch = room.batch.take();
        if !room.pending.is_empty() {
            self.dirty.push(index);
        }
        if let Some(batch) = batch {
            self.put_away(batch);
        }
    }

    pub(super) fn walk_form(
        &mut self,
        index: u32,
        form: Form,
        carrier: &mut impl Carrier,
        now: Now,
        budget: &mut usize,
    ) {
        let at = form.index();
        let batch = self.rooms[index as usize].as_ref().and_then(|r| r.batch.as_ref());
        if batch.is_none_or(|b| b.left[at] == 0) {
            // A form that nobody reads is not made.
            return;
        }
        let Some(mut room) = self.rooms[index as usize].take() else { return };
        let Some(mut batch) = room.batch.take() else {
            self.rooms[index as usize] = Some(room);
            return;
        };
        batch.prepare(form, &mut self.deflater);
        let bytes = batch.bytes(form);
        let mut short = Vec::new();
        let list = room.plain(form);
        let mut left = batch.left[at];
        let mut whole = 0;
        while left > 0 && *budget > 0 {
            left -= 1;
            let slot = list[left];
            let hot = &self.hot[slot as usize];
            if hot.joined >= batch.turn {
                continue;
            }
            if hot.blocked || hot.waiting {
                short.push((slot, None));
                continue;
            }
            *budget -= 1;
            let sent = carrier.send(slot, bytes);
            if sent == Sent::Bytes(bytes.len()) {
                whole += 1;
            } else {
                short.push((slot, Some(sent)));
            }
        }
        self.figures.frames += whole * batch.entries.len() as u64;
        batch.left[at] = left;
        room.batch = Some(batch);
        self.rooms[index as usize] = Some(room);
        for (slot, sent) in short {
            self.walk_short(index, slot, form, sent, now);
        }
    }

    /// A plain subscriber took less than the whole batch; `None`: it was offered nothing, as something waits already.
    pub(super) fn walk_short(&mut self, index: u32, slot: u32, form: Form, sent: Option<Sent>, now: Now) {
        let taken = match sent {
            Some(Sent::Bytes(taken)) => taken,
            Some(Sent::Gone) | None => 0,
        };
        if sent.is_some() {
            self.block(slot, now, taken);
        }
        let rest =
            self.rooms[index as usize].as_ref().and_then(|r| r.batch.as_ref()).map(|b| b.rest(form, taken));
        if let Some(rest) = rest {
            self.keep_rest(slot, index, rest);
        }
        if !self.hot[slot as usize].blocked {
            // What was put behind its outbox has no other turn to wait for.
            self.make_ready(slot);
        }
    }

    /// Ends a batch before everybody was sent it; the others read the window, and keep what can't be read there.
    pub(super) fn close_batch(&mut self, index: u32) {
        for form in FORMS {
            let Some(room) = self.rooms[index as usize].as_deref_mut() else { return };
            let Some(batch) = &room.batch else { return };
            let turn = batch.turn;
            let mut unsent = room.plain(form)[..batch.left[form.index()]].to_vec();
            unsent.retain(|slot| self.hot[*slot as usize].joined < turn);
            if unsent.is_empty() {
                continue;
            }
            let Some(batch) = &mut room.batch else { return };
            batch.prepare(form, &mut self.deflater);
            let mut rest = batch.rest(form, 0);
            if planted(Bug::BatchForgetsVolatile) {
                rest.volatile.clear();
            }
            for slot in unsent {
                self.keep_rest(slot, index, rest.clone());
                self.make_ready(slot);
            }
        }
        self.end_batch(index);
        self.walking.retain(|i| *i != index);
    }
}
