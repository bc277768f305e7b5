//! Hashes of what clients choose: names of channels, users, message ids. They are seeded once a process, so that nobody
//! can choose a million names that all fall into one place of a table.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::OnceLock;

use ahash::{AHasher, RandomState};

static STATE: OnceLock<RandomState> = OnceLock::new();

/// Sets the seed; called at the start of a process, before the first node. Without it, and in simulations, the seed is
/// fixed. A later call changes nothing.
pub fn seed(bits: [u128; 2]) {
    // The casts keep each half.
    let [a, b] = bits.map(|bits| (bits as u64, (bits >> 64) as u64));
    let _ = STATE.set(RandomState::with_seeds(a.0, a.1, b.0, b.1));
}

/// Makes the hashes. It takes no room: all tables have the seed of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seeded;

impl BuildHasher for Seeded {
    type Hasher = AHasher;

    fn build_hasher(&self) -> AHasher {
        STATE.get_or_init(|| RandomState::with_seeds(1, 2, 3, 4)).build_hasher()
    }
}

/// A table whose keys clients choose.
pub type NamedMap<K, V> = HashMap<K, V, Seeded>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_even_and_depend_on_the_seed() {
        let other = RandomState::with_seeds(5, 6, 7, 8);
        let mut buckets = [0u32; 64];
        let mut same = 0;
        for n in 0..64_000 {
            let name = format!("room:{n}");
            let hash = Seeded.hash_one(&name);
            buckets[usize::try_from(hash >> 40).unwrap() % 64] += 1;
            same += u32::from(hash & 0xffff == other.hash_one(&name) & 0xffff);
        }
        assert!(buckets.iter().all(|n| (800..1_200).contains(n)), "{buckets:?}");
        assert!(same < 20, "{same}");
    }
}
