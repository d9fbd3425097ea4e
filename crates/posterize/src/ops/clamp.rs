//! The activations ReLU and ReLU6.

use posterize_kernels::f32::Clamp;
use serde::{Deserialize, Serialize};

/// `torch.nn.ReLU` or `torch.nn.ReLU6`, as a layer or fused into the operator before it.
///
/// It can be fused into a convolution, a linear layer or an addition, whose kernels then clamp
/// their results.
///
/// ```
/// use posterize::ops::Activation;
/// use posterize::{Architecture, Tensor};
///
/// let model = Architecture::trace(&Activation::ReLU6)?.init(0);
/// let y = model.forward(&Tensor::new([1, 3], vec![-1.0, 2.0, 8.0])?)?;
/// assert_eq!(y.data(), [0.0, 2.0, 6.0]);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Activation {
    /// `max(x, 0)`.
    ReLU,
    /// `min(max(x, 0), 6)`.
    ReLU6,
}

impl Activation {
    /// Returns PyTorch's class name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReLU => "ReLU",
            Self::ReLU6 => "ReLU6",
        }
    }

    /// Returns what is appended to the class name of an operator when `activation` is fused into it.
    pub(super) const fn suffix(activation: Option<Self>) -> &'static str {
        match activation {
            None => "",
            Some(activation) => activation.name(),
        }
    }

    /// Returns the smallest and the largest value of its output; `f32::INFINITY` for no upper bound.
    pub const fn bounds(self) -> [f32; 2] {
        match self {
            Self::ReLU => [0.0, f32::INFINITY],
            Self::ReLU6 => [0.0, 6.0],
        }
    }

    /// Returns the bounds of an optional activation for the kernels.
    pub(crate) fn clamp(activation: Option<Self>) -> Clamp {
        activation.map_or(Clamp::NONE, |activation| {
            let [min, max] = activation.bounds();
            Clamp { min, max }
        })
    }
}
