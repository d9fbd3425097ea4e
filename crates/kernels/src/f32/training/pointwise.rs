//! Pointwise convolutions: matrix products over blocks of pixels that stay in the cache.

use super::block;
use super::chunks::Chunks;
use super::operands::{Backward, Gradients, Input, Shape};
use super::stats::{ChannelStats, ChannelSums};
use super::stream::{is_far, stream};
use super::weight_sums::{Layout, Scratch, lines};
use crate::f32::Clamp;
use crate::f32::gemm::{Panels, Rows, multiply};
use crate::f32::outer::Matrix;
use crate::f32::simd::Simd;
use crate::pool::{Pool, SharedMut};

/// Floats of a block's input and output.
const BLOCK_FLOATS: usize = 96 * 1024;

/// Pixels of a block.
fn block_pixels(shape: Shape<'_>) -> usize {
    let channels = shape.geometry.in_channels + shape.geometry.out_channels;
    (BLOCK_FLOATS / channels).clamp(96, 512)
}

fn backward_chunks(shape: Shape<'_>) -> Chunks {
    let most = Layout::new(shape.geometry).most_chunks();
    Chunks::at_most(shape.output_pixels(), block_pixels(shape), most)
}

/// Memory for the sums of the weights, and for each thread a block of the input, one of its
/// gradient, and one of the output or its gradient.
fn scratch(shape: Shape<'_>) -> Scratch {
    let block = block_pixels(shape);
    let (k, n) = (shape.geometry.in_channels, shape.geometry.out_channels);
    Scratch {
        shared: backward_chunks(shape).count() * Layout::new(shape.geometry).len(),
        per_thread: 2 * lines(block * k) + block * n,
    }
}

pub(super) fn scratch_len(shape: Shape<'_>, threads: usize) -> usize {
    scratch(shape).len(threads)
}

pub(super) fn forward<S: Simd>(
    simd: S,
    pool: &Pool,
    shape: Shape<'_>,
    input: Input<'_>,
    weight: &[f32],
    output: &mut [f32],
    stats: Option<&mut ChannelStats>,
    memory: &mut [f32],
) {
    let (k, n) = (shape.geometry.in_channels, shape.geometry.out_channels);
    let panels = Panels::pack(simd, k, n, |k_index, n_index| weight[n_index * k + k_index], None);
    let chunks = Chunks::new(shape.output_pixels(), block_pixels(shape));
    let mut parts = vec![ChannelStats::new(n); if stats.is_some() { chunks.count() } else { 0 }];
    let shared_parts = SharedMut::new(&mut parts);
    let far = is_far(output.len());
    let output = SharedMut::new(output);
    let block = block_pixels(shape);
    let (_, workers) = scratch(shape).split(memory);
    pool.run(chunks.count(), &|chunk, worker| {
        // SAFETY: the worker's own memory, used by this task only.
        let (own_x, own_y) = unsafe { workers.part(worker) }.split_at_mut(2 * lines(block * k));
        for pixels in chunks.blocks(chunk) {
            let values = &input.values[pixels.start * k..pixels.end * k];
            let x = match &input.activation {
                Some(activation) => {
                    let x = &mut own_x[..values.len()];
                    block::apply(simd, activation, values, x);
                    &*x
                }
                None => values,
            };
            let rows = Rows::contiguous(x.as_ptr(), k, k);
            // SAFETY: the block's pixels are this task's own.
            let out = unsafe { output.slice(pixels.start * n..pixels.end * n) };
            let y = if far { &mut own_y[..out.len()] } else { &mut *out };
            // SAFETY: `x` has as many rows as `y`.
            unsafe {
                multiply(
                    simd,
                    &panels,
                    0..panels.len(),
                    rows,
                    pixels.len(),
                    y.as_mut_ptr(),
                    n,
                    Clamp::NONE,
                );
            }
            if !shared_parts.is_empty() {
                // SAFETY: the chunk's own.
                let stats = unsafe { shared_parts.slice(chunk..chunk + 1) };
                stats[0].add(simd, y);
            }
            if far {
                stream(simd, &own_y[..out.len()], out);
            }
        }
    });
    if let Some(stats) = stats {
        stats.set_to_sum(&parts, n);
    }
}

