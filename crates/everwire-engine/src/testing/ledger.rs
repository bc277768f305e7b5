//! What must be true of a channel's stream whoever looks at it: the same message at the same place, each message at
//! one place, a publisher's messages in its order, and nothing acknowledged that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use everwire_proto::payload::View;
use everwire_proto::position::Position;

use super::central::Central;
use crate::entry::{Entry, Publication};

/// A check; the error says which promise was broken, and how.
pub(super) type Check = Result<(), String>;

/// A place in a stream: epoch and offset.
pub(super) type Place = (String, u64);

pub(super) fn place(position: &Position) -> Place {
    (position.epoch.as_str().to_owned(), position.offset)
}

/// One logical publish.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// The connection that sent it, and its number on that connection.
    pub(super) conn: usize,
    pub(super) number: u64,
    /// Sent so many times.
    times: u32,
    pub(super) volatile: bool,
    /// When it was first sent, and whether the server has said that it took it.
    pub(super) tick: u64,
    pub(super) taken: bool,
}

/// The connection that the application's backend publishes on, so to speak.
pub(super) const BACKEND: usize = usize::MAX;

#[derive(Debug, Default)]
struct Stream {
    at: BTreeMap<Place, String>,
    places: BTreeMap<(String, String), u64>,
    sent: BTreeMap<String, Sent>,
    acked: BTreeMap<String, Place>,
    /// Left out for a subscriber with `echo:false`: must turn out to be from this client.
    spared: Vec<(Place, usize)>,
}

/// All streams of a world.
#[derive(Default)]
pub(super) struct Ledger {
    streams: BTreeMap<String, Stream>,
    /// Where offsets have holes, the log itself tells what comes before what.
    central: Option<Arc<Central>>,
    /// The client that each connection belongs to.
    owners: Vec<usize>,
    tick: u64,
}

impl Ledger {
    pub(super) fn new(central: Option<Arc<Central>>) -> Self {
        Self { central, ..Self::default() }
    }

    pub(super) fn owner(&mut self, conn: usize, client: usize) {
        self.owners.resize(self.owners.len().max(conn + 1), usize::MAX);
        self.owners[conn] = client;
    }

    fn owner_of(&self, conn: usize) -> usize {
        self.owners.get(conn).copied().unwrap_or(BACKEND)
    }

    /// A number that rises with everything that happens.
    pub(super) fn next_tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    fn stream(&mut self, channel: &str) -> &mut Stream {
        self.streams.entry(channel.to_owned()).or_default()
    }

    /// A publish was sent, perhaps again.
    pub(super) fn sent(&mut self, channel: &str, payload: &str, sent: (usize, u64), volatile: bool) {
        let tick = self.next_tick();
        let fresh = Sent { conn: sent.0, number: sent.1, times: 0, volatile, tick, taken: false };
        self.stream(channel).sent.entry(payload.to_owned()).or_insert(fresh).times += 1;
    }

    /// Somebody saw this at that place.
    pub(super) fn saw(&mut self, channel: &str, position: &Position, payload: &str) -> Check {
        let (epoch, offset) = place(position);
        let stream = self.stream(channel);
        let sent = stream.sent.get(payload);
        let Some(sent) = sent else { return Err(format!("{channel}: {payload:?} was never published")) };
        if sent.volatile {
            return Err(format!(
                "{channel}: {payload:?} was published as volatile and stands at {position:?}"
            ));
        }
        let here = stream.at.entry((epoch.clone(), offset)).or_insert_with(|| payload.to_owned());
        if here != payload {
            return Err(format!(
                "promise 1, same place, same message: {channel} {position:?}: {here:?} and {payload:?}"
            ));
        }
        let first = *stream.places.entry((epoch, payload.to_owned())).or_insert(offset);
        if first != offset {
            return Err(format!("promise 4, stored once: {channel}: {payload:?} at {first} and at {offset}"));
        }
        Ok(())
    }

