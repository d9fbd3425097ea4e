//! Clamping of results.

/// A lower and an upper bound to which each result is clamped, by which ReLU and ReLU6 are fused
/// into the layer before them.
///
/// A NaN stays a NaN, as in PyTorch.
///
/// ```
/// use posterize_kernels::f32::{Clamp, clamp};
/// use posterize_kernels::{Isa, Pool};
///
/// let mut output = [0.0; 3];
/// clamp(Isa::detect(), &Pool::new(1), &[-1.0, 3.0, 7.0], Clamp::RELU6, &mut output);
/// assert_eq!(output, [0.0, 3.0, 6.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// The minimum result.
    pub min: f32,
    /// The maximum result.
    pub max: f32,
}

impl Clamp {
    /// No bounds.
    pub const NONE: Self = Self { min: f32::NEG_INFINITY, max: f32::INFINITY };
    /// Bounds of `torch.nn.ReLU`.
    pub const RELU: Self = Self { min: 0.0, max: f32::INFINITY };
    /// Bounds of `torch.nn.ReLU6`.
    pub const RELU6: Self = Self { min: 0.0, max: 6.0 };
}
