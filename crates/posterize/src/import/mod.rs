//! Networks in the files of other frameworks.
//!
//! [`onnx`] reads ONNX files: graph and weights. PyTorch's checkpoints and safetensors files have
//! weights only; [`checkpoint`](crate::checkpoint) reads them.

#[cfg(feature = "onnx")]
pub mod onnx;
