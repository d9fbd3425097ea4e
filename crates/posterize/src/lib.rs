//! posterize turns a trained float image classifier into a small, fast int8
//! one, and proves that it is still as accurate.
//!
//! # Quantize a network
//!
//! ```no_run
//! # #[cfg(all(feature = "checkpoint", feature = "save", feature = "data"))] {
//! use posterize::data::{ImageFolder, Loader};
//! use posterize::format::SavedModel;
//! use posterize::models::{self, Config};
//! use posterize::quantization::{PostTraining, QConfig, QConfigMapping};
//! use posterize::runtime::Options;
//! use posterize::StateDict;
//!
//! let weights = StateDict::open("mobilenet_v2.pth")?;
//! let float = models::mobilenet_v2(&Config::default())?.load(&weights)?;
//!
//! // Calibration needs a few hundred pictures, without labels.
//! let preprocessing = models::preprocessing("mobilenet_v2")?;
//! let pictures = ImageFolder::unlabelled(&["photos"])?;
//! let mut pictures = Loader::new(&pictures, &preprocessing).batch_size(30).limit(300);
//! let (mapping, passes) =
//!     (QConfigMapping::global(QConfig::recommended()), PostTraining::recommended());
//! let quantized = float.quantize(&mapping, &passes, Options::all_threads()?, &mut pictures)?;
//!
//! SavedModel::new(quantized.model)
//!     .with_preprocessing(preprocessing)
//!     .save("mobilenet_v2.int8.safetensors")?;
//! # }
//! # Ok::<(), posterize::Error>(())
//! ```
//!
//! # Classify a picture with a saved file
//!
//! ```no_run
//! # #[cfg(feature = "data")] {
//! use posterize::Classifier;
//!
//! let mut classifier = Classifier::open("mobilenet_v2.int8.safetensors")?;
//! for found in classifier.classify_file("cat.jpg")?.top(5) {
//!     println!("{:5.1} %  {}", 100.0 * found.probability, found.name.unwrap_or("unknown"));
//! }
//! # }
//! # Ok::<(), posterize::Error>(())
//! ```
//!
//! # Define a network of one's own
//!
//! ```
//! use posterize::nn::{Module, Sequential, Tracer, Value};
//! use posterize::ops::{Activation, Conv2d, Linear, Padding};
//! use posterize::{Architecture, Tensor};
//!
//! /// A convolution, a residual block, a mean over the picture and a linear layer.
//! struct Net {
//!     stem: Conv2d,
//!     block: Sequential,
//!     head: Linear,
//! }
//!
//! impl Module for Net {
//!     fn kind(&self) -> &str {
//!         "Net"
//!     }
//!     fn forward(&self, cx: &mut Tracer, x: Value) -> Value {
//!         let x = cx.call("stem", &self.stem, x);
//!         let y = cx.call("block", &self.block, x);
//!         let x = cx.add(x, y);
//!         let x = cx.mean(x);
//!         cx.call("head", &self.head, x)
//!     }
//! }
//!
//! let conv = |inputs| Conv2d::new(inputs, 16, 3).padding(Padding::all(1));
//! let block = Sequential::new().then(conv(16)).then(Activation::ReLU);
//! let net = Net { stem: conv(3), block, head: Linear::new(16, 10) };
//! // Weights are random until a checkpoint is loaded or the network is trained.
//! let model = Architecture::trace(&net)?.init(0);
//! assert_eq!(model.forward(&Tensor::zeros([2, 3, 32, 32]))?.shape(), [2, 10]);
//! assert_eq!(model.parameter_named("block.0.weight").unwrap().shape(), [16, 16, 3, 3]);
//! # Ok::<(), posterize::Error>(())
//! ```
//!
//! # The order of the modules
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
//! | `onnx` | yes | [`import::onnx`]: networks in ONNX files |
//! | `save` | yes | [`SavedModel::save`](format::SavedModel::save), `StateDict::save_safetensors`, [`atomic_file`] |
//! | `data` | yes | [`data::ImageFolder`], [`data::Loader`], transforms, [`data::Picture::open`] |
//! | `jpeg`, `png`, `webp`, `bmp`, `pnm`, `gif`, `tiff` | yes | the picture format of that name; each turns on `data` |
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
mod classifier;
mod compare;
pub mod data;
pub mod error;
mod evaluate;
mod foreign;
pub mod format;
pub mod graph;
pub mod import;
mod interop;
mod loading;
mod logits;
mod memory;
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
pub mod report;
pub mod runtime;
mod short_digest;
pub mod tensor;
mod trace;
#[cfg(feature = "training")]
pub mod training;

pub use checkpoint::StateDict;
pub use classifier::{Classification, Classifier, Prediction};
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
    #[cfg(feature = "gif")]
    "gif",
    #[cfg(feature = "image")]
    "image",
    #[cfg(feature = "jpeg")]
    "jpeg",
    #[cfg(feature = "ndarray")]
    "ndarray",
    #[cfg(feature = "onnx")]
    "onnx",
    #[cfg(feature = "png")]
    "png",
    #[cfg(feature = "pnm")]
    "pnm",
    #[cfg(feature = "save")]
    "save",
    #[cfg(feature = "tiff")]
    "tiff",
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
