//! Histograms with bins of equal width; `torch.histc`.

use posterize_kernels::Pool;

use super::super::error::ObserveError;
use super::super::extremes::{Extremes, MIN_PART, PARALLEL};
use super::super::range::Range;

/// Values are read twice, for their extremes and for their bins, in chunks that stay in the cache.
const CHUNK: usize = 2048;

/// The result of one pass over a batch.
pub(super) struct Scan {
    /// The smallest and largest value.
    pub(super) range: Range,
    /// The counts of the bins of the expected range; `None` if a value is outside of it.
    pub(super) counts: Option<Vec<u32>>,
}

/// Computes the range of `values` (not empty) and, in the same pass, their histogram over `bins`
/// bins of the `expected` range if all of them are within it.
pub(super) fn scan(
    pool: &Pool,
    values: &[f32],
    expected: Option<Range>,
    bins: usize,
) -> Result<Scan, ObserveError> {
    let scan_part = |part: &[f32]| {
        let mut extremes = Extremes::none();
        let mut binning = expected.map(|range| Binning::new(range, bins));
        for chunk in part.chunks(CHUNK) {
            let found = Extremes::of(chunk);
            extremes = extremes.join(found);
            if let Some(counting) = &mut binning {
                if found.lie_within(counting.range) {
                    counting.add(chunk);
                } else {
                    binning = None;
                }
            }
        }
        (extremes, binning.map(Binning::finish))
    };
    let (extremes, counts) = in_parts(pool, values, scan_part, |(e1, c1), (e2, c2)| {
        (e1.join(e2), c1.zip(c2).map(|(c1, c2)| add(c1, &c2)))
    });
    Ok(Scan { range: extremes.range(values)?, counts })
}

/// Returns the histogram of `values`, all within `range`.
pub(super) fn count(pool: &Pool, values: &[f32], range: Range, bins: usize) -> Vec<u32> {
    let count_part = |part: &[f32]| {
        let mut binning = Binning::new(range, bins);
        for chunk in part.chunks(CHUNK) {
            binning.add(chunk);
        }
        binning.finish()
    };
    in_parts(pool, values, count_part, |sum, counts| add(sum, &counts))
}

/// Returns the bin of one value within `range`.
pub(super) fn bin_of(value: f32, range: Range, bins: usize) -> usize {
    Binning::new(range, bins).bin(value)
}

/// Maps the parts of a slice, in parallel if it is long, and reduces the results. Counts are integers,
/// so that the result does not depend on the number of parts.
fn in_parts<T: Send>(
    pool: &Pool,
    values: &[f32],
    map: impl Fn(&[f32]) -> T + Sync,
    reduce: impl Fn(T, T) -> T,
) -> T {
    if values.len() > PARALLEL && pool.threads() > 1 {
        // Few parts, since each needs its own table of counts.
        let len = values.len().div_ceil(4 * pool.threads()).max(MIN_PART);
        let parts = pool.map(values.len().div_ceil(len), &|part| {
            map(&values[part * len..values.len().min((part + 1) * len)])
        });
        if let Some(all) = parts.into_iter().reduce(reduce) {
            return all;
        }
    }
    map(values)
}

fn add(mut sum: Vec<u32>, counts: &[u32]) -> Vec<u32> {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum += count;
    }
    sum
}

/// A histogram under construction.
struct Binning {
    range: Range,
    width: f32,
    bins: usize,
    /// Whether to divide before multiplying, because `(value − min) · bins` could overflow.
    divide_first: bool,
    /// Several tables used in turn, so that consecutive values of the same bin, such as the zeros
    /// after a ReLU, do not wait for each other's increment.
    tables: [Vec<u32>; TABLES],
}

const TABLES: usize = 4;

impl Binning {
    fn new(range: Range, bins: usize) -> Self {
        let width = range.width();
        let divide_first = !(width * bins as f32).is_finite();
        let tables = std::array::from_fn(|_| vec![0; bins]);
        Self { range, width, bins, divide_first, tables }
    }

