//! The error function, computed with the same bits on every instruction set.

use super::exp::ExpOfNegativeAbs;

/// A near-minimax polynomial in `x²` for `erf(x) / x` with `|x| ≤ 1`, highest power first. Its
/// relative error is below 2e-9.
const NEAR: [f32; 7] = [
    7.847_259e-5,
    -0.000_800_818_9,
    0.005_188_099,
    -0.026_853_692,
    0.112_835_824,
    -0.376_126_26,
    std::f32::consts::FRAC_2_SQRT_PI,
];

/// A near-minimax polynomial in `t = 1 / (1 + x / 2)` for `(1 − erf(x)) · exp(x²)` with `1 ≤ x ≤ 4`,
/// highest power first. Its relative error is below 1e-9.
const FAR: [f32; 8] = [
    0.119_540_95,
    -0.471_948_77,
    0.564_484_55,
    -0.104_680_29,
    0.348_352_64,
    0.259_521_87,
    0.284_939_68,
    -0.000_156_049_15,
];

/// Returns the error function of `x`.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let magnitude = x.abs();
    let near = magnitude * polynomial(&NEAR, magnitude * magnitude);
    // From 4 on the result is 1, as f32 has it.
    let bounded = if magnitude > 4.0 { 4.0 } else { magnitude };
    let t = 1.0 / (1.0 + 0.5 * bounded);
    let far = 1.0 - ExpOfNegativeAbs::new(bounded * bounded).times(1.0) * polynomial(&FAR, t);
    let found = if magnitude > 1.0 { far } else { near };
    let found = if x.is_nan() { x } else { found };
    found.copysign(x)
}

#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    let mut sum = coefficients[0];
    for &coefficient in &coefficients[1..] {
        sum = sum * x + coefficient;
    }
    sum
}
