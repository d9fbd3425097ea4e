//! The activation Hardsigmoid.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::unary::{HyperParameters, UnaryFunction, check_finite, unary_operator};
use super::{Int8Rule, python};

/// `torch.nn.Hardsigmoid`, ONNX's `HardSigmoid`: `max(0, min(1, alpha · x + beta))` of each element.
///
/// In int8 its output has the scale 1/256 and the zero point 0, as in PyTorch.
///
/// ```
/// use posterize::ops::Hardsigmoid;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Hardsigmoid::new())?.init(0);
/// let y = model.forward(&Tensor::new([1, 3], vec![-4.0, 1.5, 9.0])?)?;
/// assert_eq!(y.data(), [0.0, 0.75, 1.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Hardsigmoid {
    /// The slope; 1/6 in PyTorch, 0.2 is ONNX's default.
    pub alpha: f32,
    /// The value at 0; 1/2.
    pub beta: f32,
}

impl Hardsigmoid {
    /// Creates the function with PyTorch's slope of 1/6 and its value of 1/2 at 0.
    pub const fn new() -> Self {
        Self { alpha: 1.0 / 6.0, beta: 0.5 }
    }

    /// Sets the slope.
    #[must_use]
    pub const fn alpha(mut self, alpha: f32) -> Self {
        self.alpha = alpha;
        self
    }

    /// Sets the value at 0.
    #[must_use]
    pub const fn beta(mut self, beta: f32) -> Self {
        self.beta = beta;
        self
    }
}

impl Default for Hardsigmoid {
    fn default() -> Self {
        Self::new()
    }
}

impl UnaryFunction for Hardsigmoid {
    const NAME: &str = "hardsigmoid";

    fn kernel(self) -> Unary {
        if self == Self::new() {
            // Which rounds as PyTorch does.
            Unary::HardSigmoid
        } else {
            Unary::ClippedLinear { alpha: self.alpha, beta: self.beta }
        }
    }

    /// `alpha` where the function is between 0 and 1, 0 elsewhere.
    fn derivative(self, x: f32) -> f32 {
        let y = self.alpha * x + self.beta;
        if y > 0.0 && y < 1.0 { self.alpha } else { 0.0 }
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::FixedScale { scale: 1.0 / 256.0, zero_point: 0 }
    }
}

impl HyperParameters for Hardsigmoid {
    fn arguments(&self) -> String {
        if *self == Self::new() {
            return String::new();
        }
        format!("alpha={}, beta={}", python::float(self.alpha), python::float(self.beta))
    }

    fn check(&self) -> Result<(), String> {
        check_finite("alpha", self.alpha)?;
        check_finite("beta", self.beta)
    }
}

unary_operator!(Hardsigmoid, version 1, of [Hardsigmoid::new(), Hardsigmoid::new().alpha(0.2)]);
