//! The weight decay of an optimizer.

use serde::{Deserialize, Serialize};

use super::super::ParameterGroup;
use crate::error::{Error, Result};

/// The parameters that weight decay is applied to.
///
/// ```
/// use posterize::training::{Decay, SgdOptions};
///
/// assert_eq!(SgdOptions::default().decay, Decay::All);
/// assert_eq!(serde_json::to_value(Decay::Weights).unwrap(), "weights");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// All parameters, the default of PyTorch's optimizers.
    #[default]
    All,
    /// The weights of convolutions and linear layers, but not biases and batch norms.
    Weights,
}

impl Decay {
    /// Returns the weight decay of a parameter of that group: `weight_decay`, or 0 if it is not applied
    /// to the group.
    pub(super) fn of(self, group: ParameterGroup, weight_decay: f64) -> f64 {
        match self {
            Self::Weights if group != ParameterGroup::Weight => 0.0,
            Self::All | Self::Weights => weight_decay,
        }
    }
}

/// Returns an error if the weight decay is negative or not finite.
pub(super) fn check_weight_decay(weight_decay: f64) -> Result<()> {
    if weight_decay >= 0.0 && weight_decay.is_finite() {
        return Ok(());
    }
    Err(Error::Argument(format!("weight_decay must be 0 or more, found {weight_decay}")))
}
