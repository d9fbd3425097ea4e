//! Exact int8 and fast f32 kernels for convolutional networks on CPUs.
//!
//! This crate knows slices, shapes and instruction sets; it knows nothing of
//! graphs, checkpoints or calibration. Activations are NHWC (channels last).
//! Every integer kernel has a scalar definition in [`mod@reference`], and every
//! instruction set must equal it bit for bit.
//!
//! It is the only crate of the workspace that contains `unsafe` code.

mod arch;
mod backend;
mod broadcast;
pub mod f32;
pub mod geometry;
pub mod int8;
pub mod isa;
mod lengths;
mod mem;
mod pad;
pub mod peak;
pub mod pool;
pub mod reference;
pub mod resample;

pub use broadcast::{Broadcast, BroadcastError};
pub use geometry::{Conv2dGeometry, GeometryError, Padding, Pool2dGeometry};
pub use isa::{Isa, IsaError};
pub use pad::pad;
pub use pool::Pool;

/// The README's example runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
