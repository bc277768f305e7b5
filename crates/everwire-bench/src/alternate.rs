//! Two sides measured in alternating blocks of one run: what the machine does to one it does to the other.

use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;

/// What one block brought.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Block {
    /// How often it was done.
    pub done: u64,
    /// CPU time of the process that did it, ns.
    pub cpu_ns: u64,
    /// How long it took, ns.
    pub wall_ns: u64,
}

impl Block {
    /// CPU time for each, ns.
    pub fn cpu_each(&self) -> f64 {
        self.cpu_ns as f64 / self.done as f64
    }
}

/// Something that can be measured for a while.
pub trait Side {
    /// Does it for about so long.
    ///
    /// # Errors
    /// Whatever keeps it from doing so.
    fn block(&mut self, length: Duration) -> Result<Block>;
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// Blocks of each side that count; one more of each comes first and does not.
    pub count: usize,
    /// The length of a block.
    pub block: Duration,
    /// How often a run whose floor was unsteady is done again.
    pub again: usize,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { count: 5, block: Duration::from_secs(2), again: 2 }
    }
}

/// Floor blocks that differ by more than this void the run.
pub const UNSTEADY: f64 = 0.10;

/// Floor and figure side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// CPU ns of each, the floor: median of its blocks.
    pub floor_ns: f64,
    /// CPU ns of each, the figure: median of its blocks.
    pub figure_ns: f64,
    /// The median of the ratios of neighbouring blocks, figure to floor.
    pub ratio: f64,
    /// Smallest and largest of these ratios.
    pub ratio_range: (f64, f64),
    /// How far the floor's blocks lie apart: (largest - smallest) / median.
    pub floor_spread: f64,
    /// The same of the figure's.
    pub figure_spread: f64,
    /// All blocks: floor, figure.
    pub blocks: Vec<(Block, Block)>,
}

impl Pair {
    fn of(blocks: Vec<(Block, Block)>) -> Self {
        let floor: Vec<_> = blocks.iter().map(|(floor, _)| floor.cpu_each()).collect();
        let figure: Vec<_> = blocks.iter().map(|(_, figure)| figure.cpu_each()).collect();
        let ratios: Vec<_> = floor.iter().zip(&figure).map(|(floor, figure)| figure / floor).collect();
        let range = ratios.iter().fold((f64::MAX, f64::MIN), |(low, high), r| (low.min(*r), high.max(*r)));
        Self {
            floor_ns: median(&floor),
            figure_ns: median(&figure),
            ratio: median(&ratios),
            ratio_range: range,
            floor_spread: spread(&floor),
            figure_spread: spread(&figure),
            blocks,
        }
    }

    /// Whether the floor stood still enough for the ratio to mean something.
    pub fn is_steady(&self) -> bool {
        self.floor_spread <= UNSTEADY
    }
}

/// Measures both in turns; a run with an unsteady floor is done again.
///
/// # Errors
/// Those of the sides. A floor that is unsteady in every run is none: [`Pair::is_steady`] tells.
pub fn alternate(floor: &mut dyn Side, figure: &mut dyn Side, rounds: Rounds) -> Result<Pair> {
    let [pair] = in_turns(floor, [figure], rounds)?;
    Ok(pair)
}

/// Measures several against one floor, all in turns: each beside the same blocks of the floor.
///
/// # Errors
/// As [`alternate`].
pub fn in_turns<const N: usize>(
    floor: &mut dyn Side,
    mut figures: [&mut dyn Side; N],
    rounds: Rounds,
) -> Result<[Pair; N]> {
    if rounds.count == 0 || N == 0 {
        bail!("nothing can be said after no block");
    }
    let mut best: Option<[Pair; N]> = None;
    for _ in 0..=rounds.again {
        let mut blocks: [Vec<_>; N] = std::array::from_fn(|_| Vec::with_capacity(rounds.count));
        for round in 0..=rounds.count {
            let bare = floor.block(rounds.block)?;
            for (figure, blocks) in figures.iter_mut().zip(&mut blocks) {
                let block = figure.block(rounds.block)?;
                if round > 0 {
                    blocks.push((bare, block));
                }
            }
        }
        let pairs = blocks.map(Pair::of);
        let steady = pairs[0].is_steady();
        if best.as_ref().is_none_or(|best| pairs[0].floor_spread < best[0].floor_spread) {
            best = Some(pairs);
        }
        if steady {
            break;
        }
    }
    best.ok_or_else(|| anyhow::anyhow!("no run"))
}

/// The middle one; of an even number the mean of the two in the middle. 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// How far the largest and the smallest lie apart, as a part of the median.
pub fn spread(values: &[f64]) -> f64 {
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
    (high - low) / median(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CPU ns of its blocks, one after the other.
    struct Scripted(Vec<u64>);

    impl Side for Scripted {
        fn block(&mut self, _: Duration) -> Result<Block> {
            Ok(Block { done: 10, cpu_ns: self.0.remove(0), wall_ns: 1 })
        }
    }

    fn run(floor: &[u64], figure: &[u64], again: usize) -> Pair {
        let rounds = Rounds { count: 3, block: Duration::ZERO, again };
        alternate(&mut Scripted(floor.to_vec()), &mut Scripted(figure.to_vec()), rounds).unwrap()
    }

    #[test]
    fn medians_and_neighbours() {
        let pair = run(&[9_999, 1_000, 1_020, 1_010], &[9_999, 1_500, 1_530, 2_020], 0);
        assert_eq!((pair.floor_ns, pair.figure_ns, pair.ratio), (101.0, 153.0, 1.5));
        assert_eq!(pair.ratio_range, (1.5, 2.0));
        assert!(pair.is_steady());
    }

    #[test]
    fn an_unsteady_floor_is_measured_again_and_told() {
        let wild = [0, 1_000, 2_000, 1_000];
        let figure = [0, 1_000, 1_000, 1_000];
        assert!(!run(&wild, &figure, 0).is_steady());
        let twice = run(&[wild, [0, 1_000, 1_000, 1_050]].concat(), &[figure, figure].concat(), 1);
        assert!(twice.is_steady());
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn several_stand_beside_the_same_floor() {
        let mut sides =
            [[0, 1_000, 1_000], [0, 2_000, 2_000], [0, 4_000, 4_000]].map(|s| Scripted(s.to_vec()));
        let [floor, one, two] = &mut sides;
        let rounds = Rounds { count: 2, block: Duration::ZERO, again: 0 };
        let pairs = in_turns(floor, [one, two], rounds).unwrap();
        assert_eq!(pairs.map(|pair| (pair.floor_ns, pair.ratio)), [(100.0, 2.0), (100.0, 4.0)]);
    }
}
