//! Which numbers of a channel a subscriber has seen: what is missing, what came twice.

/// What a number is to its subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The next one, or one further on.
    New,
    /// One that was missing.
    Late,
    /// One that has been here.
    Twice,
}

/// The numbers of one channel at one subscriber, from 0 on. What is in order takes no memory.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    next: u64,
    /// From, and up to without, in order.
    missing: Vec<(u64, u64)>,
}

impl Sequence {
    /// A subscriber that comes when so many have been published.
    pub fn from(next: u64) -> Self {
        Self { next, missing: Vec::new() }
    }

    /// Takes down a number.
    pub fn see(&mut self, number: u64) -> Sight {
        if number >= self.next {
            if number > self.next {
                self.missing.push((self.next, number));
            }
            self.next = number + 1;
            return Sight::New;
        }
        let at = self.missing.partition_point(|(_, end)| *end <= number);
        let Some((from, end)) = self.missing.get(at).copied().filter(|(from, _)| *from <= number) else {
            return Sight::Twice;
        };
        let rest = [(from, number), (number + 1, end)].into_iter().filter(|(from, end)| from < end);
        self.missing.splice(at..=at, rest);
        Sight::Late
    }

    /// One above the largest number seen.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How many are missing when so many have been published.
    pub fn missing(&self, published: u64) -> u64 {
        let holes: u64 = self.missing.iter().map(|(from, end)| end - from).sum();
        holes + published.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_late_ones_and_doubles() {
        let mut seen = Sequence::default();
        let sights: Vec<_> = [0, 1, 5, 3, 3, 2, 4, 4, 0, 6].map(|n| seen.see(n)).into();
        use Sight::{Late, New, Twice};
        assert_eq!(sights, [New, New, New, Late, Twice, Late, Late, Twice, Twice, New]);
        assert_eq!((seen.missing(7), seen.missing(10), seen.next()), (0, 3, 7));
        assert!(seen.missing.is_empty());
    }

    #[test]
    fn what_it_counts_is_what_a_set_counts() {
        // All orders of a few numbers, some twice, some never.
        for code in 0..7_u64.pow(5) {
            let numbers: Vec<_> = (0..5).map(|place| code / 7_u64.pow(place) % 7).collect();
            let (mut seen, mut set) = (Sequence::default(), std::collections::BTreeSet::new());
            for number in &numbers {
                assert_eq!(seen.see(*number) == Sight::Twice, !set.insert(*number), "{numbers:?}");
            }
            assert_eq!(seen.missing(7), 7 - set.len() as u64, "{numbers:?}");
        }
    }

    #[test]
    fn who_comes_later_misses_nothing_of_before() {
        let mut seen = Sequence::from(10);
        assert_eq!((seen.missing(10), seen.see(11), seen.missing(12)), (0, Sight::New, 1));
    }
}
