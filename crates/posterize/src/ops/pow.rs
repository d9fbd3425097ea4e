//! Powers.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::unary::{HyperParameters, UnaryFunction, check_finite, unary_operator};
use super::{Int8Rule, python};

/// `torch.pow(x, exponent)`: a power of each element, with a constant exponent.
///
/// It stays in float in an int8 network: its values span so many magnitudes that one scale cannot
/// represent them.
///
/// ```
/// use posterize::ops::Pow;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Pow::new(2.0))?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![-4.0, 9.0])?)?;
/// assert_eq!(y.data(), [16.0, 81.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Pow {
    /// The exponent.
    pub exponent: f32,
}

impl Pow {
    /// Creates a power with this exponent.
    pub const fn new(exponent: f32) -> Self {
        Self { exponent }
    }
}

impl UnaryFunction for Pow {
    const NAME: &str = "pow";

    fn kernel(self) -> Unary {
        Unary::Pow { exponent: self.exponent }
    }

    /// `exponent · x^(exponent − 1)`.
    fn derivative(self, x: f32) -> f32 {
        if self.exponent == 0.0 {
            return 0.0;
        }
        self.exponent * Unary::Pow { exponent: self.exponent - 1.0 }.apply(x)
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::Float { reason: "its values span too many magnitudes for one scale" }
    }
}

impl HyperParameters for Pow {
    fn arguments(&self) -> String {
        format!("exponent={}", python::float(self.exponent))
    }

    fn check(&self) -> Result<(), String> {
        check_finite("exponent", self.exponent)
    }
}

unary_operator!(Pow, version 1, of [Pow::new(2.0), Pow::new(0.5), Pow::new(-1.0), Pow::new(2.7), Pow::new(0.0)], on 0.9..=8.0);
