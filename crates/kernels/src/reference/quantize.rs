//! Reference implementations of quantization and dequantization.

use crate::int8::QParams8;

/// Quantizes a value: `clamp(round_half_even(x · (1 / scale)) + zero_point, qmin, qmax)`. A NaN
/// becomes `qmax`.
pub fn quantize(to: QParams8, qmin: u8, qmax: u8, x: f32) -> u8 {
    round(x * (1.0 / to.scale), to.zero_point, qmin, qmax)
}

/// Dequantizes a value: `(q − zero_point) · scale`.
pub fn dequantize(from: QParams8, q: u8) -> f32 {
    (i32::from(q) - i32::from(from.zero_point)) as f32 * from.scale
}

/// Rounds half to even, adds the zero point and clamps, in f64, where none of it overflows.
pub(super) fn round(scaled: f32, zero_point: u8, min: u8, max: u8) -> u8 {
    if scaled.is_nan() {
        return max;
    }
    let rounded = f64::from(scaled).round_ties_even() + f64::from(zero_point);
    rounded.clamp(f64::from(min), f64::from(max)) as u8
}
