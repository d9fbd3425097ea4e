//! Tests each f32 kernel against its definition, on every instruction set and for several numbers
//! of threads.

use proptest::prelude::*;

use super::testing::*;
use super::*;
use crate::{Conv2dGeometry, Isa, Padding, Pool};

/// Runs a convolution on every instruction set with 1 to 4 threads, as a whole batch and image by
/// image. Checks that results are close to the definition, and that all have the same bits.
fn check_conv2d(
    geometry: Conv2dGeometry,
    batch: usize,
    size: [usize; 2],
    with_bias: bool,
    clamp: Clamp,
    seed: u64,
) {
    let [oh, ow] = geometry.output_size(size).expect("the window fits");
    let taps = geometry.taps_per_output();
    let weight = numbers(geometry.out_channels * taps, seed);
    let bias = with_bias.then(|| numbers(geometry.out_channels, seed + 1));
    let input = numbers(batch * size[0] * size[1] * geometry.in_channels, seed + 2);
    let expected = conv2d(&geometry, &weight, bias.as_deref(), clamp, batch, size, &input);
    for isa in Isa::supported() {
        let conv = Conv2d::new(isa, geometry, &weight, bias.as_deref(), clamp);
        let run = |threads: usize, batch: usize, input: &[f32]| {
            let pool = Pool::new(threads);
            let mut output = vec![f32::NAN; batch * oh * ow * geometry.out_channels];
            let mut scratch = vec![f32::NAN; conv.scratch_len(pool.threads(), batch, size)];
            conv.run(&pool, batch, size, input, &mut output, &mut scratch);
            output
        };
        let output = run(1, batch, &input);
        assert_close(&expected, &output, taps);
        for threads in 2..=4 {
            assert_eq!(bits(&output), bits(&run(threads, batch, &input)), "{threads} threads");
        }
        let one_by_one: Vec<f32> =
            input.chunks_exact(input.len() / batch).flat_map(|image| run(2, 1, image)).collect();
        assert_eq!(bits(&output), bits(&one_by_one), "{} one by one", conv.kernel_name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
        fn pointwise_convolutions_are_close_to_the_definition(
        in_channels in 1_usize..70, out_channels in 1_usize..150, batch in 1_usize..4,
        size in [1_usize..12, 1_usize..12], with_bias: bool, clamp in clamps(), seed in 0_u64..99,
    ) {
        let geometry = Conv2dGeometry::pointwise(in_channels, out_channels);
        check_conv2d(geometry, batch, size, with_bias, clamp, seed);
    }

    #[test]
        fn depthwise_convolutions_are_close_to_the_definition(
        channels in 1_usize..70, kernel in prop_oneof![Just([3, 3]), Just([5, 5]), [1_usize..6, 1_usize..8]],
        stride in prop_oneof![Just([1, 1]), Just([2, 2]), [1_usize..4, 1_usize..4]],
        dilation in prop_oneof![3 => Just([1, 1]), 1 => [1_usize..3, 1_usize..3]],
        padding in paddings(3), extra in [0_usize..20, 0_usize..20],
        batch in 1_usize..3, with_bias: bool, clamp in clamps(), seed in 0_u64..99,
    ) {
        let geometry = Conv2dGeometry {
            groups: channels, kernel, stride, dilation, padding, ..Conv2dGeometry::pointwise(channels, channels)
        };
        let size = fitting(&geometry, extra);
        check_conv2d(geometry, batch, size, with_bias, clamp, seed);
    }

    #[test]
        fn convolutions_with_few_input_channels_are_close_to_the_definition(
        in_channels in 1_usize..9, out_channels in 2_usize..70, kernel in [1_usize..6, 1_usize..6],
        stride in [1_usize..4, 1_usize..4], dilation in 1_usize..3, padding in paddings(3),
        extra in [0_usize..16, 0_usize..16], batch in 1_usize..3, with_bias: bool,
        clamp in clamps(), seed in 0_u64..99,
    ) {
        let geometry = Conv2dGeometry {
            kernel, stride, dilation: [dilation, 1], padding,
            ..Conv2dGeometry::pointwise(in_channels, out_channels)
        };
        let size = fitting(&geometry, extra);
        check_conv2d(geometry, batch, size, with_bias, clamp, seed);
    }

    #[test]
        fn all_convolutions_are_close_to_the_definition(
        groups in 1_usize..4, in_group in 1_usize..14, out_group in 1_usize..40,
        kernel in [1_usize..4, 1_usize..4], stride in [1_usize..4, 1_usize..4],
        dilation in [1_usize..4, 1_usize..4], padding in paddings(4),
        extra in [0_usize..8, 0_usize..8], batch in 1_usize..3, with_bias: bool,
        clamp in clamps(), seed in 0_u64..99,
    ) {
        let geometry = Conv2dGeometry {
            groups, kernel, stride, dilation, padding,
            ..Conv2dGeometry::pointwise(groups * in_group, groups * out_group)
        };
        let size = fitting(&geometry, extra);
        check_conv2d(geometry, batch, size, with_bias, clamp, seed);
    }

    #[test]
        fn linear_layers_are_close_to_the_definition(
        in_features in 1_usize..600, out_features in 1_usize..150, batch in 1_usize..20,
        with_bias: bool, clamp in clamps(), seed in 0_u64..99,
    ) {
        let weight = numbers(in_features * out_features, seed);
        let bias = with_bias.then(|| numbers(out_features, seed + 1));
        let input = numbers(batch * in_features, seed + 2);
        let geometry = Conv2dGeometry::pointwise(in_features, out_features);
        let expected =
            conv2d(&geometry, &weight, bias.as_deref(), clamp, batch, [1, 1], &input);
        for isa in Isa::supported() {
            let linear =
                Linear::new(isa, in_features, out_features, &weight, bias.as_deref(), clamp);
            let mut found = None;
            for threads in 1..=3 {
                let mut output = vec![f32::NAN; batch * out_features];
                linear.run(&Pool::new(threads), batch, &input, &mut output);
                assert_close(&expected, &output, in_features);
                prop_assert_eq!(found.get_or_insert_with(|| bits(&output)), &bits(&output));
            }
        }
    }
}

/// Returns the size of an input that is `extra` larger than the window needs.
fn fitting(geometry: &Conv2dGeometry, extra: [usize; 2]) -> [usize; 2] {
    let padding = geometry.padding;
    let around = [padding.top + padding.bottom, padding.left + padding.right];
    [0, 1].map(|axis| {
        let reach = (geometry.kernel[axis] - 1) * geometry.dilation[axis] + 1;
        reach.saturating_sub(around[axis]).max(1) + extra[axis]
    })
}

/// Covers layers of real networks, which are larger than the random ones: several blocks of k,
/// blocks of rows, panels and tasks.
#[test]
fn layers_of_real_networks_are_close_to_the_definition() {
    let square = |kernel, stride, padding, in_channels, out_channels| Conv2dGeometry {
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: Padding::symmetric(padding, padding),
        ..Conv2dGeometry::pointwise(in_channels, out_channels)
    };
    let cases = [
        (square(1, 1, 0, 960, 160), [7, 7]),
        (square(1, 1, 0, 64, 384), [14, 14]),
        (square(3, 1, 1, 128, 144), [7, 9]),
        (square(1, 2, 0, 256, 512), [8, 8]),
        (square(7, 2, 3, 3, 64), [64, 64]),
        (square(3, 2, 1, 3, 32), [112, 112]),
        (Conv2dGeometry { groups: 480, ..square(5, 1, 2, 480, 480) }, [14, 14]),
        (Conv2dGeometry { groups: 32, ..square(3, 1, 1, 128, 128) }, [14, 14]),
    ];
    for (geometry, size) in cases {
        check_conv2d(geometry, 1, size, true, Clamp::RELU, 5);
    }
}

#[test]
fn a_clamp_keeps_nan_and_bounds_infinities() {
    let input = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 7.0, -1.0, 3.0, 0.0];
    let expected = [f32::NAN, 0.0, 6.0, 6.0, 0.0, 3.0, 0.0];
    let pool = Pool::new(2);
    for isa in Isa::supported() {
        // Long enough for whole vectors and remaining elements.
        let repeated: Vec<f32> = input.iter().copied().cycle().take(7 * 19).collect();
        let expected: Vec<f32> = expected.iter().copied().cycle().take(7 * 19).collect();
        let mut output = vec![5.0; repeated.len()];
        clamp(isa, &pool, &repeated, Clamp::RELU6, &mut output);
        assert_eq!(format!("{output:?}"), format!("{expected:?}"), "{isa}");

        let conv = Conv2d::new(isa, Conv2dGeometry::pointwise(1, 1), &[1.0], None, Clamp::RELU6);
        conv.run(&pool, 1, [7, 19], &repeated, &mut output, &mut []);
        assert_eq!(format!("{output:?}"), format!("{expected:?}"), "{isa} depthwise");

        // The second weight is 0, and its input 1, because infinity times 0 would be NaN.
        let weight = [1.0, 0.0];
        let linear = Linear::new(isa, 2, 1, &weight, None, Clamp::RELU6);
        let pairs: Vec<f32> = repeated.iter().flat_map(|&x| [x, 1.0]).collect();
        linear.run(&pool, repeated.len(), &pairs, &mut output);
        assert_eq!(format!("{output:?}"), format!("{expected:?}"), "{isa} linear");
    }
}

#[test]
fn infinite_weights_are_not_multiplied_with_padding() {
    let geometry = Conv2dGeometry::square([20; 2], 3, 1, 20);
    let mut weight = vec![0.0; 20 * 9];
    weight.chunks_exact_mut(9).for_each(|window| window[0] = f32::INFINITY);
    for isa in Isa::supported() {
        let conv = Conv2d::new(isa, geometry, &weight, None, Clamp::NONE);
        let mut output = vec![0.0; 20 * 9 * 9];
        conv.run(&Pool::new(1), 1, [9, 9], &vec![1.0; 20 * 9 * 9], &mut output, &mut []);
        assert!(output[..20].iter().all(|&x| x == 0.0), "{isa}");
        assert!(output[20 * 80..].iter().all(|&x| x == f32::INFINITY), "{isa}");
    }
}

#[test]
fn kernel_names_contain_kind_tile_and_isa() {
    let conv = |geometry: Conv2dGeometry| {
        let weight = vec![0.0; geometry.out_channels * geometry.taps_per_output()];
        Conv2d::new(Isa::SCALAR, geometry, &weight, None, Clamp::NONE).kernel_name()
    };
    let window = |geometry| Conv2dGeometry { kernel: [3, 3], stride: [2, 2], ..geometry };
    assert_eq!(conv(Conv2dGeometry::pointwise(16, 32)), "f32_gemm_4x8_scalar");
    assert_eq!(conv(window(Conv2dGeometry::pointwise(3, 32))), "f32_strip_gemm_4x8_scalar");
    assert_eq!(conv(window(Conv2dGeometry::pointwise(16, 32))), "f32_im2row_gemm_4x8_scalar");
    let depthwise = Conv2dGeometry { groups: 32, ..Conv2dGeometry::pointwise(32, 32) };
    assert_eq!(conv(window(depthwise)), "f32_depthwise_k3s2_scalar");
    for isa in Isa::supported() {
        for out_channels in 1..100 {
            let geometry = Conv2dGeometry::pointwise(1, out_channels + 1);
            let weight = vec![0.0; out_channels + 1];
            let name = Conv2d::new(isa, geometry, &weight, None, Clamp::NONE).kernel_name();
            assert!(name.starts_with("f32_gemm_"), "{name}");
        }
    }
}

/// Padding, strides and dilation that a file may ask for do not determine how much memory is needed.
#[test]
fn huge_padding_needs_little_scratch_memory() {
    let (far, pool) = (1 << 24, Pool::new(2));
    let padded = |padding, stride, dilation| Conv2dGeometry {
        stride,
        dilation,
        padding,
        ..Conv2dGeometry::square([3, 2], 2, 1, 1)
    };
    let all = Padding::symmetric(far, far);
    let wide = Padding { left: far, right: far, ..Padding::default() };
    let tall = Padding { top: far, bottom: far, ..Padding::default() };
    for g in [
        padded(all, [far, far], [1, 1]),
        padded(wide, [1, far], [1, 1]),
        padded(tall, [far, 1], [1, 1]),
        padded(tall, [far, 1], [far, 1]),
        padded(all, [far, far], [far, far]),
    ] {
        let size = [3, 4];
        let (weight, input) = (numbers(2 * g.taps_per_output(), 1), numbers(3 * 12, 2));
        let [oh, ow] = g.output_size(size).unwrap();
        let mut expected = vec![0.0; 2 * oh * ow];
        for (index, y) in expected.iter_mut().enumerate() {
            let (oy, ox, channel) = (index / (2 * ow), index / 2 % ow, index % 2);
            for (tap, w) in weight[channel * 12..][..12].iter().enumerate() {
                let (c, ky, kx) = (tap / 4, tap / 2 % 2, tap % 2);
                let row = (oy * g.stride[0] + ky * g.dilation[0]).checked_sub(g.padding.top);
                let column = (ox * g.stride[1] + kx * g.dilation[1]).checked_sub(g.padding.left);
                if let (Some(row @ 0..3), Some(column @ 0..4)) = (row, column) {
                    *y += w * input[(row * 4 + column) * 3 + c];
                }
            }
        }
        for isa in Isa::supported() {
            let conv = Conv2d::new(isa, g, &weight, None, Clamp::NONE);
            let needed = conv.scratch_len(2, 1, size);
            assert!(needed < 2 << 20, "{g:?} needs {needed} floats on {isa}");
            let (mut scratch, mut output) =
                (vec![f32::NAN; needed], vec![f32::NAN; expected.len()]);
            conv.run(&pool, 1, size, &input, &mut output, &mut scratch);
            for (found, expected) in output.iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-5, "{g:?} on {isa}: {found} {expected}");
            }
        }
    }
}
