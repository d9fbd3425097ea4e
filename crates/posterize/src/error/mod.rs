//! The one error type of the library.
//!
//! Every message names the file, layer or tensor concerned, what was expected
//! and what was found; where the reader can do something about it, it says what.

mod state_dict_mismatch;

use std::path::{Path, PathBuf};

pub use state_dict_mismatch::StateDictMismatch;

/// A result with the library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in the library.
///
/// [`Error::kind`] sorts errors for programs, [`Error::layer_name`] and [`Error::path`] say what an
/// error is about, and its text is for people.
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
        /// What was tried, as a verb phrase: `read`, `create the folder`.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A checkpoint file that cannot be understood or is not trusted.
    #[error("{path}: {problem}", path = path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A state dict that does not fit the model. Lists every difference at once.
    #[error("{0}")]
    StateDict(StateDictMismatch),
    /// A tensor or layer with a shape it cannot have.
    #[error("{layer}: {problem}")]
    Shape {
        /// The layer's dotted module path, or what the tensor is for.
        layer: String,
        /// What was expected, and what was found.
        problem: String,
    },
    /// A layer that cannot be built, found, fused or converted.
    #[error("{layer}: {problem}")]
    Layer {
        /// The layer's dotted module path.
        layer: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// An operator that cannot be computed, quantized or trained as it is asked for.
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
    /// Observers that saw no data, so that there are no scales to convert with.
    #[error(
        "{} of {total} observers saw no data ({remedy}): {}",
        observers.len(), observers.join(", ")
    )]
    #[non_exhaustive]
    NotCalibrated {
        /// The layers whose output, or with `.weight` whose weight, was not observed.
        observers: Vec<String>,
        /// How many observers there are.
        total: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// A picture that cannot be decoded.
    #[error("{path}: {problem}", path = path.display())]
    Image {
        /// The picture.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A folder of pictures that is no data set.
    #[error("{path}: {problem}", path = path.display())]
    Dataset {
        /// The folder, or the file of class names.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A saved model that is damaged, of a newer version, or not one of ours.
    #[error("{path}: {problem}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// An argument outside its range.
    #[error("{0}")]
    Argument(String),
}

impl Error {
    /// An [`Error::Io`]; for `map_err(Error::io(path, "read"))`.
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, action, source }
    }

    /// An [`Error::Shape`] of `layer`.
    pub fn shape(layer: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Shape { layer: layer.into(), problem: problem.into() }
    }

    /// An [`Error::Layer`] of `layer`.
    pub fn layer(layer: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Layer { layer: layer.into(), problem: problem.into() }
    }

    /// An [`Error::Unsupported`] of `layer`.
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

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Io,
            Self::Checkpoint { .. } | Self::Format { .. } => ErrorKind::CorruptFile,
            Self::StateDict(_) => ErrorKind::StateDictMismatch,
            Self::Shape { .. } => ErrorKind::ShapeMismatch,
            Self::Layer { .. } => ErrorKind::InvalidLayer,
            Self::Unsupported { .. } => ErrorKind::UnsupportedOperator,
            Self::NotCalibrated { .. } => ErrorKind::NotCalibrated,
            Self::Image { .. } => ErrorKind::Image,
            Self::Dataset { .. } => ErrorKind::Dataset,
            Self::Argument(_) => ErrorKind::InvalidArgument,
        }
    }

    /// The layer or tensor that it is about: its dotted module path.
    pub fn layer_name(&self) -> Option<&str> {
        match self {
            Self::Shape { layer, .. }
            | Self::Layer { layer, .. }
            | Self::Unsupported { layer, .. } => Some(layer),
            Self::Io { .. }
            | Self::Checkpoint { .. }
            | Self::StateDict(_)
            | Self::NotCalibrated { .. }
            | Self::Image { .. }
            | Self::Dataset { .. }
            | Self::Format { .. }
            | Self::Argument(_) => None,
        }
    }

    /// The file or folder that it is about.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::Checkpoint { path, .. }
            | Self::Image { path, .. }
            | Self::Dataset { path, .. }
            | Self::Format { path, .. } => Some(path),
            Self::StateDict(_)
            | Self::Shape { .. }
            | Self::Layer { .. }
            | Self::Unsupported { .. }
            | Self::NotCalibrated { .. }
            | Self::Argument(_) => None,
        }
    }
}

/// What kind of error an [`Error`] is.
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
    /// An operator cannot be computed, quantized or trained as it is asked for.
    UnsupportedOperator,
    /// Observers saw no data.
    NotCalibrated,
    /// A picture cannot be decoded.
    Image,
    /// A folder of pictures is no data set.
    Dataset,
    /// An argument is outside its range.
    InvalidArgument,
}
