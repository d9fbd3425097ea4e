//! In which order samples are drawn.

use super::random::{Purpose, Random};

/// An order over the samples of a data set; PyTorch's `torch.utils.data.Sampler`.
pub trait Sampler: Send + Sync {
    /// The samples of one epoch, as numbers in `0..len`.
    fn indices(&self, len: usize, epoch: u64) -> Vec<usize>;
}

/// One after the other; PyTorch's `SequentialSampler`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequentialSampler;

impl Sampler for SequentialSampler {
    fn indices(&self, len: usize, _epoch: u64) -> Vec<usize> {
        (0..len).collect()
    }
}

/// Every sample once, in an order that the seed and the epoch determine; PyTorch's `RandomSampler`
/// without replacement.
///
/// The order is a Fisher-Yates shuffle over ChaCha8, the same on every machine (and not PyTorch's,
/// whose generator is another).
///
/// ```
/// use posterize::data::{RandomSampler, Sampler};
/// let sampler = RandomSampler { seed: 1 };
/// assert_eq!(sampler.indices(9, 0), sampler.indices(9, 0));
/// assert_ne!(sampler.indices(9, 0), sampler.indices(9, 1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RandomSampler {
    /// Determines the order.
    pub seed: u64,
}

impl Sampler for RandomSampler {
    fn indices(&self, len: usize, epoch: u64) -> Vec<usize> {
        let mut random = Random::new(Purpose::Order, self.seed, epoch, 0);
        let mut order: Vec<usize> = (0..len).collect();
        for last in (1..len).rev() {
            order.swap(last, random.below(last as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_order_is_a_permutation_and_a_fixed_one() {
        let order = RandomSampler { seed: 7 }.indices(10, 0);
        assert_eq!(order, PINNED);
        let mut sorted = RandomSampler { seed: 7 }.indices(1000, 3);
        sorted.sort_unstable();
        assert_eq!(sorted, SequentialSampler.indices(1000, 3));
        assert!(RandomSampler { seed: 7 }.indices(0, 0).is_empty());
    }

    /// Pinned so that a change of the generator or of the shuffle is noticed: runs of other
    /// versions and machines are reproduced by it.
    const PINNED: [usize; 10] = [9, 7, 3, 8, 5, 4, 1, 0, 2, 6];

    #[test]
    fn every_place_is_as_likely_as_the_others() {
        let mut counts = [[0u32; 4]; 4];
        for seed in 0..4000 {
            let order = RandomSampler { seed }.indices(4, 0);
            for (place, sample) in order.into_iter().enumerate() {
                counts[place][sample] += 1;
            }
        }
        // 1000 each, with a standard deviation of 27.
        assert!(counts.iter().flatten().all(|n| (850..1150).contains(n)), "{counts:?}");
    }
}
