//! Which weights of a checkpoint file are read.

/// Which weights of a checkpoint file are read.
///
/// ```no_run
/// use posterize::StateDict;
/// use posterize::checkpoint::ReadOptions;
///
/// let averaged = StateDict::open_with("model.pth", &ReadOptions::new().averaged(true))?;
/// # Ok::<(), posterize::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    pub(super) averaged: bool,
}

impl ReadOptions {
    /// Returns the options of [`StateDict::open`](crate::StateDict::open).
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the exponential moving average of the weights (EMA) is read, which is under
    /// `state_dict_ema`, `model_ema` or a similar key. Otherwise it is read only if there are no
    /// other weights.
    #[must_use]
    pub fn averaged(mut self, averaged: bool) -> Self {
        self.averaged = averaged;
        self
    }
}
