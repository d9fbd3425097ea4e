//! Logarithms that are computed with the same bits on every instruction set.

/// Returns the natural logarithm of `x`: `−inf` at 0, a NaN below.
///
/// For `x = 2ⁿ · m` with `m` between `√½` and `√2` it is `n · ln 2 + 2 · artanh((m − 1) / (m + 1))`.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    /// 2^24, by which subnormal numbers become normal.
    const RAISE: f32 = 16_777_216.0;
    /// ln 2 in two parts. The first has 15 bits, so its products with exponents are exact.
    const LN_2: [f32; 2] = [22_713.0 / 32_768.0, 1.428_606_8e-6];
    let subnormal = x < f32::MIN_POSITIVE;
    let normal = if subnormal { x * RAISE } else { x };
    // Above √½ the exponent is that of the next power of two.
    let bits = normal.to_bits().wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits());
    let n = (bits as i32 >> 23) as f32 - if subnormal { 24.0 } else { 0.0 };
    let m = (bits & 0x007F_FFFF).wrapping_add(std::f32::consts::FRAC_1_SQRT_2.to_bits());
    let m = f32::from_bits(m);
    let s = (m - 1.0) / (m + 1.0);
    let found = n * LN_2[0] + (n * LN_2[1] + two_artanh(s));
    let found = if x == 0.0 { f32::NEG_INFINITY } else { found };
    let found = if x == f32::INFINITY { x } else { found };
    // Also for a NaN.
    if x >= 0.0 { found } else { f32::NAN }
}

/// Returns `ln(1 + u)` for `0 ≤ u ≤ 1`.
#[inline(always)]
pub(super) fn ln_1p(u: f32) -> f32 {
    two_artanh(u / (2.0 + u))
}

/// Returns `2 · artanh(s)` for `|s| ≤ 1/3` by its series, whose first term that is left out is below
/// 2e-9 of the sum.
#[inline(always)]
fn two_artanh(s: f32) -> f32 {
    let square = s * s;
    let mut sum = 1.0 / 15.0;
    for odd in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        sum = sum * square + 1.0 / odd;
    }
    2.0 * s + 2.0 * s * (square * sum)
}
