//! A running histogram of all observed values; PyTorch's `HistogramObserver`.
//!
//! Every rounding that decides the bin of a value is as in PyTorch
//! (`torch/ao/quantization/observer.py`). Counts are f64 instead of f32, so that they are exact for
//! more than 2²⁴ values.

mod binning;
mod search;

use posterize_kernels::Pool;
use serde::{Deserialize, Serialize};

use self::binning::{bin_of, scan};
use super::error::ObserveError;
use super::range::Range;

/// The number of parts of a bin that are mapped separately to the bins of a wider range.
const UPSAMPLE_RATE: usize = 16;

/// A histogram with bins of equal width from the smallest to the largest observed value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Histogram {
    /// The smallest and largest value; `None` without data.
    pub(super) range: Option<Range>,
    /// The number of values in each bin. The values of a range of width 0 are in the middle bin.
    /// Counts are fractional after the range was extended.
    pub(super) counts: Vec<f64>,
}

impl Histogram {
    pub(super) fn new(bins: usize) -> Self {
        Self { range: None, counts: vec![0.0; bins] }
    }

    /// Returns whether a histogram, which may come from a file, is consistent.
    pub(super) fn is_valid(&self) -> bool {
        self.counts.iter().all(|&count| count >= 0.0 && count.is_finite())
            && self.range.is_some() == self.counts.iter().any(|&count| count > 0.0)
    }

    /// Adds the values of a batch, which is not empty.
    pub(super) fn update(&mut self, pool: &Pool, values: &[f32]) -> Result<(), ObserveError> {
        let found = scan(pool, values, self.range, self.counts.len())?;
        let range = self.range.map_or(Ok(found.range), |old| old.union(found.range).checked())?;
        self.widen(range);
        let counts =
            found.counts.unwrap_or_else(|| binning::count(pool, values, range, self.counts.len()));
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum += f64::from(count);
        }
        Ok(())
    }

    /// Adds the counts of another histogram with the same number of bins.
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), ObserveError> {
        let Some(range) = other.range else { return Ok(()) };
        let range = self.range.map_or(Ok(range), |old| old.union(range).checked())?;
        self.widen(range);
        let mut other = other.clone();
        other.widen(range);
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        Ok(())
    }

    /// Maps the counts to the bins of a range that contains the current one; PyTorch's
    /// `_combine_histograms` and `_upscale_histogram`.
    ///
    /// Each bin is split into [`UPSAMPLE_RATE`] parts, and each part is added to the bin that
    /// contains its midpoint.
    fn widen(&mut self, to: Range) {
        let Some(from) = self.range.replace(to) else { return };
        if from == to {
            return;
        }
        let bins = self.counts.len();
        let mut widened = vec![0.0; bins];
        if from.min == from.max {
            widened[bin_of(from.min, to, bins)] = self.counts.iter().sum();
        } else {
            let parts = bins * UPSAMPLE_RATE;
            let half_part = 0.5 * (from.width() / parts as f32);
            let edges: Vec<f32> = (0..=bins).map(|edge| linspace(to, bins, edge)).collect();
            for part in 0..parts {
                let middle = linspace(from, parts, part) + half_part;
                let bin = upper_bound(&edges, middle).saturating_sub(1).min(bins - 1);
                widened[bin] += self.counts[part / UPSAMPLE_RATE] / UPSAMPLE_RATE as f64;
            }
        }
        self.counts = widened;
    }

    /// Returns the range to quantize with, by [`search::search`]; `None` without data.
    pub(super) fn search(&self) -> Option<Range> {
        self.range.map(|range| search::search(&self.counts, range))
    }
}

/// Returns the edge number `index` of the `parts + 1` edges of `parts` equal parts of `range`.
///
/// As in `torch.linspace`, it is computed from the nearer end with a fused multiply-add.
fn linspace(range: Range, parts: usize, index: usize) -> f32 {
    let step = range.width() / parts as f32;
    if index < parts.div_ceil(2) {
        step.mul_add(index as f32, range.min)
    } else {
        (-step).mul_add((parts - index) as f32, range.max)
    }
}

/// Returns the number of edges up to `value`, by the binary search of `torch.bucketize(right=True)`.
///
/// The edges may not be sorted in the middle, where `linspace` changes ends, so that another search
/// could return another number.
fn upper_bound(edges: &[f32], value: f32) -> usize {
    let (mut start, mut end) = (0, edges.len());
    while start < end {
        let middle = start + (end - start) / 2;
        if edges[middle] > value {
            end = middle;
        } else {
            start = middle + 1;
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(batches: &[&[f32]]) -> Histogram {
        let mut histogram = Histogram::new(2048);
        for batch in batches {
            histogram.update(&Pool::new(2), batch).unwrap();
        }
        histogram
    }

    #[test]
    fn extending_the_range_keeps_the_total_count() {
        let ramp: Vec<f32> = (0..1000u16).map(|i| f32::from(i) / 1000.0).collect();
        let all = histogram(&[&[0.25; 10], &ramp, &[-3.0], &[40.0, 0.0], &ramp]);
        assert_eq!(all.range, Some(Range { min: -3.0, max: 40.0 }));
        assert_eq!(all.counts.iter().sum::<f64>(), 2013.0);
    }

    #[test]
    fn extending_the_range_moves_counts_to_the_bins_of_their_values() {
        let first = histogram(&[&[0.0, 0.25, 0.5, 0.75, 1.0]]);
        let mut grown = first.clone();
        grown.widen(Range { min: -1.0, max: 3.0 });
        for value in [0.0, 0.25, 0.5, 0.75, 1.0f32] {
            let bin = bin_of(value, Range { min: -1.0, max: 3.0 }, 2048);
            let near: f64 = grown.counts[bin - 1..=bin + 1].iter().sum();
            assert_eq!(near, 1.0, "{value}");
        }
    }

    #[test]
    fn batches_within_the_range_give_the_same_histogram_as_one_batch() {
        let values: Vec<f32> =
            (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32).collect();
        let (min, max) = (0.0, (1u32 << 24) as f32);
        let at_once = histogram(&[&[&[min, max], &values[..]].concat()]);
        let in_pieces =
            histogram(&[&[min, max], &values[..7], &values[7..290_000], &values[290_000..]]);
        assert_eq!(at_once, in_pieces);
    }

    #[test]
    fn a_batch_that_is_an_error_changes_nothing() {
        let mut all = histogram(&[&[0.0, 1.0]]);
        let before = all.clone();
        for bad in [&[0.5, f32::NAN][..], &[2.0, f32::INFINITY], &[-3e38, 3e38], &[-3.4e38, 0.0]] {
            let outcome = all.update(&Pool::new(1), bad);
            if bad == [-3.4e38, 0.0] {
                assert_eq!(outcome, Ok(()));
            } else {
                assert!(outcome.is_err(), "{bad:?}");
                assert_eq!(all, before);
            }
        }
        assert!(all.update(&Pool::new(1), &[3e38]).is_err());
    }
}
