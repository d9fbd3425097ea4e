//! The settings of an architecture.

use crate::error::{Error, Result};
use crate::ops::Activation;

/// The settings of an architecture. The default is the published network.
///
/// ```
/// use posterize::models::{Config, mobilenet_v2};
///
/// let config = Config { num_classes: 10, width_mult: 0.5, ..Config::default() };
/// let model = mobilenet_v2(&config)?;
/// assert_eq!(model.graph().infer(&[1, 3, 224, 224])?.last().unwrap().shape, [1, 10]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The number of classes, at least 1.
    pub num_classes: usize,
    /// The activation; `None` is the published one (ReLU in ResNets, otherwise ReLU6). The
    /// MobileNetV2 of PyTorch's quantization tutorial has ReLU.
    pub activation: Option<Activation>,
    /// The dropout probability before the classifier, 0 to 1; `None` is the published one. Must be
    /// `None` for ResNets, which have no dropout.
    pub dropout: Option<f32>,
    /// The factor by which the channels of every layer are scaled. Only for MobileNetV2.
    pub width_mult: f64,
    /// One row `[t, c, n, s]` for each stage: the expansion, the channels before scaling, the
    /// number of blocks and the stride of the first block. `None` is the published table. Only for
    /// MobileNetV2.
    pub inverted_residual_setting: Option<Vec<[usize; 4]>>,
    /// Channels are rounded to a multiple of this number. Only for MobileNetV2.
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
    /// Checks the fields that every architecture uses.
    pub(super) fn validate(&self, model: &str) -> Result<()> {
        let error = |problem: String| Err(Error::Argument(format!("{model}: {problem}")));
        if self.num_classes == 0 {
            return error("num_classes is 0; it must be at least 1".into());
        }
        match self.dropout {
            Some(p) if !(0.0..=1.0).contains(&p) => {
                error(format!("dropout is {p}; it must be between 0 and 1"))
            }
            _ => Ok(()),
        }
    }

    /// Checks the fields of an architecture that is not a MobileNetV2: those only for it must be
    /// the default.
    pub(super) fn validate_fixed(&self, model: &str) -> Result<()> {
        self.validate(model)?;
        let published = Self::default();
        let field = if self.width_mult != published.width_mult {
            "width_mult"
        } else if self.inverted_residual_setting.is_some() {
            "inverted_residual_setting"
        } else if self.round_nearest != published.round_nearest {
            "round_nearest"
        } else {
            return Ok(());
        };
        Err(Error::Argument(format!(
            "{model} has no {field}; leave the default, or use mobilenet_v2 or tf_mobilenet_v2"
        )))
    }
}
