//! int8 kernels for `[N, H, W, C]` activations: `u8` activations with a zero point, symmetric `i8`
//! weights, exact `i32` accumulators.
//!
//! `docs/arithmetic.md` specifies the arithmetic. Each kernel gives the same bits as its reference
//! implementation in [`crate::reference`], on every instruction set and for any number of threads.

pub(crate) mod accumulator;
mod conv2d;
pub(crate) mod conv_kernel;
pub(crate) mod depthwise;
mod dynamic_linear;
pub(crate) mod elementwise;
pub(crate) mod first_conv;
pub(crate) mod gemm;
#[cfg(all(test, target_os = "linux"))]
mod guard_pages;
mod inverted_residual;
mod linear;
pub(crate) mod pack;
mod pixels;
#[cfg(all(test, target_os = "linux"))]
pub(crate) mod planted_strays;
mod pooling;
mod qparams;
pub(crate) mod requantize;
mod table;
#[cfg(test)]
mod testing;
pub(crate) mod vectorize;

pub use accumulator::accumulator_range;
pub use conv2d::Conv2d;
pub use dynamic_linear::DynamicLinear;
pub use elementwise::{
    Add, Mul, Sub, clamp, dequantize, quantize, requantize_table, requantize_u8,
};
pub use inverted_residual::InvertedResidual;
pub use linear::Linear;
pub use pixels::PixelTable;
pub use pooling::{AdaptiveAvgPool2d, MaxPool2d};
pub use qparams::QParams8;
pub use requantize::{Requantize, requantize};
pub use table::Table;
