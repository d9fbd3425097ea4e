//! The range of accumulators, and biases with the zero point folded into them.

use crate::int8::requantize::Requantize;

/// The bias from which `Σ x · w` over raw `x` gives `Σ (x − zero_point) · w + bias`.
///
/// It may wrap, as the sums over raw `x` may: arithmetic modulo 2^32 is exact where the final
/// result fits, which [`accumulator_range`] promises.
pub(crate) fn folded_bias(weight: &[i8], bias: i32, input_zero_point: u8) -> i32 {
    let [positive, negative] = sums(weight);
    (i64::from(bias) - (positive + negative) * i64::from(input_zero_point)) as i32
}

/// The sums of the weights above and below zero.
fn sums(weight: &[i8]) -> [i64; 2] {
    // So many fit into 16 bits: 256 · 128 = 2^15, and the compiler adds as many as fill a vector.
    weight.chunks(256).fold([0, 0], |[positive, negative], weights| {
        let (mut above, mut below) = (0i16, 0i16);
        for &w in weights {
            above += i16::from(w).max(0);
            below += i16::from(w).min(0);
        }
        [positive + i64::from(above), negative + i64::from(below)]
    })
}

/// The least and greatest accumulator that any input can lead to:
/// `bias + Σ (x − zero_point) · w` with each `x` at the end of `0..=255` that serves.
///
/// With at most 65,000 weights an output channel and a small bias, both always fit into an i32:
/// `65,000 · 255 · 128 < 2^31`.
pub fn accumulator_range(weight: &[i8], bias: i32, input_zero_point: u8) -> (i64, i64) {
    let below = i64::from(input_zero_point);
    let above = 255 - below;
    let (bias, [positive, negative]) = (i64::from(bias), sums(weight));
    (bias - below * positive + above * negative, bias + above * positive - below * negative)
}

/// What is wrong with a layer's numbers, in words; `None` where nothing is.
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
        let needed = needed.map_or("more than memory holds".to_owned(), |n| n.to_string());
        return Some(format!(
            "{} weights where {channels} output channels of {weights_per_channel} need {needed}",
            weight.len(),
        ));
    }
    if let Some(defect) = requantize.defect(channels) {
        return Some(defect);
    }
    let weights = weight.chunks_exact(weights_per_channel);
    weights.zip(bias).enumerate().find_map(|(channel, (weight, &bias))| {
        let (least, greatest) = accumulator_range(weight, bias, input_zero_point);
        let fits = i32::try_from(least).is_ok() && i32::try_from(greatest).is_ok();
        (!fits).then(|| {
            format!(
                "accumulators of output channel {channel} may reach {least} and {greatest}, \
                 beyond 32 bits"
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_take_the_end_that_serves() {
        assert_eq!(accumulator_range(&[1], 0, 0), (0, 255));
        assert_eq!(accumulator_range(&[-128, 127], 5, 255), (5 - 127 * 255, 5 + 128 * 255));
        assert_eq!(accumulator_range(&[2], 7, 100), (7 - 200, 7 + 310));
        // 16 bits hold no more of one sign.
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
