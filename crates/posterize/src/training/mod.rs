//! Training and quantization-aware training.
//!
//! A [`Network`] computes losses and gradients, an [`Optimizer`] updates the parameters, and [`Trainer`] runs
//! the epochs of a training on image folders.

mod checkpoint;
mod clip;
mod history;
mod loss;
mod network;
mod optimizer;
mod options;
mod outcome;
mod schedule;
mod settings;
mod stagnation;
mod trained;
mod trainer;
mod watch;

pub use checkpoint::{Checkpoint, Position, Settings};
pub use clip::{clip_grad_norm, global_norm};
pub use history::{EpochRecord, History, StepRecord};
pub use loss::{Criterion, CrossEntropy, Distillation, DistillationLoss, Loss};
pub use network::{Network, NetworkState, NetworkValues, StepResult};
pub use optimizer::{
    Adam, AdamOptions, Decay, Optimizer, OptimizerBuffer, OptimizerOptions, OptimizerState, Sgd,
    SgdOptions,
};
pub use options::{Freeze, Keep, LrFactor, TrainOptions};
pub use outcome::Outcome;
pub use schedule::{LearningRate, Schedule};
pub use stagnation::Stagnation;
pub use trained::{ParameterGroup, TrainedMut};
pub use trainer::Trainer;
pub use watch::{TrainedModel, Watch};
