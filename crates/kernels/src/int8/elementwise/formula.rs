//! Constants of the elementwise formulas, shared with the epilogues of other kernels.

/// The constants of [`Add`](super::Add).
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddFormula {
    /// The scale of each side.
    pub(crate) scale: [f32; 2],
    /// `−zero_point · scale` of each side.
    pub(crate) offset: [f32; 2],
    /// The inverse of the output's scale.
    pub(crate) inverse_scale: f32,
    pub(crate) target: Target,
}

/// The last step of quantization: clamps, rounds half to even and adds the zero point.
///
/// The bounds are integers and rounding is monotone, so clamping before rounding gives the same as
/// clamping after it, and the conversion to an integer cannot overflow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) zero_point: f32,
    /// The minimum output minus the zero point.
    pub(crate) min: f32,
    /// The maximum output minus the zero point.
    pub(crate) max: f32,
}

impl Target {
    pub(crate) fn new(zero_point: u8, min: u8, max: u8) -> Self {
        assert!(min <= max, "min {min} exceeds max {max}");
        let zero_point = f32::from(zero_point);
        Self { zero_point, min: f32::from(min) - zero_point, max: f32::from(max) - zero_point }
    }

    /// `clamp(round_half_even(v) + zero_point, min, max)`; a NaN becomes `max`.
    #[inline(always)]
    pub(crate) fn round(self, v: f32) -> u8 {
        // Written as comparisons that are false for a NaN, so that they compile to `vminps` and
        // `vmaxps`.
        let v = if v < self.max { v } else { self.max };
        let v = if v > self.min { v } else { self.min };
        let q = v.round_ties_even() + self.zero_point;
        // SAFETY: v was clamped to [min − zero_point, max − zero_point], a range with integer ends,
        // and a NaN replaced by the upper end, so q is finite and lies in 0..=255.
        unsafe { q.to_int_unchecked::<i32>() as u8 }
    }
}
