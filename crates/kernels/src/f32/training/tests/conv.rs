//! Tests of convolutions and their gradients.

use proptest::prelude::*;

use crate::f32::Clamp;
use crate::f32::testing::{bits, conv2d, numbers, paddings, positions};
use crate::f32::training::*;
use crate::{Conv2dGeometry, Isa, Padding, Pool};

/// The gradients of a convolution's input and weights by their definition, in f64.
fn conv2d_backward(
    geometry: &Conv2dGeometry,
    weight: &[f32],
    batch: usize,
    [h, w]: [usize; 2],
    input: &[f32],
    grad_output: &[f32],
) -> (Vec<f64>, Vec<f64>) {
    let &Conv2dGeometry { in_channels, out_channels, groups, kernel, stride, dilation, padding } =
        geometry;
    let [oh, ow] = geometry.output_size([h, w]).expect("the window fits");
    let (in_group, out_group) = (in_channels / groups, out_channels / groups);
    let (mut grad_input, mut grad_weight) = (vec![0.0; input.len()], vec![0.0; weight.len()]);
    for (n, oy, ox, o) in positions([batch, oh, ow, out_channels]) {
        let grad = f64::from(grad_output[((n * oh + oy) * ow + ox) * out_channels + o]);
        for (ky, kx, i, _) in positions([kernel[0], kernel[1], in_group, 1]) {
            let y = (oy * stride[0] + ky * dilation[0]).wrapping_sub(padding.top);
            let x = (ox * stride[1] + kx * dilation[1]).wrapping_sub(padding.left);
            if y < h && x < w {
                let channel = o / out_group * in_group + i;
                let at = ((n * h + y) * w + x) * in_channels + channel;
                let tap = ((o * in_group + i) * kernel[0] + ky) * kernel[1] + kx;
                grad_input[at] += grad * f64::from(weight[tap]);
                grad_weight[tap] += grad * f64::from(input[at]);
            }
        }
    }
    (grad_input, grad_weight)
}

