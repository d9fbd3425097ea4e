//! Reading of ONNX files.
//!
//! An import decodes the file's protocol buffers, computes what is constant (mainly the arithmetic of
//! shapes), and builds a graph of posterize's operators. Reshapes and transposes that cancel out are
//! not computed, and functions that the file writes out in several nodes, such as hard-swish, become
//! one operator. Files of the operator sets 7 to 28 are read, with weights inside or beside the file.
//!
//! ```no_run
//! use posterize::Tensor;
//! use posterize::import::onnx::OnnxModel;
//!
//! let onnx = OnnxModel::open("mobilenet_v2.onnx")?;
//! println!("{}: {:?}", onnx.inputs()[0].name(), onnx.inputs()[0].shape());
//! let logits = onnx.model().forward(&Tensor::zeros([1, 3, 224, 224]))?;
//! # Ok::<(), posterize::Error>(())
//! ```
//!
//! Nothing in a file is trusted: sizes, offsets and paths are checked before they are used, weights are
//! read from the file's own folder alone, and no code is run.

mod attributes;
mod batchless;
mod constant;
mod draft;
mod external;
mod file;
mod fold;
mod functions;
mod given;
mod graph_inputs;
mod importer;
mod model;
mod names;
mod nodes;
mod operators;
mod options;
mod pictures;
mod problem;
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, dead_code)]
#[rustfmt::skip]
mod proto;
mod read;
mod scalar;
mod tensor;
#[cfg(test)]
mod testing;
mod view;
mod wire;

pub use graph_inputs::OnnxInput;
pub use model::OnnxModel;
pub use options::{BatchAxis, OnnxOptions};

pub use crate::error::{UnsupportedNode, UnsupportedNodes};
