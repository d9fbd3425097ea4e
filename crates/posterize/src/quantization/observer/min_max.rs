//! The running minimum and maximum.

use serde::{Deserialize, Serialize};

use super::error::{ObserveError, same_channels};
use super::range::Range;

/// The smallest and largest value of each channel over all batches; per tensor there is one
/// channel. PyTorch's `MinMaxObserver` and `PerChannelMinMaxObserver`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct MinMax {
    /// One for each channel; empty before data.
    pub(super) ranges: Vec<Range>,
}

impl MinMax {
    /// Takes in the ranges of a batch, or those of another observer: the union is the same.
    pub(super) fn update(&mut self, batch: &[Range]) -> Result<(), ObserveError> {
        if self.ranges.is_empty() {
            self.ranges = batch.to_vec();
            return Ok(());
        }
        same_channels(self.ranges.len(), batch.len())?;
        let unions = self.ranges.iter().zip(batch).map(|(&old, &new)| old.union(new).checked());
        self.ranges = unions.collect::<Result<_, _>>()?;
        Ok(())
    }
}
