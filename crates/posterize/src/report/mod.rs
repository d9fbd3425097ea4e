//! Statistics that tell how an int8 network differs from its float network: in accuracy, in single
//! predictions, and in each layer.
//!
//! [`compare_predictions`] runs both networks over labelled pictures. [`Outcomes`] counts which of the two
//! is right, and computes whether the difference in accuracy is larger than chance explains.
//! [`layer_statistics`] compares the layers, and [`layer_sensitivity`] measures how much each of them costs.

mod activations;
mod histogram;
mod layers;
mod outcomes;
mod predictions;
mod proportion;
mod sensitivity;
mod weights;

pub use activations::ActivationStatistics;
pub use histogram::Histogram;
pub use layers::{LayerStatistics, layer_statistics};
pub use outcomes::{Outcome, Outcomes};
pub use predictions::{ChangedPrediction, PredictionComparison, TopClass, compare_predictions};
pub use proportion::{Interval, wilson_interval};
pub use sensitivity::layer_sensitivity;
pub use weights::{ChannelWeights, WeightStatistics};
