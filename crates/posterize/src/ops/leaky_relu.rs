//! The leaky rectified linear unit.

use posterize_kernels::f32::Unary;
use serde::{Deserialize, Serialize};

use super::unary::{HyperParameters, UnaryFunction, check_finite, unary_operator};
use super::{Int8Rule, python};

/// `torch.nn.LeakyReLU`: `x` of each positive element, `negative_slope · x` of others.
///
/// ```
/// use posterize::ops::LeakyReLU;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&LeakyReLU::new(0.5))?.init(0);
/// let y = model.forward(&Tensor::new([1, 2], vec![-4.0, 9.0])?)?;
/// assert_eq!(y.data(), [-2.0, 9.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LeakyReLU {
    /// The slope below 0; 0.01 is PyTorch's default.
    pub negative_slope: f32,
}

impl LeakyReLU {
    /// Creates the function with a slope below 0.
    pub const fn new(negative_slope: f32) -> Self {
        Self { negative_slope }
    }
}

impl UnaryFunction for LeakyReLU {
    const NAME: &str = "leaky_relu";

    fn kernel(self) -> Unary {
        Unary::LeakyReLU { negative_slope: self.negative_slope }
    }

    /// 1 above 0, `negative_slope` below.
    fn derivative(self, x: f32) -> f32 {
        if x > 0.0 { 1.0 } else { self.negative_slope }
    }

    fn int8_rule(self) -> Int8Rule {
        Int8Rule::OwnScale
    }
}

impl HyperParameters for LeakyReLU {
    fn arguments(&self) -> String {
        format!("negative_slope={}", python::float(self.negative_slope))
    }

    fn check(&self) -> Result<(), String> {
        check_finite("negative_slope", self.negative_slope)
    }
}

unary_operator!(LeakyReLU, version 1, of [LeakyReLU::new(0.01), LeakyReLU::new(2.0)]);
