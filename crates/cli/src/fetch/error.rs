//! The errors of downloads. Each message says what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{exit::Exit, ui};

use super::Item;

/// A result whose error is a [`FetchError`].
pub(super) type Result<T, E = FetchError> = std::result::Result<T, E>;

/// The reason why a file could not be downloaded, copied or unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("found no home folder for downloaded files; pass --cache DIR or set POSTERIZE_CACHE")]
    NoCacheFolder,
    #[error("{path}: cannot {action}: {source}{hint}", path = path.display(), hint = hint(source))]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error(
        "{} is not in the cache folder, and --offline forbids downloading it; {}", item.name(),
        item.offline_instructions()
    )]
    Offline { item: Item },
    #[error(
        "{path}: expected a regular file, found a folder, pipe or device; pass the wheel or the .pth \
         that was downloaded", path = path.display()
    )]
    NotAFile { path: PathBuf },
    #[error("{url}: {problem}")]
    Url { url: String, problem: String },
    #[error("cannot download {url}: {reason}; without a network, {}", item.offline_instructions())]
    Network { url: String, reason: String, item: Item },
    #[error(
        "cannot download {url}: {reason}; behind a proxy that inspects TLS, set SSL_CERT_FILE to a \
         PEM file that holds its certificate"
    )]
    Certificate { url: String, reason: String },
    #[error(
        "the download of {url} was interrupted after {}: {reason}; run the same command again to \
         continue it", ui::bytes(*received)
    )]
    Interrupted { url: String, received: u64, reason: String },
    #[error(
        "cannot download {url}: the server answered {status}; try again later, or {}",
        item.offline_instructions()
    )]
    Status { url: String, status: String, item: Item },
    #[error(
        "{origin}: expected a sha256 that begins with {expected}, found {found}; the file is damaged \
         or another one"
    )]
    Digest { origin: String, expected: String, found: String },
    #[error(
        "cannot run {python}: {source}; install Python 3 with pip, set POSTERIZE_PYTHON to another \
         interpreter, or {}", item.offline_instructions()
    )]
    NoPython { python: String, source: io::Error, item: Item },
    #[error(
        "`{command}` failed: {reason}; if pip cannot download here, {}", item.offline_instructions()
    )]
    Pip { command: String, reason: String, item: Item },
    #[error("{path}: {problem}", path = path.display())]
    Wheel { path: PathBuf, problem: String },
}

impl FetchError {
    /// Returns a function for `map_err`, as in `map_err(FetchError::io(path, "read"))`.
    pub(super) fn io(path: impl AsRef<Path>, action: &'static str) -> impl Fn(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path: path.clone(), action, source }
    }

    /// Returns the kind of error, by the names that `posterize::ErrorKind` has for the same.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::NoCacheFolder | Self::Url { .. } => "usage",
            Self::Io { .. } | Self::NoPython { .. } => "io",
            Self::NotAFile { .. } | Self::Digest { .. } | Self::Wheel { .. } => "corrupt_file",
            Self::Offline { .. }
            | Self::Network { .. }
            | Self::Certificate { .. }
            | Self::Interrupted { .. }
            | Self::Status { .. }
            | Self::Pip { .. } => "network",
        }
    }

    /// Returns the file that the error is about.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. } | Self::NotAFile { path } | Self::Wheel { path, .. } => {
                Some(path)
            }
            _ => None,
        }
    }

    /// Returns how to get the file in another way.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Offline { item }
            | Self::Network { item, .. }
            | Self::Status { item, .. }
            | Self::NoPython { item, .. }
            | Self::Pip { item, .. } => Some(item.offline_instructions()),
            _ => None,
        }
    }

    /// Returns how the program ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoCacheFolder | Self::Url { .. } => Exit::Usage,
            Self::NotAFile { .. } | Self::Digest { .. } | Self::Wheel { .. } => Exit::BadInput,
            Self::Io { .. }
            | Self::Offline { .. }
            | Self::Network { .. }
            | Self::Certificate { .. }
            | Self::Interrupted { .. }
            | Self::Status { .. }
            | Self::NoPython { .. }
            | Self::Pip { .. } => Exit::Io,
        }
    }
}

/// Whether the disk is full or a quota or size limit is reached.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn hint(error: &io::Error) -> &'static str {
    if is_full(error) {
        "; free some space, or choose another folder with --cache DIR"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "; change the permissions, or choose another folder with --cache DIR"
    } else {
        ""
    }
}
