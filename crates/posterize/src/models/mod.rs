//! Architectures with the names and shapes of their published checkpoints.
//!
//! ```
//! use posterize::models::{self, Config};
//!
//! let small = Config { width_mult: 0.35, num_classes: 10, ..Config::default() };
//! let model = models::mobilenet_v2(&small)?.init(0);
//! assert_eq!(model.graph().kind(), "MobileNetV2");
//!
//! let by_name = models::by_name("resnet50", &Config::default())?;
//! assert_eq!(by_name.graph().infer(&[1, 3, 224, 224])?.last().unwrap().shape, [1, 1000]);
//! # Ok::<(), posterize::Error>(())
//! ```

mod efficientnet_lite;
mod fashion_mnist;
mod mobilenet_v2;
mod registry;
mod resnet;

pub use efficientnet_lite::EfficientNetLite;
pub use mobilenet_v2::MobileNetV2;
pub use registry::{augmentation, by_name, config, names, preprocessing};
pub use resnet::ResNet;

use crate::error::{Error, Result};
use crate::ops::{Activation, BatchNorm, Conv2d};
use crate::model::Architecture;
use crate::nn::Sequential;

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
    fn validate(&self, model: &str) -> Result<()> {
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
    fn validate_fixed(&self, model: &str) -> Result<()> {
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

/// `torchvision.models.mobilenet_v2`.
///
/// # Errors
/// A [`Config`] out of range, with the knob's name.
pub fn mobilenet_v2(config: &Config) -> Result<Architecture> {
    Architecture::trace(&MobileNetV2::new(config)?)
}

/// MobileNetV2 with torchvision's names and TensorFlow's SAME padding.
///
/// # Errors
/// A [`Config`] out of range, with the knob's name.
pub fn tf_mobilenet_v2(config: &Config) -> Result<Architecture> {
    Architecture::trace(&MobileNetV2::tensorflow(config)?)
}

/// EfficientNet-Lite `variant`, 0 to 4.
///
/// # Errors
/// There is no such variant, or a [`Config`] out of range.
pub fn efficientnet_lite(variant: usize, config: &Config) -> Result<Architecture> {
    Architecture::trace(&EfficientNetLite::new(variant, config)?)
}

/// `torchvision.models.resnet18`.
///
/// # Errors
/// A [`Config`] out of range, with the knob's name.
pub fn resnet18(config: &Config) -> Result<Architecture> {
    Architecture::trace(&ResNet::resnet18(config)?)
}

/// `torchvision.models.resnet50`.
///
/// # Errors
/// A [`Config`] out of range, with the knob's name.
pub fn resnet50(config: &Config) -> Result<Architecture> {
    Architecture::trace(&ResNet::resnet50(config)?)
}

/// The multiple of `divisor` nearest to `value`, at least `divisor`, and one more where that would
/// take away over 10 %: torchvision's `_make_divisible`.
fn make_divisible(value: f64, divisor: usize) -> usize {
    let rounded = ((value + divisor as f64 / 2.0) as usize / divisor * divisor).max(divisor);
    if (rounded as f64) < 0.9 * value { rounded + divisor } else { rounded }
}

/// Convolution without bias, batch norm, activation: `0`, `1` and `2` of a `ConvBNReLU`.
fn conv_bn_relu(conv: Conv2d, activation: Activation) -> Sequential {
    let norm = BatchNorm::two_d(conv.out_channels);
    Sequential::of_kind("ConvBNReLU").then(conv.bias(false)).then(norm).then(activation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_round_to_the_nearest_multiple_but_lose_at_most_a_tenth() {
        // Values of torchvision's _make_divisible.
        let cases = [
            (32.0 * 0.35, 8, 16), // 11.2 is nearer to 8, which is 29 % less
            (24.0 * 0.35, 8, 8),
            (16.0 * 1.4, 16, 32), // 22.4 is nearer to 16, which is 29 % less
            (1280.0, 8, 1280),
            (96.0 * 0.75, 8, 72),
            (4.0, 8, 8),
            (20.0, 8, 24),
            (3.0, 1, 3),
        ];
        for (value, divisor, expected) in cases {
            assert_eq!(make_divisible(value, divisor), expected, "{value} by {divisor}");
        }
    }

    #[test]
    fn knobs_out_of_range_are_errors_that_name_them() {
        let default = Config::default;
        let cases = [
            (Config { num_classes: 0, ..default() }, "num_classes is 0"),
            (Config { dropout: Some(1.5), ..default() }, "dropout is 1.5"),
            (Config { width_mult: 0.0, ..default() }, "width_mult is 0"),
            (Config { width_mult: f64::NAN, ..default() }, "width_mult is NaN"),
            (Config { width_mult: 1e9, ..default() }, "width_mult is 1000000000"),
            (Config { round_nearest: 0, ..default() }, "round_nearest is 0"),
            (Config { inverted_residual_setting: Some(vec![]), ..default() }, "is empty"),
            (
                Config {
                    inverted_residual_setting: Some(vec![[1, 16, 1, 1], [6, 24, 0, 2]]),
                    ..default()
                },
                "row 1, [6, 24, 0, 2]: n (blocks) is 0",
            ),
            (
                Config { inverted_residual_setting: Some(vec![[1, 16, 1, 3]]), ..default() },
                "s (stride) is 3; it must be 1 or 2",
            ),
        ];
        for (config, expected) in cases {
            let error = mobilenet_v2(&config).unwrap_err().to_string();
            assert!(error.contains("mobilenet_v2: ") && error.contains(expected), "{error}");
        }
        let error = resnet18(&Config { width_mult: 0.5, ..default() }).unwrap_err().to_string();
        assert_eq!(error, "resnet18 has no width_mult: only mobilenet_v2 and tf_mobilenet_v2 have");
        let error = efficientnet_lite(5, &default()).unwrap_err().to_string();
        assert!(error.contains("0 to 4"), "{error}");
    }
}