pub(super) fn backward<S: Simd>(
    simd: S,
    pool: &Pool,
    shape: Shape<'_>,
    read: Backward<'_>,
    gradients: Gradients<'_>,
    memory: &mut [f32],
) {
    let Backward { input, weight, grad_output } = read;
    let (k, n) = (shape.geometry.in_channels, shape.geometry.out_channels);
    let panels = gradients
        .input
        .is_some()
        .then(|| Panels::pack(simd, n, k, |n_index, k_index| weight[n_index * k + k_index], None));
    let layout = Layout::new(shape.geometry);
    let chunks = backward_chunks(shape);
    let (weight_sums, workers) = scratch(shape).split(memory);
    let wants_weight = gradients.weight.is_some();
    let shared_weight = SharedMut::new(weight_sums);
    let wants_sums = gradients.sums.is_some();
    let mut parts = vec![ChannelSums::new(k); if wants_sums { chunks.count() } else { 0 }];
    let shared_parts = SharedMut::new(&mut parts);
    let far = gradients.input.as_ref().is_some_and(|grad| is_far(grad.len()));
    let grad_input = gradients.input.map(SharedMut::new);
    let block = block_pixels(shape);
    pool.run(chunks.count(), &|chunk, worker| {
        // SAFETY: the worker's own memory, used by this task only.
        let own = unsafe { workers.part(worker) };
        let (own_x, own_grad) = own.split_at_mut(2 * lines(block * k));
        let (own_x, own_grad_x) = own_x.split_at_mut(lines(block * k));
        // SAFETY: the chunk's own.
        let sums = unsafe { shared_weight.slice(chunk * layout.len()..(chunk + 1) * layout.len()) };
        if wants_weight {
            sums.fill(0.0);
        }
        for pixels in chunks.blocks(chunk) {
            let outputs = pixels.start * n..pixels.end * n;
            let grad = match &grad_output.norm {
                Some(norm) => {
                    let to = &mut own_grad[..outputs.len()];
                    let (y, grad) = (&norm.y[outputs.clone()], &grad_output.values[outputs]);
                    block::backward(simd, &norm.activation, norm.factors(), y, grad, to);
                    &*to
                }
                None => &grad_output.values[outputs],
            };
            let inputs = pixels.start * k..pixels.end * k;
            let values = input.values.get(inputs.clone()).unwrap_or_default();
            let x = match &input.activation {
                Some(activation) if wants_weight => {
                    let x = &mut own_x[..values.len()];
                    block::apply(simd, activation, values, x);
                    &*x
                }
                _ => values,
            };
            if let (Some(panels), Some(grad_input)) = (&panels, &grad_input) {
                let rows = Rows::contiguous(grad.as_ptr(), n, n);
                // SAFETY: the block's pixels are this task's own.
                let to = unsafe { grad_input.slice(inputs.clone()) };
                let grad_x = if far { &mut own_grad_x[..to.len()] } else { &mut *to };
                // SAFETY: `grad` has as many rows as `grad_x`.
                unsafe {
                    multiply(
                        simd,
                        panels,
                        0..panels.len(),
                        rows,
                        pixels.len(),
                        grad_x.as_mut_ptr(),
                        k,
                        Clamp::NONE,
                    );
                }
                if let (true, Some(activation)) = (wants_sums, &input.activation) {
                    // SAFETY: the chunk's own.
                    let sums = &mut unsafe { shared_parts.slice(chunk..chunk + 1) }[0];
                    sums.add(simd, activation, values, grad_x);
                }
                if far {
                    stream(simd, &own_grad_x[..to.len()], to);
                }
            }
            if wants_weight {
                let x = Matrix { first: x.as_ptr(), stride: k, columns: k };
                let grad = Matrix { first: grad.as_ptr(), stride: n, columns: n };
                // SAFETY: both have the block's pixels.
                unsafe { layout.add(simd, 0, pixels.len(), x, grad, sums) };
            }
        }
    });
    if let Some(to) = gradients.weight {
        layout.finish(simd, pool, chunks.count(), weight_sums, to);
    }
    if let Some(sums) = gradients.sums {
        sums.set_to_sum(&parts, k);
    }
}
