//! The sessions that a node knows: each can be gone on with for a while after its connection ended.
//!
//! They come and go for ever, and nearly all of them have ended, so what they cost is what stays of a crowd. They stand
//! densely in one array, in chains by their hash, and those that have ended in a row by the time of their end. A table
//! that marks what was taken out of it doubles when it is full of marks; a tree into which as much goes as comes is two
//! fifths air, and lies in pieces all over the heap, where they hold pages that nobody else needs.

use std::hash::BuildHasher as _;

use everwire_proto::ids::{ClientId, SessionKey};

use super::{Node, Owner, lock};
use crate::hashes::Seeded;
use crate::inbox::{ConnKey, Item};
use crate::time::Now;

/// No place: an index behind all others.
const NONE: u32 = u32::MAX;
/// Room for so many stays when it is not used any more.
const KEPT: usize = 1_024;

/// A session as the node knows it: enough to go on with it.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The public id.
    pub client: ClientId,
    /// Its user; another user can't resume it.
    pub user: Owner,
    /// The connection that has it, or had it.
    pub at: ConnKey,
    /// When that connection ended.
    pub ended_ms: Option<u64>,
    /// When it was last resumed: leaves wait for the grace after it.
    pub resumed_ms: u64,
}

/// A session that another life of the node can go on with.
#[derive(Clone, Debug)]
pub struct Known {
    /// The secret.
    pub key: SessionKey,
    /// The public id.
    pub client: ClientId,
    /// Its user.
    pub user: Owner,
}

struct Place {
    key: SessionKey,
    seat: Seat,
    /// Seeded: nobody can search for a secret by the time that an answer takes.
    hash: u32,
    /// The next one whose hash falls into the same chain.
    chained: u32,
    /// Who ended before it and after it, if it has ended.
    before: u32,
    after: u32,
}

/// All of them. An index into `places` holds until something is taken out.
pub(super) struct Seats {
    places: Vec<Place>,
    /// Where each chain begins. They become more and fewer one at a time, so that no session pays for all others.
    chains: Vec<u32>,
    oldest: u32,
    newest: u32,
    ended: usize,
    /// The most that a connection had at once: so many may all end, and come back.
    most_live: usize,
}

impl Default for Seats {
    fn default() -> Self {
        Self { places: vec![], chains: vec![NONE], oldest: NONE, newest: NONE, ended: 0, most_live: 0 }
    }
}

fn hash_of(key: SessionKey) -> u32 {
    // The lower half is as good as the whole.
    Seeded.hash_one(key) as u32
}

impl Seats {
    fn chain_of(&self, hash: u32) -> usize {
        let all = self.chains.len().next_power_of_two();
        let chain = hash as usize & (all - 1);
        // The upper half is not whole yet.
        if chain < self.chains.len() { chain } else { chain & (all / 2 - 1) }
    }

    fn find(&self, key: SessionKey) -> Option<u32> {
        let hash = hash_of(key);
        let mut at = self.chains[self.chain_of(hash)];
        while let Some(place) = self.places.get(at as usize) {
            if place.hash == hash && place.key == key {
                return Some(at);
            }
            at = place.chained;
        }
        None
    }

    fn seat(&self, key: SessionKey) -> Option<&Seat> {
        self.find(key).map(|at| &self.places[at as usize].seat)
    }

    fn put(&mut self, key: SessionKey, seat: Seat) {
        if let Some(at) = self.find(key) {
            self.remove(at);
        }
        let (hash, ended_ms) = (hash_of(key), seat.ended_ms);
        let seat = Seat { ended_ms: None, ..seat };
        let at = u32::try_from(self.places.len()).expect("memory runs out long before");
        let chain = self.chain_of(hash);
        let chained = std::mem::replace(&mut self.chains[chain], at);
        self.places.push(Place { key, seat, hash, chained, before: NONE, after: NONE });
        if self.places.len() > self.chains.len() {
            self.split();
        }
        match ended_ms {
            Some(ms) => self.end(at, ms),
            None => self.count_live(),
        }
    }

