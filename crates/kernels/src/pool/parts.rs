//! Splits a range into nearly equal parts.

use std::ops::Range;

/// Returns part `index` of the range `0..len` split into `count` nearly equal parts.
pub(crate) fn part(len: usize, count: usize, index: usize) -> Range<usize> {
    len * index / count..len * (index + 1) / count
}
