//! The mode of a forward pass.

/// The mode of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Training mode.
    Train,
    /// Training mode without updates of observers and running estimates, which ends with an error at
    /// the first layer whose output is not finite.
    Diagnose,
    /// Eval mode, but batch norms normalize with the statistics of the batch, which is number `batch`, from
    /// 0, and their running estimates become the mean of those of all batches.
    Reestimate {
        /// The number of batches before.
        batch: usize,
    },
    /// Eval mode.
    Evaluate,
}
