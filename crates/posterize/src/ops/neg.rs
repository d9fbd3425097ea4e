//! Negation.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{UnaryFunction, unary_operator};

/// `torch.neg`: each element negated.
///
/// ```
/// use posterize::ops::Neg;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Neg)?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![-4.0, 9.0])?)?;
/// assert_eq!(y.data(), [4.0, -9.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Neg;

impl UnaryFunction for Neg {
    const NAME: &str = "neg";

    fn kernel(self) -> Unary {
        Unary::Neg
    }

    /// −1.
    fn derivative(self, x: f32) -> f32 {
        let _ = x;
        -1.0
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

unary_operator!(Neg, version 1);
