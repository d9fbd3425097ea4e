//! Nearly even parts of a range.

use std::ops::Range;

/// Part `index` of `0..len` cut into `count` nearly even parts.
pub(crate) fn part(len: usize, count: usize, index: usize) -> Range<usize> {
    len * index / count..len * (index + 1) / count
}
