//! Optimizers, which update the parameters of a network with their gradients.

mod adam;
mod buffers;
mod decay;
mod options;
mod sgd;
mod state;

pub use adam::{Adam, AdamOptions};
pub use decay::Decay;
pub use options::{Optimizer, OptimizerOptions};
pub use sgd::{Sgd, SgdOptions};
pub use state::{OptimizerBuffer, OptimizerState};
