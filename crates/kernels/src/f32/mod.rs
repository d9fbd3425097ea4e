//! f32 kernels for `[N, H, W, C]` activations.
//!
//! The weights of a layer are packed once. Running a layer does not allocate memory, and gives the
//! same bits for any number of threads and any division of the batch. Buffers aligned to 64 bytes
//! are read and written fastest.
//!
//! Every kernel is written once, generic over `simd::Simd`, and compiled for each instruction set.

#![expect(
    clippy::inline_always,
    reason = "only inlined code is compiled for the caller's target features"
)]
#![expect(
    clippy::too_many_arguments,
    reason = "shapes and buffers are passed as separate arguments, as in PyTorch"
)]

mod binary;
mod clamp;
mod conv2d;
mod depthwise;
mod elementwise;
mod erf;
mod exp;
mod gemm;
mod im2row;
mod linear;
mod log;
mod outer;
mod pixels;
mod pooling;
pub(crate) mod simd;
mod split;
mod strip;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod training;
mod unary;

pub use binary::{Binary, binary};
pub use clamp::Clamp;
pub use conv2d::Conv2d;
pub use elementwise::{clamp, scale_shift};
pub use linear::Linear;
pub use pixels::{PixelTable, pixel_values};
pub use pooling::{adaptive_avg_pool2d, max_pool2d};
pub use unary::{Unary, unary};
