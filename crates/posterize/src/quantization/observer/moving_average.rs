//! The moving average of the batches' minima and maxima.

use serde::{Deserialize, Serialize};

use super::error::{ObserveError, same_channels};
use super::range::Range;

/// The moving average of each channel's smallest and largest value; per tensor there is one
/// channel. PyTorch's `MovingAverageMinMaxObserver` and `MovingAveragePerChannelMinMaxObserver`:
/// the first batch sets the average, each later one moves it by `c · (batch − average)`.
///
/// The average depends on the order of the batches. With the first batch and the number of batches
/// at hand it can still be continued by that of later batches: see [`MovingAverage::merge`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct MovingAverage {
    /// The first batch, one range for each channel; empty before data.
    pub(super) first: Vec<Range>,
    /// The average over all batches.
    pub(super) average: Vec<Range>,
    /// How many batches there were.
    pub(super) batches: u64,
}

impl MovingAverage {
    /// Moves the average towards the ranges of one more batch.
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

    /// Continues the average with that of later batches, as though this observer had seen them.
    ///
    /// Over `n` batches `b1 … bn` the average is an affine function of where it started: `bn'` is
    /// `(1−c)^n · start + rest`, where `later`, which started by taking `b1` whole, is
    /// `(1−c)^n · b1 + rest`. So the continued average is `later + (1−c)^n · (this − b1)`.
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
            // Rounding must not turn a one-valued range round.
            *this = Range { min, max: continued(this.max, first.max, later.max).max(min) };
        }
        self.batches += later.batches;
        Ok(())
    }
}
