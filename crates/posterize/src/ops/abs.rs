//! The magnitude.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{UnaryFunction, unary_operator};

/// `torch.abs`: the magnitude of each element.
///
/// ```
/// use posterize::ops::Abs;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Abs)?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![-4.0, 9.0])?)?;
/// assert_eq!(y.data(), [4.0, 9.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Abs;

impl UnaryFunction for Abs {
    const NAME: &str = "abs";

    fn kernel(self) -> Unary {
        Unary::Abs
    }

    /// The sign of `x`; 0 at 0, as in PyTorch.
    fn derivative(self, x: f32) -> f32 {
        if x == 0.0 { 0.0 } else { 1.0_f32.copysign(x) }
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

unary_operator!(Abs, version 1);
