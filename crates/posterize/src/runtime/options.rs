//! How an engine is built.

use super::input::Normalize;
use super::isa::Isa;
use crate::data::Preprocessing;
use crate::error::{Error, Result};

/// How an engine is built.
///
/// ```
/// use posterize::data::Preprocessing;
/// use posterize::runtime::Options;
///
/// let options = Options::new(1)?.batch(30).pictures(&Preprocessing::imagenet());
/// assert_eq!(options.picture, Some([3, 224, 224]));
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Threads that share each layer's work, the caller's own among them; at least 1.
    pub threads: usize,
    /// The instruction set.
    pub isa: Isa,
    /// Pictures in the batches that memory is made ready for, at least 1. Larger ones come at the
    /// cost of an allocation, once.
    pub batch: usize,
    /// `[C, H, W]` of the pictures that are planned for at once; `None` to wait for the first batch.
    /// Other sizes are planned when they come, over the same packed weights.
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
        let isa = Isa::from_env()?;
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

    /// The same for batches of that many pictures.
    #[must_use]
    pub const fn batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// The same on that instruction set.
    #[must_use]
    pub const fn isa(mut self, isa: Isa) -> Self {
        self.isa = isa;
        self
    }

    /// The same with that many threads.
    #[must_use]
    pub const fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The same for tensors of that size, `[C, H, W]`.
    #[must_use]
    pub const fn picture(mut self, picture: [usize; 3]) -> Self {
        self.picture = Some(picture);
        self
    }

    /// The same for pixels that are normalized so.
    #[must_use]
    pub const fn normalize(mut self, normalize: Normalize) -> Self {
        self.normalize = Some(normalize);
        self
    }

    /// The same for pictures of this size, given as tensors or as pixels.
    #[must_use]
    pub fn pictures(self, preprocessing: &Preprocessing) -> Self {
        let &Preprocessing { crop, mean, std, .. } = preprocessing;
        let normalize = Some(Normalize::Rgb { mean, std });
        Self { picture: Some([3, crop, crop]), normalize, ..self }
    }

    pub(super) fn validate(&self) -> Result<()> {
        for (what, value) in [("threads", self.threads), ("batch", self.batch)] {
            if value == 0 {
                return Err(Error::Argument(format!("{what} is 0; it must be at least 1")));
            }
        }
        self.normalize.map_or(Ok(()), |normalize| normalize.validate())
    }
}