/// Checks that values are equal except for rounding, relative to the largest value.
fn assert_near(what: &str, expected: &[f64], found: &[f32]) {
    assert_eq!(expected.len(), found.len());
    let largest = expected.iter().fold(1.0_f64, |largest, x| largest.max(x.abs()));
    for (i, (e, &f)) in expected.iter().zip(found).enumerate() {
        let error = (e - f64::from(f)).abs();
        assert!(error <= 4e-6 * largest, "{what} {i}: expected {e}, found {f}");
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

/// Random parameters of an activation and of the gradient of a batch normalization.
struct Maps {
    scale: Vec<f32>,
    shift: Vec<f32>,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Maps {
    fn new(channels: usize, seed: u64) -> Self {
        let some = |k: u64| numbers(channels, seed + 10 * k);
        Self {
            scale: some(1).iter().map(|x| 1.5 + x).collect(),
            shift: some(2),
            a: some(3),
            b: some(4).iter().map(|x| 0.1 * x).collect(),
            c: some(5).iter().map(|x| 0.1 * x).collect(),
        }
    }

    fn activation(&self, clamp: Clamp, fake_quant: Option<FakeQuant>) -> Activation<'_> {
        Activation { scale: &self.scale, shift: &self.shift, clamp, fake_quant }
    }
}

#[derive(Debug, PartialEq)]
struct Found {
    output: Vec<u32>,
    grad_input: Vec<u32>,
    grad_weight: Vec<u32>,
    stats: ChannelStats,
    sums: ChannelSums,
}

/// Runs a convolution forward and backward on every instruction set with 1 to 3 threads, with
/// activations on both sides if `fused`. Checks that results are close to the definition, and that
/// they have the same bits for all numbers of threads.
fn check(geometry: Conv2dGeometry, batch: usize, size: [usize; 2], fused: bool, seed: u64) {
    let [oh, ow] = geometry.output_size(size).expect("the window fits");
    let (channels, out_channels) = (geometry.in_channels, geometry.out_channels);
    let weight = numbers(out_channels * geometry.taps_per_output(), seed);
    let input = numbers(batch * size[0] * size[1] * channels, seed + 1);
    let grad = numbers(batch * oh * ow * out_channels, seed + 2);
    let fake_quant = Some(FakeQuant { scale: 0.01, zero_point: 20, quant_min: 0, quant_max: 127 });
    let (maps, out_maps) = (Maps::new(channels, seed), Maps::new(out_channels, seed + 7));
    let before = maps.activation(Clamp { min: 0.0, max: 1.25 }, fake_quant);
    let after = out_maps.activation(Clamp::RELU, fake_quant.filter(|_| seed.is_multiple_of(2)));
    for isa in Isa::supported() {
        let pool = Pool::new(1);
        let mut x = input.clone();
        if fused {
            activate(isa, &pool, before, &input, &mut x);
        }
        let output = conv2d(&geometry, &weight, None, Clamp::NONE, batch, size, &x);
        let conv = Conv2d::new(isa, geometry);
        let run = |threads: usize| {
            let pool = Pool::new(threads);
            let mut scratch = vec![f32::NAN; conv.scratch_len(pool.threads(), batch, size)];
            let activation = fused.then_some(before);
            let read = Input { values: &input, activation };
            let mut y = vec![f32::NAN; grad.len()];
            let mut stats = ChannelStats::default();
            conv.forward_with_stats(
                &pool,
                batch,
                size,
                read,
                &weight,
                &mut y,
                &mut stats,
                &mut scratch,
            );
            let norm = NormBackward {
                y: &y,
                activation: after,
                a: &out_maps.a,
                b: &out_maps.b,
                c: &out_maps.c,
            };
            let grad_output = GradOutput { values: &grad, norm: fused.then_some(norm) };
            let mut grad_y = grad.clone();
            if fused {
                activate_backward(isa, &pool, norm, &grad, &mut grad_y);
            }
            let mut grad_input = vec![f32::NAN; input.len()];
            let mut grad_weight = vec![f32::NAN; weight.len()];
            let mut sums = ChannelSums::default();
            let gradients = Gradients {
                input: Some(&mut grad_input),
                weight: Some(&mut grad_weight),
                sums: fused.then_some(&mut sums),
            };
            conv.backward(&pool, batch, size, read, &weight, grad_output, gradients, &mut scratch);

            // Each result computed separately has the same bits.
            let mut alone = vec![f32::NAN; grad.len()];
            conv.forward(&pool, batch, size, &x[..], &weight, &mut alone, &mut scratch);
            assert_eq!(bits(&alone), bits(&y), "{isa}");
            let mut alone = vec![f32::NAN; input.len()];
            conv.backward_input(&pool, batch, size, &grad_y[..], &weight, &mut alone, &mut scratch);
            assert_eq!(bits(&alone), bits(&grad_input), "{isa}");
            let mut alone = vec![f32::NAN; weight.len()];
            conv.backward_weight(&pool, batch, size, &x[..], &grad_y[..], &mut alone, &mut scratch);
            assert_eq!(bits(&alone), bits(&grad_weight), "{isa}");

            if threads == 1 {
                assert_near("output", &wide(&output), &y);
                let (expected_input, expected_weight) =
                    conv2d_backward(&geometry, &weight, batch, size, &x, &grad_y);
                assert_near("gradient of input", &expected_input, &grad_input);
                assert_near("gradient of weight", &expected_weight, &grad_weight);
                check_stats(&y, out_channels, &stats);
                if fused {
                    check_sums(isa, before, &input, &grad_input, &sums);
                }
            }
            Found {
                output: bits(&y),
                grad_input: bits(&grad_input),
                grad_weight: bits(&grad_weight),
                stats,
                sums,
            }
        };
        let one = run(1);
        for threads in 2..=3 {
            assert!(one == run(threads), "{isa}, {threads} threads");
        }
    }
}

fn check_stats(y: &[f32], channels: usize, stats: &ChannelStats) {
    let pixels = y.len() / channels;
    for c in 0..channels {
        let column = || y.iter().skip(c).step_by(channels);
        let sum: f64 = column().map(|&x| f64::from(x)).sum();
        let sum_sq: f64 = column().map(|&x| f64::from(x).powi(2)).sum();
        let scale = sum_sq.max(1.0);
        assert!((sum - stats.sum[c]).abs() <= 2e-6 * scale.max(pixels as f64));
        assert!((sum_sq - stats.sum_sq[c]).abs() <= 1e-5 * scale);
        assert_eq!(stats.min[c], column().copied().fold(f32::INFINITY, f32::min));
        assert_eq!(stats.max[c], column().copied().fold(f32::NEG_INFINITY, f32::max));
    }
}

fn check_sums(isa: Isa, act: Activation<'_>, y: &[f32], grad: &[f32], sums: &ChannelSums) {
    let channels = act.channels();
    let (one, zero) = (vec![1.0; channels], vec![0.0; channels]);
    let norm = NormBackward { y, activation: act, a: &one, b: &zero, c: &zero };
    let mut kept = vec![f32::NAN; y.len()];
    activate_backward(isa, &Pool::new(1), norm, grad, &mut kept);
    for c in 0..channels {
        let column = || kept.iter().zip(y).skip(c).step_by(channels);
        let size: f64 = column().map(|(g, _)| f64::from(g.abs())).sum::<f64>().max(1.0);
        let sum: f64 = column().map(|(&g, _)| f64::from(g)).sum();
        let sum_y: f64 = column().map(|(&g, &y)| f64::from(g) * f64::from(y)).sum();
        assert!((sum - sums.grad[c]).abs() <= 2e-6 * size, "{sum} {}", sums.grad[c]);
        assert!((sum_y - sums.grad_y[c]).abs() <= 2e-6 * size, "{sum_y} {}", sums.grad_y[c]);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
        fn pointwise_convolutions_are_close_to_the_definition(
        in_channels in 1_usize..70, out_channels in 2_usize..110, batch in 1_usize..4,
        size in [1_usize..16, 1_usize..16], fused: bool, seed in 0_u64..99,
    ) {
        check(Conv2dGeometry::pointwise(in_channels, out_channels), batch, size, fused, seed);
    }

    #[test]
        fn depthwise_convolutions_are_close_to_the_definition(
        channels in 1_usize..70,
        kernel in prop_oneof![Just([3, 3]), Just([5, 5]), [1_usize..6, 1_usize..6]],
        stride in prop_oneof![Just([1, 1]), Just([2, 2]), [1_usize..4, 1_usize..4]],
        dilation in prop_oneof![3 => Just([1, 1]), 1 => [1_usize..3, 1_usize..3]],
        padding in paddings(4), extra in [0_usize..16, 0_usize..16], batch in 1_usize..4,
        fused: bool, seed in 0_u64..99,
    ) {
        let geometry =
            Conv2dGeometry { groups: channels, kernel, stride, dilation, padding, ..Conv2dGeometry::pointwise(channels, channels) };
        check(geometry, batch, fitting(&geometry, extra), fused, seed);
    }

    #[test]
        fn all_convolutions_are_close_to_the_definition(
        groups in 1_usize..4, in_group in 1_usize..10, out_group in 1_usize..24,
        kernel in [1_usize..4, 1_usize..4], stride in [1_usize..4, 1_usize..4],
        dilation in [1_usize..3, 1_usize..3], padding in paddings(4),
        extra in [0_usize..8, 0_usize..8], batch in 1_usize..3, fused: bool, seed in 0_u64..99,
    ) {
        let geometry = Conv2dGeometry {
            groups, kernel, stride, dilation, padding,
            ..Conv2dGeometry::pointwise(groups * in_group, groups * out_group)
        };
        check(geometry, batch, fitting(&geometry, extra), fused, seed);
    }
}

/// Covers layers of real networks: several blocks, panels and chunks.
#[test]
fn layers_of_real_networks_are_close_to_the_definition() {
    let square = |kernel, stride, padding, in_channels, out_channels| Conv2dGeometry {
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: Padding::symmetric(padding, padding),
        ..Conv2dGeometry::pointwise(in_channels, out_channels)
    };
    let same = Padding { top: 0, left: 0, bottom: 1, right: 1 };
    let cases = [
        (square(1, 1, 0, 24, 144), [28, 28]),
        (square(1, 1, 0, 192, 32), [14, 14]),
        (square(3, 2, 1, 3, 32), [40, 40]),
        (square(3, 1, 1, 64, 48), [9, 9]),
        (square(1, 2, 0, 64, 128), [8, 8]),
        (Conv2dGeometry { groups: 96, padding: same, ..square(3, 2, 0, 96, 96) }, [28, 28]),
        (Conv2dGeometry { groups: 48, ..square(5, 1, 2, 48, 48) }, [14, 14]),
        (Conv2dGeometry { groups: 4, ..square(3, 1, 1, 32, 64) }, [7, 7]),
    ];
    for (i, (geometry, size)) in cases.into_iter().enumerate() {
        check(geometry, 5, size, i % 2 == 0, i as u64);
    }
    // Images so small that several are processed together, with one left over.
    check(square(3, 1, 1, 64, 48), 9, [9, 9], true, 8);
    check(square(3, 2, 1, 24, 130), 13, [7, 8], true, 9);
}
