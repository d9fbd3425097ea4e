//! Tests of passes over whole tensors.

use proptest::prelude::*;

use crate::f32::Clamp;
use crate::f32::testing::{bits, numbers, paddings, positions};
use crate::f32::training::*;
use crate::{Conv2dGeometry, Isa, Pool, Pool2dGeometry};

/// Fake quantization by PyTorch's formula, and whether the gradient passes.
fn fake_quantized(fake_quant: Option<FakeQuant>, x: f32) -> (f32, bool) {
    let Some(fake_quant) = fake_quant else { return (x, true) };
    let bounded = fake_quant.quantize(x);
    let value = (bounded - fake_quant.zero_point) as f32 * fake_quant.scale;
    (value, fake_quant.unclamped(x) == bounded as f32)
}

/// An activation by its definition, and whether the gradient passes.
fn activated(clamp: Clamp, fake_quant: Option<FakeQuant>, z: f32) -> (f32, bool) {
    let (x, passes) = fake_quantized(fake_quant, z.max(clamp.min).min(clamp.max));
    (x, passes && clamp.min < z && z < clamp.max)
}

fn clamps() -> impl Strategy<Value = Clamp> {
    prop_oneof![Just(Clamp::NONE), Just(Clamp::RELU), Just(Clamp { min: 0.0, max: 0.5 })]
}

