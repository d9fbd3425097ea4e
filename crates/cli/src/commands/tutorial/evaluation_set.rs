//! The pictures that are evaluated.

use posterize::data::ImageFolder;

/// A folder of labelled pictures, of which the first are evaluated.
#[derive(Debug)]
pub(super) struct EvaluationSet {
    pub(super) folder: ImageFolder,
    /// Number of pictures that are evaluated.
    pub(super) count: usize,
    /// The name of the folder in reports.
    pub(super) name: String,
}

impl EvaluationSet {
    /// Takes the first `limit` pictures of `folder`, or all of them.
    pub(super) fn new(folder: ImageFolder, name: &str, limit: Option<usize>) -> Self {
        let all = folder.len();
        let count = limit.unwrap_or(all).min(all);
        Self { folder, count, name: name.into() }
    }
}
