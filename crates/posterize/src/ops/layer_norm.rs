//! Layer normalization.

use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, prints_as_a_layer, reads_each_value_once, takes_one_input};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::limits::{check_sizes, check_weight};
use super::lines::Lines;
use super::training::{Train, Training};
use super::{Initializer, Int8Rule, Layer, Operator, Parameter, Role, Saved, python};

/// `torch.nn.LayerNorm`: normalizes the last axes, or the channels, to a mean of 0 and a variance of 1.
///
/// It computes `(x − mean) / sqrt(variance + eps) · weight + bias`, with the mean and the biased variance
/// over the axes of `normalized_shape` (Ba et al. 2016, <https://arxiv.org/abs/1607.06450>). Over the
/// channels of `[N, C, H, W]` it is what `ConvNeXt` calls `LayerNorm2d`.
///
/// ```
/// use posterize::ops::LayerNorm;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&LayerNorm::new([2]).eps(0.0))?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![3.0, 5.0])?)?;
/// assert_eq!(y.data(), [-1.0, 1.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LayerNorm {
    /// The sizes of the last axes, over which the values are normalized; `[C]` for the channels.
    pub normalized_shape: Vec<usize>,
    /// Value added to the variance for numerical stability, not negative.
    pub eps: f32,
    /// Whether it has a weight of the shape `normalized_shape`.
    pub elementwise_affine: bool,
    /// Whether it has a bias of that shape.
    pub bias: bool,
    /// Whether the axis is 1, that of the channels, instead of the last.
    pub channels_first: bool,
}

impl LayerNorm {
    /// Creates a norm over the last axes, which have these sizes, with PyTorch's defaults: an `eps` of
    /// 1e-5, a weight and a bias.
    pub fn new(normalized_shape: impl Into<Vec<usize>>) -> Self {
        Self {
            normalized_shape: normalized_shape.into(),
            eps: 1e-5,
            elementwise_affine: true,
            bias: true,
            channels_first: false,
        }
    }

    /// Creates a norm over the channels of `[N, C, …]`.
    pub fn channels_first(channels: usize) -> Self {
        Self { channels_first: true, ..Self::new([channels]) }
    }

    /// Sets the value that is added to the variance.
    #[must_use]
    pub const fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Sets whether it has a weight.
    #[must_use]
    pub const fn elementwise_affine(mut self, elementwise_affine: bool) -> Self {
        self.elementwise_affine = elementwise_affine;
        self
    }

    /// Sets whether it has a bias.
    #[must_use]
    pub const fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Returns the first normalized axis of an input of so many axes.
    fn first(&self, rank: usize) -> usize {
        if self.channels_first { 1 } else { rank.saturating_sub(self.normalized_shape.len()) }
    }

    /// Returns a parameter's values in the order of a line in memory.
    fn in_memory(&self, values: &[f32], rank: usize) -> Vec<f32> {
        // The only order that differs: channels are last in memory.
        let (4, &[c, h, w]) = (rank, self.normalized_shape.as_slice()) else {
            return values.to_vec();
        };
        (0..c * h * w).map(|at| values[at % c * h * w + at / c]).collect()
    }
}

const NO_INT8: &str = "its mean and variance are computed in float";

impl Operator for LayerNorm {
    fn kind(&self) -> String {
        "LayerNorm".into()
    }

    fn python(&self) -> String {
        let shape = python::tuple(&self.normalized_shape);
        let eps = python::float(self.eps);
        let affine = python::boolean(self.elementwise_affine);
        format!("{shape}, eps={eps}, elementwise_affine={affine}")
    }

    prints_as_a_layer!();
    takes_one_input!();

    fn parameters(&self) -> Vec<Parameter> {
        let parameter = |role, value| {
            let init = Initializer::Constant(value);
            Parameter::new(role, self.normalized_shape.clone(), init)
        };
        let weight = self.elementwise_affine.then(|| parameter(Role::Weight, 1.0));
        let bias = self.bias.then(|| parameter(Role::Bias, 0.0));
        weight.into_iter().chain(bias).collect()
    }

    fn multiply_adds(&self, _: &[usize]) -> u64 {
        0
    }

    reads_each_value_once!();

    fn validate(&self) -> Result<(), String> {
        check_sizes(&self.normalized_shape)?;
        check_weight(&self.normalized_shape)?;
        if self.normalized_shape.is_empty() || self.normalized_shape.contains(&0) {
            return Err(format!(
                "normalized_shape must have sizes of at least 1, found {:?}",
                self.normalized_shape
            ));
        }
        if self.channels_first && self.normalized_shape.len() != 1 {
            return Err(format!(
                "a norm over channels has one size, found {:?}",
                self.normalized_shape
            ));
        }
        if !(self.eps >= 0.0 && self.eps.is_finite()) {
            return Err(format!("eps must be finite and not negative, found {}", self.eps));
        }
        Ok(())
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let (shape, sizes) = (inputs[0], &self.normalized_shape);
        let first = self.first(shape.len());
        if first == 0 || shape.get(first..first + sizes.len()) != Some(sizes.as_slice()) {
            return Err(format!(
                "expected an input with the sizes {sizes:?} from axis {first} on, behind the batch; \
                 found {shape:?}"
            ));
        }
        Ok(shape.to_vec())
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float { reason: NO_INT8 }
    }
}

impl Layer for LayerNorm {
    fn class(&self) -> &'static str {
        "LayerNorm"
    }
}

impl Saved for LayerNorm {
    const VERSION: u32 = 1;
}

impl Compute for LayerNorm {
    fn float(&self, cx: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let shape = &shapes.inputs[0];
        let (rank, first) = (shape.len(), self.first(shape.len()));
        let normalized = first..first + self.normalized_shape.len();
        let lines = Lines::of_axes(shape, |axis| normalized.contains(&axis));
        let parameter = |role, default| match (cx.parameter)(role) {
            Some(values) => self.in_memory(values, rank),
            None => vec![default; self.normalized_shape.iter().product()],
        };
        let (weight, bias) = (parameter(Role::Weight, 1.0), parameter(Role::Bias, 0.0));
        let eps = f64::from(self.eps);
        function("layer_norm", move |call, input, output| {
            lines.run(call.pool, input(0), output, |_, line, output| {
                let [mean, variance] = line.moments();
                let scale = 1.0 / (variance + eps).sqrt();
                line.each(|index, at, x| {
                    let normalized = ((f64::from(x) - mean) * scale) as f32;
                    output[at] = normalized * weight[index] + bias[index];
                });
            });
        })
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err(NO_INT8.into())
    }
}

impl Train for LayerNorm {
    fn training(&self) -> Training {
        Training::Untrainable("its weight and bias have no gradients yet")
    }
}
