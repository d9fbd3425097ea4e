//! The exponential function.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{UnaryFunction, unary_operator};

/// `torch.exp` of each element.
///
/// It stays in float in an int8 network: its values span so many magnitudes that one scale cannot
/// represent them, and they may overflow.
///
/// ```
/// use posterize::ops::Exp;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Exp)?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![0.0, 1.0])?)?;
/// assert_eq!(y.data()[0], 1.0);
/// assert!((y.data()[1] - 2.7182817).abs() < 1e-6);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exp;

impl UnaryFunction for Exp {
    const NAME: &str = "exp";

    fn kernel(self) -> Unary {
        Unary::Exp
    }

    /// Itself.
    fn derivative(self, x: f32) -> f32 {
        Unary::Exp.apply(x)
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::Float { reason: "its values span too many magnitudes for one scale" }
    }
}

unary_operator!(Exp, version 1);
