//! Exact int8 and fast f32 kernels for convolutional networks on CPUs.
//!
//! The crate works on slices, shapes and instruction sets; graphs, checkpoints and calibration
//! belong to the `posterize` crate. Activations are `[N, H, W, C]` (channels last). Every int8
//! kernel has a scalar reference implementation in [`mod@reference`], and every instruction set
//! gives the same bits as that.
//!
//! This is the only crate of the workspace that contains `unsafe` code.

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
pub mod pixels;
pub mod pool;
pub mod reference;
pub mod resample;

pub use broadcast::{Broadcast, BroadcastError};
pub use geometry::{Conv2dGeometry, GeometryError, Padding, Pool2dGeometry};
pub use isa::{Isa, IsaError};
pub use mem::{Number, try_zeros};
pub use pad::pad;
pub use pool::Pool;

/// Runs the README's example as a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