    fn count_live(&mut self) {
        self.most_live = self.most_live.max(self.places.len() - self.ended);
    }

    /// One more chain, of what falls there out of the one that had it so far.
    fn split(&mut self) {
        let chain = self.chains.len();
        let mut at = std::mem::replace(&mut self.chains[lower(chain)], NONE);
        self.chains.push(NONE);
        while at != NONE {
            let its = self.chain_of(self.places[at as usize].hash);
            let place = &mut self.places[at as usize];
            let next = std::mem::replace(&mut place.chained, self.chains[its]);
            self.chains[its] = at;
            at = next;
        }
    }

    /// One chain less: what it has goes back to where it came from.
    fn join(&mut self) {
        let Some(mut at) = self.chains.pop() else { return };
        let its = lower(self.chains.len());
        while at != NONE {
            let place = &mut self.places[at as usize];
            let next = std::mem::replace(&mut place.chained, self.chains[its]);
            self.chains[its] = at;
            at = next;
        }
    }

    /// What leads to `from` in its chain leads to `to` from now on.
    fn redirect(&mut self, hash: u32, from: u32, to: u32) {
        let chain = self.chain_of(hash);
        let mut link = &mut self.chains[chain];
        while *link != from {
            let next = *link as usize;
            link = &mut self.places[next].chained;
        }
        *link = to;
    }

    /// Where it is said who ended after `at`, or first of all.
    fn after(&mut self, at: u32) -> &mut u32 {
        match self.places.get_mut(at as usize) {
            Some(place) => &mut place.after,
            None => &mut self.oldest,
        }
    }

    /// Where it is said who ended before `at`, or last of all.
    fn before(&mut self, at: u32) -> &mut u32 {
        match self.places.get_mut(at as usize) {
            Some(place) => &mut place.before,
            None => &mut self.newest,
        }
    }

    /// Its connection has ended.
    fn end(&mut self, at: u32, now_ms: u64) {
        self.revive(at);
        let before = std::mem::replace(&mut self.newest, at);
        *self.after(before) = at;
        let place = &mut self.places[at as usize];
        (place.before, place.after) = (before, NONE);
        place.seat.ended_ms = Some(now_ms);
        self.ended += 1;
    }

    /// It is none of the ended any more.
    fn revive(&mut self, at: u32) {
        let place = &mut self.places[at as usize];
        let (before, after) = (place.before, place.after);
        if place.seat.ended_ms.take().is_some() {
            *self.after(before) = after;
            *self.before(after) = before;
            self.ended -= 1;
        }
    }

    /// Takes one out; the last one of all moves to its place.
    fn remove(&mut self, at: u32) {
        self.revive(at);
        let Place { hash, chained, .. } = self.places[at as usize];
        self.redirect(hash, at, chained);
        self.places.swap_remove(at as usize);
        if let Some(moved) = self.places.get(at as usize) {
            let (hash, before, after) = (moved.hash, moved.before, moved.after);
            let (was, has_ended) = (self.places.len(), moved.seat.ended_ms.is_some());
            self.redirect(hash, u32::try_from(was).unwrap_or(NONE), at);
            if has_ended {
                *self.after(before) = at;
                *self.before(after) = at;
            }
        }
        // Two, as they are to be at most twice as many as there are places.
        for _ in 0..2 {
            if self.chains.len() > KEPT.max(2 * self.places.len()) {
                self.join();
            }
        }
        give_back(&mut self.places);
        give_back(&mut self.chains);
    }

    /// The one that ended first, and when.
    fn first_ended(&self) -> Option<(u32, u64)> {
        let place = self.places.get(self.oldest as usize)?;
        Some((self.oldest, place.seat.ended_ms?))
    }

