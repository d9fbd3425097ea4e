//! Training and quantization-aware fine-tuning.

mod clip;
mod loss;
mod network;
mod schedule;
mod sgd;
mod trained;

pub use clip::{clip_grad_norm, global_norm};
pub use loss::{CrossEntropy, Loss};
pub use network::{Network, NetworkState, NetworkValues, StepResult};
pub use schedule::{LearningRate, Schedule};
pub use sgd::{Decay, Sgd, SgdOptions};
pub use trained::{Role, TrainedMut};
