//! int8 kernels over NHWC activations: `u8` activations with a zero point, symmetric `i8` weights,
//! exact `i32` accumulators.
//!
//! `docs/arithmetic.md` states the contract. Each kernel equals its definition in
//! [`crate::reference`] bit for bit, on every instruction set and for any number of threads.

mod requantize;

pub use requantize::{Requantize, requantize};
