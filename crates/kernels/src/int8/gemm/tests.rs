//! Tests matrix products, as convolutions and linear layers, against the reference implementations.

use proptest::prelude::*;

use crate::geometry::{Conv2dGeometry, Padding};
use crate::int8::conv_kernel::{ConvKernel, Inputs};
use crate::int8::testing::bytes;
use crate::int8::{Add, Linear, QParams8, Requantize};
use crate::isa::Isa;
use crate::pool::Pool;
use crate::reference;

/// Random weights, biases and requantization parameters of a layer.
#[derive(Clone, Debug)]
struct Numbers {
    weight: Vec<i8>,
    bias: Vec<i32>,
    requantize: Requantize,
}

impl Numbers {
    /// Weights of the full range, and multipliers that spread the outputs over `0..=255` with some
    /// that overflow.
    fn new(columns: usize, depth: usize, zero_point: u8, [min, max]: [u8; 2], seed: u64) -> Self {
        let weight = bytes(columns * depth, seed).iter().map(|&b| (b ^ 0x80) as i8).collect();
        let random = bytes(columns * 4, seed ^ 1);
        let bias = random
            .chunks_exact(4)
            .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) >> 16)
            .collect();
        let typical = 1.0 / (90.0 * (depth as f32).sqrt());
        let multiplier = random
            .chunks_exact(4)
            .map(|b| if b[3] == 77 { 1e30 } else { typical * (0.5 + f32::from(b[2]) / 100.0) })
            .collect();
        let requantize =
            Requantize { multiplier, zero_point, min: min.min(max), max: max.max(min) };
        Self { weight, bias, requantize }
    }
}

/// Compares the matrix product and, if there is one, the direct convolution with the reference on
/// every instruction set, and checks that nothing next to the output is written.
fn check(conv: &reference::Conv2d<'_>, threads: usize, batch: usize, size: [usize; 2], seed: u64) {
    assert_eq!(conv.defect(), None);
    let input = bytes(batch * size[0] * size[1] * conv.geometry.in_channels, seed);
    let expected = conv.run(batch, size, &input);
    let pool = Pool::new(threads);
    let add = addition(seed);
    let residual = bytes(expected.len(), seed ^ 3);
    let mut sums = vec![0; expected.len()];
    add.run(&pool, &expected, &residual, &mut sums);
    for isa in Isa::supported() {
        let direct = isa.backend().direct_conv(conv);
        let general: Box<dyn ConvKernel> = Box::new(super::Gemm::new(isa, conv));
        for kernel in direct.into_iter().chain([general]) {
            let mut scratch = vec![0xAA; kernel.scratch_len(threads, batch, size)];
            let mut run = |inputs: Inputs<'_>, expected: &[u8]| {
                let mut output = vec![0xC3; expected.len() + 128];
                let inside = &mut output[64..][..expected.len()];
                kernel.run(&pool, (batch, size), inputs, inside, &mut scratch);
                assert_eq!(&output[64..][..expected.len()], expected, "{}", kernel.name());
                let (before, after) = (&output[..64], &output[expected.len() + 64..]);
                assert!(
                    before.iter().chain(after).all(|&b| b == 0xC3),
                    "{} wrote outside the output",
                    kernel.name()
                );
            };
            run(input[..].into(), &expected);
            if kernel.name_with_add().is_some() {
                let added = Some((add.formula(), &residual[..]));
                run(Inputs { input: &input, added }, &sums);
            }
        }
    }
}

/// An addition with random scales, for which some sums overflow every integer type, or f32.
fn addition(seed: u64) -> Add {
    let random = bytes(12, seed ^ 2);
    let scale = |at: usize| match random[at] {
        0..16 => 1e-30,
        240.. => 1e36,
        byte => 0.01 * f32::from(byte),
    };
    let side = |at: usize| QParams8 { scale: scale(at), zero_point: random[at + 1] };
    let (min, max) = (random[6].min(random[7]), random[6].max(random[7]));
    Add::new(Isa::SCALAR, side(0), side(2), side(4), min, max)
}

fn zero_point() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(255), Just(128), any::<u8>()]
}

