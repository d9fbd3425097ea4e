//! Constant padding as an operator of its own; convolutions and poolings do theirs themselves.

use crate::geometry::Padding;
use crate::lengths::{check_len, padded};

/// Pads each image of `input` with pixels of `value`, as `torch.nn.functional.pad` with
/// `mode="constant"`.
///
/// `input` is `[N, H, W, C]` and `output` `[N, top + H + bottom, left + W + right, C]`. In u8,
/// zeros are `value` = the zero point.
///
/// # Panics
/// If a slice's length differs from its shape.
///
/// ```
/// use posterize_kernels::{Padding, pad};
///
/// let mut output = [0; 9];
/// pad(1, [1, 1], 1, Padding::symmetric(1, 1), 7, &[200], &mut output);
/// assert_eq!(output, [7, 7, 7, 7, 200, 7, 7, 7, 7]);
/// ```
pub fn pad<T: Copy>(
    batch: usize,
    [h, w]: [usize; 2],
    channels: usize,
    padding: Padding,
    value: T,
    input: &[T],
    output: &mut [T],
) {
    let Padding { top, left, .. } = padding;
    let [padded_h, padded_w] = padded([h, w], padding);
    check_len("the input", input.len(), &[batch, h, w, channels]);
    check_len("the output", output.len(), &[batch, padded_h, padded_w, channels]);
    if output.is_empty() {
        return;
    }
    for (row, output) in output.chunks_exact_mut(padded_w * channels).enumerate() {
        let (n, y) = (row / padded_h, row % padded_h);
        match y.checked_sub(top).filter(|&y| y < h) {
            Some(y) => {
                let (before, rest) = output.split_at_mut(left * channels);
                let (inside, after) = rest.split_at_mut(w * channels);
                before.fill(value);
                inside.copy_from_slice(&input[(n * h + y) * w * channels..][..w * channels]);
                after.fill(value);
            }
            None => output.fill(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::f32::testing::{numbers, paddings, positions};

    #[test]
    fn each_side_gets_its_own_padding() {
        let padding = Padding { top: 1, bottom: 0, left: 2, right: 1 };
        let input: Vec<u8> = (1..=8).collect();
        let mut output = vec![9; 2 * 2 * 5 * 2];
        pad(2, [1, 2], 2, padding, 0, &input, &mut output);
        let mut expected = vec![0; output.len()];
        expected[14..18].copy_from_slice(&[1, 2, 3, 4]);
        expected[34..38].copy_from_slice(&[5, 6, 7, 8]);
        assert_eq!(output, expected);
    }

    #[test]
    fn an_image_of_nothing_but_padding() {
        let mut output = [9; 4];
        pad(1, [0, 0], 1, Padding::symmetric(1, 1), 3, &[], &mut output);
        assert_eq!(output, [3; 4]);
    }

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
