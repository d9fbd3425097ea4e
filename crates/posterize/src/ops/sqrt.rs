//! The square root.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{UnaryFunction, unary_operator};

/// `torch.sqrt`: the square root of each element.
///
/// It stays in float in an int8 network: near 0, where int8 has few values, it changes fastest.
///
/// ```
/// use posterize::ops::Sqrt;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Sqrt)?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![4.0, 9.0])?)?;
/// assert_eq!(y.data(), [2.0, 3.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sqrt;

impl UnaryFunction for Sqrt {
    const NAME: &str = "sqrt";

    fn kernel(self) -> Unary {
        Unary::Sqrt
    }

    /// `1 / (2y)`, where `y` is the value at `x`.
    fn derivative(self, x: f32) -> f32 {
        0.5 / x.sqrt()
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::Float { reason: "it changes fastest near 0, where int8 has few values" }
    }
}

unary_operator!(Sqrt, version 1, on 0.5..=8.0);
