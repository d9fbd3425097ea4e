//! Random numbers that are the same on every machine and for any number of threads.
//!
//! Each purpose, seed, epoch and sample has its own stream, so the results do not depend on the
//! order in which threads draw.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// The purpose of a stream. Different purposes have different streams.
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

    /// Draws an integer in `0..end` with uniform probability. `end` must not be zero.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        // Values above the largest multiple of `end` are drawn again, because `%` would make small
        // results more likely.
        let limit = u64::MAX - u64::MAX % end;
        loop {
            let value = self.0.next_u64();
            if value < limit {
                return value % end;
            }
        }
    }

    /// Draws a number in `low..high` with uniform probability.
    pub(super) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        low + (high - low) * unit
    }
}
