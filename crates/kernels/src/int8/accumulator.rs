//! The range of accumulators, and biases with the input's zero point folded in.

use crate::int8::requantize::Requantize;

/// Returns the bias for which `Σ x · w + folded_bias` equals `Σ (x − zero_point) · w + bias`.
///
/// It may wrap, as the sums of `x · w` may. Arithmetic modulo 2^32 gives the exact result if that
/// fits an i32, which [`accumulator_range`] tells.
pub(crate) fn folded_bias(weight: &[i8], bias: i32, input_zero_point: u8) -> i32 {
    let [positive, negative] = sums(weight);
    (i64::from(bias) - (positive + negative) * i64::from(input_zero_point)) as i32
}

/// Returns the sums of the positive and of the negative weights.
fn sums(weight: &[i8]) -> [i64; 2] {
    // 256 weights fit into 16 bits, as 256 · 128 = 2^15; the compiler vectorizes these loops.
    weight.chunks(256).fold([0, 0], |[positive, negative], weights| {
        let (mut above, mut below) = (0i16, 0i16);
        for &w in weights {
            above += i16::from(w).max(0);
            below += i16::from(w).min(0);
        }
        [positive + i64::from(above), negative + i64::from(below)]
    })
}

/// Returns the minimum and maximum of the accumulators `bias + Σ (x − zero_point) · w` over all
/// inputs `x` in `0..=255`.
///
/// With at most 65,000 weights for each output channel and a small bias, both fit an i32: `65,000 ·
/// 255 · 128 < 2^31`.
///
/// ```
/// use posterize_kernels::int8::accumulator_range;
///
/// // The maximum has x = 255 for the positive weight and 0 for the negative one.
/// assert_eq!(accumulator_range(&[2, -1], 7, 0), (7 - 255, 7 + 2 * 255));
/// ```
pub fn accumulator_range(weight: &[i8], bias: i32, input_zero_point: u8) -> (i64, i64) {
    let below = i64::from(input_zero_point);
    let above = 255 - below;
    let (bias, [positive, negative]) = (i64::from(bias), sums(weight));
    (bias - below * positive + above * negative, bias + above * positive - below * negative)
}

/// Describes what is wrong with the numbers of a layer; `None` where nothing is.
pub(crate) fn defect(
    weight: &[i8],
    bias: &[i32],
    weights_per_channel: usize,
    input_zero_point: u8,
    requantize: &Requantize,
) -> Option<String> {
    let channels = bias.len();
    let needed = channels.checked_mul(weights_per_channel);
    if needed != Some(weight.len()) {
        let needed = needed.map_or("more than memory can hold".to_owned(), |n| n.to_string());
        return Some(format!(
            "{} weights, but {channels} output channels with {weights_per_channel} each need {needed}",
            weight.len(),
        ));
    }
    if let Some(defect) = requantize.defect(channels) {
        return Some(defect);
    }
    let weights = weight.chunks_exact(weights_per_channel);
    weights.zip(bias).enumerate().find_map(|(channel, (weight, &bias))| {
        let (min, max) = accumulator_range(weight, bias, input_zero_point);
        let fits = i32::try_from(min).is_ok() && i32::try_from(max).is_ok();
        (!fits).then(|| {
            format!(
                "accumulators of output channel {channel} may reach {min} and {max}, beyond 32 bits"
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_take_the_extreme_input_of_each_weight() {
        assert_eq!(accumulator_range(&[1], 0, 0), (0, 255));
        assert_eq!(accumulator_range(&[-128, 127], 5, 255), (5 - 127 * 255, 5 + 128 * 255));
        assert_eq!(accumulator_range(&[2], 7, 100), (7 - 200, 7 + 310));
        // Sums of one sign that do not fit into 16 bits.
        let long = [[-128; 512], [127; 512]].concat();
        assert_eq!(accumulator_range(&long, 0, 0), (-512 * 128 * 255, 512 * 127 * 255));
        assert_eq!(folded_bias(&long, 9, 2), 9 + 512 * 2);
    }

    #[test]
    fn accumulators_beyond_32_bits_are_a_defect() {
        let requantize = Requantize { multiplier: vec![1.0], zero_point: 0, min: 0, max: 255 };
        let weight = vec![127; 66_400];
        assert_eq!(defect(&weight[..65_000], &[0], 65_000, 0, &requantize), None);
        let said = defect(&weight, &[0], weight.len(), 0, &requantize).unwrap();
        assert!(said.contains("channel 0 may reach 0 and 2150364000"), "{said}");
        let said = defect(&[1], &[i32::MAX], 1, 0, &requantize).unwrap();
        assert!(said.contains("beyond 32 bits"), "{said}");
    }
}
