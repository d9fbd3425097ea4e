//! Batch normalization.

use posterize_kernels::f32::{self, Clamp};
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, prints_as_a_layer, reads_each_value_once, takes_one_input};
use super::kernel::{Call, Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::limits::check_sizes;
use super::shapes::expect_channels;
use super::training::{Train, Training};
use super::{Initializer, Int8Rule, Layer, Operator, Parameter, Role, Saved, python};

/// `torch.nn.BatchNorm2d` over `[N, C, H, W]`, or `torch.nn.BatchNorm1d` over `[N, C]`.
///
/// In eval mode it computes `(x − running_mean) / sqrt(running_var + eps) · weight + bias` for each
/// channel; in training it uses the mean and the biased variance of the batch instead (Ioffe and
/// Szegedy 2015, <https://arxiv.org/abs/1502.03167>).
///
/// ```
/// use posterize::ops::{BatchNorm, Op};
///
/// let norm = Op::from(BatchNorm::two_d(8).eps(1e-3));
/// assert_eq!(norm.kind(), "BatchNorm2d");
/// let names: Vec<_> = norm.parameters().iter().map(|parameter| parameter.role.name()).collect();
/// assert_eq!(names, ["weight", "bias", "running_mean", "running_var"]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BatchNorm {
    /// Number of channels C, at least 1.
    pub num_features: usize,
    /// Value added to the variance for numerical stability, not negative.
    pub eps: f32,
    /// Weight of the batch's mean and variance in the running estimates:
    /// `running = (1 − momentum) · running + momentum · batch`.
    pub momentum: f32,
    /// 2 for `BatchNorm2d` over `[N, C, H, W]`, 1 for `BatchNorm1d` over `[N, C]`.
    pub dimensions: u8,
}

impl BatchNorm {
    /// Creates a `BatchNorm2d` with PyTorch's defaults: an `eps` of 1e-5 and a `momentum` of 0.1.
    pub const fn two_d(num_features: usize) -> Self {
        Self { num_features, eps: 1e-5, momentum: 0.1, dimensions: 2 }
    }

    /// Creates a `BatchNorm1d` with PyTorch's defaults: an `eps` of 1e-5 and a `momentum` of 0.1.
    pub const fn one_d(num_features: usize) -> Self {
        Self { dimensions: 1, ..Self::two_d(num_features) }
    }

    /// Sets the value that is added to the variance.
    #[must_use]
    pub const fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Sets the weight of the batch in the running estimates.
    #[must_use]
    pub const fn momentum(mut self, momentum: f32) -> Self {
        self.momentum = momentum;
        self
    }

    /// Returns the factors and summands of the channels in evaluation mode: `weight / sqrt(running_var +
    /// eps)`, and `bias - running_mean * factor`.
    pub(crate) fn scale_and_shift(
        &self,
        gamma: &[f32],
        beta: &[f32],
        mean: &[f32],
        var: &[f32],
    ) -> [Vec<f32>; 2] {
        let scale: Vec<f32> =
            gamma.iter().zip(var).map(|(g, v)| g / (v + self.eps).sqrt()).collect();
        let shift = beta.iter().zip(mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        [scale, shift]
    }
}

impl Operator for BatchNorm {
    fn kind(&self) -> String {
        format!("BatchNorm{}d", self.dimensions)
    }

    fn python(&self) -> String {
        format!(
            "{}, eps={}, momentum={}, affine=True, track_running_stats=True",
            self.num_features,
            python::float(self.eps),
            python::float(self.momentum)
        )
    }

    prints_as_a_layer!();

    takes_one_input!();

    fn parameters(&self) -> Vec<Parameter> {
        let parameter =
            |role, value| Parameter::new(role, [self.num_features], Initializer::Constant(value));
        vec![
            parameter(Role::Weight, 1.0),
            parameter(Role::Bias, 0.0),
            parameter(Role::RunningMean, 0.0),
            parameter(Role::RunningVar, 1.0),
        ]
    }

    fn validate(&self) -> Result<(), String> {
        check_sizes(&[self.num_features])?;
        if !matches!(self.dimensions, 1 | 2) {
            return Err(format!("dimensions must be 1 or 2, found {}", self.dimensions));
        }
        if self.num_features == 0 {
            return Err("num_features must be at least 1".into());
        }
        if !(self.eps >= 0.0 && self.eps.is_finite()) {
            return Err(format!("eps must be finite and not negative, found {}", self.eps));
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let rank = if self.dimensions == 2 { 4 } else { 2 };
        if inputs[0].len() != rank {
            return Err(format!("expected an input of {rank} dimensions, found {:?}", inputs[0]));
        }
        expect_channels(self.num_features, inputs[0][1], inputs[0])?;
        Ok(inputs[0].to_vec())
    }

    fn multiply_adds(&self, _: &[usize]) -> u64 {
        0
    }

    reads_each_value_once!();

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float { reason: "it has no int8 form; fuse it into the layer before it" }
    }
}

impl Layer for BatchNorm {
    fn class(&self) -> &'static str {
        if self.dimensions == 2 { "BatchNorm2d" } else { "BatchNorm1d" }
    }
}

impl Saved for BatchNorm {
    const VERSION: u32 = 1;
}

impl Compute for BatchNorm {
    fn float(&self, cx: &FloatContext<'_>, _: &Shapes) -> Made<f32> {
        let var = cx.required(Role::RunningVar)?;
        let gamma = cx.required(Role::Weight)?;
        let mean = cx.required(Role::RunningMean)?;
        let beta = cx.required(Role::Bias)?;
        let [scale, shift] = self.scale_and_shift(gamma, beta, mean, var);
        function("scale_shift", move |Call { isa, pool, .. }, input, output| {
            let (channels, x) = (scale.len(), input(0));
            f32::scale_shift(isa, pool, channels, &scale, &shift, Clamp::NONE, x, output);
        })
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err("a batch norm has no int8 kernel; fuse it into the layer before it".into())
    }
}

impl Train for BatchNorm {
    fn training(&self) -> Training {
        Training::BatchNorm { eps: self.eps, momentum: self.momentum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_norm_prints_as_in_pytorch() {
        assert_eq!(
            BatchNorm::two_d(32).python(),
            "32, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True"
        );
        let text = BatchNorm::two_d(8).eps(1e-3).python();
        assert_eq!(text.split(", ").nth(1), Some("eps=0.001"));
    }
}
