//! Tests int8 kernels of operators against their definitions, bit for bit.

use posterize_kernels::int8::QParams8;
use posterize_kernels::reference::{dequantize, quantize};

use super::kernel::Int8Weights;
use super::testing::{BATCH, bytes, float, int8, len, shapes};
use super::*;

const Q: QParams8 = QParams8 { scale: 0.03, zero_point: 117 };

fn check_same_as_float(op: impl Into<Op>, of_integers: Option<Op>, input: &[usize]) {
    let op = op.into();
    let shapes = shapes(&op, &[input]);
    let q = bytes(len(input), 3);
    let found = int8(&op, &shapes, std::slice::from_ref(&q), (&[Q], Q), None);
    let integers = q.iter().map(|&q| f32::from(q)).collect();
    let expected = float(&of_integers.unwrap_or_else(|| op.clone()), &shapes, &[integers]);
    let found: Vec<f32> = found.into_iter().map(f32::from).collect();
    assert_eq!(found, expected, "{op:?}");
}

/// They do to integers what they do to floats.
#[test]
fn moves_and_extremes_of_integers_are_exact() {
    let (three, four): (&[usize], &[usize]) = (&[1, 4, 6], &[1, 4, 3, 70]);
    let sides = Padding::Explicit { top: 1, bottom: 0, left: 1, right: 2 };
    let pool = MaxPool2d::new(3).stride(2).padding_sides(sides).ceil_mode(true);
    check_same_as_float(pool, None, four);
    check_same_as_float(pool.dilation([1, 4]), None, four);
    check_same_as_float(AdaptiveMaxPool2d::new([1, 1]), None, four);
    check_same_as_float(AdaptiveMaxPool2d::new([2, 9]), None, four);
    check_same_as_float(Permute::new([0, 2, 1]), None, three);
    check_same_as_float(Permute::new([0, 3, 1, 2]), None, four);
    check_same_as_float(Permute::new([0, 1, 2, 3]), None, four);
    check_same_as_float(Reshape::new([3, -1]), None, four);
    check_same_as_float(Reshape::new([2, 6, 2]), None, three);
    check_same_as_float(Reshape::new([6, 10, 14]), None, four);
    let pads = [[0, 0], [0, 1], [2, 1], [1, 3]];
    for mode in [PadMode::Reflect, PadMode::Replicate] {
        check_same_as_float(Pad::new(pads, mode), None, four);
    }
    let constant = |value| Pad::new(pads, PadMode::Constant(value));
    check_same_as_float(constant(0.0), Some(constant(117.0).into()), four);
    check_same_as_float(constant(0.62), Some(constant(138.0).into()), four);
    check_same_as_float(constant(-1e30), Some(constant(0.0).into()), four);
    check_same_as_float(DepthToSpace::new(2), None, four);
    check_same_as_float(DepthToSpace::pixel_shuffle(2), None, four);
    check_same_as_float(SpaceToDepth::new(2), None, &[1, 3, 4, 6]);
    check_same_as_float(SpaceToDepth::pixel_unshuffle(2), None, &[1, 3, 4, 6]);
    check_same_as_float(Tile::new([1, 2, 1, 3]), None, four);
    check_same_as_float(Gather::new(3, [69, 0, 0, 5]), None, four);
    check_same_as_float(Upsample::scales([2.0, 1.5]), None, four);
    for reduction in [Reduction::Max, Reduction::Min] {
        check_same_as_float(Reduce::new(reduction, [1]), None, three);
        check_same_as_float(Reduce::new(reduction, [1, 3]).keepdim(true), None, four);
    }
}

/// Rounds a number in the unit of the integers.
fn round(x: f32, zero_point: u8) -> u8 {
    (f64::from(x).round_ties_even() + f64::from(zero_point)).clamp(0.0, 255.0) as u8
}

