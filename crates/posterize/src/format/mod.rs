//! Saved files: an int8 model, and the checkpoint of a training run.
//!
//! [`SavedModel`] is an int8 network with the preprocessing of its pictures and the names of its
//! classes, in one safetensors file that describes itself. `docs/format.md` specifies the file. Like
//! checkpoints it is read once and nothing of it is mapped, so a file that changes meanwhile can do
//! no harm; the weights are packed for the machine's kernels anyway.

mod container;
mod file;
mod limits;
mod model;
mod parts;
mod saved_model;
#[cfg(test)]
mod tests;
mod training;
mod v1;
mod v2;

pub use model::FORMAT_VERSION;
#[doc(hidden)]
pub use model::graph_from_json;
pub use saved_model::SavedModel;
