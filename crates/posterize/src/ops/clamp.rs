//! Activations that bound values.

use posterize_kernels::f32::Clamp;
use serde::{Deserialize, Serialize};

/// `torch.nn.ReLU` or `torch.nn.ReLU6`: an activation that bounds values. A layer of its own, or fused
/// into a convolution, linear layer or addition, which then bound their own results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Activation {
    /// `max(x, 0)`.
    ReLU,
    /// `min(max(x, 0), 6)`.
    ReLU6,
}

impl Activation {
    /// PyTorch's class name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReLU => "ReLU",
            Self::ReLU6 => "ReLU6",
        }
    }

    /// What is added to the class name of an operator that is fused with it.
    pub(super) const fn suffix(activation: Option<Self>) -> &'static str {
        match activation {
            None => "",
            Some(activation) => activation.name(),
        }
    }

    /// The smallest and the largest value that it leaves; infinite where it has no bound.
    pub const fn bounds(self) -> [f32; 2] {
        match self {
            Self::ReLU => [0.0, f32::INFINITY],
            Self::ReLU6 => [0.0, 6.0],
        }
    }

    /// The bounds of an activation for the kernels; none where there is no activation.
    pub(crate) fn clamp(activation: Option<Self>) -> Clamp {
        activation.map_or(Clamp::NONE, |activation| {
            let [min, max] = activation.bounds();
            Clamp { min, max }
        })
    }
}