    /// Returns the bin of a value as `torch.histc` computes it, in f32 and in the same order:
    /// `(value − min) · bins / width`, truncated; the last bin for the largest value.
    ///
    /// The value of a range of width 0 is in the middle bin, because `torch.histc` extends such a
    /// range by 1 on both sides.
    #[inline]
    fn bin(&self, value: f32) -> usize {
        let bins = self.bins as f32;
        let offset = value - self.range.min;
        let position =
            if self.divide_first { offset / self.width * bins } else { offset * bins / self.width };
        if self.width == 0.0 { self.bins / 2 } else { (position as usize).min(self.bins - 1) }
    }

    fn add(&mut self, values: &[f32]) {
        if self.width == 0.0 {
            self.tables[0][self.bins / 2] += values.len() as u32;
            return;
        }
        let mut positions = [0u32; CHUNK];
        let positions = &mut positions[..values.len()];
        let (min, width, bins) = (self.range.min, self.width, self.bins as f32);
        let last = bins - 1.0;
        if self.divide_first {
            for (position, &x) in positions.iter_mut().zip(values) {
                *position = truncated_to((x - min) / width * bins, last);
            }
        } else {
            for (position, &x) in positions.iter_mut().zip(values) {
                *position = truncated_to((x - min) * bins / width, last);
            }
        }
        let [a, b, c, d] = &mut self.tables;
        let (quads, rest) = positions.as_chunks::<TABLES>();
        for &[p, q, r, s] in quads {
            a[p as usize] += 1;
            b[q as usize] += 1;
            c[r as usize] += 1;
            d[s as usize] += 1;
        }
        for &position in rest {
            a[position as usize] += 1;
        }
    }

    fn finish(self) -> Vec<u32> {
        let [first, rest @ ..] = self.tables;
        rest.iter().fold(first, |sum, counts| add(sum, counts))
    }
}

/// Returns `min(position, last)`, truncated. `position` must not be negative and `last` must be less
/// than 2²².
///
/// A cast would saturate, for which there is no vector instruction. Adding 2²³ instead leaves the
/// rounded number in the low bits, from which 1 is subtracted if it was rounded up.
#[inline]
fn truncated_to(position: f32, last: f32) -> u32 {
    const SHIFT: f32 = (1u32 << 23) as f32;
    let position = if position > last { last } else { position };
    let shifted = position + SHIFT;
    let rounded_up = shifted - SHIFT > position;
    shifted.to_bits() - SHIFT.to_bits() - u32::from(rounded_up)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn many_values_are_counted_as_one_by_one(
            values in prop::collection::vec(-100.0f32..100.0, 1..5000),
            bins in 8usize..3000,
            scale in prop::sample::select(vec![1e-42f32, 1e-10, 1.0, 1e10, 1.6e36]),
        ) {
            let values: Vec<f32> = values.iter().map(|x| x * scale).collect();
            let range = Range::of(&values).unwrap().unwrap();
            let mut expected = vec![0; bins];
            for &x in &values {
                expected[bin_of(x, range, bins)] += 1;
            }
            prop_assert_eq!(&count(&Pool::new(1), &values, range, bins), &expected);
            let scanned = scan(&Pool::new(1), &values, Some(range), bins).unwrap();
            prop_assert_eq!(scanned.range, range);
            prop_assert_eq!(scanned.counts, Some(expected));
        }
    }

    #[test]
    fn values_outside_the_expected_range_leave_it_uncounted() {
        let values = [vec![0.5; 10_000], vec![1.5]].concat();
        let scanned = scan(&Pool::new(1), &values, Some(Range { min: 0.0, max: 1.0 }), 16).unwrap();
        assert_eq!(scanned.range, Range { min: 0.5, max: 1.5 });
        assert_eq!(scanned.counts, None);
    }
}
