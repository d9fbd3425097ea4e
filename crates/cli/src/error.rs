//! What ends a command.

use std::io;

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
    /// The result could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
}

impl CliError {
    /// Whether the reader of the output went away (`posterize … | head -1`): no error to report.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
