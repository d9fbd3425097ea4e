//! Bounds of results.

/// Bounds applied to each result, which is how an activation is fused into the layer before it.
///
/// A NaN stays a NaN, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// The least result.
    pub min: f32,
    /// The greatest result.
    pub max: f32,
}

impl Clamp {
    /// No bounds.
    pub const NONE: Self = Self { min: f32::NEG_INFINITY, max: f32::INFINITY };
    /// `torch.nn.ReLU`.
    pub const RELU: Self = Self { min: 0.0, max: f32::INFINITY };
    /// `torch.nn.ReLU6`.
    pub const RELU6: Self = Self { min: 0.0, max: 6.0 };
}
