//! posterize turns a trained float image classifier into a small, fast int8
//! one, and proves that it is still as accurate.
//!
//! A module uses only those before it: [`checkpoint`] and [`data`] → [`graph`], [`nn`],
//! [`models`] → [`quantization`] → [`runtime`] → [`training`] → [`mod@format`].
//!
//! # Cargo features
//!
//! Operators, models, quantization after training, reading saved models, engines and evaluation are
//! always there. The rest are features:
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `checkpoint` | yes | [`StateDict::open`]: checkpoints of PyTorch and safetensors files of float weights |
//! | `save` | yes | [`SavedModel::save`](format::SavedModel::save), `StateDict::save_safetensors`, [`atomic_file`] |
//! | `data` | yes | [`data::ImageFolder`], [`data::Loader`], transforms, [`data::Picture::open`] |
//! | `jpeg`, `png`, `webp`, `bmp`, `pnm` | yes | the picture format of that name; each turns on `data` |
//! | `training` | yes | [`training`] and quantization-aware training; turns on `data` and `save` |
//! | `image` | no | a [`PixelView`] of `RgbImage`, `RgbaImage`, `GrayImage` or `DynamicImage` of the crate `image` 0.25 |
//! | `tracing` | no | spans of the crate `tracing` 0.1, see below |
//! | `ndarray` | no | a [`TensorView`] of an array of the crate `ndarray` 0.17, and a [`Tensor`] as such an array |
//!
//! The spans of `tracing` are `load` (`path`), `plan` (`layers`), `calibrate` (`layers`), `convert`
//! (`layers`) and `epoch` (`epoch`) at the level INFO, and within `calibrate` and `epoch` one `batch`
//! (`batch`, `pictures`) for each batch at the level DEBUG. Epochs and batches count from 0, and
//! `layers` are nodes of the graph.
//!
//! With `default-features = false` a program opens a saved model and runs it on pixels in memory; the
//! README has an example.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "save")]
pub mod atomic_file;
pub mod checkpoint;
mod compare;
pub mod data;
pub mod error;
mod evaluate;
mod foreign;
pub mod format;
pub mod graph;
mod interop;
mod loading;
pub mod metrics;
pub mod model;
pub mod models;
mod naming;
pub mod nn;
// Gradients are part of the operators, and read by `training` alone.
#[cfg_attr(not(feature = "training"), allow(dead_code))]
pub mod ops;
mod parameters;
mod pixels;
pub mod quantization;
pub mod runtime;
pub mod tensor;
mod trace;
#[cfg(feature = "training")]
pub mod training;

pub use checkpoint::StateDict;
pub use compare::{LayerError, compare};
pub use error::{Error, ErrorKind, Result};
pub use evaluate::{Evaluation, evaluate};
pub use model::{Architecture, FloatModel, LoadOptions, LoadReport};
pub use pixels::{PixelOrder, PixelStrides, PixelView};
pub use quantization::QuantizedModel;
pub use runtime::{Engine, compile};
pub use tensor::{MemoryFormat, Tensor, TensorView};

/// The Cargo features with which the library was built, in alphabetical order.
///
/// ```
/// assert!(posterize::FEATURES.is_sorted());
/// assert_eq!(posterize::FEATURES.contains(&"jpeg"), cfg!(feature = "jpeg"));
/// ```
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "bmp")]
    "bmp",
    #[cfg(feature = "checkpoint")]
    "checkpoint",
    #[cfg(feature = "data")]
    "data",
    #[cfg(feature = "image")]
    "image",
    #[cfg(feature = "jpeg")]
    "jpeg",
    #[cfg(feature = "ndarray")]
    "ndarray",
    #[cfg(feature = "png")]
    "png",
    #[cfg(feature = "pnm")]
    "pnm",
    #[cfg(feature = "save")]
    "save",
    #[cfg(feature = "tracing")]
    "tracing",
    #[cfg(feature = "training")]
    "training",
    #[cfg(feature = "webp")]
    "webp",
];

/// Compiles the example in the README as a doctest.
#[cfg(all(doctest, feature = "checkpoint", feature = "data"))]
#[doc = include_str!("../README.md")]
struct Readme;
