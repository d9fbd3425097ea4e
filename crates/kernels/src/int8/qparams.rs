//! Quantization parameters of a `u8` activation.

/// The scale and zero point of a `u8` activation: `x ≈ (q − zero_point) · scale`, PyTorch's
/// per-tensor affine `quint8`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QParams8 {
    /// Finite and positive, and so is its inverse.
    pub scale: f32,
    /// The integer that stands for 0.0.
    pub zero_point: u8,
}

impl QParams8 {
    /// The real value of each integer, `(q − zero_point) · scale`.
    pub fn values(self) -> [f32; 256] {
        std::array::from_fn(|q| (q as i32 - i32::from(self.zero_point)) as f32 * self.scale)
    }

    /// What is wrong with the scale, in words; `None` where nothing is.
    pub fn defect(self) -> Option<String> {
        let usable = |x: f32| x.is_finite() && x > 0.0;
        (!usable(self.scale) || !usable(1.0 / self.scale))
            .then(|| format!("scale {} is not a positive number with a finite inverse", self.scale))
    }

    /// Panics with [`Self::defect`] where there is one.
    pub(crate) fn assert_valid(self) {
        if let Some(defect) = self.defect() {
            panic!("invalid quantization parameters: {defect}");
        }
    }
}
