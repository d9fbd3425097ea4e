//! The two passes of resampling, one value at a time.

use crate::resample::passes::{CHANNELS, HALF, Passes, Taps, round, weighted};

/// The passes for the given columns.
pub(super) struct Scalar<'a>(pub(super) &'a Taps);

impl Passes for Scalar<'_> {
    fn horizontal(&self, source: &[u8], first: usize, out: &mut [u8]) {
        for (position, pixel) in out.chunks_exact_mut(CHANNELS).enumerate() {
            let (start, weights) = self.0.row(position);
            let mut sums = [HALF; CHANNELS];
            let pixels = source[(start - first) * CHANNELS..].chunks_exact(CHANNELS);
            for (from, &weight) in pixels.zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(from) {
                    *sum += i32::from(value) * weight;
                }
            }
            for (value, sum) in pixel.iter_mut().zip(sums) {
                *value = round(sum);
            }
        }
    }

    fn vertical(&self, lines: &[u8], stride: usize, weights: &[i32], out: &mut [u8]) {
        for (x, value) in out.iter_mut().enumerate() {
            *value = weighted(lines[x..].iter().step_by(stride), weights);
        }
    }
}