    /// Somebody saw this without a place.
    pub(super) fn saw_volatile(&mut self, channel: &str, payload: &str) -> Check {
        match self.stream(channel).sent.get(payload) {
            Some(_) => Ok(()),
            None => Err(format!("{channel}: volatile {payload:?} was never published")),
        }
    }

    /// `published` was received for a volatile message.
    pub(super) fn taken(&mut self, channel: &str, payload: &str) {
        if let Some(sent) = self.stream(channel).sent.get_mut(payload) {
            sent.taken = true;
        }
    }

    /// Volatile messages of others that were sent after this tick and taken.
    pub(super) fn volatile_since(&self, channel: &str, tick: u64, client: usize) -> Vec<(&str, u64)> {
        let sent = self.streams.get(channel).into_iter().flat_map(|stream| &stream.sent);
        let of_others =
            sent.filter(|(_, s)| s.volatile && s.taken && s.tick > tick && self.owner_of(s.conn) != client);
        of_others.map(|(payload, s)| (&**payload, s.tick)).collect()
    }

    /// `published` was received.
    pub(super) fn acked(
        &mut self,
        channel: &str,
        payload: &str,
        position: &Position,
        duplicate: bool,
    ) -> Check {
        self.saw(channel, position, payload)?;
        let stream = self.stream(channel);
        let times = stream.sent.get(payload).map_or(0, |s| s.times);
        if duplicate && times < 2 {
            return Err(format!("{channel}: {payload:?} was called a duplicate and was sent once"));
        }
        stream.acked.insert(payload.to_owned(), place(position));
        Ok(())
    }

    /// Whether `offset` is what comes after `last`, as far as this client must see it. `spared`: the client that is
    /// not sent its own messages.
    pub(super) fn follows(
        &mut self,
        channel: &str,
        last: &Position,
        offset: u64,
        spared: Option<usize>,
    ) -> Check {
        let epoch = last.epoch.as_str();
        let before = |at: u64| match &self.central {
            Some(central) => central.before(channel, epoch, at),
            None => at - 1,
        };
        let (mut at, mut between) = (before(offset), Vec::new());
        while spared.is_some() && at > last.offset && offset > last.offset {
            between.push(at);
            at = before(at);
        }
        // A place may lie between two messages where offsets have holes.
        if at > last.offset || offset <= last.offset {
            return Err(format!(
                "promise 2, gap-free or told: {channel}: after {last:?} came {offset}, which follows {at}"
            ));
        }
        let Some(client) = spared else { return Ok(()) };
        let places = between.into_iter().map(|at| ((epoch.to_owned(), at), client));
        self.stream(channel).spared.extend(places);
        Ok(())
    }

    /// The same where the last of them is not sent either.
    pub(super) fn follows_to(&mut self, channel: &str, last: &Position, offset: u64, client: usize) -> Check {
        let at = (last.epoch.as_str().to_owned(), offset);
        self.stream(channel).spared.push((at, client));
        self.follows(channel, last, offset, Some(client))
    }

    /// Whether no message lies between two places: where offsets have holes, several mean the same.
    pub(super) fn is_same(&self, channel: &str, a: &Position, b: &Position) -> bool {
        let (low, high) = (a.offset.min(b.offset), a.offset.max(b.offset));
        let none_between =
            || self.central.as_ref().is_some_and(|c| c.is_empty_between(channel, &a.epoch, low, high));
        a == b || (a.epoch == b.epoch && none_between())
    }

    /// Whether the broker outside, where there is one, has not begun the channel anew since.
    pub(super) fn is_current(&self, channel: &str, at: &Position) -> bool {
        self.central.as_ref().and_then(|central| central.top(channel)).is_none_or(|top| top.epoch == at.epoch)
    }

