//! What runs a graph.
//!
//! [`compile`] packs a model's weights for this machine; the [`Engine`] that it returns plans the
//! memory for each size of input that it meets, and runs batches.

pub(crate) mod aligned;
pub(crate) mod arena;
mod blocks;
mod calibrate;
mod engine;
mod input;
mod isa;
pub(crate) mod limits;
pub(crate) mod memory;
mod model;
mod not_finite;
mod options;
mod peak;
mod plan;
mod profile;
mod step;
mod summary;
mod workspace;

pub use engine::{Engine, compile};
pub use input::{Input, Normalize};
pub use isa::Isa;
pub use model::Model;
pub(crate) use model::Replacement;
pub use options::Options;
pub use peak::{Arithmetic, peak};
pub use profile::{LayerProfile, Profile};
pub use summary::{PlanSummary, PlannedStep};
pub use workspace::Observe;
pub(crate) use workspace::Shown;
