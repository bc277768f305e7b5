//! How busy each of several channels is: the n-th one 1/n^s of the first.

/// A way to pick channels. Picks are spread evenly, not by chance: two runs pick the same ones.
#[derive(Clone, Debug)]
pub struct Zipf {
    /// What part of all picks the channels up to this one have.
    up_to: Vec<f64>,
}

impl Zipf {
    /// So many channels, at least one. An exponent of 0: all alike.
    pub fn new(channels: usize, exponent: f64) -> Self {
        let weights = (1..=channels.max(1)).map(|n| (n as f64).powf(-exponent));
        let mut sum = 0.0;
        let mut up_to: Vec<_> = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        up_to.iter_mut().for_each(|part| *part /= sum);
        Self { up_to }
    }

    /// The channel at this place, 0 to below 1, of all picks in the order of channels.
    pub fn at(&self, place: f64) -> usize {
        self.up_to.partition_point(|part| *part <= place).min(self.up_to.len() - 1)
    }

    /// The channel of the n-th of `count` subscribers: each channel gets its share.
    pub fn member(&self, n: usize, count: usize) -> usize {
        if self.is_even() { n % self.up_to.len() } else { self.at((n as f64 + 0.5) / count as f64) }
    }

    /// The channel of the n-th publish.
    pub fn pick(&self, n: u64) -> usize {
        if self.is_even() {
            return usize::try_from(n % self.up_to.len() as u64).unwrap_or(0);
        }
        // Steps of the golden ratio leave no place out for long and never fall into a rhythm with anything.
        let step = 0.618_033_988_749_894_9;
        self.at((n as f64 * step).fract())
    }

    fn is_even(&self) -> bool {
        let (first, count) = (self.up_to[0], self.up_to.len() as f64);
        (first * count - 1.0).abs() < 1e-9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(zipf: &Zipf, channels: usize, picks: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut counts = vec![0; channels];
        picks.for_each(|channel| counts[channel] += 1);
        assert_eq!(zipf.up_to.len(), channels);
        counts
    }

    #[test]
    fn shares_fall_as_the_exponent_says() {
        for exponent in [0.5, 1.0, 1.4] {
            let zipf = Zipf::new(20, exponent);
            let picks = counts(&zipf, 20, (0..100_000).map(|n| zipf.pick(n)));
            let members = counts(&zipf, 20, (0..100_000).map(|n| zipf.member(n, 100_000)));
            for counts in [picks, members] {
                for n in [2_usize, 5, 20] {
                    let (got, want) = (counts[n - 1] as f64 / counts[0] as f64, (n as f64).powf(-exponent));
                    assert!((got / want - 1.0).abs() < 0.02, "{exponent} {n}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn an_exponent_of_0_takes_turns() {
        let zipf = Zipf::new(3, 0.0);
        assert_eq!((0..6).map(|n| zipf.pick(n)).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        assert_eq!((0..6).map(|n| zipf.member(n, 6)).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        assert_eq!(Zipf::new(1, 2.0).pick(99), 0);
    }
}
