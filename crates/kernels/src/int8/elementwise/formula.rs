//! The constants of formulas, for the ends of other kernels as well.

/// What [`Add`](super::Add) computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddFormula {
    pub(crate) scale: [f32; 2],
    /// `−zero_point · scale` of each side.
    pub(crate) offset: [f32; 2],
    pub(crate) inverse: f32,
    pub(crate) target: Target,
}

/// Where rounded values may lie, as offsets from the zero point.
///
/// Clamping before rounding gives what clamping after it would (rounding is monotone and leaves
/// the bounds, integers, alone), and keeps the conversion to an integer from overflowing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) zero_point: f32,
    pub(crate) least: f32,
    pub(crate) greatest: f32,
}

impl Target {
    pub(crate) fn new(zero_point: u8, min: u8, max: u8) -> Self {
        assert!(min <= max, "the least output {min} exceeds the greatest {max}");
        let zero_point = f32::from(zero_point);
        Self {
            zero_point,
            least: f32::from(min) - zero_point,
            greatest: f32::from(max) - zero_point,
        }
    }

    /// `clamp(round_half_even(v) + zero_point, min, max)`; a NaN becomes `max`.
    #[inline(always)]
    pub(crate) fn round(self, v: f32) -> u8 {
        // Comparisons that a NaN fails, as `vminps` and `vmaxps` have them.
        let v = if v < self.greatest { v } else { self.greatest };
        let v = if v > self.least { v } else { self.least };
        let q = v.round_ties_even() + self.zero_point;
        // SAFETY: q lies in 0..=255: v lies within [min − zp, max − zp], whose ends are integers.
        unsafe { q.to_int_unchecked::<i32>() as u8 }
    }
}