    /// The place that many messages before this one.
    pub(super) fn back(&self, channel: &str, top: &Position, count: u64) -> Position {
        let mut offset = top.offset;
        for _ in 0..count {
            offset = match &self.central {
                Some(central) => central.before(channel, top.epoch.as_str(), offset),
                None => offset.saturating_sub(1),
            };
        }
        Position { epoch: top.epoch.clone(), offset }
    }

    /// Whether everything after `at` up to `top` is known to be this client's own, or nobody knows what it is.
    pub(super) fn all_from(&self, channel: &str, at: &Position, top: &Position, client: usize) -> bool {
        let Some(stream) =
            self.streams.get(channel).filter(|_| at.epoch == top.epoch && at.offset < top.offset)
        else {
            return false;
        };
        let epoch = at.epoch.as_str().to_owned();
        let range = stream.at.range((epoch.clone(), at.offset + 1)..=(epoch, top.offset));
        let own =
            |payload: &String| stream.sent.get(payload).is_some_and(|s| self.owner_of(s.conn) == client);
        range.clone().all(|(_, payload)| own(payload))
    }

    /// What is kept of a channel from `floor` on: all that was acknowledged behind it must be there.
    pub(super) fn kept(&self, channel: &str, floor: &Position, messages: &[(u64, String)]) -> Check {
        let Some(stream) = self.streams.get(channel) else { return Ok(()) };
        for (payload, (epoch, offset)) in &stream.acked {
            let newer = epoch == floor.epoch.as_str() && *offset > floor.offset;
            if newer && !messages.iter().any(|(at, kept)| at == offset && kept == payload) {
                return Err(format!(
                    "promise 3, acknowledged means stored: {channel}: {payload:?} at {offset}"
                ));
            }
        }
        Ok(())
    }

    /// Everything that can only be judged when all is known.
    pub(super) fn finish(&self) -> Check {
        for (channel, stream) in &self.streams {
            for (at, client) in &stream.spared {
                // A place that nobody saw tells nothing.
                let sender = stream.at.get(at).and_then(|payload| stream.sent.get(payload));
                if sender.is_some_and(|sent| self.owner_of(sent.conn) != *client) {
                    return Err(format!(
                        "promise 2: {channel}: {at:?} was left out for client {client}, not its own"
                    ));
                }
            }
            stream.check_order(channel)?;
        }
        Ok(())
    }
}

impl Stream {
    /// Promise 8: what one connection sent to one channel stands in the order sent.
    fn check_order(&self, channel: &str) -> Check {
        let mut lines: BTreeMap<(usize, &str), BTreeSet<(u64, u64)>> = BTreeMap::new();
        for ((epoch, payload), offset) in &self.places {
            let Some(sent) = self.sent.get(payload).filter(|s| s.times == 1 && s.conn != BACKEND) else {
                continue;
            };
            lines.entry((sent.conn, epoch)).or_default().insert((sent.number, *offset));
        }
        for ((conn, epoch), line) in lines {
            let offsets: Vec<_> = line.iter().map(|(_, offset)| *offset).collect();
            if !offsets.is_sorted() {
                return Err(format!(
                    "promise 8, a publisher's order: {channel} {epoch}, connection {conn}: {line:?}"
                ));
            }
        }
        Ok(())
    }
}

/// The payload of an entry, as text.
pub(super) fn payload_of(entry: &Entry) -> Option<String> {
    entry.message().and_then(|message| payload_text(message.payload))
}

/// The payload of a publication, as text.
pub(super) fn text_of(publication: &Publication) -> Option<String> {
    payload_text(publication.payload.view())
}

/// A payload that is a text.
pub(super) fn payload_text(payload: View<'_>) -> Option<String> {
    let json = match payload {
        View::Json(json) => json.to_vec(),
        View::MsgPack(packed) => {
            let mut json = Vec::new();
            everwire_proto::transcode::to_json(packed, &mut json);
            json
        }
        View::Binary(bytes) => return String::from_utf8(bytes.to_vec()).ok(),
    };
    serde_json::from_slice(&json).ok()
}
