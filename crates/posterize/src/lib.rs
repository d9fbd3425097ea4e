//! posterize turns a trained float image classifier into a small, fast int8
//! one, and proves that it is still as accurate.
//!
//! A module uses only those before it: [`checkpoint`] and [`data`] → [`graph`], [`nn`],
//! [`models`] → [`quantization`] → [`runtime`] → [`training`] → [`mod@format`].
//!
//! # Cargo features
//!
//! None is on by default.
//!
//! - `image`: a [`PixelView`] of `RgbImage`, `RgbaImage`, `GrayImage` or `DynamicImage` of the crate
//!   `image` 0.25.
//! - `ndarray`: a [`TensorView`] of an array of the crate `ndarray` 0.17, and a [`Tensor`] as such an
//!   array.

pub mod atomic_file;
pub mod checkpoint;
mod compare;
pub mod data;
pub mod error;
mod evaluate;
pub mod format;
pub mod graph;
mod interop;
pub mod metrics;
pub mod model;
pub mod models;
pub mod nn;
pub mod ops;
mod pixels;
pub mod quantization;
pub mod runtime;
pub mod tensor;
pub mod training;

pub use checkpoint::StateDict;
pub use compare::{LayerError, compare};
pub use error::{Error, ErrorKind, Result};
pub use evaluate::{Evaluation, evaluate};
pub use model::{Architecture, FloatModel};
pub use pixels::{PixelOrder, PixelStrides, PixelView};
pub use quantization::QuantizedModel;
pub use runtime::{Engine, compile};
pub use tensor::{MemoryFormat, Tensor, TensorView};

/// Compiles the example in the README as a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
