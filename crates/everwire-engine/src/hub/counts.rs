//! Channels with too many members to tell of each: how many they are, once a second.

use bytes::Bytes;
use everwire_proto::reply::Outgoing;

use super::Hub;
use crate::entry::{Form, write_frame};
use crate::inbox::HubKey;
use crate::outbox::Class;

impl Hub {
    /// The numbers of a channel's members have changed.
    pub fn note_count(&mut self, key: HubKey) {
        self.counted.push(key);
    }

    /// Tells the numbers that have changed to those who want presence events. Called once a second: no change brings a
    /// message of its own.
    pub fn tell_counts(&mut self) {
        for key in std::mem::take(&mut self.counted) {
            let shard = self.shard;
            let Some(room) = self.room(key) else { continue };
            let cell = room.cell.clone();
            let Some(summary) = cell.told_counted(shard) else { continue };
            let watchers = std::mem::take(&mut room.watchers);
            let mut frames: [Option<Bytes>; Form::COUNT] = Default::default();
            for &slot in &watchers {
                let form = self.hot[slot as usize].form;
                let frame = frames[form.index()].get_or_insert_with(|| {
                    let what = Outgoing::PresenceCount { channel: cell.name.as_str(), summary };
                    let mut out = Vec::new();
                    write_frame(form, None, &what, &mut out);
                    out.into()
                });
                let frame = frame.clone();
                self.keep_shared(slot, frame, Class::Presence(key));
            }
            if let Some(room) = self.room(key) {
                room.watchers = watchers;
            }
        }
    }
}
