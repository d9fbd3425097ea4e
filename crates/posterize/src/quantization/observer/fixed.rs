//! A range that was given and that values do not change, as in PyTorch's `FixedQParamsObserver`.

use serde::{Deserialize, Serialize};

use super::range::Range;

/// A given range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fixed {
    /// The range of the values that it was chosen for.
    pub(super) observed: Range,
    /// The range that the scale and zero point are calculated from.
    pub(super) chosen: Range,
}

impl Fixed {
    /// Returns whether ranges that may come from a file are valid.
    pub(super) fn is_valid(self) -> bool {
        self.observed.is_valid() && self.chosen.is_valid()
    }
}
