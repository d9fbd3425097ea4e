//! Reading and writing safetensors files.

mod header;
#[cfg(feature = "checkpoint")]
mod read;
#[cfg(feature = "save")]
mod write;

#[cfg(feature = "training")]
pub(crate) use header::TRAINING_FORMAT;
pub(crate) use header::{FORMAT, INT8_GRAPH, LENGTH, MODEL_FORMAT, Place, explain, header};
#[cfg(feature = "checkpoint")]
pub(super) use read::{begins_as_weights, contents, read};
