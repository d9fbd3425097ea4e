//! The running minimum and maximum; `MinMaxObserver`.

use serde::{Deserialize, Serialize};

use super::error::{ObserveError, same_channels};
use super::range::Range;

/// The smallest and largest value of all batches; `MinMaxObserver` and `PerChannelMinMaxObserver`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct MinMax {
    /// The range of each channel, or one for the tensor; empty without data.
    pub(super) ranges: Vec<Range>,
}

impl MinMax {
    /// Extends the ranges by those of a batch or of another observer.
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
