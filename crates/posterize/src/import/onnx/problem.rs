//! Why a node of a file cannot be imported.

/// Why a node of a file cannot be imported.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Problem {
    /// The node is valid, but it cannot be computed. All such nodes of a file are reported at once.
    Unsupported(String),
    /// The file is damaged or contradicts the ONNX standard.
    Invalid(String),
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Self::Invalid(problem)
    }
}

impl From<&str> for Problem {
    fn from(problem: &str) -> Self {
        Self::Invalid(problem.into())
    }
}

/// Creates a [`Problem::Unsupported`] as an error.
pub(super) fn unsupported<T>(reason: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Unsupported(reason.into()))
}

/// The result of importing a part of a file.
pub(super) type Outcome<T> = Result<T, Problem>;
