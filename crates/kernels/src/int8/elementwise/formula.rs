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
    /// What is added to the bits of a sum with [`ROUNDING`] to get the output.
    offset: u32,
}

/// 1.5 · 2²³. The sum of it and a value between ±2²² is rounded to an integer, half to even, which is in the
/// lowest bits of the sum. This takes one addition of floats, where rounding, adding the zero point and
/// converting to an integer take three instructions that compete for the same units.
const ROUNDING: f32 = 12_582_912.0;

impl Target {
    pub(crate) fn new(zero_point: u8, min: u8, max: u8) -> Self {
        assert!(min <= max, "min {min} exceeds max {max}");
        let offset = u32::from(zero_point).wrapping_sub(ROUNDING.to_bits());
        let zero_point = f32::from(zero_point);
        let [min, max] = [min, max].map(|end| f32::from(end) - zero_point);
        Self { zero_point, min, max, offset }
    }

    /// `clamp(round_half_even(v) + zero_point, min, max)`; a NaN becomes `max`.
    #[inline(always)]
    pub(crate) fn round(self, v: f32) -> u8 {
        // Written as comparisons that are false for a NaN, so that they compile to `vminps` and
        // `vmaxps`.
        let v = if v < self.max { v } else { self.max };
        let v = if v > self.min { v } else { self.min };
        (v + ROUNDING).to_bits().wrapping_add(self.offset) as u8
    }
}
