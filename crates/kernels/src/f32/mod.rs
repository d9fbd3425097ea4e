//! f32 kernels over NHWC activations.
//!
//! A layer's weights are packed once, when its object is built; a run allocates nothing and gives
//! the same bits for any number of threads and any division of the batch. Buffers that start on a
//! 64-byte boundary are read and written fastest.
//!
//! Every kernel is written once, over `simd::Simd`, and compiled for each instruction set.

#![expect(
    clippy::inline_always,
    reason = "only what is inlined is compiled for the instruction set"
)]
#![expect(
    clippy::too_many_arguments,
    reason = "shapes and buffers, spelled as PyTorch orders them"
)]
#![allow(clippy::wildcard_imports, reason = "vector intrinsics are used by the dozen")]

mod aligned;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod binary;
mod conv2d;
mod depthwise;
mod elementwise;
mod gemm;
mod im2row;
mod linear;
mod outer;
mod pad;
mod pixels;
mod pooling;
mod simd;
mod split;
mod strip;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod training;
mod unary;

pub use binary::{Binary, binary};
pub use conv2d::Conv2d;
pub use elementwise::{add, clamp, mul, scale_shift};
pub use linear::Linear;
pub use pad::pad;
pub use pixels::PixelTable;
pub use pooling::{adaptive_avg_pool2d, max_pool2d};
pub use unary::{Unary, unary};

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
