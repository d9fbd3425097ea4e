//! Training of pointwise convolutions: matrix products over blocks of pixels that stay in the
//! cache.

use super::block;
use super::chunks::Chunks;
use super::operands::{Backward, Gradients, Input, Shape};
use super::stats::{ChannelStats, ChannelSums};
use super::stream::{should_stream, stream};
use super::weight_sums::{Layout, Scratch, lines};
use crate::f32::Clamp;
use crate::f32::gemm::{Panels, Rows, multiply};
use crate::f32::outer::Matrix;
use crate::f32::simd::Simd;
use crate::pool::{Pool, SharedMut};

/// Approximate number of floats of the input and output of a block.
const BLOCK_FLOATS: usize = 96 * 1024;

/// Number of pixels of a block.
fn block_pixels(shape: Shape<'_>) -> usize {
    let channels = shape.geometry.in_channels + shape.geometry.out_channels;
    (BLOCK_FLOATS / channels).clamp(96, 512)
}

fn backward_chunks(shape: Shape<'_>) -> Chunks {
    let max = Layout::new(shape.geometry).max_chunks();
    Chunks::with_max(shape.output_pixels(), block_pixels(shape), max)
}

/// The scratch memory: the sums of the weights, and for each thread a block of the input, one of
/// its gradient, and one of the output or its gradient.
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
    let streams = should_stream(output.len());
    let output = SharedMut::new(output);
    let block = block_pixels(shape);
    let (_, workers) = scratch(shape).split(memory);
    pool.run(chunks.count(), &|chunk, worker| {
        // SAFETY: each worker runs one task at a time, and each has its own part.
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
            // SAFETY: chunks have different pixels, so no other task has these outputs.
            let out = unsafe { output.slice(pixels.start * n..pixels.end * n) };
            let y = if streams { &mut own_y[..out.len()] } else { &mut *out };
            // SAFETY: `x` has a row for each of the block's pixels, and `y` the outputs of each.
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
                // SAFETY: each chunk has its own element, and one task.
                let stats = unsafe { shared_parts.slice(chunk..chunk + 1) };
                stats[0].add(simd, y);
            }
            if streams {
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
    let streams = gradients.input.as_ref().is_some_and(|grad| should_stream(grad.len()));
    let grad_input = gradients.input.map(SharedMut::new);
    let block = block_pixels(shape);
    pool.run(chunks.count(), &|chunk, worker| {
        // SAFETY: each worker runs one task at a time, and each has its own part.
        let own = unsafe { workers.part(worker) };
        let (own_x, own_grad) = own.split_at_mut(2 * lines(block * k));
        let (own_x, own_grad_x) = own_x.split_at_mut(lines(block * k));
        // SAFETY: each chunk has its own sums, and one task.
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
                // SAFETY: chunks have different pixels, so no other task has these inputs.
                let to = unsafe { grad_input.slice(inputs.clone()) };
                let grad_x = if streams { &mut own_grad_x[..to.len()] } else { &mut *to };
                // SAFETY: `grad` has a row for each of the block's pixels, and `grad_x` the outputs
                // of each.
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
                    // SAFETY: each chunk has its own element, and one task.
                    let sums = &mut unsafe { shared_parts.slice(chunk..chunk + 1) }[0];
                    sums.add(simd, activation, values, grad_x);
                }
                if streams {
                    stream(simd, &own_grad_x[..to.len()], to);
                }
            }
            if wants_weight {
                let x = Matrix { first: x.as_ptr(), stride: k, columns: k };
                let grad = Matrix { first: grad.as_ptr(), stride: n, columns: n };
                // SAFETY: `x` and `grad` have a row for each of the block's pixels.
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
