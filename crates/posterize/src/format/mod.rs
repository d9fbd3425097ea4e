//! Saved models and checkpoints of training runs.
//!
//! [`SavedModel`] is a float or int8 network with the preprocessing of its pictures and the names of its
//! classes, in one safetensors file. `docs/format.md` specifies the file. A file is read to memory
//! once and is not mapped, so changes to it while it is read cannot do harm.

mod container;
mod file;
mod limits;
mod model;
mod parts;
mod saved_model;
#[cfg(test)]
mod tests;
#[cfg(feature = "training")]
mod training;
mod v1;
mod v2;

pub use model::FORMAT_VERSION;
#[doc(hidden)]
pub use model::graph_from_json;
pub use saved_model::SavedModel;
