//! The hyperbolic tangent.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{UnaryFunction, unary_operator};

/// `torch.nn.Tanh`: the hyperbolic tangent of each element.
///
/// In int8 its output has the scale 1/128 and the zero point 128, as in PyTorch.
///
/// ```
/// use posterize::ops::Tanh;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Tanh)?.init(0);
/// let y = model.forward(&Tensor::new([1, 3], vec![-100.0, 0.0, 100.0])?)?;
/// assert_eq!(y.data(), [-1.0, 0.0, 1.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tanh;

impl UnaryFunction for Tanh {
    const NAME: &str = "tanh";

    fn kernel(self) -> Unary {
        Unary::Tanh
    }

    /// `1 − y²`, where `y` is the value at `x`.
    fn derivative(self, x: f32) -> f32 {
        let y = Unary::Tanh.apply(x);
        1.0 - y * y
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::FixedScale { scale: 1.0 / 128.0, zero_point: 128 }
    }
}

unary_operator!(Tanh, version 1);
