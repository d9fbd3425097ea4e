//! A range of values.

use serde::{Deserialize, Serialize};

/// The smallest and the largest value seen; both finite, `min <= max`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The smallest value.
    pub min: f32,
    /// The largest value.
    pub max: f32,
}

impl Range {
    /// The smallest range that holds both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// `max − min`; infinite where that is beyond f32.
    pub fn width(self) -> f32 {
        self.max - self.min
    }

    /// Whether `other` lies within.
    pub fn contains(self, other: Self) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    /// Whether it is one that observers make: for ranges that come from a file.
    pub(super) fn is_valid(self) -> bool {
        self.min <= self.max && self.width().is_finite()
    }
}
