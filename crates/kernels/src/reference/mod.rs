//! Scalar reference implementations of every int8 kernel, which define the correct result.
//!
//! They are written for readability, not for speed. Every other int8 kernel of this crate gives the
//! same bits, and these give the same bits as PyTorch's FBGEMM operators on the golden vectors in
//! `testdata/int8_ops`.

mod broadcast;
mod conv;
mod dynamic_linear;
mod elementwise;
mod linear;
mod pooling;
mod quantize;

pub use broadcast::{broadcast, element_for};
pub use conv::Conv2d;
pub(crate) use dynamic_linear::qparams_of_range;
pub use dynamic_linear::{DynamicLinear, dynamic_qparams};
pub use elementwise::{add, mul, requantize_u8, sub};
pub use linear::Linear;
pub use pooling::{adaptive_avg_pool2d, max_pool2d};
pub use quantize::{dequantize, quantize};
