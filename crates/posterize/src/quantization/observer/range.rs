//! Ranges of values.

use serde::{Deserialize, Serialize};

/// The smallest and the largest of a set of values, both finite, `min <= max`.
///
/// ```
/// use posterize::quantization::Range;
///
/// let range = Range::of(&[0.5, -1.0, 2.0])?.unwrap();
/// assert_eq!(range, Range { min: -1.0, max: 2.0 });
/// assert_eq!(range.width(), 3.0);
/// # Ok::<(), posterize::quantization::ObserveError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The smallest value.
    pub min: f32,
    /// The largest value.
    pub max: f32,
}

impl Range {
    /// Returns the smallest range that contains both ranges.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// Returns `max − min`; infinity if that overflows an f32.
    pub fn width(self) -> f32 {
        self.max - self.min
    }

    /// Returns whether it contains `other`.
    pub fn contains(self, other: Self) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    /// Returns whether a range, which may come from a file, is finite with `min <= max`.
    pub(in crate::quantization) fn is_valid(self) -> bool {
        self.min <= self.max && self.width().is_finite()
    }
}
