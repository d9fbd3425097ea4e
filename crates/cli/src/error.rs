//! What ends a command.

use std::{io, path::PathBuf, process::ExitCode};

use crate::fetch::FetchError;

/// A result with the command line's [`CliError`].
pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;

/// Why a command ended without doing its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The library refused its input.
    #[error(transparent)]
    Library(#[from] posterize::Error),
    /// A file could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Arguments that make no sense together.
    #[error("{0}")]
    Usage(String),
    /// A checkpoint that does not fit the network.
    #[error("{path}: {source}", path = path.display())]
    Weights { path: PathBuf, source: Box<posterize::Error> },
    /// A training that broke off; what was before is not lost.
    #[error(
        "{source}; {checkpoint} holds the training as it was at epoch {epoch}, batch {batch}",
        checkpoint = checkpoint.display()
    )]
    Training { source: Box<posterize::Error>, checkpoint: PathBuf, epoch: usize, batch: usize },
    /// Class numbers that cannot be right.
    #[error("{0}")]
    Classes(String),
    /// No picture was left to evaluate.
    #[error("{data}: none of its pictures could be decoded ({skipped} tried)", data = data.display())]
    NoPictures { data: PathBuf, skipped: usize },
    /// Some pictures could not be classified; each was named before.
    #[error("{failed} of {total} pictures could not be classified")]
    Pictures { failed: usize, total: usize },
    /// The result could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
}

impl CliError {
    /// 2 for arguments that make no sense, as clap has it for those it cannot parse; else 1.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Library(posterize::Error::Argument(_)) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    /// Whether the reader of the output went away (`posterize … | head -1`): no error to report.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
