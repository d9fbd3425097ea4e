//! Kernels that treat each element alone: quantize, dequantize, add, multiply, requantize.

#![expect(clippy::inline_always, reason = "a call would keep the baseline's instructions")]

#[cfg(target_arch = "x86_64")]
mod add_avx512;
mod binary;
mod broadcast;
mod convert;
mod sub;

#[cfg(target_arch = "x86_64")]
pub(super) use add_avx512::AddEpilogue;
pub(super) use binary::AddFormula;
pub use binary::{Add, Mul};
pub use convert::{clamp, dequantize, quantize, requantize_table, requantize_u8};
pub use sub::Sub;

use std::ops::Range;

use crate::pool::Pool;

/// Elements of one task: enough to outweigh handing it over, little enough to stay in L1.
pub(super) const CHUNK: usize = 16 * 1024;

/// Calls `work` with ranges that together cover `0..len`.
fn for_each_chunk(pool: &Pool, len: usize, work: impl Fn(Range<usize>) + Sync) {
    pool.run(len.div_ceil(CHUNK), &|task, _| {
        work(task * CHUNK..len.min((task + 1) * CHUNK));
    });
}

/// Where rounded values may lie, as offsets from the zero point.
///
/// Clamping before rounding gives what clamping after it would (rounding is monotone and leaves
/// the bounds, integers, alone), and keeps the conversion to an integer from overflowing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) zero_point: f32,
    pub(super) least: f32,
    pub(super) greatest: f32,
}

impl Target {
    pub(super) fn new(zero_point: u8, min: u8, max: u8) -> Self {
        assert!(min <= max, "the least output {min} exceeds the greatest {max}");
        let zero_point = f32::from(zero_point);
        Self {
            zero_point,
            least: f32::from(min) - zero_point,
            greatest: f32::from(max) - zero_point,
        }
    }

    /// `clamp(round_half_even(v) + zero_point, min, max)`; a NaN becomes `max`.
    #[inline(always)]
    pub(super) fn round(self, v: f32) -> u8 {
        // Comparisons that a NaN fails, as `vminps` and `vmaxps` have them.
        let v = if v < self.greatest { v } else { self.greatest };
        let v = if v > self.least { v } else { self.least };
        let q = v.round_ties_even() + self.zero_point;
        // SAFETY: q lies in 0..=255: v lies within [min − zp, max − zp], whose ends are integers.
        unsafe { q.to_int_unchecked::<i32>() as u8 }
    }
}

#[cfg(test)]
mod tests;
