//! The errors with which a command can end.

use std::{
    io,
    path::{Path, PathBuf},
};

use posterize::{ErrorKind, checkpoint::StateDictMismatch};
use serde::Serialize;

use crate::{exit::Exit, fetch::FetchError};

/// A result whose error is a [`CliError`].
pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;

/// The reason why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The library returned an error.
    #[error(transparent)]
    Library(#[from] posterize::Error),
    /// A file could not be downloaded or unpacked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The arguments contradict each other, or one is missing.
    #[error("{0}")]
    Usage(String),
    /// The weights of a checkpoint cannot be used.
    #[error("{path}: {source}", path = path.display())]
    Weights { path: PathBuf, source: Box<posterize::Error> },
    /// A checkpoint does not fit the network. `advice` is what to do, as a sentence or nothing.
    #[error(
        "{path}: {}{}{advice}\n{}",
        mismatch.summary(),
        if advice.is_empty() { "" } else { " " },
        mismatch.differences(*max_lines, "-v for all"),
        path = path.display()
    )]
    Mismatch { path: PathBuf, mismatch: Box<StateDictMismatch>, advice: String, max_lines: usize },
    /// Training failed after a checkpoint had been written.
    #[error(
        "{source}; the last checkpoint is {checkpoint}, of epoch {epoch}, batch {batch}: --resume \
         continues from it",
        checkpoint = checkpoint.display()
    )]
    Training { source: Box<posterize::Error>, checkpoint: PathBuf, epoch: usize, batch: usize },
    /// The user stopped training by Ctrl-C.
    #[error(
        "stopped in epoch {epoch} after {batch} of its batches, and written to {checkpoint}; continue \
         with:\n{command}",
        checkpoint = checkpoint.display()
    )]
    Interrupted { checkpoint: PathBuf, epoch: usize, batch: usize, command: String },
    /// The number of classes differs between the data and the network.
    #[error("{0}")]
    Classes(String),
    /// No picture of a folder could be decoded.
    #[error(
        "{data}: no picture could be decoded ({skipped} skipped); the warnings above say why",
        data = data.display()
    )]
    NoPictures { data: PathBuf, skipped: usize },
    /// A picture could not be classified.
    #[error("{path}: {source}", path = path.display())]
    Picture { path: PathBuf, source: Box<posterize::Error> },
    /// Some pictures could not be classified; each has its own message before this one.
    #[error("{failed} of {total} pictures could not be classified; the messages above say why")]
    Pictures { failed: usize, total: usize },
    /// A recipe or a file of ranges is damaged, or for another network.
    #[error("{path}: {problem}", path = path.display())]
    File { path: PathBuf, problem: String },
    /// The result misses the target that the arguments set.
    #[error("{0}")]
    NotMet(String),
    /// The result could not be written to standard output.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
}

/// What `--json` prints of an error.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorObject {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    /// The file or folder that the error is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// The dotted path of the layer that the error is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) layer: Option<String>,
    /// What to do. It may be part of the message too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    pub(crate) exit_code: u8,
}

impl CliError {
    /// Returns the error as an object of JSON.
    pub(crate) fn object(&self) -> ErrorObject {
        ErrorObject {
            kind: self.kind(),
            message: self.to_string(),
            path: self.path().map(|path| path.display().to_string()),
            layer: self.library().and_then(posterize::Error::layer_name).map(str::to_owned),
            hint: self.hint(),
            exit_code: self.exit().code(),
        }
    }

    /// Returns the library's error that is the cause.
    fn library(&self) -> Option<&posterize::Error> {
        match self {
            Self::Library(error) => Some(error),
            Self::Weights { source, .. }
            | Self::Training { source, .. }
            | Self::Picture { source, .. } => Some(source),
            _ => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Library(error) => error.kind().name(),
            Self::Weights { source, .. }
            | Self::Training { source, .. }
            | Self::Picture { source, .. } => source.kind().name(),
            Self::Mismatch { .. } => ErrorKind::StateDictMismatch.name(),
            Self::Fetch(error) => error.kind(),
            Self::Interrupted { .. } => "interrupted",
            Self::Usage(_) => "usage",
            Self::File { .. } => ErrorKind::CorruptFile.name(),
            Self::NotMet(_) => "not_met",
            Self::Classes(_) => "dataset",
            Self::NoPictures { .. } | Self::Pictures { .. } => "image",
            Self::Output(_) => "io",
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::Weights { path, .. }
            | Self::Mismatch { path, .. }
            | Self::File { path, .. }
            | Self::Picture { path, .. } => Some(path),
            Self::Interrupted { checkpoint, .. } => Some(checkpoint),
            Self::NoPictures { data, .. } => Some(data),
            Self::Fetch(error) => error.path(),
            _ => self.library().and_then(posterize::Error::path),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Mismatch { advice, .. } => {
                Some(advice).filter(|advice| !advice.is_empty()).cloned()
            }
            Self::Fetch(error) => error.hint(),
            Self::Interrupted { command, .. } => Some(format!("continue with: {command}")),
            Self::Training { .. } => Some("--resume continues from the last checkpoint".into()),
            _ => None,
        }
    }

    /// Returns how the program ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Interrupted { .. } => Exit::Interrupted,
            Self::Library(error) => error.kind().into(),
            Self::Weights { source, .. }
            | Self::Training { source, .. }
            | Self::Picture { source, .. } => source.kind().into(),
            Self::Mismatch { .. } => ErrorKind::StateDictMismatch.into(),
            Self::Fetch(error) => error.exit(),
            Self::Usage(_) => Exit::Usage,
            Self::File { .. }
            | Self::Classes(_)
            | Self::NoPictures { .. }
            | Self::Pictures { .. } => Exit::BadInput,
            Self::NotMet(_) => Exit::NotMet,
            Self::Output(_) => Exit::Io,
        }
    }

    /// Whether the output is a pipe whose reader closed it, as in `posterize … | head -1`. This is not
    /// reported as an error.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
