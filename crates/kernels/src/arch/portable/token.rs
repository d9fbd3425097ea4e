//! The token of the portable backend.

/// The baseline instructions of the target architecture; unlike other tokens, anyone may create it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Portable;
