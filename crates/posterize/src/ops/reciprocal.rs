//! Reciprocals.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{UnaryFunction, unary_operator};

/// `torch.reciprocal`: `1 / x` of each element.
///
/// It stays in float in an int8 network: the values of elements near 0 are so large that one scale cannot
/// represent them and all others.
///
/// ```
/// use posterize::ops::Reciprocal;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Reciprocal)?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![-4.0, 0.5])?)?;
/// assert_eq!(y.data(), [-0.25, 2.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reciprocal;

impl UnaryFunction for Reciprocal {
    const NAME: &str = "reciprocal";

    fn kernel(self) -> Unary {
        Unary::Reciprocal
    }

    /// `−y²`, where `y` is the value at `x`.
    fn derivative(self, x: f32) -> f32 {
        let y = 1.0 / x;
        -y * y
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::Float { reason: "it is infinite at 0, which int8 values often are" }
    }
}

unary_operator!(Reciprocal, version 1, on 0.9..=8.0);