#[test]
fn averages_are_rounded_half_to_even() {
    let (h, w, channels) = (7, 6, 70);
    let input = bytes(BATCH * h * w * channels, 1);
    for ceil_mode in [false, true] {
        for count_include_pad in [false, true] {
            let sides = Padding::Explicit { top: 1, bottom: 2, left: 0, right: 1 };
            let pool = AvgPool2d::new(3).kernel_size([3, 2]).strides([2, 3]);
            let pool = pool.padding_sides(sides).ceil_mode(ceil_mode);
            let op = Op::from(pool.count_include_pad(count_include_pad));
            let shapes = shapes(&op, &[&[1, channels, h, w]]);
            let found = int8(&op, &shapes, std::slice::from_ref(&input), (&[Q], Q), None);
            let [oh, ow] = [shapes.output[2], shapes.output[3]];
            for (at, &found) in found.iter().enumerate() {
                let (c, x, y) = (at % channels, at / channels % ow, at / channels / ow % oh);
                let picture = at / channels / ow / oh;
                let (mut sum, mut inside, mut padded) = (0, 0, 0);
                for (row, column) in
                    (2 * y..2 * y + 3).flat_map(|row| (3 * x..3 * x + 2).map(move |x| (row, x)))
                {
                    padded += usize::from(row < h + 3 && column < w + 1);
                    if (1..=h).contains(&row) && column < w {
                        let q = input[((picture * h + row - 1) * w + column) * channels + c];
                        sum += i32::from(q) - 117;
                        inside += 1;
                    }
                }
                let count = if count_include_pad { padded } else { inside };
                let expected = round(sum as f32 * (1.0 / count as f32), 117);
                assert_eq!(found, expected, "{op:?}, value {at}");
            }
        }
    }
}

#[test]
fn linear_interpolation_is_rounded_half_to_even() {
    let (h, w, channels) = (3, 4, 70);
    let input = bytes(BATCH * h * w * channels, 5);
    let up = Upsample::scales([2.0, 3.0]).mode(Interpolation::Linear);
    let op = Op::from(up.coordinates(Coordinates::HalfPixel));
    let shapes = shapes(&op, &[&[1, channels, h, w]]);
    let found = int8(&op, &shapes, std::slice::from_ref(&input), (&[Q], Q), None);
    let taps = |index: usize, scale: f32, size: usize| {
        let x = ((index as f32 + 0.5) / scale - 0.5).clamp(0.0, size as f32 - 1.0);
        let high = x - x.floor();
        [(x as usize, 1.0 - high), ((x as usize + 1).min(size - 1), high)]
    };
    for (at, &found) in found.iter().enumerate() {
        let (c, x, y) = (at % channels, at / channels % 12, at / channels / 12 % 6);
        let picture = at / channels / 72;
        let mut sum = 0.0;
        for (row, vertical) in taps(y, 2.0, h) {
            for (column, horizontal) in taps(x, 3.0, w) {
                let q = input[((picture * h + row) * w + column) * channels + c];
                sum += vertical * horizontal * (i32::from(q) - 117) as f32;
            }
        }
        assert_eq!(found, round(sum, 117), "value {at}");
    }
}

#[test]
fn sums_and_means_of_axes_are_rounded_half_to_even() {
    let to = QParams8 { scale: 0.11, zero_point: 90 };
    let (channels, h, w) = (5, 3, 4);
    let input = bytes(BATCH * h * w * channels, 9);
    for (reduction, to) in [(Reduction::Sum, to), (Reduction::Mean, Q)] {
        let op = Op::from(Reduce::new(reduction, [1, 3]));
        let shapes = shapes(&op, &[&[1, channels, h, w]]);
        assert_eq!(shapes.output, [1, h]);
        let found = int8(&op, &shapes, std::slice::from_ref(&input), (&[Q], to), None);
        let rows = input.chunks_exact(w * channels);
        let expected = rows.map(|row| {
            let sum: i32 = row.iter().map(|&q| i32::from(q) - 117).sum();
            let multiplier = match reduction {
                Reduction::Sum => Q.scale / to.scale,
                _ => 1.0 / (w * channels) as f32,
            };
            round(sum as f32 * multiplier, to.zero_point)
        });
        assert_eq!(found, expected.collect::<Vec<_>>(), "{op:?}");
    }
}

#[test]
fn extremes_of_two_inputs_are_those_of_their_rounded_values() {
    let other = QParams8 { scale: 0.02, zero_point: 30 };
    let to = QParams8 { scale: 0.035, zero_point: 101 };
    let [a, b]: [&[usize]; 2] = [&[1, 5, 3, 4], &[1, 5, 1, 1]];
    for (op, is_max) in [(Op::from(Minimum), false), (Maximum.into(), true)] {
        let shapes = shapes(&op, &[a, b]);
        let inputs = [bytes(len(a), 1), bytes(len(b), 2)];
        let found = int8(&op, &shapes, &inputs, (&[Q, other], to), None);
        for (at, &found) in found.iter().enumerate() {
            let x = dequantize(Q, inputs[0][at]);
            let y = dequantize(other, inputs[1][at / 60 * 5 + at % 5]);
            let exact = quantize(to, 0, 255, if is_max { x.max(y) } else { x.min(y) });
            assert_eq!(found, exact, "{op:?}, value {at}");
        }
    }
}

