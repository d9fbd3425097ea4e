//! The moving average of minima and maxima; `MovingAverageMinMaxObserver`.

use serde::{Deserialize, Serialize};

use super::error::{ObserveError, same_channels};
use super::range::Range;

/// The moving average of the smallest and largest value of each batch; `MovingAverageMinMaxObserver`
/// and `MovingAveragePerChannelMinMaxObserver`.
///
/// The first batch sets the average, and each later one adds `c · (batch − average)` to it, where `c`
/// is the averaging constant. The first batch and the number of batches are kept for
/// [`MovingAverage::merge`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct MovingAverage {
    /// The range of each channel, or one for the tensor, in the first batch; empty without data.
    pub(super) first: Vec<Range>,
    /// The moving average of each range.
    pub(super) average: Vec<Range>,
    /// The number of batches.
    pub(super) batches: u64,
}

impl MovingAverage {
    /// Updates the average with the ranges of a batch.
    pub(super) fn update(&mut self, batch: &[Range], constant: f32) -> Result<(), ObserveError> {
        if self.batches == 0 {
            self.first = batch.to_vec();
            self.average = batch.to_vec();
        } else {
            same_channels(self.average.len(), batch.len())?;
            for (average, batch) in self.average.iter_mut().zip(batch) {
                average.min += constant * (batch.min - average.min);
                average.max += constant * (batch.max - average.max);
            }
        }
        self.batches += 1;
        Ok(())
    }

    /// Merges the average of later batches, as if they had been observed here.
    ///
    /// After `n` batches an average is an affine function of its start: `(1 − c)^n · start + rest`.
    /// `later` started at its first batch `b1`, so it is `(1 − c)^n · b1 + rest`. Started at the
    /// average of this observer, it would be `later + (1 − c)^n · (this − b1)`.
    pub(super) fn merge(&mut self, later: &Self, constant: f32) -> Result<(), ObserveError> {
        if later.batches == 0 {
            return Ok(());
        }
        if self.batches == 0 {
            *self = later.clone();
            return Ok(());
        }
        same_channels(self.average.len(), later.average.len())?;
        let kept = (1.0 - f64::from(constant)).powf(later.batches as f64);
        let continued = |this: f32, first: f32, later: f32| {
            (f64::from(later) + kept * (f64::from(this) - f64::from(first))) as f32
        };
        for ((this, first), later) in self.average.iter_mut().zip(&later.first).zip(&later.average)
        {
            let min = continued(this.min, first.min, later.min);
            // Rounding must not make the maximum smaller than the minimum.
            *this = Range { min, max: continued(this.max, first.max, later.max).max(min) };
        }
        self.batches += later.batches;
        Ok(())
    }
}
