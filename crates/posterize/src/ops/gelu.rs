//! The Gaussian error linear unit.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{HyperParameters, UnaryFunction, unary_operator};

/// `torch.nn.GELU`: `x / 2 · (1 + erf(x / √2))` of each element, or an approximation of it.
///
/// ```
/// use posterize::ops::GELU;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&GELU::new(false))?.init(0);
/// let y = model.forward(&Tensor::new([1, 3], vec![-100.0, 1.0, 100.0])?)?;
/// assert_eq!([y.data()[0], y.data()[2]], [0.0, 100.0]);
/// assert!((y.data()[1] - 0.8413447).abs() < 1e-6);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct GELU {
    /// Whether it is the approximation `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`, PyTorch's
    /// `approximate='tanh'`.
    pub approximate: bool,
}

impl GELU {
    /// Creates the exact function, or its approximation with a hyperbolic tangent.
    pub const fn new(approximate: bool) -> Self {
        Self { approximate }
    }
}

impl UnaryFunction for GELU {
    const NAME: &str = "gelu";

    fn kernel(self) -> Unary {
        if self.approximate { Unary::GeluTanh } else { Unary::Gelu }
    }

    /// `Φ(x) + x · φ(x)` with the normal distribution, or the derivative of the approximation.
    fn derivative(self, x: f32) -> f32 {
        if self.approximate {
            let factor = std::f32::consts::FRAC_2_PI.sqrt();
            let t = Unary::Tanh.apply(factor * (x + 0.044_715 * x * x * x));
            let inner = factor * (1.0 + 3.0 * 0.044_715 * x * x);
            return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner;
        }
        let distribution = 0.5 * (1.0 + Unary::Erf.apply(x * std::f32::consts::FRAC_1_SQRT_2));
        let density = Unary::Exp.apply(-0.5 * x * x) / std::f32::consts::TAU.sqrt();
        distribution + x * density
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl HyperParameters for GELU {
    fn arguments(&self) -> String {
        format!("approximate='{}'", if self.approximate { "tanh" } else { "none" })
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

unary_operator!(GELU, version 1, of [GELU::new(false), GELU::new(true)]);
