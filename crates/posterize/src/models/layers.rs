//! Layers that several architectures use.

use crate::nn::Sequential;
use crate::ops::{Activation, BatchNorm, Conv2d};

/// Rounds `value` to the nearest multiple of `divisor`, at least `divisor`; torchvision's
/// `_make_divisible`.
///
/// If rounding down removes more than 10 %, the next larger multiple is returned.
pub(super) fn make_divisible(value: f64, divisor: usize) -> usize {
    let rounded = ((value + divisor as f64 / 2.0) as usize / divisor * divisor).max(divisor);
    if (rounded as f64) < 0.9 * value { rounded + divisor } else { rounded }
}

/// Returns a `ConvBNReLU`: a convolution without bias (`0`), a batch norm (`1`) and an activation
/// (`2`).
pub(super) fn conv_bn_relu(conv: Conv2d, activation: Activation) -> Sequential {
    let norm = BatchNorm::two_d(conv.out_channels);
    Sequential::of_kind("ConvBNReLU").then(conv.bias(false)).then(norm).then(activation)
}

/// Returns the names in timm of a block's layers: pairs of a convolution and the batch norm after it,
/// without the expanding convolution if there are two. `block` is the block's path in timm.
pub(super) fn timm_block(block: &str, layers: &[[String; 2]]) -> Vec<(String, String)> {
    let convs: &[&str] = match layers.len() {
        2 => &["conv_dw", "conv_pw"],
        _ => &["conv_pw", "conv_dw", "conv_pwl"],
    };
    let mut names = Vec::new();
    for (index, ([conv, norm], name)) in layers.iter().zip(convs).enumerate() {
        names.push((conv.clone(), format!("{block}.{name}")));
        names.push((norm.clone(), format!("{block}.bn{}", index + 1)));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn make_divisible_equals_torchvisions() {
        // Values of torchvision's _make_divisible.
        let cases = [
            (32.0 * 0.35, 8, 16), // 11.2 is nearer to 8, which is 29 % less
            (24.0 * 0.35, 8, 8),
            (16.0 * 1.4, 16, 32), // 22.4 is nearer to 16, which is 29 % less
            (1280.0, 8, 1280),
            (96.0 * 0.75, 8, 72),
            (4.0, 8, 8),
            (20.0, 8, 24),
            (3.0, 1, 3),
        ];
        for (value, divisor, expected) in cases {
            assert_eq!(make_divisible(value, divisor), expected, "{value} by {divisor}");
        }
    }
}