fn fake_quants() -> impl Strategy<Value = Option<FakeQuant>> {
    let some = |scale, zero_point, quant_min, quant_max| {
        Just(Some(FakeQuant { scale, zero_point, quant_min, quant_max }))
    };
    prop_oneof![
        Just(None),
        some(0.01, 0, 0, 127),
        some(0.004, 100, 0, 255),
        some(0.02, 0, -128, 127)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
        fn activations_and_their_gradients_are_close_to_the_definition(
        channels in 1_usize..70, pixels in prop_oneof![0_usize..20, Just(1500)], clamp in clamps(),
        fake_quant in fake_quants(), threads in 1_usize..4, seed in 0_u64..99,
    ) {
        let pool = Pool::new(threads);
        let (scale, shift) = (numbers(channels, seed), numbers(channels, seed + 1));
        let (a, b, c) =
            (numbers(channels, seed + 2), numbers(channels, seed + 3), numbers(channels, seed + 4));
        let (y, grad) = (numbers(channels * pixels, seed + 5), numbers(channels * pixels, seed + 6));
        let activation = Activation { scale: &scale, shift: &shift, clamp, fake_quant };
        for isa in Isa::supported() {
            let mut x = vec![f32::NAN; y.len()];
            activate(isa, &pool, activation, &y, &mut x);
            let mut grad_y = vec![f32::NAN; y.len()];
            let norm = NormBackward { y: &y, activation, a: &a, b: &b, c: &c };
            activate_backward(isa, &pool, norm, &grad, &mut grad_y);
            let mut sums = ChannelSums::default();
            activate_backward_sums(isa, &pool, activation, &y, &grad, &mut sums);
            let (mut sum, mut sum_y) = (vec![0.0; channels], vec![0.0; channels]);
            for i in 0..y.len() {
                let k = i % channels;
                // Instruction sets differ in whether the product is rounded.
                let ways = [y[i].mul_add(scale[k], shift[k]), y[i] * scale[k] + shift[k]]
                    .map(|z| activated(clamp, fake_quant, z));
                let near = |e: f32, f: f32| (e - f).abs() <= 1e-6;
                prop_assert!(ways.iter().any(|way| near(way.0, x[i])), "{:?} {}", ways, x[i]);
                let grads = ways.map(|(_, passes)| {
                    let g = if passes { grad[i] } else { 0.0 };
                    a[k] * g + b[k] * y[i] + c[k]
                });
                prop_assert!(grads.iter().any(|&g| near(g, grad_y[i])), "{:?} {}", grads, grad_y[i]);
                let passes = ways.iter().zip(grads).find(|(_, g)| near(*g, grad_y[i]));
                if passes.is_some_and(|(way, _)| way.1) {
                    sum[k] += f64::from(grad[i]);
                    sum_y[k] += f64::from(grad[i]) * f64::from(y[i]);
                }
            }
            for k in 0..channels {
                prop_assert!((sum[k] - sums.grad[k]).abs() <= 1e-4, "{} {}", sum[k], sums.grad[k]);
                prop_assert!((sum_y[k] - sums.grad_y[k]).abs() <= 1e-4);
            }
        }
    }

    #[test]
        fn variances_are_precise_for_means_far_from_zero(
        channels in 1_usize..40, pixels in 2_usize..3000, far in -3000.0_f32..3000.0,
        seed in 0_u64..99,
    ) {
        let y: Vec<f32> = numbers(channels * pixels, seed).iter().map(|x| x + far).collect();
        for isa in Isa::supported() {
            let mut first = None;
            for threads in 1..4 {
                let mut stats = ChannelStats::default();
                channel_stats(isa, &Pool::new(threads), pixels, channels, &y, &mut stats);
                for c in 0..channels {
                    let column = || y.iter().skip(c).step_by(channels).map(|&x| f64::from(x));
                    let mean = column().sum::<f64>() / pixels as f64;
                    let variance =
                        column().map(|x| (x - mean).powi(2)).sum::<f64>() / pixels as f64;
                    let (found_mean, found) = stats.mean_variance(c, pixels);
                    prop_assert!((mean - found_mean).abs() <= 1e-6 * (1.0 + variance.sqrt()));
                    prop_assert!(
                        (variance - found).abs() <= 1e-5 * variance.max(1e-6),
                        "{} {}", variance, found,
                    );
                }
                prop_assert_eq!(first.get_or_insert_with(|| stats.clone()), &stats);
            }
        }
    }

    #[test]
        fn sums_and_fake_quantization_equal_the_definition(
        len in prop_oneof![0_usize..80, Just(70_000)], fake_quant in fake_quants(),
        threads in 1_usize..4, seed in 0_u64..99,
    ) {
        let pool = Pool::new(threads);
        let (a, b) = (numbers(len, seed), numbers(len, seed + 1));
        for isa in Isa::supported() {
            let mut sum = vec![f32::NAN; len];
            let (min, max) = add_with_range(isa, &pool, &a, &b, &mut sum);
            let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
            prop_assert_eq!(bits(&sum), bits(&expected));
            prop_assert_eq!(min, sum.iter().copied().fold(f32::INFINITY, f32::min));
            prop_assert_eq!(max, sum.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let Some(some) = fake_quant else { continue };
            let (mut rounded, mut grad) = (sum.clone(), a.clone());
            fake_quantize(isa, &pool, some, &mut rounded);
            fake_quantize_backward(isa, &pool, some, &sum, &mut grad);
            for i in 0..len {
                let (value, passes) = fake_quantized(fake_quant, sum[i]);
                prop_assert_eq!(rounded[i], value);
                prop_assert_eq!(grad[i], if passes { a[i] } else { 0.0 });
            }
        }
    }

    #[test]
        fn max_pool2d_backward_is_close_to_the_definition(
        kernel in [1_usize..4, 1_usize..4], stride in [1_usize..4, 1_usize..4],
        dilation in [1_usize..3, 1_usize..3], padding in paddings(2),
        extra in [0_usize..9, 0_usize..9], channels in 1_usize..40, batch in 1_usize..3,
        threads in 1_usize..4, seed in 0_u64..99,
    ) {
        let geometry = Pool2dGeometry { kernel, stride, dilation, padding };
        let size = [0, 1].map(|axis| (kernel[axis] - 1) * dilation[axis] + 1 + extra[axis]);
        let [oh, ow] = geometry.output_size(size).expect("the window fits");
        // Rounded to few values, so that there are ties.
        let input: Vec<f32> = numbers(batch * size[0] * size[1] * channels, seed)
            .iter()
            .map(|x| (x * 4.0).round())
            .collect();
        let grad = numbers(batch * oh * ow * channels, seed + 1);
        let mut expected = vec![0.0; input.len()];
        for (i, (n, oy, ox, c)) in positions([batch, oh, ow, channels]).enumerate() {
            let mut best: Option<usize> = None;
            for (ky, kx, ..) in positions([kernel[0], kernel[1], 1, 1]) {
                let y = (oy * stride[0] + ky * dilation[0]).wrapping_sub(padding.top);
                let x = (ox * stride[1] + kx * dilation[1]).wrapping_sub(padding.left);
                if y < size[0] && x < size[1] {
                    let at = ((n * size[0] + y) * size[1] + x) * channels + c;
                    if best.is_none_or(|best| input[at] > input[best]) {
                        best = Some(at);
                    }
                }
            }
            if let Some(best) = best {
                expected[best] += f64::from(grad[i]);
            }
        }
        let mut found = vec![f32::NAN; input.len()];
        max_pool2d_backward(
            &Pool::new(threads), geometry, batch, size, channels, &input, &grad, &mut found,
        );
        for (e, f) in expected.iter().zip(&found) {
            prop_assert!((e - f64::from(*f)).abs() <= 1e-6, "{} {}", e, f);
        }
    }

    #[test]
        fn adaptive_avg_pool2d_backward_is_close_to_the_definition(
        size in [1_usize..12, 1_usize..12], out in [1_usize..7, 1_usize..7],
        channels in 1_usize..40, batch in 1_usize..3, threads in 1_usize..4, seed in 0_u64..99,
    ) {
        let grad = numbers(batch * out[0] * out[1] * channels, seed);
        let mut expected = vec![0.0; batch * size[0] * size[1] * channels];
        for (i, (n, oy, ox, c)) in positions([batch, out[0], out[1], channels]).enumerate() {
            let window = |o: usize, axis: usize| {
                o * size[axis] / out[axis]..((o + 1) * size[axis]).div_ceil(out[axis])
            };
            let (rows, columns) = (window(oy, 0), window(ox, 1));
            let count = (rows.len() * columns.len()) as f64;
            for y in rows {
                for x in columns.clone() {
                    expected[((n * size[0] + y) * size[1] + x) * channels + c] +=
                        f64::from(grad[i]) / count;
                }
            }
        }
        for isa in Isa::supported() {
            let mut found = vec![f32::NAN; expected.len()];
            let pool = Pool::new(threads);
            adaptive_avg_pool2d_backward(isa, &pool, batch, size, channels, out, &grad, &mut found);
            for (e, f) in expected.iter().zip(&found) {
                prop_assert!((e - f64::from(*f)).abs() <= 2e-6, "{} {}", e, f);
            }
        }
    }
}

#[test]
fn gradients_stop_at_the_bounds() {
    // As for `hardtanh_backward` and `threshold_backward`, gradients pass strictly inside only.
    let y = [-1.0, 0.0, 1.0, 6.0, 7.0];
    for isa in Isa::supported() {
        for (clamp, expected) in
            [(Clamp::RELU6, [0.0, 0.0, 2.0, 0.0, 0.0]), (Clamp::RELU, [0.0, 0.0, 2.0, 2.0, 2.0])]
        {
            let activation = Activation { scale: &[1.0], shift: &[0.0], clamp, fake_quant: None };
            let norm = NormBackward { y: &y, activation, a: &[1.0], b: &[0.0], c: &[0.0] };
            let mut grad = [f32::NAN; 5];
            activate_backward(isa, &Pool::new(1), norm, &[2.0; 5], &mut grad);
            assert_eq!(grad, expected, "{isa}");
        }
    }
}

/// Checks that statistics over `pixels` pixels keep a value that is not finite at `index`.
fn keeps(isa: Isa, pool: &Pool, channels: usize, pixels: usize, index: usize, bad: f32) {
    let mut y: Vec<f32> = (0..channels * pixels).map(|i| (i % 7) as f32).collect();
    y[index] = bad;
    let mut stats = ChannelStats::default();
    channel_stats(isa, pool, pixels, channels, &y, &mut stats);
    let what = format!("{bad} at {index} of {pixels} pixels of {channels} channels on {isa}");
    for c in 0..channels {
        let finite = stats.min[c].is_finite() && stats.max[c].is_finite();
        assert_eq!(finite, c != index % channels, "{what}");
    }
    let mut sum = vec![0.0; y.len()];
    let (min, max) = add_with_range(isa, pool, &y, &vec![1.0; y.len()], &mut sum);
    assert!(!min.is_finite() || !max.is_finite(), "{what}: {min} {max}");
    assert!(!bad.is_nan() || min.is_nan() && max.is_nan(), "{what}: {min} {max}");
}

#[test]
fn ranges_keep_what_is_not_finite_at_every_position() {
    let pool = Pool::new(2);
    for isa in Isa::supported() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (channels, pixels) in [(1, 100), (3, 40), (16, 9), (33, 5), (40, 20)] {
                for index in 0..channels * pixels {
                    keeps(isa, &pool, channels, pixels, index, bad);
                }
            }
            // Several blocks and chunks.
            for index in (0..4000).step_by(61).chain([511, 512, 513, 3998, 3999]) {
                keeps(isa, &pool, 1, 4000, index, bad);
            }
        }
    }
}

