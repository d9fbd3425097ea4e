//! int8 kernels over NHWC activations: `u8` activations with a zero point, symmetric `i8` weights,
//! exact `i32` accumulators.
//!
//! `docs/arithmetic.md` states the contract. Each kernel equals its definition in
//! [`crate::reference`] bit for bit, on every instruction set and for any number of threads.

mod aligned;
mod conv2d;
mod depthwise;
mod elementwise;
mod first_conv;
mod gemm;
#[cfg(all(test, target_os = "linux"))]
mod guard_pages;
mod inverted_residual;
mod linear;
pub(crate) mod pack;
mod pad;
mod pixels;
#[cfg(all(test, target_os = "linux"))]
mod planted_strays;
mod pooling;
mod qparams;
mod requantize;
mod table;
#[cfg(test)]
mod testing;
pub(crate) mod vectorize;

pub use conv2d::Conv2d;
pub use elementwise::{
    Add, Mul, Sub, clamp, dequantize, quantize, requantize_table, requantize_u8,
};
#[cfg(target_arch = "x86_64")]
pub(crate) use gemm::multiply_tiles;
pub use inverted_residual::InvertedResidual;
pub use linear::Linear;
pub use pack::accumulator_range;
pub use pad::pad;
pub use pixels::PixelTable;
pub use pooling::{AdaptiveAvgPool2d, MaxPool2d};
pub use qparams::QParams8;
pub use requantize::{Requantize, requantize};
pub use table::Table;