prop_compose! {
    fn geometry()(
        groups in prop_oneof![4 => Just(1usize), 1 => 2..5usize],
        (group_in, group_out) in (1..40usize, 1..40usize),
        kernel in [1..4usize, 1..4usize],
        stride in [1..3usize, 1..3usize],
        dilation in [1..3usize, 1..3usize],
        (top, bottom, left, right) in (0..4usize, 0..4usize, 0..4usize, 0..4usize),
    ) -> Conv2dGeometry {
        Conv2dGeometry {
            in_channels: groups * group_in,
            out_channels: groups * group_out,
            groups,
            kernel,
            stride,
            dilation,
            padding: Padding { top, bottom, left, right },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
        fn convolutions_equal_the_reference(
        geometry in geometry(),
        (batch, size) in (1..4usize, [1..10usize, 1..10usize]),
        (input_zero_point, output_zero_point) in (zero_point(), zero_point()),
        range: [u8; 2],
        threads in 1..4usize,
        seed: u64,
    ) {
        prop_assume!(geometry.output_size(size).is_some());
        let (columns, depth) = (geometry.out_channels, geometry.taps_per_output());
        let numbers = Numbers::new(columns, depth, output_zero_point, range, seed);
        let Numbers { weight, bias, requantize } = &numbers;
        let conv = reference::Conv2d { geometry, weight, bias, input_zero_point, requantize };
        check(&conv, threads, batch, size, seed);
    }

    #[test]
        fn linear_layers_equal_the_reference(
        (batch, in_features, out_features) in (0..40usize, 1..200usize, 1..200usize),
        (input_zero_point, output_zero_point) in (zero_point(), zero_point()),
        threads in 1..4usize,
        seed: u64,
    ) {
        let numbers =
            Numbers::new(out_features, in_features, output_zero_point, [0, 255], seed);
        let Numbers { weight, bias, requantize } = &numbers;
        let linear = reference::Linear {
            in_features, out_features, weight, bias, input_zero_point, requantize,
        };
        prop_assert_eq!(linear.defect(), None);
        let input = bytes(batch * in_features, seed);
        let expected = linear.run(batch, &input);
        let pool = Pool::new(threads);
        for isa in Isa::supported() {
            let packed = Linear::new(
                isa, in_features, out_features, weight, bias, input_zero_point, requantize,
            );
            let mut output = vec![0; expected.len()];
            packed.run(&pool, batch, &input, &mut output);
            prop_assert_eq!(&output, &expected, "{}", isa);
        }
    }
}

/// Covers every micro-kernel, by its number of rows and of column vectors, with every remainder of
/// channels.
#[test]
fn every_tile_equals_the_reference() {
    for columns in [1, 16, 17, 32, 47, 48, 50, 64, 65, 96, 144] {
        for rows in 1..=16 {
            for channels in [1, 2, 3, 4, 5, 7, 8, 16, 19, 23, 29, 32, 65, 131] {
                let seed = (columns * 1000 + rows * 100 + channels) as u64;
                let numbers = Numbers::new(columns, channels, 30, [10, 240], seed);
                let conv = reference::Conv2d {
                    geometry: Conv2dGeometry::pointwise(channels, columns),
                    weight: &numbers.weight,
                    bias: &numbers.bias,
                    input_zero_point: 120,
                    requantize: &numbers.requantize,
                };
                check(&conv, 1, 1, [rows, 1], seed);
            }
        }
    }
}

/// Covers blocks, tasks and panels with the shapes of layers in real networks.
#[test]
fn whole_layers_equal_the_reference() {
    let three_by_three = Conv2dGeometry::square([64, 80], 3, 1, 1);
    let first = Conv2dGeometry::square([3, 24], 7, 2, 1);
    for (geometry, size) in [
        (Conv2dGeometry::pointwise(24, 144), [28, 28]),
        (Conv2dGeometry::pointwise(960, 160), [7, 7]),
        (three_by_three, [14, 14]),
        // Split into several strips.
        (Conv2dGeometry { out_channels: 20, ..three_by_three }, [90, 80]),
        (Conv2dGeometry { out_channels: 20, stride: [2, 2], ..three_by_three }, [90, 81]),
        (first, [31, 33]),
    ] {
        let (columns, depth) = (geometry.out_channels, geometry.taps_per_output());
        let numbers = Numbers::new(columns, depth, 7, [7, 255], 3);
        let conv = reference::Conv2d {
            geometry,
            weight: &numbers.weight,
            bias: &numbers.bias,
            input_zero_point: 101,
            requantize: &numbers.requantize,
        };
        for threads in [1, 2] {
            check(&conv, threads, 1, size, 9);
        }
    }
}

/// Covers layers so large that the AVX2 kernels read their weights as i8, with every number of rows
/// and of column vectors.
#[test]
fn large_layers_equal_the_reference() {
    for (channels, columns) in [(1039, 521), (1024, 527), (2048, 256)] {
        let numbers = Numbers::new(columns, channels, 9, [0, 250], 4);
        assert!(numbers.weight.len() >= 512 * 1024);
        for rows in [1, 2, 3, 4, 5, 6, 13] {
            let conv = reference::Conv2d {
                geometry: Conv2dGeometry::pointwise(channels, columns),
                weight: &numbers.weight,
                bias: &numbers.bias,
                input_zero_point: 130,
                requantize: &numbers.requantize,
            };
            check(&conv, 1, 1, [rows, 1], 6);
        }
    }
}

/// Dilation and padding that a file may ask for do not determine how much memory is allocated.
#[test]
fn windows_with_huge_dilation_and_stride_equal_the_reference() {
    for (dilation, padding, stride) in [(200, 200, 1), (1 << 40, 1 << 40, 1 << 39), (1, 1, 1 << 50)]
    {
        let geometry = Conv2dGeometry {
            kernel: [3, 3],
            stride: [stride; 2],
            dilation: [dilation; 2],
            padding: Padding::symmetric(padding, padding),
            ..Conv2dGeometry::pointwise(24, 8)
        };
        let numbers = Numbers::new(8, 9 * 24, 3, [0, 255], 4);
        let Numbers { weight, bias, requantize } = &numbers;
        let conv = reference::Conv2d { geometry, weight, bias, input_zero_point: 7, requantize };
        check(&conv, 2, 1, [4, 4], 5);
    }
}

/// Covers rows that exceed every fixed-size buffer, and products that overflow an i32.
#[test]
fn unusual_layers_equal_the_reference() {
    for (channels, multiplier) in [(40_000, 1e-6), (5_000, 1e-6), (600, 1e30), (600, 300.0)] {
        let mut numbers = Numbers::new(18, channels, 50, [0, 255], 1);
        numbers.requantize.multiplier = vec![multiplier; 18];
        let conv = reference::Conv2d {
            geometry: Conv2dGeometry::pointwise(channels, 18),
            weight: &numbers.weight,
            bias: &numbers.bias,
            input_zero_point: 127,
            requantize: &numbers.requantize,
        };
        check(&conv, 2, 1, [3, 5], 2);
    }
}

/// Sums of two neighbouring products as `vpmaddubsw` computes them: saturated to i16.
fn maddubs(x: &[u8], w: &[i8]) -> i32 {
    let pairs = x.chunks(2).zip(w.chunks(2));
    pairs
        .map(|(x, w)| {
            let sum: i32 = x.iter().zip(w).map(|(&x, &w)| i32::from(x) * i32::from(w)).sum();
            sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
        })
        .sum()
}

#[test]
fn extremes_are_exact_where_vpmaddubsw_would_saturate() {
    for (channels, columns) in [(1280, 20), (6, 16), (3, 5)] {
        for w in [-128, 127] {
            for input_zero_point in [0, 255] {
                let weight = vec![w; channels * columns];
                let bias = vec![0; columns];
                // Scaled so that a change of one in `channels` products changes the output by 1.
                let multiplier = vec![1.0 / (128.0 * channels as f32); columns];
                let zero_point = if (w < 0) == (input_zero_point == 0) { 255 } else { 0 };
                let requantize = Requantize { multiplier, zero_point, min: 0, max: 255 };
                let geometry = Conv2dGeometry::pointwise(channels, columns);
                let conv = reference::Conv2d {
                    geometry,
                    weight: &weight,
                    bias: &bias,
                    input_zero_point,
                    requantize: &requantize,
                };
                let extreme = 255 - input_zero_point;
                let input = vec![extreme; channels * 9];
                let exact = (i32::from(extreme) - i32::from(input_zero_point)) * i32::from(w);
                let exact = exact * channels as i32;
                assert_eq!(conv.accumulate(1, [9, 1], &input), vec![exact; 9 * columns]);

                let folded = -i32::from(input_zero_point) * i32::from(w) * channels as i32;
                let saturated =
                    maddubs(&input[..channels], &weight[..channels]).wrapping_add(folded);
                if extreme == 255 && channels > 1 {
                    assert_ne!(
                        requantize.apply(0, saturated),
                        requantize.apply(0, exact),
                        "the saturated sum must give another output"
                    );
                }
                let expected = conv.run(1, [9, 1], &input);
                for isa in Isa::supported() {
                    let gemm = super::Gemm::new(isa, &conv);
                    let mut output = vec![0; expected.len()];
                    gemm.run(&Pool::new(1), (1, [9, 1]), input[..].into(), &mut output, &mut []);
                    assert_eq!(output, expected, "{isa}");
                }
            }
        }
    }
}

#[test]
fn defects_are_named() {
    let numbers = Numbers::new(4, 6, 0, [0, 255], 0);
    let good = reference::Conv2d {
        geometry: Conv2dGeometry::pointwise(6, 4),
        weight: &numbers.weight,
        bias: &numbers.bias,
        input_zero_point: 0,
        requantize: &numbers.requantize,
    };
    assert_eq!(good.defect(), None);
    let defect = |conv: reference::Conv2d<'_>| conv.defect().unwrap();
    let bias = &numbers.bias[..3];
    assert_eq!(defect(reference::Conv2d { bias, ..good }), "3 biases for 4 output channels");
    let weight = &numbers.weight[1..];
    assert_eq!(
        defect(reference::Conv2d { weight, ..good }),
        "23 weights, but 4 output channels with 6 each need 24"
    );
    let geometry = Conv2dGeometry { groups: 4, ..good.geometry };
    assert_eq!(
        defect(reference::Conv2d { geometry, ..good }),
        "6 input channels do not divide into 4 groups"
    );
}
