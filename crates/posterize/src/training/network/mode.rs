//! The mode of a forward pass.

/// The mode of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Training mode.
    Train,
    /// Training mode without updates of observers and running estimates, which ends with an error at
    /// the first layer whose output is not finite.
    Diagnose,
    /// Eval mode.
    Evaluate,
}
