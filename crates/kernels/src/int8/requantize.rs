//! Requantization of i32 accumulators to u8 outputs, as FBGEMM does it.
//!
//! `q = clamp(round_half_even(f32(acc) · multiplier) + zero_point, min, max)`: one conversion
//! (which rounds half to even where `|acc| > 2^24`), one f32 product and one rounding, without a
//! fused multiply-add. `min` and `max` implement ReLU and ReLU6 at no cost.
//!
//! # Why clamping may come before rounding
//! [`requantize`] clamps the f32 product `v` to `[a, b] = [min − zero_point, max − zero_point]` and
//! rounds afterwards. Rounding half to even is monotone and does not change integers, and both
//! bounds are integers. So for `v < a`, clamping first gives `a`, and clamping last gives
//! `max(round(v), a) = a`, because `round(v) ≤ round(a) = a`; likewise for `v > b`, and in between
//! nothing is clamped. The conversion to an integer then only sees values within ±255, and cannot
//! overflow for any multiplier.
//!
//! The vector kernels clamp from above in f32, because `vcvtps2dq` turns a positive overflow into
//! `i32::MIN`. From below they clamp with saturating packs and a final unsigned maximum: a negative
//! overflow gives `i32::MIN` too, which saturates to the right side at every step. Where the range
//! of the accumulators shows that no product overflows, they clamp at the end only.

/// The parameters with which accumulators of each output channel are requantized to u8.
///
/// ```
/// use posterize_kernels::int8::Requantize;
///
/// let multiplier = Requantize::multiplier(0.5, 0.25, 1.0);
/// let requantize = Requantize { multiplier: vec![multiplier], zero_point: 10, min: 10, max: 255 };
/// assert_eq!(requantize.apply(0, 100), 22); // 12.5 rounds to the even 12
/// assert_eq!(requantize.apply(0, -100), 10); // ReLU
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Requantize {
    /// For each output channel, the result of [`Requantize::multiplier`]; finite and positive.
    pub multiplier: Vec<f32>,
    /// The zero point of the output.
    pub zero_point: u8,
    /// The minimum output: the zero point for a ReLU, otherwise 0.
    pub min: u8,
    /// The maximum output: 6.0, quantized, for a ReLU6, otherwise 255.
    pub max: u8,
}

impl Requantize {
    /// Computes `scale_input · scale_weight / scale_output` with the roundings of PyTorch's FBGEMM
    /// operators: the product is rounded to f32, then the quotient.
    pub fn multiplier(input_scale: f32, weight_scale: f32, output_scale: f32) -> f32 {
        input_scale * weight_scale / output_scale
    }

    /// Requantizes one accumulator of `channel`.
    pub fn apply(&self, channel: usize, accumulator: i32) -> u8 {
        requantize(accumulator, self.multiplier[channel], self.zero_point, self.min, self.max)
    }

    /// Describes what is wrong with the parameters for `channels` output channels; `None` where
    /// nothing is.
    pub fn defect(&self, channels: usize) -> Option<String> {
        if self.multiplier.len() != channels {
            return Some(format!(
                "{} multipliers for {channels} output channels",
                self.multiplier.len()
            ));
        }
        if self.min > self.max {
            return Some(format!("min {} exceeds max {}", self.min, self.max));
        }
        let wrong = self.multiplier.iter().position(|m| !(m.is_finite() && *m > 0.0))?;
        Some(format!(
            "multiplier {} of output channel {wrong} is not finite and positive",
            self.multiplier[wrong]
        ))
    }
}

/// Returns a multiplier, at most 512, that gives the same outputs: from 512 on, every accumulator
/// but 0 saturates, for any zero point.
#[allow(dead_code, reason = "only kernels written for an instruction set use it")]
pub(crate) fn effective_multiplier(multiplier: f32) -> f32 {
    multiplier.min(512.0)
}

/// Whether no product of an accumulator from `min` to `max` and the effective multiplier overflows
/// an i32. Kernels then need no clamp before the conversion.
#[allow(dead_code, reason = "only kernels written for an instruction set use it")]
pub(crate) fn products_fit((min, max): (i64, i64), multiplier: f32) -> bool {
    let max_magnitude = min.unsigned_abs().max(max.unsigned_abs()) as f64;
    // Rounding to f32, once for each factor and the product, adds less than a millionth.
    max_magnitude * f64::from(effective_multiplier(multiplier)) * 1.000_001 < 2f64.powi(31)
}

/// Requantizes one accumulator: `clamp(round_half_even(f32(accumulator) · multiplier) + zero_point,
/// min, max)`.
///
/// ```
/// use posterize_kernels::int8::requantize;
/// assert_eq!(requantize(5, 0.5, 10, 0, 255), 12); // 2.5 rounds to the even 2
/// assert_eq!(requantize(7, 0.5, 10, 0, 255), 14); // 3.5 rounds to the even 4
/// assert_eq!(requantize(-90, 0.5, 10, 10, 255), 10); // a ReLU
/// assert_eq!(requantize(i32::MAX, 1e30, 10, 0, 255), 255); // no overflow
/// ```
#[inline]
pub fn requantize(accumulator: i32, multiplier: f32, zero_point: u8, min: u8, max: u8) -> u8 {
    let zero_point = i32::from(zero_point);
    let low = (i32::from(min) - zero_point) as f32;
    let high = (i32::from(max) - zero_point) as f32;
    let scaled = (accumulator as f32 * multiplier).clamp(low, high);
    (scaled.round_ties_even() as i32 + zero_point) as u8
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The formula as it is defined: rounds, adds and clamps in f64.
    fn defining(acc: i32, multiplier: f32, zero_point: u8, min: u8, max: u8) -> u8 {
        let rounded = f64::from(acc as f32 * multiplier).round_ties_even();
        (rounded + f64::from(zero_point)).clamp(f64::from(min), f64::from(max)) as u8
    }

    /// Accumulators of every magnitude, with multipliers that often lead to ties and overflows.
    pub(crate) fn case() -> impl Strategy<Value = (i32, f32)> {
        let acc = (any::<i32>(), 0u32..32).prop_map(|(acc, shift)| acc >> shift);
        let multiplier = prop_oneof![
            (-20i32..8).prop_map(|e| 2f32.powi(e)),
            (1e-6f32..2.0),
            Just(f32::MIN_POSITIVE),
            Just(f32::MAX)
        ];
        (acc, multiplier)
    }

    proptest! {
        #[test]
                fn clamping_before_rounding_equals_clamping_after(
            (acc, multiplier) in case(), zero_point: u8, a: u8, b: u8,
        ) {
            let (min, max) = (a.min(b), a.max(b));
            prop_assert_eq!(
                requantize(acc, multiplier, zero_point, min, max),
                defining(acc, multiplier, zero_point, min, max)
            );
        }
    }

    #[test]
    fn defects_are_named() {
        let good = Requantize { multiplier: vec![0.5, 1.0], zero_point: 3, min: 3, max: 9 };
        assert_eq!(good.defect(2), None);
        assert!(good.defect(3).unwrap().contains("2 multipliers for 3"));
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let bad = Requantize { multiplier: vec![1.0, bad], ..good.clone() };
            assert!(bad.defect(2).unwrap().contains("channel 1"));
        }
        assert!(Requantize { min: 10, ..good }.defect(2).unwrap().contains("min 10 exceeds max 9"));
    }
}
