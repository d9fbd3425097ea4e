//! The scaled exponential linear unit.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::Int8Rule;
use super::unary::{UnaryFunction, unary_operator};

/// `torch.nn.SELU`: `scale · x` of each positive element and `scale · alpha · (exp(x) − 1)` of others.
///
/// `alpha` is 1.6732632423543772 and `scale` 1.0507009873554805 (Klambauer et al. 2017,
/// <https://arxiv.org/abs/1706.02515>).
///
/// ```
/// use posterize::ops::SELU;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&SELU)?.init(0);
/// let y = model.forward(&Tensor::new([1, 3], vec![-100.0, 0.0, 2.0])?)?;
/// assert_eq!(y.data()[1], 0.0);
/// assert!((y.data()[0] + 1.7580993).abs() < 1e-6 && (y.data()[2] - 2.101402).abs() < 1e-6);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SELU;

impl UnaryFunction for SELU {
    const NAME: &str = "selu";

    fn kernel(self) -> Unary {
        Unary::Selu
    }

    /// `scale` above 0, `y + scale · alpha` below, where `y` is the value at `x`.
    fn derivative(self, x: f32) -> f32 {
        const SCALE: f32 = 1.050_701;
        const ALPHA: f32 = 1.673_263_2;
        if x > 0.0 { SCALE } else { Unary::Selu.apply(x) + SCALE * ALPHA }
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

unary_operator!(SELU, version 1);
