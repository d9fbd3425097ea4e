//! The smallest and the largest value of a slice, computed in one pass that also detects NaN and
//! infinities.

use posterize_kernels::Pool;

use super::error::ObserveError;
use super::range::Range;
use crate::quantization::qparams::ChannelLayout;

/// The smallest length of a slice that is split between threads.
pub(super) const PARALLEL: usize = 1 << 17;

/// The smallest number of values of a task.
pub(super) const MIN_PART: usize = PARALLEL / 2;

impl Range {
    /// Returns the range of `values`; `None` if it is empty.
    ///
    /// # Errors
    /// Returns an error if a value is NaN or infinite, or if the width of the range overflows an f32.
    pub fn of(values: &[f32]) -> Result<Option<Self>, ObserveError> {
        Self::of_on(&Pool::new(1), values)
    }

    /// [`Self::of`] on the threads of a pool.
    pub(super) fn of_on(pool: &Pool, values: &[f32]) -> Result<Option<Self>, ObserveError> {
        if values.is_empty() {
            return Ok(None);
        }
        let extremes = if values.len() > PARALLEL {
            let parts = pool.map(values.len().div_ceil(MIN_PART), &|part| {
                let start = part * MIN_PART;
                Extremes::of(&values[start..values.len().min(start + MIN_PART)])
            });
            parts.into_iter().fold(Extremes::none(), Extremes::join)
        } else {
            Extremes::of(values)
        };
        extremes.range(values).map(Some)
    }

    /// Returns the range, or an error if its width overflows an f32.
    pub(super) fn checked(self) -> Result<Self, ObserveError> {
        if self.width().is_finite() { Ok(self) } else { Err(ObserveError::TooWide(self)) }
    }
}

/// The smallest and the largest value of a slice, and whether it holds NaN, which comparisons skip.
#[derive(Clone, Copy)]
pub(super) struct Extremes {
    min: f32,
    max: f32,
    nan: bool,
}

impl Extremes {
    pub(super) fn none() -> Self {
        Self { min: f32::INFINITY, max: f32::NEG_INFINITY, nan: false }
    }

    pub(super) fn of(values: &[f32]) -> Self {
        // Independent lanes, each step a comparison and a selection, so that the compiler uses vector
        // instructions.
        const LANES: usize = 32;
        let mut min = [f32::INFINITY; LANES];
        let mut max = [f32::NEG_INFINITY; LANES];
        let mut nan = [false; LANES];
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                let x = chunk[lane];
                min[lane] = if x < min[lane] { x } else { min[lane] };
                max[lane] = if x > max[lane] { x } else { max[lane] };
                nan[lane] |= x.is_nan();
            }
        }
        let mut all = Self::none();
        for lane in 0..LANES {
            all = all.join(Self { min: min[lane], max: max[lane], nan: nan[lane] });
        }
        for &x in rest {
            all = all.join(Self { min: x, max: x, nan: x.is_nan() });
        }
        all
    }

    /// Returns whether all values are numbers within `range`.
    pub(super) fn lie_within(self, range: Range) -> bool {
        !self.nan && range.min <= self.min && self.max <= range.max
    }

    pub(super) fn join(self, other: Self) -> Self {
        Self {
            min: if other.min < self.min { other.min } else { self.min },
            max: if other.max > self.max { other.max } else { self.max },
            nan: self.nan | other.nan,
        }
    }

    /// Returns the range of `values` (not empty), which these are the extremes of.
    pub(super) fn range(self, values: &[f32]) -> Result<Range, ObserveError> {
        if self.nan || self.min == f32::NEG_INFINITY || self.max == f32::INFINITY {
            let index = values.iter().position(|x| !x.is_finite()).unwrap_or_default();
            return Err(ObserveError::NonFinite { index, value: values[index] });
        }
        // Adding 0 turns −0 into 0, so that the sign does not depend on the order of the lanes.
        Range { min: self.min + 0.0, max: self.max + 0.0 }.checked()
    }
}

/// Returns the range of each channel of a row-major tensor; an empty vector if it has no values.
///
/// # Errors
/// Returns an error if a value is NaN or infinite, or if the width of a range overflows an f32.
pub(super) fn channel_ranges(
    values: &[f32],
    layout: ChannelLayout,
) -> Result<Vec<Range>, ObserveError> {
    let ChannelLayout { inner, channels } = layout;
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let mut extremes = vec![Extremes::none(); channels];
    if inner == 1 {
        for row in values.chunks_exact(channels) {
            for (extremes, &x) in extremes.iter_mut().zip(row) {
                *extremes = extremes.join(Extremes { min: x, max: x, nan: x.is_nan() });
            }
        }
    } else {
        for group in values.chunks_exact(inner * channels) {
            for (extremes, run) in extremes.iter_mut().zip(group.chunks_exact(inner)) {
                *extremes = extremes.join(Extremes::of(run));
            }
        }
    }
    extremes.into_iter().map(|extremes| extremes.range(values)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_value_that_is_not_finite_is_reported() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for len in [1, 31, 32, 100, PARALLEL * 2] {
                for index in [0, len / 2, len - 1] {
                    let mut values = vec![1.0; len];
                    values[index] = bad;
                    let error = Range::of_on(&Pool::new(2), &values).unwrap_err();
                    assert!(
                        matches!(error, ObserveError::NonFinite { index: at, .. } if at == index),
                        "{error}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_range_whose_width_overflows_is_an_error() {
        assert!(matches!(Range::of(&[-3e38, 3e38]), Err(ObserveError::TooWide(_))));
        assert_eq!(Range::of(&[]), Ok(None));
    }

    proptest! {
        #[test]
        fn the_range_equals_a_sequential_search(values in prop::collection::vec(-1e30f32..1e30, 1..300)) {
            let min = values.iter().copied().fold(f32::INFINITY, f32::min);
            let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(Range::of(&values).unwrap(), Some(Range { min, max }));
        }

        #[test]
        fn each_channel_has_the_range_of_its_values(outer in 1usize..4, channels in 1usize..5, inner in 1usize..40) {
            let values: Vec<f32> = (0..outer * channels * inner)
                .map(|i| ((i * 7919) % 1000) as f32 - 500.0)
                .collect();
            let ranges = channel_ranges(&values, ChannelLayout { inner, channels }).unwrap();
            for (channel, range) in ranges.iter().enumerate() {
                let own: Vec<f32> = (0..values.len())
                    .filter(|i| i / inner % channels == channel)
                    .map(|i| values[i])
                    .collect();
                prop_assert_eq!(Some(*range), Range::of(&own).unwrap());
            }
        }
    }
}
