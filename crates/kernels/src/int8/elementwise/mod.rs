//! Elementwise kernels: quantize, dequantize, requantize, add, subtract, multiply, clamp.

#![expect(
    clippy::inline_always,
    reason = "without inlining, the code would not be compiled for the caller's target features"
)]

mod binary;
mod broadcast;
mod convert;
pub(crate) mod formula;
mod sub;

pub use binary::{Add, Mul};
pub use convert::{clamp, dequantize, quantize, requantize_table, requantize_u8};
pub use sub::Sub;

use std::ops::Range;

use crate::pool::Pool;

/// Elements of one task: enough to outweigh the cost of handing it to a thread, few enough to stay
/// in the L1 cache.
pub(super) const CHUNK: usize = 16 * 1024;

/// Calls `work` with disjoint ranges that together cover `0..len`.
fn for_each_chunk(pool: &Pool, len: usize, work: impl Fn(Range<usize>) + Sync) {
    pool.run(len.div_ceil(CHUNK), &|task, _| {
        work(task * CHUNK..len.min((task + 1) * CHUNK));
    });
}

#[cfg(test)]
mod tests;
