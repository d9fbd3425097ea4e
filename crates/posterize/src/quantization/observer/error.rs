//! Errors of observers.

use super::range::Range;
use crate::error::Error;

/// The error of a batch that cannot be observed. The observer is unchanged.
///
/// ```
/// use posterize::quantization::{ObserveError, ObserverSpec};
///
/// let mut observer = ObserverSpec::min_max().build()?;
/// let error = observer.observe(&[0.5, f32::INFINITY], &[2]).unwrap_err();
/// assert_eq!(error, ObserveError::NonFinite { index: 1, value: f32::INFINITY });
/// assert!(error.in_layer("features.0").to_string().starts_with("features.0: value 1 is inf"));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// A value is NaN or infinite.
    #[error(
        "value {index} is {value}, but values must be finite; check the weights and the \
         preprocessing of the pictures"
    )]
    NonFinite {
        /// The index of the value in memory order.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The width of the range of values overflows an f32.
    #[error("the range of values from {} to {} is too wide to quantize", .0.min, .0.max)]
    TooWide(Range),
    /// The shape has another number of values, no channel axis, or another number of channels than
    /// there are scales.
    #[error("{0}")]
    Shape(String),
    /// The batch has another number of channels than earlier batches.
    #[error("expected {expected} channels as in earlier batches, found {found}")]
    Channels {
        /// The number of channels of earlier batches.
        expected: usize,
        /// The number of channels of this batch.
        found: usize,
    },
}

impl ObserveError {
    /// Converts to an [`Error`] that names the layer whose values were observed.
    pub fn in_layer(self, layer: impl Into<String>) -> Error {
        Error::layer(layer, self.to_string())
    }
}

/// Returns an error if a batch has another number of channels than expected.
pub(super) fn same_channels(expected: usize, found: usize) -> Result<(), ObserveError> {
    if expected == found { Ok(()) } else { Err(ObserveError::Channels { expected, found }) }
}
