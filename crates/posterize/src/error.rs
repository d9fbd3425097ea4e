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
}
