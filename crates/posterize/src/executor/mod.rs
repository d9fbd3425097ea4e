//! What runs a graph.

mod aligned;
mod calibrate;
mod engine;
mod float;
mod int8;
mod memory;
mod plan;

pub use engine::{FloatEngine, Int8Engine, LayerProfile, Profile};
pub use plan::Observe;
pub use posterize_kernels::Isa;

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// How an engine is built.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads that share each layer's work, the caller's own among them.
    pub threads: usize,
    /// The instruction set.
    pub isa: Isa,
}

impl Options {
    /// `threads` threads on the best instruction set, or the one that `POSTERIZE_ISA` names.
    ///
    /// # Errors
    /// `threads` is 0, or `POSTERIZE_ISA` names an instruction set that is unknown or absent.
    pub fn new(threads: usize) -> Result<Self> {
        if threads == 0 {
            return Err(Error::Argument("threads is 0; it must be at least 1".into()));
        }
        let isa =
            Isa::from_env().map_err(|error| Error::Argument(format!("POSTERIZE_ISA: {error}")))?;
        Ok(Self { threads, isa })
    }

    /// All of this machine's processors.
    ///
    /// # Errors
    /// As [`Options::new`].
    pub fn all_threads() -> Result<Self> {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

/// Runs a model on batches of pictures.
pub trait Engine: Send {
    /// The model's output for a batch `[N, C, H, W]`: logits `[N, classes]` for a classifier.
    ///
    /// # Errors
    /// A layer that such an input does not fit, by its name.
    fn run(&mut self, images: &Tensor) -> Result<Tensor>;

    /// The median time of every step over a number of runs.
    ///
    /// # Errors
    /// As [`Engine::run`].
    fn profile(&mut self, images: &Tensor, runs: usize) -> Result<Profile>;
}
