//! The optimizers to choose from.

use serde::{Deserialize, Serialize};

use super::{Adam, AdamOptions, Optimizer, Sgd, SgdOptions};
use crate::error::Result;

/// An optimizer and its options.
///
/// ```
/// use posterize::training::{AdamOptions, OptimizerOptions};
///
/// let options = OptimizerOptions::AdamW(AdamOptions { weight_decay: 0.05, ..AdamOptions::default() });
/// assert_eq!(options.name(), "adamw");
/// assert!(options.build().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OptimizerOptions {
    /// Stochastic gradient descent; `torch.optim.SGD`.
    Sgd(SgdOptions),
    /// Adam; `torch.optim.Adam`.
    Adam(AdamOptions),
    /// Adam with decoupled weight decay; `torch.optim.AdamW`.
    AdamW(AdamOptions),
}

impl Default for OptimizerOptions {
    fn default() -> Self {
        Self::Sgd(SgdOptions::default())
    }
}

impl From<SgdOptions> for OptimizerOptions {
    fn from(options: SgdOptions) -> Self {
        Self::Sgd(options)
    }
}

impl OptimizerOptions {
    /// Returns the name in lower case: `sgd`, `adam` or `adamw`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sgd(_) => "sgd",
            Self::Adam(_) => "adam",
            Self::AdamW(_) => "adamw",
        }
    }

    /// Creates the optimizer, without steps.
    ///
    /// # Errors
    /// Returns an error if an option is out of range.
    pub fn build(&self) -> Result<Box<dyn Optimizer>> {
        Ok(match *self {
            Self::Sgd(options) => Box::new(Sgd::new(options)?),
            Self::Adam(options) => Box::new(Adam::new(options)?),
            Self::AdamW(options) => Box::new(Adam::decoupled(options)?),
        })
    }
}
