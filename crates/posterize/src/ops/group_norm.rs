//! Group normalization.

use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, prints_as_a_layer, reads_each_value_once, takes_one_input};
use super::group;
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes};
use super::limits::check_sizes;
use super::shapes::expect_channels;
use super::training::{Train, Training};
use super::{Initializer, Int8Rule, Layer, Operator, Parameter, Role, Saved, python};

/// `torch.nn.GroupNorm`: normalizes groups of channels of `[N, C, …]` to a mean of 0 and a variance of 1.
///
/// It computes `(x − mean) / sqrt(variance + eps) · weight + bias`, with the mean and the biased variance
/// over a group of channels and all axes behind them (Wu and He 2018,
/// <https://arxiv.org/abs/1803.08494>).
///
/// ```
/// use posterize::ops::GroupNorm;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&GroupNorm::new(2, 4).eps(0.0))?.init(0);
/// let y = model.forward(&Tensor::new([1, 4], vec![3.0, 5.0, 8.0, 6.0])?)?;
/// assert_eq!(y.data(), [-1.0, 1.0, 1.0, -1.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct GroupNorm {
    /// Number of groups, a divisor of the number of channels.
    pub num_groups: usize,
    /// Number of channels.
    pub num_channels: usize,
    /// Value added to the variance for numerical stability, not negative.
    pub eps: f32,
    /// Whether it has a weight and a bias for each channel.
    pub affine: bool,
}

impl GroupNorm {
    /// Creates a norm of `num_groups` groups with PyTorch's defaults: an `eps` of 1e-5, a weight and a
    /// bias.
    pub const fn new(num_groups: usize, num_channels: usize) -> Self {
        Self { num_groups, num_channels, eps: 1e-5, affine: true }
    }

    /// Sets the value that is added to the variance.
    #[must_use]
    pub const fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Sets whether it has a weight and a bias.
    #[must_use]
    pub const fn affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }
}

const NO_INT8: &str = "its mean and variance are computed in float";

impl Operator for GroupNorm {
    fn kind(&self) -> String {
        "GroupNorm".into()
    }

    fn python(&self) -> String {
        format!(
            "{}, {}, eps={}, affine={}",
            self.num_groups,
            self.num_channels,
            python::float(self.eps),
            python::boolean(self.affine)
        )
    }

    prints_as_a_layer!();
    takes_one_input!();

    fn parameters(&self) -> Vec<Parameter> {
        let parameter =
            |role, value| Parameter::new(role, [self.num_channels], Initializer::Constant(value));
        if !self.affine {
            return Vec::new();
        }
        vec![parameter(Role::Weight, 1.0), parameter(Role::Bias, 0.0)]
    }

    fn multiply_adds(&self, _: &[usize]) -> u64 {
        0
    }

    reads_each_value_once!();

    fn validate(&self) -> Result<(), String> {
        check_sizes(&[self.num_groups, self.num_channels])?;
        if self.num_groups == 0
            || self.num_channels == 0
            || !self.num_channels.is_multiple_of(self.num_groups)
        {
            return Err(format!(
                "num_groups must divide num_channels, found {} and {}",
                self.num_groups, self.num_channels
            ));
        }
        if !(self.eps >= 0.0 && self.eps.is_finite()) {
            return Err(format!("eps must be finite and not negative, found {}", self.eps));
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let channels = inputs[0].get(1).copied().unwrap_or(0);
        expect_channels(self.num_channels, channels, inputs[0])?;
        Ok(inputs[0].to_vec())
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float { reason: NO_INT8 }
    }
}

impl Layer for GroupNorm {
    fn class(&self) -> &'static str {
        "GroupNorm"
    }
}

impl Saved for GroupNorm {
    const VERSION: u32 = 1;
}

impl Compute for GroupNorm {
    fn float(&self, cx: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let shape = &shapes.inputs[0];
        let channels = shape[1];
        let parameter = |role, default| match (cx.parameter)(role) {
            Some(values) => values.to_vec(),
            None => vec![default; channels],
        };
        let (weight, bias) = (parameter(Role::Weight, 1.0), parameter(Role::Bias, 0.0));
        group::norm("group_norm", shape, self.num_groups, self.eps, [weight, bias])
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err(NO_INT8.into())
    }
}

impl Train for GroupNorm {
    fn training(&self) -> Training {
        Training::Untrainable("its weight and bias have no gradients yet")
    }
}
