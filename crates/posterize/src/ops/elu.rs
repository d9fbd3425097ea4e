//! The exponential linear unit.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::unary::{HyperParameters, UnaryFunction, check_finite, unary_operator};
use super::{Int8Rule, python};

/// `torch.nn.ELU`: `x` of each positive element, `alpha · (exp(x) − 1)` of others.
///
/// ```
/// use posterize::ops::ELU;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&ELU::new(0.5))?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![-100.0, 9.0])?)?;
/// assert_eq!(y.data(), [-0.5, 9.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ELU {
    /// The negated limit far below 0; 1 is PyTorch's default.
    pub alpha: f32,
}

impl ELU {
    /// Creates the function with a negated limit far below 0.
    pub const fn new(alpha: f32) -> Self {
        Self { alpha }
    }
}

impl UnaryFunction for ELU {
    const NAME: &str = "elu";

    fn kernel(self) -> Unary {
        Unary::Elu { alpha: self.alpha }
    }

    /// 1 above 0, `alpha · exp(x)` below.
    fn derivative(self, x: f32) -> f32 {
        if x > 0.0 { 1.0 } else { self.alpha * Unary::Exp.apply(x) }
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl HyperParameters for ELU {
    fn arguments(&self) -> String {
        format!("alpha={}", python::float(self.alpha))
    }

    fn check(&self) -> Result<(), String> {
        check_finite("alpha", self.alpha)
    }
}

unary_operator!(ELU, version 1, of [ELU::new(1.0), ELU::new(0.3)]);
