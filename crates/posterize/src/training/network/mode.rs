//! What a forward pass is for.

/// What a forward pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Batches are normalized and observed.
    Train,
    /// As in training, but nothing moves; stops at the first value that is not finite.
    Diagnose,
    /// Running estimates, no dropout.
    Evaluate,
}
