//! What can be chosen about an architecture.

use crate::error::{Error, Result};
use crate::ops::Activation;

/// What can be chosen about an architecture. The default is the published network.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Classes of the classifier.
    pub num_classes: usize,
    /// The activation; `None` is the published one (ReLU6, but ReLU in the ResNets). PyTorch's
    /// quantization tutorial has ReLU in its MobileNetV2.
    pub activation: Option<Activation>,
    /// Probability of a zero before the classifier in training; `None` is the published one. The
    /// ResNets have no dropout.
    pub dropout: Option<f32>,
    /// MobileNets only: scales the channels of every layer.
    pub width_mult: f64,
    /// MobileNets only: one row `[t, c, n, s]` for each stage: expansion, channels before scaling,
    /// blocks, stride of the first block. `None` is the published table.
    pub inverted_residual_setting: Option<Vec<[usize; 4]>>,
    /// MobileNets only: channels are rounded to a multiple of this.
    pub round_nearest: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            num_classes: 1000,
            activation: None,
            dropout: None,
            width_mult: 1.0,
            inverted_residual_setting: None,
            round_nearest: 8,
        }
    }
}

impl Config {
    /// Checks what every architecture has.
    pub(super) fn validate(&self, model: &str) -> Result<()> {
        let error = |problem: String| Err(Error::Argument(format!("{model}: {problem}")));
        if self.num_classes == 0 {
            return error("num_classes is 0; a classifier needs at least one class".into());
        }
        match self.dropout {
            Some(p) if !(0.0..=1.0).contains(&p) => {
                error(format!("dropout is {p}; a probability lies between 0 and 1"))
            }
            _ => Ok(()),
        }
    }

    /// The same, and refuses what only the MobileNets have.
    pub(super) fn validate_fixed(&self, model: &str) -> Result<()> {
        self.validate(model)?;
        let published = Self::default();
        let knob = if self.width_mult != published.width_mult {
            "width_mult"
        } else if self.inverted_residual_setting.is_some() {
            "inverted_residual_setting"
        } else if self.round_nearest != published.round_nearest {
            "round_nearest"
        } else {
            return Ok(());
        };
        Err(Error::Argument(format!(
            "{model} has no {knob}: only mobilenet_v2 and tf_mobilenet_v2 have"
        )))
    }
}
