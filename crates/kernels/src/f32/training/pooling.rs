//! Gradients of pooling.

use std::ops::Range;

use super::weight_sums::AddTo;
use crate::Isa;
use crate::arch::with_simd;
use crate::f32::simd::Simd;
use crate::geometry::Pool2dGeometry;
use crate::lengths::{Lengths, check_len, check_same_len};
use crate::pool::{Pool, SharedMut};

/// Computes the gradient of the input of [`adaptive_avg_pool2d`](crate::f32::adaptive_avg_pool2d):
/// each output's gradient is divided evenly between the pixels of its window.
///
/// `grad_output` is `[N, OH, OW, C]` with `[OH, OW]` = `output_size`, `grad_input` is `[N, H, W,
/// C]` with N = `batch`, `[H, W]` = `size` and C = `channels`.
///
/// # Panics
/// If a size is 0, or the length of a slice differs from its shape.
pub fn adaptive_avg_pool2d_backward(
    isa: Isa,
    pool: &Pool,
    batch: usize,
    size: [usize; 2],
    channels: usize,
    output_size: [usize; 2],
    grad_output: &[f32],
    grad_input: &mut [f32],
) {
    let out = output_size;
    assert!(
        !size.contains(&0) && !out.contains(&0),
        "average pooling of {size:?} pixels to {out:?}; all sizes must be at least 1"
    );
    let names = ["grad_input", "grad_output"];
    check(names, batch, size, out, channels, grad_input, grad_output);
    let window = |i: usize, axis: usize| -> Range<usize> {
        i * size[axis] / out[axis]..((i + 1) * size[axis]).div_ceil(out[axis])
    };
    let image = size[0] * size[1] * channels;
    let grad_input = SharedMut::new(grad_input);
    pool.run(batch, &|n, _| {
        // SAFETY: each task has its own image.
        let to = unsafe { grad_input.slice(n * image..(n + 1) * image) };
        to.fill(0.0);
        let mut share = vec![0.0; channels];
        for pixel in 0..out[0] * out[1] {
            let (rows, columns) = (window(pixel / out[1], 0), window(pixel % out[1], 1));
            let count = (rows.len() * columns.len()) as f32;
            let grad = &grad_output[(n * out[0] * out[1] + pixel) * channels..][..channels];
            for (share, grad) in share.iter_mut().zip(grad) {
                *share = grad / count;
            }
            for y in rows {
                for x in columns.clone() {
                    let to = &mut to[(y * size[1] + x) * channels..][..channels];
                    with_simd!(isa, simd => simd.run(AddTo { from: &share, to }));
                }
            }
        }
    });
}

/// Computes the gradient of the input of [`max_pool2d`](crate::f32::max_pool2d): each output's
/// gradient is added to the first maximum of its window, as in PyTorch.
///
/// `input` and `grad_input` are `[N, H, W, C]` with N = `batch`, `[H, W]` = `size` and C =
/// `channels`; `grad_output` is `[N, OH, OW, C]`.
///
/// # Panics
/// If the window does not fit into the padded input, or the length of a slice differs from its
/// shape.
pub fn max_pool2d_backward(
    pool: &Pool,
    geometry: Pool2dGeometry,
    batch: usize,
    size: [usize; 2],
    channels: usize,
    input: &[f32],
    grad_output: &[f32],
    grad_input: &mut [f32],
) {
    let Pool2dGeometry { kernel, stride, dilation, padding } = geometry;
    let out = Lengths::of_pool2d(&geometry, batch, size, channels).output_size();
    check(["the input", "grad_output"], batch, size, out, channels, input, grad_output);
    check_same_len("grad_input", grad_input.len(), "the input", input.len());
    let image = size[0] * size[1] * channels;
    let grad_input = SharedMut::new(grad_input);
    pool.run(batch, &|n, _| {
        let from = &input[n * image..(n + 1) * image];
        // SAFETY: each task has its own image.
        let to = unsafe { grad_input.slice(n * image..(n + 1) * image) };
        to.fill(0.0);
        let mut maximum = vec![0.0_f32; channels];
        let mut place = vec![0_u32; channels];
        let mut taps = Vec::new();
        for pixel in 0..out[0] * out[1] {
            let (oy, ox) = (pixel / out[1], pixel % out[1]);
            taps.clear();
            for ky in 0..kernel[0] {
                for kx in 0..kernel[1] {
                    let y = (oy * stride[0] + ky * dilation[0]).wrapping_sub(padding.top);
                    let x = (ox * stride[1] + kx * dilation[1]).wrapping_sub(padding.left);
                    if y < size[0] && x < size[1] {
                        taps.push((y * size[1] + x) * channels);
                    }
                }
            }
            maximum.fill(f32::NEG_INFINITY);
            place.fill(0);
            for (tap, &at) in taps.iter().enumerate() {
                let from = &from[at..at + channels];
                for ((maximum, place), &x) in maximum.iter_mut().zip(&mut place).zip(from) {
                    let wins = x > *maximum || x.is_nan();
                    *maximum = if wins { x } else { *maximum };
                    *place = if wins { tap as u32 } else { *place };
                }
            }
            let grad = &grad_output[(n * out[0] * out[1] + pixel) * channels..][..channels];
            for (tap, &at) in taps.iter().enumerate() {
                let to = &mut to[at..at + channels];
                for ((to, &place), &grad) in to.iter_mut().zip(&place).zip(grad) {
                    *to += if place == tap as u32 { grad } else { 0.0 };
                }
            }
        }
    });
}

fn check(
    [input_name, output_name]: [&str; 2],
    batch: usize,
    size: [usize; 2],
    out: [usize; 2],
    channels: usize,
    input: &[f32],
    output: &[f32],
) {
    assert!(channels > 0, "channels is 0; it must be at least 1");
    check_len(input_name, input.len(), &[batch, size[0], size[1], channels]);
    check_len(output_name, output.len(), &[batch, out[0], out[1], channels]);
}
