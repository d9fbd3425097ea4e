//! The activation Hardswish.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{UnaryFunction, unary_operator};

/// `torch.nn.Hardswish`: `x · relu6(x + 3) / 6` of each element.
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::Hardswish;
/// use posterize::runtime::{Options, compile};
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Sequential::new().then(Hardswish))?.init(0);
/// let x = Tensor::new([1, 3], vec![-4.0, 3.0, 9.0])?;
/// let y = compile(&model, Options::new(1)?)?.run(&x)?;
/// assert_eq!(y.data(), [0.0, 3.0, 9.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hardswish;

impl UnaryFunction for Hardswish {
    const NAME: &str = "hardswish";

    fn kernel(self) -> Unary {
        Unary::HardSwish
    }

    /// `x / 3 + 1/2` between −3 and 3, 0 below and 1 above.
    fn derivative(self, x: f32) -> f32 {
        if x <= -3.0 {
            0.0
        } else if x < 3.0 {
            x / 3.0 + 0.5
        } else {
            1.0
        }
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

unary_operator!(Hardswish, version 1);
