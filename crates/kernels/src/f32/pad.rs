//! Padding as an operator of its own.

use crate::Padding;
use crate::lengths::{check_len, padded};

/// Copies `[batch, h, w, channels]` into the middle of `value`s, as `torch.nn.ZeroPad2d` does with
/// zeros. The output is `[batch, top + h + bottom, left + w + right, channels]`.
///
/// # Panics
/// When `input` or `output` has another number of elements.
pub fn pad(
    batch: usize,
    size: [usize; 2],
    channels: usize,
    padding: Padding,
    value: f32,
    input: &[f32],
    output: &mut [f32],
) {
    let [h, w] = size;
    let [rows, columns] = padded(size, padding);
    check_len("the input", input.len(), &[batch, h, w, channels]);
    check_len("the output", output.len(), &[batch, rows, columns, channels]);
    let [line, left, row_len] = [w, padding.left, columns].map(|columns| columns * channels);
    if row_len == 0 {
        return;
    }
    for (row, output) in output.chunks_exact_mut(row_len).enumerate() {
        let y = (row % rows).wrapping_sub(padding.top);
        if y < h {
            let line = &input[(row / rows * h + y) * line..][..line];
            output[..left].fill(value);
            output[left..left + line.len()].copy_from_slice(line);
            output[left + line.len()..].fill(value);
        } else {
            output.fill(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::f32::testing::{numbers, paddings, positions};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_input_is_in_the_middle(
            batch in 1_usize..3, size in [0_usize..5, 0_usize..5], channels in 1_usize..4,
            padding in paddings(3),
        ) {
            let [h, w] = size;
            let input = numbers(batch * h * w * channels, 3);
            let (rows, columns) =
                (h + padding.top + padding.bottom, w + padding.left + padding.right);
            let mut output = vec![f32::NAN; batch * rows * columns * channels];
            pad(batch, size, channels, padding, 7.5, &input, &mut output);
            for (i, (n, y, x, c)) in positions([batch, rows, columns, channels]).enumerate() {
                let (y, x) = (y.wrapping_sub(padding.top), x.wrapping_sub(padding.left));
                let inside = y < h && x < w;
                let expected =
                    if inside { input[((n * h + y) * w + x) * channels + c] } else { 7.5 };
                prop_assert_eq!(output[i], expected);
            }
        }
    }
}
