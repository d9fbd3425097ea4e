//! The error function.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{UnaryFunction, unary_operator};

/// `torch.erf`: the error function of each element.
///
/// In int8 its output has the scale 1/128 and the zero point 128, as that of `Tanh`.
///
/// ```
/// use posterize::ops::Erf;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Erf)?.init(0);
/// let y = model.forward(&Tensor::new([1, 3], vec![-9.0, 0.0, 9.0])?)?;
/// assert_eq!(y.data(), [-1.0, 0.0, 1.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Erf;

impl UnaryFunction for Erf {
    const NAME: &str = "erf";

    fn kernel(self) -> Unary {
        Unary::Erf
    }

    /// `2/√π · exp(−x²)`.
    fn derivative(self, x: f32) -> f32 {
        std::f32::consts::FRAC_2_SQRT_PI * Unary::Exp.apply(-x * x)
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::FixedScale { scale: 1.0 / 128.0, zero_point: 128 }
    }
}

unary_operator!(Erf, version 1);
