//! The sigmoid linear unit, also called swish.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{UnaryFunction, unary_operator};

/// `torch.nn.SiLU`: `x · sigmoid(x)` of each element.
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::SiLU;
/// use posterize::runtime::{Options, compile};
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Sequential::new().then(SiLU))?.init(0);
/// let x = Tensor::new([1, 3], vec![0.0, 100.0, -100.0])?;
/// let y = compile(&model, Options::new(1)?)?.run(&x)?;
/// assert!(y.data()[0] == 0.0 && (y.data()[1] - 100.0).abs() < 0.01);
/// assert!(y.data()[2].abs() < 1e-6);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SiLU;

impl UnaryFunction for SiLU {
    const NAME: &str = "silu";

    fn kernel(self) -> Unary {
        Unary::SiLU
    }

    /// `s · (1 + x · (1 − s))`, where `s` is the sigmoid of `x`.
    fn derivative(self, x: f32) -> f32 {
        let sigmoid = Unary::Sigmoid.apply(x);
        sigmoid * (1.0 + x * (1.0 - sigmoid))
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

unary_operator!(SiLU, version 1);
