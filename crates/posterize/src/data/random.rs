//! Random numbers that are the same on every machine and for every number of threads.
//!
//! Each use has a stream of its own, named by the seed, the epoch and the sample, so that no
//! result depends on the order in which threads come to draw.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is for; two purposes never share one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Order,
    Augmentation,
}

/// A stream of random numbers.
pub(super) struct Random(ChaCha8Rng);

impl Random {
    pub(super) fn new(purpose: Purpose, seed: u64, epoch: u64, sample: u64) -> Self {
        let mut key = [0; 32];
        for (part, value) in key.chunks_exact_mut(8).zip([purpose as u64, seed, epoch, sample]) {
            part.copy_from_slice(&value.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A whole number in `0..end`, each as likely as the others. `end` is not zero.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        // The last incomplete multiple of `end` is drawn again, which keeps the odds even.
        let fair = u64::MAX - u64::MAX % end;
        loop {
            let value = self.0.next_u64();
            if value < fair {
                return value % end;
            }
        }
    }

    /// A number in `low..high`.
    pub(super) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        low + (high - low) * unit
    }
}
