//! Who is here, by address: how many connections each has, how many of them are no WebSocket, and how many handshakes it
//! may still make. Connections without an address are counted for the node alone.
//!
//! A connection is counted from its accept to the end of its socket. An address goes with its last connection, but not
//! before its bucket of handshakes is full: whoever comes and goes would have a fresh one each time. So the table has an
//! entry for each connection and for each handshake of the last moments, never more.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use everwire_engine::hashes::NamedMap;
use everwire_engine::limits::ConnectionLimits;
use everwire_engine::time::{Bucket, Now, SharedBucket};

/// A table that was larger keeps the room of so many entries.
const KEPT: usize = 1_024;
/// Whoever comes or goes looks at so many addresses that nobody has any more.
const SWEPT: usize = 4;

/// By what addresses are told apart. A home has a /64 of IPv6, and may use another address of it for each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Address(u128);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
        })
    }
}

#[derive(Debug, Default)]
struct Entry {
    /// All connections, WebSockets or not.
    connections: u32,
    /// Those that are none.
    waiting: u32,
    handshakes: Bucket,
    commands: Arc<SharedBucket>,
    /// It stands in [`Book::left`].
    queued: bool,
}

#[derive(Debug, Default)]
struct Book {
    entries: NamedMap<Address, Entry>,
    /// Without a connection when they were put here, oldest first.
    left: VecDeque<Address>,
    /// Entries that have a connection.
    present: usize,
    /// Connections that are no WebSocket, with an address or without.
    waiting: u32,
    /// The time of the last handshake.
    now: Now,
}

/// All addresses that somebody comes from.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<Book>);

/// An address has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

/// One connection of an address, as long as it has a socket.
pub struct Place {
    address: Address,
    of: Arc<Addresses>,
    commands: Arc<SharedBucket>,
}

/// One connection that is no WebSocket, or none yet.
pub struct Waiting {
    of: Arc<Addresses>,
    address: Option<Address>,
}

impl Addresses {
    /// One more connection that is no WebSocket, unless there are `most`.
    pub fn come_in(self: &Arc<Self>, most: u32) -> Option<Waiting> {
        let mut book = self.lock();
        if book.waiting >= most {
            return None;
        }
        book.waiting += 1;
        Some(Waiting { of: self.clone(), address: None })
    }

    /// One more connection of an address.
    ///
    /// # Errors
    /// [`Crowded`]: it has `most` already.
    pub fn join(self: &Arc<Self>, address: IpAddr, most: u32) -> Result<Place, Crowded> {
        let address = address.into();
        let commands = self.lock().join(address, most, None)?;
        Ok(Place { address, of: self.clone(), commands })
    }

    /// Charges the bucket of an address for a handshake.
    ///
    /// # Errors
    /// It is empty, and nothing was charged.
    pub fn shake(&self, address: IpAddr, limits: &ConnectionLimits, now: Now) -> Result<(), Crowded> {
        let address = Address::from(address);
        let mut book = self.lock();
        book.now = now;
        let entry = book.entries.entry(address).or_default();
        let (per_second, burst) = (limits.address_handshakes_per_second, limits.address_handshakes_burst);
        let taken = entry.handshakes.take(now, per_second, burst, 0);
        book.leave(address);
        book.sweep();
        taken.map(|_| ()).map_err(|_| Crowded)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Addresses that have a connection.
    pub fn present(&self) -> usize {
        self.lock().present
    }

    /// Connections that are no WebSocket.
    pub fn waiting(&self) -> u32 {
        self.lock().waiting
    }
}

impl Book {
    /// One more connection of an address, and one more that is no WebSocket, of which there may be so many.
    fn join(
        &mut self,
        address: Address,
        most: u32,
        waiting: Option<u32>,
    ) -> Result<Arc<SharedBucket>, Crowded> {
        let entry = self.entries.entry(address).or_default();
        if entry.connections >= most || waiting.is_some_and(|most| entry.waiting >= most) {
            self.leave(address);
            return Err(Crowded);
        }
        entry.connections += 1;
        entry.waiting += u32::from(waiting.is_some());
        self.present += usize::from(entry.connections == 1);
        Ok(entry.commands.clone())
    }

    /// An entry without a connection is forgotten, or waits among those that will be.
    fn leave(&mut self, address: Address) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        if entry.connections > 0 || entry.waiting > 0 || entry.queued {
            return;
        }
        if entry.handshakes.is_full(self.now) {
            self.entries.remove(&address);
        } else {
            entry.queued = true;
            self.left.push_back(address);
        }
    }

    /// Looks at the oldest of those that were left.
    fn sweep(&mut self) {
        for _ in 0..SWEPT.min(self.left.len()) {
            let Some(address) = self.left.pop_front() else { return };
            if let Some(entry) = self.entries.get_mut(&address) {
                entry.queued = false;
            }
            self.leave(address);
        }
        let room = self.entries.capacity();
        if room > KEPT && self.entries.len() < room / 8 {
            self.entries.shrink_to(KEPT.max(self.entries.len() * 2));
            self.left.shrink_to(KEPT.max(self.left.len() * 2));
        }
    }
}

