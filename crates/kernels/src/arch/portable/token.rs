//! The proof that there is nothing to prove.

/// The instructions that every CPU has of the kind that this is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Portable;
