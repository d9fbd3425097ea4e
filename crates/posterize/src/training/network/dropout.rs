//! Dropout with a counter-based random number generator.
//!
//! The random number of a value depends only on the seed, the step, the layer and the index of the
//! value. It is the same for any number of threads, and in the backward pass, so that no mask is
//! stored.

/// The dropout mask of a layer in a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask {
    key: u64,
    /// A value is dropped if its 32 random bits are less than this.
    dropped: u64,
    /// The factor of the other values: `1 / (1 − p)`.
    scale: f32,
}

impl Mask {
    pub(super) fn new(p: f32, seed: u64, step: u64, layer: usize) -> Self {
        let key = mixed(mixed(mixed(seed).wrapping_add(step)).wrapping_add(layer as u64));
        let dropped = (f64::from(p) * 2f64.powi(32)).round() as u64;
        Self { key, dropped, scale: if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 } }
    }

    /// Applies the mask to values, or to their gradients.
    pub(super) fn apply(self, from: &[f32], to: &mut [f32]) {
        for (index, (to, &from)) in to.iter_mut().zip(from).enumerate() {
            let random = mixed(self.key.wrapping_add(index as u64)) >> 32;
            *to = if random < self.dropped { 0.0 } else { from * self.scale };
        }
    }
}

/// Returns the output of SplitMix64 for one step of its counter (Steele, Lea and Flood 2014, "Fast
/// Splittable Pseudorandom Number Generators").
fn mixed(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_zeros_a_fraction_p_and_keeps_the_mean() {
        let ones = vec![1.0; 100_000];
        let mut dropped = vec![0.0; ones.len()];
        for p in [0.0, 0.2, 0.5, 1.0] {
            Mask::new(p, 7, 3, 1).apply(&ones, &mut dropped);
            let zeros = dropped.iter().filter(|x| **x == 0.0).count() as f32 / ones.len() as f32;
            assert!((zeros - p).abs() < 0.005, "{zeros} of {p}");
            let mean = dropped.iter().sum::<f32>() / ones.len() as f32;
            assert!(p == 1.0 || (mean - 1.0).abs() < 0.02, "{mean}");
        }
    }

    #[test]
    fn the_mask_depends_on_seed_step_and_layer() {
        let ones = [1.0; 64];
        let masks: Vec<[f32; 64]> = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
            .map(|(seed, step, layer)| {
                let mut found = [0.0; 64];
                Mask::new(0.5, seed, step, layer).apply(&ones, &mut found);
                found
            })
            .to_vec();
        for (i, a) in masks.iter().enumerate() {
            assert!(masks[i + 1..].iter().all(|b| a != b));
        }
    }
}
