//! The natural logarithm.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{UnaryFunction, unary_operator};

/// `torch.log`: the natural logarithm of each element.
///
/// It stays in float in an int8 network: near 0, where int8 has few values, it changes fastest, and at 0
/// it is infinite.
///
/// ```
/// use posterize::ops::Log;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Log)?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![1.0, 2.7182817])?)?;
/// assert_eq!(y.data()[0], 0.0);
/// assert!((y.data()[1] - 1.0).abs() < 1e-6);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Log;

impl UnaryFunction for Log {
    const NAME: &str = "log";

    fn kernel(self) -> Unary {
        Unary::Log
    }

    /// `1 / x`.
    fn derivative(self, x: f32) -> f32 {
        1.0 / x
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::Float { reason: "it is infinite at 0, which int8 values often are" }
    }
}

unary_operator!(Log, version 1, on 0.5..=8.0);