    /// The ended ones by the time of their end, then the others.
    fn all(&self) -> impl Iterator<Item = &Place> {
        let first = self.places.get(self.oldest as usize);
        let ended = std::iter::successors(first, |place| self.places.get(place.after as usize));
        ended.chain(self.places.iter().filter(|place| place.seat.ended_ms.is_none()))
    }
}

/// The chain that is split for this one: that of the same hashes without the highest bit.
fn lower(chain: usize) -> usize {
    chain & !(1 << chain.ilog2())
}

/// An array that was much larger gives its room back.
fn give_back<T>(all: &mut Vec<T>) {
    if all.capacity() > KEPT && all.len() < all.capacity() / 4 {
        all.shrink_to(KEPT.max(all.len() * 2));
    }
}

impl Node {
    /// A new session takes its seat.
    pub fn sit(&self, key: SessionKey, seat: Seat) {
        lock(&self.seats).put(key, seat);
    }

    /// Goes on with a session on another connection: its public id, or `None` where it is unknown, expired or
    /// another user's. The old connection, if it lives, is told in its shard's inbox.
    pub fn resume(&self, key: SessionKey, user: Option<&str>, at: ConnKey, now: Now) -> Option<ClientId> {
        let (client, old) = {
            let mut seats = lock(&self.seats);
            let place = seats.find(key)?;
            let seat = &mut seats.places[place as usize].seat;
            if seat.user.name() != user {
                return None;
            }
            let old = seat.ended_ms.is_none().then_some(seat.at);
            seat.at = at;
            seat.resumed_ms = now.mono_ms;
            let client = seat.client;
            seats.revive(place);
            seats.count_live();
            (client, old)
        };
        if let Some(old) = old {
            self.inbox(old.shard).push(Item::Resumed(old));
        }
        Some(client)
    }

    /// A connection ended; its session can be resumed for a while unless it said goodbye.
    pub fn stand_up(&self, key: SessionKey, at: ConnKey, goodbye: bool, now: Now) {
        {
            let mut seats = lock(&self.seats);
            let Some(place) = seats.find(key) else { return };
            if seats.places[place as usize].seat.at != at {
                return;
            }
            if goodbye {
                seats.remove(place);
                return;
            }
            seats.end(place, now.mono_ms);
        }
        // Whoever adds one takes more than one away, so that there never are more than the limit.
        self.forget_ended(now, 4);
    }

    /// When this session was last resumed; `None` where it is not seated anew since.
    pub fn resumed_ms(&self, key: SessionKey, than: ConnKey) -> Option<u64> {
        let seats = lock(&self.seats);
        seats.seat(key).filter(|seat| seat.at != than).map(|seat| seat.resumed_ms)
    }

    /// All sessions that could be resumed now, if their connections had ended.
    pub fn known_sessions(&self, now: Now) -> Vec<Known> {
        let resume_ms = self.settings().times.resume_ms;
        let counts = |ended_ms: u64| now.mono_ms.saturating_sub(ended_ms) <= resume_ms;
        let seats = lock(&self.seats);
        let known = seats.all().filter(|place| place.seat.ended_ms.is_none_or(counts));
        known
            .map(|Place { key, seat, .. }| Known { key: *key, client: seat.client, user: seat.user.clone() })
            .collect()
    }

    /// Seats the sessions of an earlier life: each can be resumed as if it had ended now.
    pub fn seat_again(&self, known: Vec<Known>, now: Now) {
        let mut seats = lock(&self.seats);
        // They may all come back, as those that ended here.
        seats.most_live = seats.most_live.max(known.len());
        // No connection is there.
        let at = ConnKey { shard: 0, slot: u32::MAX, generation: 0 };
        for Known { key, client, user } in known {
            seats.put(key, Seat { client, user, at, ended_ms: Some(now.mono_ms), resumed_ms: 0 });
        }
    }

    /// Sessions that are seated, ended ones that can be resumed included.
    pub fn session_count(&self) -> usize {
        lock(&self.seats).places.len()
    }

