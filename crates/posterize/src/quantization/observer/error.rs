//! Batches that cannot be observed.

use super::range::Range;
use crate::error::Error;

/// A batch that cannot be observed. The observer is as it was before.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// A value is NaN or infinite.
    #[error(
        "value {index} is {value}: activations must be finite; check the weights and the \
         preprocessing of the pictures"
    )]
    NonFinite {
        /// Where in memory order.
        index: usize,
        /// NaN, or an infinity.
        value: f32,
    },
    /// The values lie further apart than an f32 can say.
    #[error("values from {} to {} are too far apart to quantize", .0.min, .0.max)]
    TooWide(Range),
    /// The shape does not fit the values or has no channel axis.
    #[error("{0}")]
    Shape(String),
    /// A batch has another number of channels than those before.
    #[error("expected {expected} channels, as observed before, found {found}")]
    Channels {
        /// As in the batches before.
        expected: usize,
        /// In this one.
        found: usize,
    },
}

impl ObserveError {
    /// The library's error, naming the layer whose values were observed.
    pub fn in_layer(self, layer: impl Into<String>) -> Error {
        Error::layer(layer, self.to_string())
    }
}

/// Refuses a batch of another number of channels.
pub(super) fn same_channels(expected: usize, found: usize) -> Result<(), ObserveError> {
    if expected == found { Ok(()) } else { Err(ObserveError::Channels { expected, found }) }
}
