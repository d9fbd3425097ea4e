//! What runs a graph.
//!
//! [`compile`] packs a model's weights for this machine and lays out its memory; the [`Engine`]
//! that it returns runs batches.

pub(crate) mod aligned;
pub(crate) mod arena;
mod blocks;
mod calibrate;
mod engine;
mod float;
mod input;
mod int8;
pub(crate) mod memory;
mod plan;
mod profile;
mod summary;
mod workspace;

pub use engine::{Compile, Engine, compile};
pub(crate) use float::{cat, clamp_of, flatten};
pub use input::{Input, Normalize};
pub use posterize_kernels::Isa;
pub use posterize_kernels::peak::{Arithmetic, peak};
pub use profile::{LayerProfile, Profile};
pub use summary::{PlanSummary, PlannedStep};
pub use workspace::Observe;

use crate::data::Preprocessing;
use crate::error::{Error, Result};

/// How an engine is built.
///
/// ```
/// use posterize::data::Preprocessing;
/// use posterize::runtime::Options;
///
/// let one_thread = Options::new(1)?;
/// let for_pixels = Options { batch: 30, ..one_thread }.pictures(&Preprocessing::imagenet());
/// assert_eq!(for_pixels.picture, Some([3, 224, 224]));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads that share each layer's work, the caller's own among them; at least 1.
    pub threads: usize,
    /// The instruction set.
    pub isa: Isa,
    /// Pictures in the batches that memory is made ready for, at least 1. Larger ones come at the
    /// cost of an allocation, once.
    pub batch: usize,
    /// `[C, H, W]` of the pictures that weights are packed for; `None` to wait for the first batch.
    /// Others come at the cost of packing anew.
    pub picture: Option<[usize; 3]>,
    /// What pixels go through on their way into the network; without it an engine takes tensors
    /// only.
    pub normalize: Option<Normalize>,
}

impl Options {
    /// `threads` threads on the best instruction set, or the one that `POSTERIZE_ISA` names, for
    /// tensors of any size, one picture at a time.
    ///
    /// # Errors
    /// `threads` is 0, or `POSTERIZE_ISA` names an instruction set that is unknown or absent.
    pub fn new(threads: usize) -> Result<Self> {
        let isa =
            Isa::from_env().map_err(|error| Error::Argument(format!("POSTERIZE_ISA: {error}")))?;
        let options = Self { threads, isa, batch: 1, picture: None, normalize: None };
        options.validate()?;
        Ok(options)
    }

    /// All of this machine's processors.
    ///
    /// # Errors
    /// As [`Options::new`].
    pub fn all_threads() -> Result<Self> {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// The same for pictures of this size, given as tensors or as pixels.
    #[must_use]
    pub fn pictures(self, preprocessing: &Preprocessing) -> Self {
        let &Preprocessing { crop, mean, std, .. } = preprocessing;
        let normalize = Some(Normalize { mean, std });
        Self { picture: Some([3, crop, crop]), normalize, ..self }
    }

    fn validate(&self) -> Result<()> {
        for (what, value) in [("threads", self.threads), ("batch", self.batch)] {
            if value == 0 {
                return Err(Error::Argument(format!("{what} is 0; it must be at least 1")));
            }
        }
        self.normalize.map_or(Ok(()), |normalize| normalize.validate())
    }
}
