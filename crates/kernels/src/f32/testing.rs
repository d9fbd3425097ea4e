//! Reference implementations and random inputs for the tests of f32 kernels.

use proptest::prelude::*;

use super::Clamp;
use crate::{Conv2dGeometry, Padding};

/// Returns numbers between -1 and 1 that are derived from `seed`.
pub(crate) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// A convolution by its definition, in f64, on `[N, H, W, C]` activations.
pub(super) fn conv2d(
    geometry: &Conv2dGeometry,
    weight: &[f32],
    bias: Option<&[f32]>,
    clamp: Clamp,
    batch: usize,
    [h, w]: [usize; 2],
    input: &[f32],
) -> Vec<f32> {
    let &Conv2dGeometry { in_channels, out_channels, groups, kernel, stride, dilation, padding } =
        geometry;
    let [oh, ow] = geometry.output_size([h, w]).expect("the window fits");
    let (in_group, out_group) = (in_channels / groups, out_channels / groups);
    let mut output = Vec::with_capacity(batch * oh * ow * out_channels);
    for (n, oy, ox, o) in positions([batch, oh, ow, out_channels]) {
        let mut sum = bias.map_or(0.0, |b| f64::from(b[o]));
        for (ky, kx, i, _) in positions([kernel[0], kernel[1], in_group, 1]) {
            let y = (oy * stride[0] + ky * dilation[0]).wrapping_sub(padding.top);
            let x = (ox * stride[1] + kx * dilation[1]).wrapping_sub(padding.left);
            if y < h && x < w {
                let channel = o / out_group * in_group + i;
                let value = input[((n * h + y) * w + x) * in_channels + channel];
                let weight = weight[((o * in_group + i) * kernel[0] + ky) * kernel[1] + kx];
                sum += f64::from(value) * f64::from(weight);
            }
        }
        output.push((sum as f32).max(clamp.min).min(clamp.max));
    }
    output
}

/// Iterates over all indices of a shape, in order.
pub(crate) fn positions(
    [a, b, c, d]: [usize; 4],
) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

/// Checks that values are equal except for the rounding of sums of `terms` products of numbers
/// between -1 and 1.
pub(super) fn assert_close(expected: &[f32], found: &[f32], terms: usize) {
    assert_eq!(expected.len(), found.len());
    let tolerance = 1e-6 * (4.0 + terms as f32).sqrt() * 2.0;
    for (i, (e, f)) in expected.iter().zip(found).enumerate() {
        assert!((e - f).abs() <= tolerance, "element {i}: expected {e}, found {f}");
    }
}

pub(super) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

pub(super) fn clamps() -> impl Strategy<Value = Clamp> {
    prop_oneof![Just(Clamp::NONE), Just(Clamp::RELU), Just(Clamp { min: -0.25, max: 0.5 }),]
}

pub(crate) fn paddings(max: usize) -> impl Strategy<Value = Padding> {
    [0..=max, 0..=max, 0..=max, 0..=max].prop_map(|[top, bottom, left, right]| Padding {
        top,
        bottom,
        left,
        right,
    })
}
