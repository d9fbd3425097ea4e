//! Local response normalization.

use std::ops::Range;

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::answers::{fuses_nothing, keeps_the_shape, no_parameters, prints_as_a_layer};
use super::kernel::{Compute, FloatContext, Int8Context, Made, Shapes, function};
use super::limits::check_sizes;
use super::lines::Lines;
use super::training::{Train, Training};
use super::{Int8Rule, Layer, Operator, Saved, python};

/// `torch.nn.LocalResponseNorm`, ONNX's `LRN`: divides each element by
/// `(k + alpha / size · Σ x²)^beta`, where the sum is over `size` neighboring channels.
///
/// The window of channel `c` is `c − size / 2 ..= c + (size − 1) / 2`, as PyTorch's; ONNX's differs from
/// it for an even `size` only, where it begins one channel later.
///
/// ```
/// use posterize::ops::LocalResponseNorm;
/// use posterize::{Architecture, Tensor};
///
/// let norm = LocalResponseNorm::new(1).alpha(1.0).beta(1.0).k(0.0);
/// let model = Architecture::trace(&norm)?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![2.0, 4.0])?)?;
/// assert_eq!(y.data(), [0.5, 0.25]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LocalResponseNorm {
    /// Number of neighboring channels, at least 1.
    pub size: usize,
    /// The factor of the mean of the squares.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// The constant that is added.
    pub k: f32,
}

impl LocalResponseNorm {
    /// Creates a norm over `size` channels with PyTorch's defaults: an `alpha` of 1e-4, a `beta` of
    /// 0.75 and a `k` of 1.
    pub const fn new(size: usize) -> Self {
        Self { size, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }

    /// Sets the factor of the mean of the squares.
    #[must_use]
    pub const fn alpha(mut self, alpha: f32) -> Self {
        self.alpha = alpha;
        self
    }

    /// Sets the exponent.
    #[must_use]
    pub const fn beta(mut self, beta: f32) -> Self {
        self.beta = beta;
        self
    }

    /// Sets the constant that is added.
    #[must_use]
    pub const fn k(mut self, k: f32) -> Self {
        self.k = k;
        self
    }

    /// Returns the channels of the window of a channel.
    fn window(self, channel: usize, channels: usize) -> Range<usize> {
        let end = channel.saturating_add(self.size - self.size / 2).min(channels);
        channel.saturating_sub(self.size / 2)..end
    }
}

const NO_INT8: &str = "its squares span too many magnitudes for one scale";

impl Operator for LocalResponseNorm {
    fn kind(&self) -> String {
        "LocalResponseNorm".into()
    }

    fn python(&self) -> String {
        let [alpha, beta, k] = [self.alpha, self.beta, self.k].map(python::float);
        format!("{}, alpha={alpha}, beta={beta}, k={k}", self.size)
    }

    prints_as_a_layer!();
    no_parameters!();
    keeps_the_shape!();

    fn validate(&self) -> Result<(), String> {
        check_sizes(&[self.size])?;
        if self.size == 0 {
            return Err("size must be at least 1".into());
        }
        for (name, value) in [("alpha", self.alpha), ("beta", self.beta), ("k", self.k)] {
            if !value.is_finite() {
                return Err(format!("{name} must be finite, found {value}"));
            }
        }
        Ok(())
    }

    fuses_nothing!();

    fn int8_rule(&self) -> Int8Rule {
        Int8Rule::Float { reason: NO_INT8 }
    }
}

impl Layer for LocalResponseNorm {
    fn class(&self) -> &'static str {
        "LocalResponseNorm"
    }
}

impl Saved for LocalResponseNorm {
    const VERSION: u32 = 1;
}

impl Compute for LocalResponseNorm {
    fn float(&self, _: &FloatContext<'_>, shapes: &Shapes) -> Made<f32> {
        let norm = *self;
        let lines = Lines::of_axes(&shapes.inputs[0], |axis| axis == 1);
        let channels = shapes.channels();
        let power = Unary::Pow { exponent: -self.beta };
        let factor = f64::from(self.alpha) / self.size as f64;
        function("local_response_norm", move |call, input, output| {
            lines.run(call.pool, input(0), output, |_, line, output| {
                // The sum of the window of the channel before; a channel enters and one leaves.
                let square = |channel: usize| f64::from(line.value(channel)).powi(2);
                let mut sum: f64 = (0..norm.window(0, channels).end).map(square).sum();
                let mut window = norm.window(0, channels);
                line.each(|channel, at, x| {
                    let next = norm.window(channel, channels);
                    if next.end > window.end {
                        sum += square(window.end);
                    }
                    if next.start > window.start {
                        sum -= square(window.start);
                    }
                    window = next;
                    let base = f64::from(norm.k) + factor * sum.max(0.0);
                    output[at] = x * power.apply(base as f32);
                });
            });
        })
    }

    fn int8(&self, _: &Int8Context<'_>, _: &Shapes) -> Made<u8> {
        Err(NO_INT8.into())
    }
}

impl Train for LocalResponseNorm {
    fn training(&self) -> Training {
        Training::Untrainable(
            "its gradient is not implemented, since current networks do not use it",
        )
    }
}
