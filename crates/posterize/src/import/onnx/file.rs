//! The parts of a file that an import reads.

use std::path::Path;

use super::external::External;
use super::options::OnnxOptions;
use super::proto::{GraphProto, ModelProto};
use crate::error::Error;

/// A file that is imported.
pub(super) struct File<'a> {
    pub(super) path: &'a Path,
    pub(super) model: &'a ModelProto,
    pub(super) graph: &'a GraphProto,
    pub(super) opset: i64,
    pub(super) external: External,
    pub(super) options: &'a OnnxOptions,
}

impl File<'_> {
    /// Returns the error for a file that contradicts the standard.
    pub(super) fn corrupt(&self, problem: impl Into<String>) -> Error {
        Error::Format { path: self.path.to_path_buf(), problem: problem.into() }
    }
}