impl Waiting {
    /// It is one of this address: a connection of it, which is no WebSocket.
    ///
    /// # Errors
    /// [`Crowded`]: the address has `most` connections already, or `most_waiting` that are no WebSocket.
    pub fn join(&mut self, address: IpAddr, most: u32, most_waiting: u32) -> Result<Place, Crowded> {
        let address = address.into();
        let commands = self.of.lock().join(address, most, Some(most_waiting))?;
        self.address = Some(address);
        Ok(Place { address, of: self.of.clone(), commands })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut book = self.of.lock();
        book.waiting -= 1;
        let Some(address) = self.address else { return };
        if let Some(entry) = book.entries.get_mut(&address) {
            entry.waiting -= 1;
            book.leave(address);
        }
    }
}

impl Place {
    /// The bucket of commands of all connections of the address.
    pub fn commands(&self) -> &Arc<SharedBucket> {
        &self.commands
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.of.lock();
        let Some(entry) = book.entries.get_mut(&self.address) else { return };
        entry.connections -= 1;
        if entry.connections == 0 {
            book.present -= 1;
            book.leave(self.address);
            book.sweep();
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses stand in no log.
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    fn limits() -> ConnectionLimits {
        ConnectionLimits {
            address_handshakes_per_second: 10,
            address_handshakes_burst: 2,
            ..ConnectionLimits::default()
        }
    }

    const ANN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const BEN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn known(addresses: &Addresses) -> usize {
        addresses.lock().entries.len()
    }

    #[test]
    fn a_home_is_one_address_and_its_neighbour_another() {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::1", "127.0.0.1", false),
            ("::ffff:0:0:1", "::1", true),
        ] {
            assert_eq!(address(one) == address(other), same, "{one} {other}");
        }
    }

    #[test]
    fn an_address_is_bounded_and_goes_with_its_last_connection() {
        let addresses = Arc::new(Addresses::default());
        let first = addresses.join(ANN, 2).unwrap();
        let second = addresses.join(ANN, 2).unwrap();
        assert_eq!(addresses.join(ANN, 2).unwrap_err(), Crowded);
        assert!(Arc::ptr_eq(first.commands(), second.commands()), "one bucket for both");
        let other = addresses.join(BEN, 2).unwrap();
        assert!(!Arc::ptr_eq(first.commands(), other.commands()));
        assert_eq!(addresses.present(), 2);
        drop(first);
        let third = addresses.join(ANN, 2).unwrap();
        drop((second, third, other));
        assert_eq!((addresses.present(), known(&addresses)), (0, 0));
        assert_eq!(addresses.join(ANN, 0).unwrap_err(), Crowded);
        assert_eq!(known(&addresses), 0, "who is refused leaves nothing");
    }

    #[test]
    fn what_is_no_websocket_is_bounded_for_each_address_and_for_all() {
        let addresses = Arc::new(Addresses::default());
        let mut all: Vec<_> = (0..3).map(|_| addresses.come_in(3).unwrap()).collect();
        assert!(addresses.come_in(3).is_none());
        let first = all[0].join(ANN, 9, 1).unwrap();
        assert_eq!(all[1].join(ANN, 9, 1).unwrap_err(), Crowded);
        let second = all[1].join(BEN, 9, 1).unwrap();
        // It has become a WebSocket: there is room for another one that has not.
        drop(all.remove(0));
        assert_eq!((addresses.waiting(), addresses.present()), (2, 2));
        let third = all[1].join(ANN, 9, 1).unwrap();
        // Whichever of the two goes first.
        drop((first, third, second));
        assert_eq!((addresses.present(), known(&addresses)), (0, 2));
        drop(all);
        assert_eq!((addresses.waiting(), known(&addresses)), (0, 0));
    }

    #[test]
    fn who_comes_and_goes_has_one_bucket_until_it_is_full() {
        let addresses = Arc::new(Addresses::default());
        let mut shaken = 0;
        for ms in 1_000..2_000 {
            let place = addresses.join(ANN, 1).unwrap();
            shaken += u32::from(addresses.shake(ANN, &limits(), at(ms)).is_ok());
            drop(place);
        }
        assert!((11..=12).contains(&shaken), "2 at once and 10 a second are not {shaken}");
        assert_eq!((addresses.present(), known(&addresses)), (0, 1));
        assert!(addresses.shake(BEN, &limits(), at(2_000)).is_ok(), "others have their own");
        // Whoever comes looks after those that have gone.
        assert!(addresses.shake(BEN, &limits(), at(5_000)).is_ok());
        assert_eq!(known(&addresses), 1, "the bucket of the first is full");
    }

    #[test]
    fn a_table_that_was_large_gives_its_room_back() {
        let addresses = Arc::new(Addresses::default());
        let many = |n: u32| IpAddr::V4(std::net::Ipv4Addr::from_bits(n));
        let places: Vec<_> = (0..50_000).map(|n| addresses.join(many(n), 1).unwrap()).collect();
        for n in 0..50_000 {
            addresses.shake(many(n), &limits(), at(1_000)).unwrap();
        }
        assert!(addresses.lock().entries.capacity() >= 50_000);
        drop(places);
        for n in 0..50_000 {
            let _ = addresses.shake(many(n % 7), &limits(), at(9_000 + u64::from(n)));
        }
        let book = addresses.lock();
        assert!(
            book.entries.len() < 10 && book.left.len() < 10,
            "{} {}",
            book.entries.len(),
            book.left.len()
        );
        assert!(book.entries.capacity() < 10 * KEPT, "{}", book.entries.capacity());
    }
}
