//! The error type of the library.
//!
//! Every message names the file, layer or tensor, what was expected and what was found, and if
//! something can be done about it, what.

mod printable;
mod state_dict_mismatch;
#[cfg(feature = "onnx")]
mod unsupported_nodes;

use std::path::{Path, PathBuf};

#[cfg(any(feature = "checkpoint", feature = "onnx"))]
pub(crate) use printable::printable;
pub(crate) use printable::printable_up_to;
pub use state_dict_mismatch::{MismatchCause, StateDictMismatch};
#[cfg(feature = "onnx")]
pub use unsupported_nodes::{UnsupportedNode, UnsupportedNodes};

/// A [`Result`](std::result::Result) with the library's [`Error`].
///
/// ```
/// use posterize::{Error, Result};
///
/// fn batches(pictures: usize, batch_size: usize) -> Result<usize> {
///     if batch_size == 0 {
///         return Err(Error::Argument("batch_size is 0; expected at least 1".into()));
///     }
///     Ok(pictures.div_ceil(batch_size))
/// }
/// assert_eq!(batches(100, 32)?, 4);
/// # Ok::<(), posterize::Error>(())
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of every function of the library that can fail.
///
/// Its text is a message for people. [`Error::kind`] is the kind of error for programs;
/// [`Error::layer_name`] and [`Error::path`] are the layer and the file that it is about.
///
/// ```
/// use posterize::ops::Conv2d;
/// use posterize::quantization::{QConfig, QConfigMapping};
/// use posterize::{Architecture, ErrorKind};
///
/// let model = Architecture::trace(&Conv2d::new(3, 8, 3))?.init(0);
/// let observed = model.prepare(&QConfigMapping::global(QConfig::recommended()))?;
/// let error = observed.convert().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotCalibrated);
///
/// let error = model.graph().infer(&[1, 4, 8, 8]).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::ShapeMismatch);
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operation that failed, as a verb phrase: `read`, `create the folder`.
        action: &'static str,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A checkpoint file is damaged, of an unknown format, or would run code.
    #[error("{path}: {problem}", path = path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A state dict does not fit the model. Lists every difference.
    #[error("{0}")]
    StateDict(Box<StateDictMismatch>),
    /// A tensor or layer has a shape that it cannot have.
    #[error("{layer}: {problem}")]
    Shape {
        /// The layer's dotted module path, or the use of the tensor (`logits`, `batch`).
        layer: String,
        /// What was expected, and what was found.
        problem: String,
    },
    /// A layer cannot be built, found, fused or converted.
    #[error("{layer}: {problem}")]
    Layer {
        /// The layer's dotted module path.
        layer: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// An operator cannot be computed, quantized or trained with these settings.
    #[error("{layer}: {operator}: {problem}")]
    #[non_exhaustive]
    Unsupported {
        /// The layer's dotted module path.
        layer: String,
        /// The operator: `Conv2d`.
        operator: String,
        /// Why, and what to do.
        problem: String,
    },
    /// A network in an ONNX file has nodes that cannot be imported. Lists all of them.
    #[cfg(feature = "onnx")]
    #[error(transparent)]
    UnsupportedNodes(Box<UnsupportedNodes>),
    /// Observers saw no data, so their scales cannot be computed.
    #[error(
        "{} of {total} observers saw no data ({remedy}): {}",
        observers.len(), observers.join(", ")
    )]
    #[non_exhaustive]
    NotCalibrated {
        /// The layers whose output, or with `.weight` whose weight, was not observed.
        observers: Vec<String>,
        /// The number of all observers.
        total: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// Calibrated ranges cannot be used: they are those of another network, or were changed so that they are
    /// invalid. See [`Ranges`](crate::quantization::Ranges).
    #[error("{0}")]
    Ranges(String),
    /// The caller stopped a training run, see `training::Watch::wants_stop`.
    #[error("training was stopped in epoch {epoch}, after {batch} of its batches")]
    #[non_exhaustive]
    Interrupted {
        /// The epoch, from 0.
        epoch: usize,
        /// Number of the epoch's batches that were trained.
        batch: usize,
    },
    /// A picture cannot be decoded.
    #[error("{path}: {problem}", path = path.display())]
    Image {
        /// The picture.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A folder of pictures is not a data set.
    #[error("{path}: {problem}", path = path.display())]
    Dataset {
        /// The folder, or the file of class names.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A saved model is damaged, of a newer version, or was not saved by posterize.
    #[error("{path}: {problem}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The network of a file cannot be used as it is asked for.
    #[error("{path}: {source}", path = path.display())]
    #[non_exhaustive]
    Network {
        /// The file.
        path: PathBuf,
        /// The error, which names the layer.
        source: Box<Error>,
    },
    /// A network would take more memory or work than is allowed; see
    /// [`Options`](crate::runtime::Options).
    #[error("{layer}: {problem}")]
    #[non_exhaustive]
    Limit {
        /// The layer's dotted module path.
        layer: String,
        /// What it would take, the limit, and what to do.
        problem: String,
    },
    /// A value that a network takes or returns is NaN or infinite.
    #[error("{layer}: {problem}")]
    #[non_exhaustive]
    NotFinite {
        /// The input, or the dotted module path of the layer whose output it is.
        layer: String,
        /// The value and its index, and what to do.
        problem: String,
    },
    /// The operating system gave no memory, or no thread.
    #[error("{0}")]
    OutOfResources(String),
    /// An argument is out of range.
    #[error("{0}")]
    Argument(String),
}

impl Error {
    /// Returns a function that makes an [`Error::Io`], for use as `map_err(Error::io(path,
    /// "read"))`.
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, action, source }
    }

    /// Creates an [`Error::Shape`].
    pub fn shape(layer: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Shape { layer: layer.into(), problem: problem.into() }
    }

    /// Creates an [`Error::Layer`].
    pub fn layer(layer: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Layer { layer: layer.into(), problem: problem.into() }
    }

    /// Creates an [`Error::NotFinite`].
    pub(crate) fn not_finite(layer: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::NotFinite { layer: layer.into(), problem: problem.into() }
    }

    /// Creates an [`Error::Limit`].
    pub(crate) fn limit(layer: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Limit { layer: layer.into(), problem: problem.into() }
    }

    /// Creates an [`Error::OutOfResources`] for memory that could not be allocated.
    pub(crate) fn no_memory(bytes: usize) -> Self {
        Self::OutOfResources(format!(
            "not enough memory: the system does not give {bytes} bytes; use a smaller batch, smaller \
             pictures or fewer threads"
        ))
    }

    /// Creates an [`Error::Unsupported`].
    pub fn unsupported(
        layer: impl Into<String>,
        operator: impl Into<String>,
        problem: impl Into<String>,
    ) -> Self {
        Self::Unsupported {
            layer: layer.into(),
            operator: operator.into(),
            problem: problem.into(),
        }
    }

    /// Returns the error with the file that the network is from, if the error is about one of the
    /// network's layers; see [`Error::Network`]. Otherwise returns it as it is.
    ///
    /// ```
    /// use posterize::Error;
    ///
    /// let error = Error::layer("features.0", "the kernel is 0").of_file("net.safetensors");
    /// assert_eq!(error.to_string(), "net.safetensors: features.0: the kernel is 0");
    /// assert_eq!(error.layer_name(), Some("features.0"));
    /// ```
    #[must_use]
    pub fn of_file(self, path: impl AsRef<Path>) -> Self {
        if self.path().is_some() || self.layer_name().is_none() {
            return self;
        }
        Self::Network { path: path.as_ref().to_path_buf(), source: Box::new(self) }
    }

    /// Returns the kind of error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Io,
            Self::Checkpoint { .. } | Self::Format { .. } => ErrorKind::CorruptFile,
            Self::StateDict(_) => ErrorKind::StateDictMismatch,
            Self::Shape { .. } => ErrorKind::ShapeMismatch,
            Self::Layer { .. } => ErrorKind::InvalidLayer,
            Self::Unsupported { .. } => ErrorKind::UnsupportedOperator,
            #[cfg(feature = "onnx")]
            Self::UnsupportedNodes(_) => ErrorKind::UnsupportedNetwork,
            Self::NotCalibrated { .. } => ErrorKind::NotCalibrated,
            Self::Ranges(_) => ErrorKind::InvalidRanges,
            Self::Image { .. } => ErrorKind::Image,
            Self::Dataset { .. } => ErrorKind::Dataset,
            Self::Network { source, .. } => source.kind(),
            Self::Limit { .. } => ErrorKind::LimitExceeded,
            Self::NotFinite { .. } => ErrorKind::NotFinite,
            Self::OutOfResources(_) => ErrorKind::OutOfResources,
            Self::Interrupted { .. } => ErrorKind::Interrupted,
            Self::Argument(_) => ErrorKind::InvalidArgument,
        }
    }

    /// Returns the dotted module path of the layer that the error is about, or the name of the
    /// tensor.
    pub fn layer_name(&self) -> Option<&str> {
        match self {
            Self::Shape { layer, .. }
            | Self::Layer { layer, .. }
            | Self::Unsupported { layer, .. }
            | Self::Limit { layer, .. }
            | Self::NotFinite { layer, .. } => Some(layer),
            Self::Network { source, .. } => source.layer_name(),
            #[cfg(feature = "onnx")]
            Self::UnsupportedNodes(_) => None,
            Self::Io { .. }
            | Self::Checkpoint { .. }
            | Self::StateDict(_)
            | Self::NotCalibrated { .. }
            | Self::Ranges(_)
            | Self::Image { .. }
            | Self::Dataset { .. }
            | Self::Format { .. }
            | Self::OutOfResources(_)
            | Self::Interrupted { .. }
            | Self::Argument(_) => None,
        }
    }

    /// Returns the file or folder that the error is about.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::Checkpoint { path, .. }
            | Self::Image { path, .. }
            | Self::Dataset { path, .. }
            | Self::Format { path, .. }
            | Self::Network { path, .. } => Some(path),
            #[cfg(feature = "onnx")]
            Self::UnsupportedNodes(nodes) => Some(nodes.path()),
            Self::StateDict(_)
            | Self::Shape { .. }
            | Self::Layer { .. }
            | Self::Unsupported { .. }
            | Self::NotCalibrated { .. }
            | Self::Ranges(_)
            | Self::Limit { .. }
            | Self::NotFinite { .. }
            | Self::OutOfResources(_)
            | Self::Interrupted { .. }
            | Self::Argument(_) => None,
        }
    }
}

