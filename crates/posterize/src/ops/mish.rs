//! The activation Mish.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{UnaryFunction, unary_operator};

/// `torch.nn.Mish`: `x · tanh(ln(1 + exp(x)))` of each element.
///
/// ```
/// use posterize::ops::Mish;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Mish)?.init(0);
/// let y = model.forward(&Tensor::new([1, 3], vec![-100.0, 0.0, 100.0])?)?;
/// assert_eq!(y.data()[1..], [0.0, 100.0]);
/// assert!(y.data()[0].abs() < 1e-6);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mish;

impl UnaryFunction for Mish {
    const NAME: &str = "mish";

    fn kernel(self) -> Unary {
        Unary::Mish
    }

    /// `t + x · s · (1 − t²)`, where `t` is `tanh(softplus(x))` and `s` the sigmoid of `x`.
    fn derivative(self, x: f32) -> f32 {
        let t = Unary::Tanh.apply(Unary::Softplus { beta: 1.0, threshold: 20.0 }.apply(x));
        t + x * Unary::Sigmoid.apply(x) * (1.0 - t * t)
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

unary_operator!(Mish, version 1);
