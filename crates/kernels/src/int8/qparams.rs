//! Quantization parameters of a `u8` activation.

/// The scale and zero point of a `u8` activation, as PyTorch's per-tensor affine `quint8`: `x ≈ (q
/// − zero_point) · scale`.
///
/// ```
/// use posterize_kernels::int8::QParams8;
///
/// let qparams = QParams8 { scale: 0.5, zero_point: 10 };
/// assert_eq!(qparams.values()[14], 2.0);
/// assert_eq!(qparams.values()[0], -5.0);
/// assert!(QParams8 { scale: 0.0, ..qparams }.defect().is_some());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QParams8 {
    /// The scale; it and its inverse are positive and finite.
    pub scale: f32,
    /// The integer that represents 0.0.
    pub zero_point: u8,
}

impl QParams8 {
    /// Returns the real value of each of the 256 integers, `(q − zero_point) · scale`.
    pub fn values(self) -> [f32; 256] {
        std::array::from_fn(|q| (q as i32 - i32::from(self.zero_point)) as f32 * self.scale)
    }

    /// Describes what is wrong with the scale; `None` where nothing is.
    pub fn defect(self) -> Option<String> {
        let usable = |x: f32| x.is_finite() && x > 0.0;
        (!usable(self.scale) || !usable(1.0 / self.scale))
            .then(|| format!("scale {} is not a positive number with a finite inverse", self.scale))
    }

    /// Checks the scale.
    ///
    /// # Panics
    /// With the description of [`Self::defect`], if there is one.
    pub(crate) fn assert_valid(self) {
        if let Some(defect) = self.defect() {
            panic!("invalid quantization parameters: {defect}");
        }
    }
}
