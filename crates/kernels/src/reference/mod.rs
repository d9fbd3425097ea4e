//! Scalar definitions of every integer kernel: the meaning of correct.
//!
//! They are written to be read, not to be fast. Every other kernel of this crate must equal them
//! bit for bit, and they in turn equal PyTorch's fbgemm operators on the golden vectors in
//! `testdata/int8_ops`.

mod broadcast;
mod conv;
mod elementwise;
mod linear;
mod pooling;
mod quantize;

pub use broadcast::{broadcast, element_for};
pub use conv::Conv2d;
pub use elementwise::{add, mul, requantize_u8, sub};
pub use linear::Linear;
pub use pooling::{adaptive_avg_pool2d, max_pool2d};
pub use quantize::{dequantize, quantize};
