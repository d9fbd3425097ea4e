//! The logistic function.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{UnaryFunction, unary_operator};

/// `torch.nn.Sigmoid`: `1 / (1 + exp(−x))` of each element.
///
/// In int8 its output has the scale 1/256 and the zero point 0, as in PyTorch.
///
/// ```
/// use posterize::nn::Sequential;
/// use posterize::ops::Sigmoid;
/// use posterize::runtime::{Options, compile};
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Sequential::new().then(Sigmoid))?.init(0);
/// let x = Tensor::new([1, 3], vec![0.0, 100.0, -100.0])?;
/// let y = compile(&model, Options::new(1)?)?.run(&x)?;
/// assert_eq!(y.data()[0], 0.5);
/// assert!(y.data()[1] > 0.9999 && y.data()[2] < 0.0001);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sigmoid;

impl UnaryFunction for Sigmoid {
    const NAME: &str = "sigmoid";

    fn kernel(self) -> Unary {
        Unary::Sigmoid
    }

    /// `y · (1 − y)`, where `y` is the sigmoid of `x`.
    fn derivative(self, x: f32) -> f32 {
        let y = Unary::Sigmoid.apply(x);
        y * (1.0 - y)
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::FixedScale { scale: 1.0 / 256.0, zero_point: 0 }
    }
}

unary_operator!(Sigmoid, version 1);