/// The kind of an [`Error`].
///
/// ```
/// use posterize::models::{self, Config};
/// use posterize::{ErrorKind, StateDict};
///
/// let error = models::by_name("vgg16", &Config::default()).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidArgument);
///
/// # #[cfg(feature = "checkpoint")] {
/// let error = StateDict::open("no_such_file.pth").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Io);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused a file operation.
    Io,
    /// A file is damaged, of a newer version, not trusted, or of another kind than expected.
    CorruptFile,
    /// Weights do not fit a network: keys are missing, unexpected or of another shape.
    StateDictMismatch,
    /// A tensor has a shape that it cannot have.
    ShapeMismatch,
    /// A layer cannot be built, found, fused or converted.
    InvalidLayer,
    /// An operator cannot be computed, quantized or trained with these settings.
    UnsupportedOperator,
    /// The network of a file has nodes that cannot be imported.
    UnsupportedNetwork,
    /// Observers saw no data.
    NotCalibrated,
    /// Calibrated ranges are invalid, or those of another network.
    InvalidRanges,
    /// A picture cannot be decoded.
    Image,
    /// A folder of pictures is not a data set.
    Dataset,
    /// A network would take more memory or work than is allowed.
    LimitExceeded,
    /// A value that a network takes or returns is NaN or infinite.
    NotFinite,
    /// The operating system gave no memory, or no thread.
    OutOfResources,
    /// The caller stopped a training run.
    Interrupted,
    /// An argument is out of range.
    InvalidArgument,
}

impl ErrorKind {
    /// Returns the kind's name in lower case with underscores, for logs and JSON.
    ///
    /// ```
    /// assert_eq!(posterize::ErrorKind::StateDictMismatch.name(), "state_dict_mismatch");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::CorruptFile => "corrupt_file",
            Self::StateDictMismatch => "state_dict_mismatch",
            Self::ShapeMismatch => "shape_mismatch",
            Self::InvalidLayer => "invalid_layer",
            Self::UnsupportedOperator => "unsupported_operator",
            Self::UnsupportedNetwork => "unsupported_network",
            Self::NotCalibrated => "not_calibrated",
            Self::InvalidRanges => "invalid_ranges",
            Self::Image => "image",
            Self::Dataset => "dataset",
            Self::LimitExceeded => "limit_exceeded",
            Self::NotFinite => "not_finite",
            Self::OutOfResources => "out_of_resources",
            Self::Interrupted => "interrupted",
            Self::InvalidArgument => "invalid_argument",
        }
    }
}
