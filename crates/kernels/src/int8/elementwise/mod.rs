//! Kernels that treat each element alone: quantize, dequantize, add, multiply, requantize.

#![expect(clippy::inline_always, reason = "a call would keep the baseline's instructions")]

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

/// Elements of one task: enough to outweigh handing it over, little enough to stay in L1.
pub(super) const CHUNK: usize = 16 * 1024;

/// Calls `work` with ranges that together cover `0..len`.
fn for_each_chunk(pool: &Pool, len: usize, work: impl Fn(Range<usize>) + Sync) {
    pool.run(len.div_ceil(CHUNK), &|task, _| {
        work(task * CHUNK..len.min((task + 1) * CHUNK));
    });
}

#[cfg(test)]
mod tests;
