//! The pictures that are evaluated.

use posterize::data::ImageFolder;

/// A folder of them, and how many of it count.
#[derive(Debug)]
pub(super) struct Labelled {
    pub(super) folder: ImageFolder,
    /// The first of the folder's pictures: all of them, or fewer.
    pub(super) count: usize,
    /// What the folder is called.
    pub(super) place: String,
}

impl Labelled {
    /// At most `limit` pictures of `folder`.
    pub(super) fn new(folder: ImageFolder, place: &str, limit: Option<u64>) -> Self {
        let all = folder.len();
        let count = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(all).min(all);
        Self { folder, count, place: place.into() }
    }
}