#[test]
fn fused_statistics_of_convolutions_keep_what_is_not_finite() {
    let pool = Pool::new(2);
    for isa in Isa::supported() {
        for (geometry, size) in [
            (Conv2dGeometry::pointwise(5, 20), [40, 30]),
            (Conv2dGeometry::square([6, 6], 3, 1, 6), [20, 30]),
            (Conv2dGeometry::square([3, 20], 3, 1, 1), [20, 30]),
        ] {
            let channels = geometry.out_channels;
            let weight = vec![0.5; channels * geometry.taps_per_output()];
            let len = size[0] * size[1] * geometry.in_channels;
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for index in (0..len).step_by(len / 50).chain([len - 1]) {
                    let mut input = vec![1.0; len];
                    input[index] = bad;
                    let conv = Conv2d::new(isa, geometry);
                    let mut scratch = vec![0.0; conv.scratch_len(2, 1, size)];
                    let mut output = vec![0.0; size[0] * size[1] * channels];
                    let mut stats = ChannelStats::default();
                    conv.forward_with_stats(
                        &pool,
                        1,
                        size,
                        &input[..],
                        &weight,
                        &mut output,
                        &mut stats,
                        &mut scratch,
                    );
                    for c in 0..channels {
                        let finite = stats.min[c].is_finite() && stats.max[c].is_finite();
                        let expected = output[c..].iter().step_by(channels).all(|y| y.is_finite());
                        assert_eq!(finite, expected, "{bad} at {index}, {geometry:?} on {isa}");
                    }
                }
            }
        }
    }
}