    /// Forgets the oldest ended sessions that are too many or too old, at most so many of them.
    pub(super) fn forget_ended(&self, now: Now, at_once: usize) {
        let resume_ms = self.settings().times.resume_ms;
        // The lock is taken anew for each, as a shard that seats somebody must not wait for all.
        for _ in 0..at_once {
            let mut seats = lock(&self.seats);
            let Some((place, at)) = seats.first_ended() else { return };
            let most = self.shared.limits.ended_sessions.max(seats.most_live);
            if now.mono_ms.saturating_sub(at) <= resume_ms && seats.ended <= most {
                return;
            }
            seats.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use super::*;

    fn key(n: u32) -> SessionKey {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&n.to_le_bytes());
        SessionKey(key)
    }

    fn seat(n: u32) -> Seat {
        let at = ConnKey { shard: 0, slot: n, generation: 0 };
        Seat { client: ClientId([0; 12]), user: Owner::default(), at, ended_ms: None, resumed_ms: 0 }
    }

    /// The same deeds on what anybody understands.
    #[derive(Default)]
    struct Plain {
        seats: BTreeMap<SessionKey, Option<u64>>,
        ended: VecDeque<SessionKey>,
    }

    impl Plain {
        fn revive(&mut self, key: SessionKey) {
            self.ended.retain(|other| *other != key);
        }

        fn agrees(&self, seats: &Seats) {
            assert_eq!((seats.places.len(), seats.ended), (self.seats.len(), self.ended.len()));
            let ended: Vec<_> = seats.all().take(seats.ended).map(|place| place.key).collect();
            assert!(self.ended.iter().eq(&ended), "in the order of their ends");
            for (key, ended_ms) in &self.seats {
                assert_eq!(seats.seat(*key).map(|seat| seat.ended_ms), Some(*ended_ms));
            }
        }
    }

    #[test]
    fn seats_do_what_a_map_and_a_queue_do() {
        let (mut seats, mut plain) = (Seats::default(), Plain::default());
        let mut random = 1_u64;
        for round in 0..6_000_u64 {
            // Knuth's MMIX: the upper bits are good.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // More come than go at first, then more go than come.
            let deed = (random >> 40) % 8 + if round < 3_000 { 0 } else { 3 };
            let n = u32::try_from(random >> 52).unwrap() % 1_500;
            let (key, found) = (key(n), seats.find(key(n)));
            assert_eq!(found.is_some(), plain.seats.contains_key(&key));
            match (deed, found) {
                (0..=3, _) => {
                    seats.put(key, seat(n));
                    plain.revive(key);
                    plain.seats.insert(key, None);
                }
                (4 | 5, Some(at)) => {
                    seats.end(at, round);
                    plain.revive(key);
                    plain.seats.insert(key, Some(round));
                    plain.ended.push_back(key);
                }
                (6, Some(at)) => {
                    seats.revive(at);
                    plain.revive(key);
                    plain.seats.insert(key, None);
                }
                (_, Some(at)) => {
                    seats.remove(at);
                    plain.revive(key);
                    plain.seats.remove(&key);
                }
                (_, None) => {}
            }
            if round % 50 == 0 {
                plain.agrees(&seats);
            }
        }
        plain.agrees(&seats);
    }

    #[test]
    fn a_crowd_that_has_gone_leaves_no_room_behind() {
        let mut seats = Seats::default();
        (0..50_000).for_each(|n| seats.put(key(n), seat(n)));
        assert!(seats.chains.len() >= 50_000, "chains stay short");
        (0..50_000).for_each(|n| seats.remove(seats.find(key(n)).unwrap()));
        assert!(seats.places.capacity() <= 4 * KEPT, "{}", seats.places.capacity());
        assert!(seats.chains.capacity() <= 4 * KEPT, "{}", seats.chains.capacity());
    }

    #[test]
    fn a_seat_is_small() {
        assert!(size_of::<Place>() <= 120, "{}", size_of::<Place>());
    }
}
