//! Poolings backward.

use std::ops::Range;

use super::weight_sums::AddTo;
use crate::Isa;
use crate::arch::with_simd;
use crate::f32::simd::Simd;
use crate::geometry::Pool2dGeometry;
use crate::lengths::{Lengths, check_len};
use crate::pool::{Pool, SharedMut};

/// The gradient of [`adaptive_avg_pool2d`](crate::f32::adaptive_avg_pool2d)'s input: each output's
/// gradient divided evenly over its window.
///
/// # Panics
/// When a size is zero, or a buffer has a wrong size.
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
    assert!(size[0] > 0 && size[1] > 0 && out[0] > 0 && out[1] > 0, "pooling without pixels");
    check(batch, size, out, channels, grad_input, grad_output);
    let window = |i: usize, axis: usize| -> Range<usize> {
        i * size[axis] / out[axis]..((i + 1) * size[axis]).div_ceil(out[axis])
    };
    let picture = size[0] * size[1] * channels;
    let grad_input = SharedMut::new(grad_input);
    pool.run(batch, &|n, _| {
        // SAFETY: each task has a picture of its own.
        let to = unsafe { grad_input.slice(n * picture..(n + 1) * picture) };
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

/// The gradient of [`max_pool2d`](crate::f32::max_pool2d)'s input: each output's gradient goes to
/// the first of the greatest inputs under its window, as in PyTorch.
///
/// # Panics
/// When the window does not fit into the padded input, or a buffer has a wrong size.
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
    check(batch, size, out, channels, input, grad_output);
    assert_eq!(grad_input.len(), input.len(), "elements of the gradient of the input");
    let picture = size[0] * size[1] * channels;
    let grad_input = SharedMut::new(grad_input);
    pool.run(batch, &|n, _| {
        let from = &input[n * picture..(n + 1) * picture];
        // SAFETY: each task has a picture of its own.
        let to = unsafe { grad_input.slice(n * picture..(n + 1) * picture) };
        to.fill(0.0);
        let mut greatest = vec![0.0_f32; channels];
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
            greatest.fill(f32::NEG_INFINITY);
            place.fill(0);
            for (tap, &at) in taps.iter().enumerate() {
                let from = &from[at..at + channels];
                for ((greatest, place), &x) in greatest.iter_mut().zip(&mut place).zip(from) {
                    let wins = x > *greatest || x.is_nan();
                    *greatest = if wins { x } else { *greatest };
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
    batch: usize,
    size: [usize; 2],
    out: [usize; 2],
    channels: usize,
    input: &[f32],
    output: &[f32],
) {
    assert!(channels > 0, "no channels");
    check_len("the input", input.len(), &[batch, size[0], size[1], channels]);
    check_len("the output", output.len(), &[batch, out[0], out[1], channels]);
}
