//! How an engine is built.

use posterize_kernels::Pool;

use super::input::Normalize;
use super::isa::Isa;
use super::limits::{DEFAULT_MAX_WORK, Limits};
use crate::data::{ChannelOrder, Preprocessing};
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
    /// The largest memory for a batch, in bytes: the values between layers, scratch memory of all
    /// threads, and copies of inputs and outputs. The weights are not counted. In training it is that
    /// of a step.
    ///
    /// `None` allows 2 GiB for each picture of a batch, since the size of a picture's values comes from
    /// the model, which may be a stranger's, and the number of pictures from the caller; but not more
    /// than three quarters of the machine's memory, which leaves room for weights and pictures.
    pub max_memory: Option<usize>,
    /// The largest work for a picture, in multiply-adds as [`Operator::work`] counts them; 2⁴¹ (2.2 ·
    /// 10¹²) by default, about six times that of ResNet-152 at 1024 pixels.
    ///
    /// [`Operator::work`]: crate::ops::Operator::work
    pub max_work: u64,
    /// Whether inputs of a float network may have NaN, which are an error otherwise. In an int8 network
    /// they always are.
    pub allow_nan: bool,
}

impl Options {
    /// `threads` threads on the best instruction set, or the one that `POSTERIZE_ISA` names, for
    /// tensors of any size, one picture at a time.
    ///
    /// # Errors
    /// `threads` is 0 or more than [`MAX_THREADS`](Self::MAX_THREADS), or `POSTERIZE_ISA` names an instruction set that is unknown or absent.
    pub fn new(threads: usize) -> Result<Self> {
        let isa = Isa::from_env()?;
        let options = Self {
            threads,
            isa,
            batch: 1,
            picture: None,
            normalize: None,
            max_memory: None,
            max_work: DEFAULT_MAX_WORK,
            allow_nan: false,
        };
        options.validate()?;
        Ok(options)
    }

    /// All of this machine's processors.
    ///
    /// # Errors
    /// As [`Options::new`].
    pub fn all_threads() -> Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(threads.min(Self::MAX_THREADS))
    }

    /// The largest number of threads. More than there are processors are never faster.
    pub const MAX_THREADS: usize = 1024;

    /// The same for batches of that many pictures.
    #[must_use]
    pub const fn batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// The same for inputs that may have NaN, if the network is in float.
    #[must_use]
    pub const fn allow_nan(mut self, allow_nan: bool) -> Self {
        self.allow_nan = allow_nan;
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
        let &Preprocessing { crop: [height, width], channels, mean, std, .. } = preprocessing;
        let normalize = Some(match channels {
            ChannelOrder::Rgb => Normalize::Rgb { mean, std },
            ChannelOrder::Bgr => Normalize::Bgr { mean, std },
        });
        Self { picture: Some([3, height, width]), normalize, ..self }
    }

    /// The same with at most that many bytes of memory for a batch.
    ///
    /// ```
    /// use posterize::ops::AdaptiveAvgPool2d;
    /// use posterize::runtime::{Options, compile};
    /// use posterize::{Architecture, ErrorKind, Tensor};
    ///
    /// let model = Architecture::trace(&AdaptiveAvgPool2d::new([512, 512]))?.init(0);
    /// let options = Options::new(1)?.max_memory(1 << 20);
    /// let error = compile(&model, options)?.run(&Tensor::zeros([1, 3, 2, 2])).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    /// # Ok::<(), posterize::Error>(())
    /// ```
    #[must_use]
    pub const fn max_memory(mut self, bytes: usize) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    /// The same with at most that much work for a picture, in multiply-adds.
    #[must_use]
    pub const fn max_work(mut self, multiply_adds: u64) -> Self {
        self.max_work = multiply_adds;
        self
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { max_memory: self.max_memory, max_work: self.max_work }
    }

    /// Starts the threads.
    pub(crate) fn pool(&self) -> Result<Pool> {
        self.validate()?;
        Pool::try_new(self.threads).map_err(|error| {
            Error::OutOfResources(format!(
                "cannot start {} threads: {error}; use fewer",
                self.threads
            ))
        })
    }

    pub(super) fn validate(&self) -> Result<()> {
        if self.threads > Self::MAX_THREADS {
            return Err(Error::Argument(format!(
                "threads is {}; it must be at most {}",
                self.threads,
                Self::MAX_THREADS
            )));
        }
        for (what, value) in [("threads", self.threads), ("batch", self.batch)] {
            if value == 0 {
                return Err(Error::Argument(format!("{what} is 0; it must be at least 1")));
            }
        }
        self.normalize.map_or(Ok(()), |normalize| normalize.validate())
    }
}
