//! Samplers: the order in which samples are loaded.

use super::random::{Purpose, Random};

/// The order in which the samples of a data set are loaded; `torch.utils.data.Sampler`.
///
/// ```
/// use posterize::data::Sampler;
///
/// /// Every second sample.
/// struct EverySecond;
///
/// impl Sampler for EverySecond {
///     fn indices(&self, len: usize, _epoch: u64) -> Vec<usize> {
///         (0..len).step_by(2).collect()
///     }
/// }
/// assert_eq!(EverySecond.indices(5, 0), [0, 2, 4]);
/// ```
pub trait Sampler: Send + Sync {
    /// Returns the indices of the samples of an epoch, each in `0..len`.
    fn indices(&self, len: usize, epoch: u64) -> Vec<usize>;
}

/// Returns all samples in their order; `torch.utils.data.SequentialSampler`.
///
/// ```
/// use posterize::data::{Sampler, SequentialSampler};
/// assert_eq!(SequentialSampler.indices(3, 0), [0, 1, 2]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequentialSampler;

impl Sampler for SequentialSampler {
    fn indices(&self, len: usize, _epoch: u64) -> Vec<usize> {
        (0..len).collect()
    }
}

/// Returns all samples in a random order; `torch.utils.data.RandomSampler` without replacement.
///
/// The order depends only on the seed and the epoch and is the same on every machine. It is a
/// Fisher–Yates shuffle with the ChaCha8 generator, so it differs from PyTorch's order for the same
/// seed.
///
/// ```
/// use posterize::data::{RandomSampler, Sampler};
/// let sampler = RandomSampler { seed: 1 };
/// assert_eq!(sampler.indices(9, 0), sampler.indices(9, 0));
/// assert_ne!(sampler.indices(9, 0), sampler.indices(9, 1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RandomSampler {
    /// The seed of the order.
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
    fn a_random_order_is_a_permutation_and_the_same_in_every_version() {
        let order = RandomSampler { seed: 7 }.indices(10, 0);
        assert_eq!(order, EXPECTED);
        let mut sorted = RandomSampler { seed: 7 }.indices(1000, 3);
        sorted.sort_unstable();
        assert_eq!(sorted, SequentialSampler.indices(1000, 3));
        assert!(RandomSampler { seed: 7 }.indices(0, 0).is_empty());
    }

    /// The order must not change, because training runs are reproduced by their seed.
    const EXPECTED: [usize; 10] = [9, 7, 3, 8, 5, 4, 1, 0, 2, 6];

    #[test]
    fn random_orders_are_uniformly_distributed() {
        let mut counts = [[0u32; 4]; 4];
        for seed in 0..4000 {
            let order = RandomSampler { seed }.indices(4, 0);
            for (place, sample) in order.into_iter().enumerate() {
                counts[place][sample] += 1;
            }
        }
        // The expected counts are 1000 with a standard deviation of 27.
        assert!(counts.iter().flatten().all(|n| (850..1150).contains(n)), "{counts:?}");
    }
}
