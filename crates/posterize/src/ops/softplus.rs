//! The softplus function.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::unary::{HyperParameters, UnaryFunction, check_finite, unary_operator};
use super::{Int8Rule, python};

/// `torch.nn.Softplus`: `ln(1 + exp(beta · x)) / beta` of each element.
///
/// Where `beta · x` is above `threshold` it is `x`, from which it hardly differs there.
///
/// ```
/// use posterize::ops::Softplus;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Softplus::new())?.init(0);
/// let y = model.forward(&Tensor::new([1, 3], vec![-200.0, 0.0, 200.0])?)?;
/// assert_eq!([y.data()[0], y.data()[2]], [0.0, 200.0]);
/// assert!((y.data()[1] - 0.6931472).abs() < 1e-6);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Softplus {
    /// The factor of `x`, not 0.
    pub beta: f32,
    /// The value of `beta · x` above which the function is `x`.
    pub threshold: f32,
}

impl Softplus {
    /// Creates the function with PyTorch's `beta` of 1 and `threshold` of 20.
    pub const fn new() -> Self {
        Self { beta: 1.0, threshold: 20.0 }
    }

    /// Sets the factor of `x`.
    #[must_use]
    pub const fn beta(mut self, beta: f32) -> Self {
        self.beta = beta;
        self
    }

    /// Sets the value of `beta · x` above which the function is `x`.
    #[must_use]
    pub const fn threshold(mut self, threshold: f32) -> Self {
        self.threshold = threshold;
        self
    }
}

impl Default for Softplus {
    fn default() -> Self {
        Self::new()
    }
}

impl UnaryFunction for Softplus {
    const NAME: &str = "softplus";

    fn kernel(self) -> Unary {
        Unary::Softplus { beta: self.beta, threshold: self.threshold }
    }

    /// The sigmoid of `beta · x`, 1 above the threshold.
    fn derivative(self, x: f32) -> f32 {
        let scaled = self.beta * x;
        if scaled > self.threshold { 1.0 } else { Unary::Sigmoid.apply(scaled) }
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl HyperParameters for Softplus {
    fn arguments(&self) -> String {
        format!("beta={}, threshold={}", python::float(self.beta), python::float(self.threshold))
    }

    fn check(&self) -> Result<(), String> {
        check_finite("beta", self.beta)?;
        if self.beta == 0.0 {
            return Err("beta is 0; it must be another number".into());
        }
        check_finite("threshold", self.threshold)
    }
}

unary_operator!(Softplus, version 1, of [Softplus::new(), Softplus::new().beta(2.0).threshold(40.0)]);
