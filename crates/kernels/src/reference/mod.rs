//! Scalar definitions of every integer kernel: the meaning of correct.
//!
//! They are written to be read, not to be fast. Every other kernel of this crate must equal them
//! bit for bit, and they in turn equal PyTorch's fbgemm operators on the golden vectors in
//! `testdata/int8_ops`.

mod conv;
mod linear;

pub use conv::Conv2d;
pub use linear::Linear;
