//! Which weights of a checkpoint file are read.

/// Which weights of a checkpoint file are read.
///
/// ```
/// use posterize::StateDict;
/// use posterize::checkpoint::ReadOptions;
///
/// // A safetensors file with one tensor, "bias" of one value, and no averaged weights.
/// let header = r#"{"bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
/// let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &1f32.to_le_bytes()].concat();
///
/// let weights = StateDict::from_bytes_with("a.safetensors", &bytes, &ReadOptions::new())?;
/// assert_eq!(weights.len(), 1);
/// let averaged = ReadOptions::new().averaged(true);
/// assert!(StateDict::from_bytes_with("a.safetensors", &bytes, &averaged).is_err());
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
