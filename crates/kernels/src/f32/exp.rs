//! Exponential functions that are computed with the same bits on every instruction set.

/// Returns `exp(x)`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let of_negative = ExpOfNegativeAbs::new(x);
    if x > 0.0 { of_negative.reciprocal() } else { of_negative.times(1.0) }
}

/// Returns `exp(x) − 1` for `x ≤ 0`.
#[inline(always)]
pub(super) fn exp_m1_of_negative(x: f32) -> f32 {
    ExpOfNegativeAbs::new(x).minus_one()
}

/// Returns the hyperbolic tangent of `x`.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let difference = exp_m1_of_negative(2.0 * x);
    let magnitude = -difference / (2.0 + difference);
    magnitude.copysign(x)
}

/// `exp(−|x|)` as `fraction · scale[0] · scale[1]`, where `fraction` is between 0.7 and 1.42 and
/// the scales are powers of two, which are normal numbers even if the product is not.
#[derive(Clone, Copy)]
pub(super) struct ExpOfNegativeAbs {
    /// `fraction − 1`, which has more bits than `fraction` where it is small.
    excess: f32,
    fraction: f32,
    scale: [f32; 2],
}

impl ExpOfNegativeAbs {
    /// For `x` at most this, `x · exp(x)` rounds to zero.
    const LOWEST: f32 = -110.0;
    /// Adding this to a number of magnitude below 2^22 leaves the nearest integer in the low bits.
    const TO_INTEGER: f32 = 12_582_912.0; // 1.5 · 2^23
    /// ln 2 in two parts. The first has 15 bits, so its products with exponents are exact.
    const LN_2: [f32; 2] = [22_713.0 / 32_768.0, 1.428_606_8e-6];
    /// A near-minimax polynomial for `(exp(r) − 1 − r) / r²` with `|r| ≤ ln 2 / 2`, highest power
    /// first. Before the rounding of these steps, the relative error of exp is below 8e-9.
    const POLYNOMIAL: [f32; 5] = [0.001_392_625, 0.008_363_233, 0.041_666_552, 0.166_665_76, 0.5];

    #[inline(always)]
    pub(super) fn new(x: f32) -> Self {
        let x = -x.abs();
        let tiny = x <= Self::LOWEST;
        // Written as a comparison that is false for a NaN, so that a NaN stays.
        let x = if x < Self::LOWEST { Self::LOWEST } else { x };
        let shifted = x * std::f32::consts::LOG2_E + Self::TO_INTEGER;
        let n = shifted - Self::TO_INTEGER;
        let (high, low) = (x - n * Self::LN_2[0], n * Self::LN_2[1]);
        let r = high - low;
        let mut q = Self::POLYNOMIAL[0];
        q = q * r + Self::POLYNOMIAL[1];
        q = q * r + Self::POLYNOMIAL[2];
        q = q * r + Self::POLYNOMIAL[3];
        q = q * r + Self::POLYNOMIAL[4];
        // `high` is exact, while `r` is rounded.
        let excess = high + (r * r * q - low);
        let fraction = 1.0 + excess;
        // For a NaN the integer is arbitrary, but `fraction` is NaN.
        let n = shifted.to_bits().wrapping_sub(Self::TO_INTEGER.to_bits()) as i32;
        let low = power_of_two(n.wrapping_sub(n >> 1));
        Self { excess, fraction, scale: [power_of_two(n >> 1), if tiny { 0.0 } else { low }] }
    }

    /// Returns `factor · exp(−|x|)` for a factor of 1 or `x`, rounded only once if it is subnormal.
    #[inline(always)]
    pub(super) fn times(self, factor: f32) -> f32 {
        factor * self.scale[0] * self.fraction * self.scale[1]
    }

    /// Returns `exp(−|x|) − 1`, with the precision of a number near 0 where `x` is near 0.
    #[inline(always)]
    pub(super) fn minus_one(self) -> f32 {
        let scale = self.scale[0] * self.scale[1];
        scale * self.excess + (scale - 1.0)
    }

    /// Returns `exp(|x|)`, which may be infinite.
    #[inline(always)]
    fn reciprocal(self) -> f32 {
        1.0 / self.fraction * (1.0 / self.scale[0]) * (1.0 / self.scale[1])
    }
}

/// `2^n` for `−126 ≤ n ≤ 127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}