#[test]
fn functions_of_one_element_are_rounded_once() {
    let to = QParams8 { scale: 0.02, zero_point: 15 };
    let q: Vec<u8> = (0..=255).chain(0..=255).collect();
    let op = Op::from(GELU::new(false));
    let found = int8(&op, &shapes(&op, &[&[1, 256]]), std::slice::from_ref(&q), (&[Q], to), None);
    let gelu = posterize_kernels::f32::Unary::Gelu;
    let expected = q.iter().map(|&q| quantize(to, 0, 255, gelu.apply(dequantize(Q, q))));
    assert_eq!(found, expected.collect::<Vec<_>>());
}

/// Each input pixel adds its products with the kernel to the output; `Requantize` is that of
/// convolutions.
#[test]
fn transposed_convolutions_equal_their_definition() {
    let cases = [
        (ConvTranspose2d::new(6, 70, 3).stride([2, 2]).padding([1; 4]).output_padding([1, 1])),
        (ConvTranspose2d::new(6, 4, 2).stride([2, 2]).groups(2)),
        (ConvTranspose2d::new(6, 6, 3).kernel_size([3, 2]).dilation([1, 2]).groups(6)),
        (ConvTranspose2d::new(6, 3, 4).stride([3, 1]).padding([2, 1, 0, 3])),
    ];
    let (h, w) = (3, 4);
    for conv in cases {
        let op = Op::from(conv.clone());
        let shapes = shapes(&op, &[&[1, 6, h, w]]);
        let (input, seed) = (bytes(BATCH * h * w * 6, 1), conv.out_channels as u64);
        let count: usize = conv.weight_shape().iter().product();
        let weight: Vec<i8> = bytes(count, seed).into_iter().map(|q| q as i8).collect();
        let bias: Vec<i32> = (0..conv.out_channels as i32).map(|o| o * 100 - 300).collect();
        let multiplier: Vec<f32> =
            (0..conv.out_channels).map(|o| 0.002 + 0.0001 * o as f32).collect();
        let to = QParams8 { scale: 0.05, zero_point: 120 };
        let weights = Int8Weights { weight: &weight, bias: &bias, multiplier: multiplier.clone() };
        let found = int8(&op, &shapes, std::slice::from_ref(&input), (&[Q], to), Some(weights));

        let [oh, ow] = [shapes.output[2], shapes.output[3]];
        let outputs = conv.out_channels;
        let [kh, kw] = conv.kernel_size;
        let [left, _, top, _] = conv.padding;
        let (in_group, out_group) = (6 / conv.groups, outputs / conv.groups);
        let mut sums: Vec<i64> =
            (0..BATCH * oh * ow * outputs).map(|at| i64::from(bias[at % outputs])).collect();
        for (pixel, values) in input.chunks_exact(6).enumerate() {
            let (picture, y, x) = (pixel / w / h, pixel / w % h, pixel % w);
            for (o, ky, kx) in (0..outputs)
                .flat_map(|o| (0..kh).flat_map(move |ky| (0..kw).map(move |kx| (o, ky, kx))))
            {
                let row = (y * conv.stride[0] + ky * conv.dilation[0]).wrapping_sub(top);
                let column = (x * conv.stride[1] + kx * conv.dilation[1]).wrapping_sub(left);
                if row >= oh || column >= ow {
                    continue;
                }
                for i in 0..in_group {
                    let q = i64::from(values[o / out_group * in_group + i]) - 117;
                    let w = i64::from(weight[((o * in_group + i) * kh + ky) * kw + kx]);
                    sums[((picture * oh + row) * ow + column) * outputs + o] += q * w;
                }
            }
        }
        let expected = sums
            .iter()
            .enumerate()
            .map(|(at, &sum)| round(sum as f32 * multiplier[at % outputs], 120));
        assert_eq!(found, expected.collect::<Vec<_>>(), "{op:?}");
    }
}
