//! Training of convolutions as matrix products by im2row.
//!
//! The inputs under the windows of a block of output pixels are copied into rows and multiplied
//! with the weights; in the backward pass, the products are added back to the pixels they belong
//! to. A task has whole images, so that no two tasks add to the same pixel.

use std::ops::Range;

use super::block;
use super::chunks::Chunks;
use super::operands::{Backward, Gradients, Input, Shape};
use super::scatter::scatter;
use super::stats::{ChannelStats, ChannelSums};
use super::stream::{should_stream, stream};
use super::weight_sums::{Layout, Scratch, lines};
use crate::f32::Clamp;
use crate::f32::gemm::{Panels, Rows, multiply};
use crate::f32::im2row::gather;
use crate::f32::outer::Matrix;
use crate::f32::simd::Simd;
use crate::f32::split::part;
use crate::pool::{Pool, SharedMut};

/// Approximate maximum number of floats of a block of im2row rows and their outputs.
const BLOCK_FLOATS: usize = 128 * 1024;
/// Minimum number of pixels of a block, even if it then has more floats: weights that do not stay
/// in the cache would be read too often for fewer.
const MIN_PIXELS: usize = 192;
/// Minimum number of tasks into which a small batch is divided.
const MIN_TASKS: usize = 4;

/// Floats from one im2row row to the next.
fn row_stride(shape: Shape<'_>) -> usize {
    let stride = lines(taps(shape));
    // Rows at a distance of a power of two would share few cache sets.
    if stride.is_multiple_of(256) { stride + 16 } else { stride }
}

/// Number of weights of an output channel.
fn taps(shape: Shape<'_>) -> usize {
    shape.geometry.taps_per_output()
}

/// Number of images that are processed together: several if one has too few pixels for a block.
fn group_images(shape: Shape<'_>) -> usize {
    (MIN_PIXELS / (shape.out[0] * shape.out[1])).clamp(1, (shape.batch / MIN_TASKS).max(1))
}

/// Number of output pixels of a block.
fn block_pixels(shape: Shape<'_>) -> usize {
    let group = group_images(shape) * shape.out[0] * shape.out[1];
    let fit = BLOCK_FLOATS / (row_stride(shape) + shape.geometry.out_channels);
    fit.clamp(MIN_PIXELS, 512).min(group)
}

fn backward_chunks(shape: Shape<'_>) -> Chunks {
    let max = Layout::new(shape.geometry).max_chunks();
    Chunks::with_max(shape.batch, group_images(shape), max)
}

/// The scratch memory: for each thread a group of images, a block of im2row rows, and a block of
/// the gradient of the output.
fn scratch(shape: Shape<'_>) -> Scratch {
    let block = block_pixels(shape);
    Scratch {
        shared: backward_chunks(shape).count() * Layout::new(shape.geometry).len(),
        per_thread: lines(group_images(shape) * shape.input_image())
            + lines(block * row_stride(shape))
            + lines(block * shape.geometry.out_channels),
    }
}

pub(super) fn scratch_len(shape: Shape<'_>, threads: usize) -> usize {
    scratch(shape).len(threads)
}

/// The scratch memory of a thread.
struct Own<'a> {
    images: &'a mut [f32],
    rows: &'a mut [f32],
    grad: &'a mut [f32],
}

impl<'a> Own<'a> {
    fn new(shape: Shape<'_>, memory: &'a mut [f32]) -> Self {
        let images = lines(group_images(shape) * shape.input_image());
        let (images, rest) = memory.split_at_mut(images);
        let (rows, grad) = rest.split_at_mut(lines(block_pixels(shape) * row_stride(shape)));
        Self { images, rows, grad }
    }
}

/// Returns some images of the input after its activation.
fn activated<'a, S: Simd>(
    simd: S,
    shape: Shape<'_>,
    input: &Input<'a>,
    images: Range<usize>,
    own: &'a mut [f32],
) -> &'a [f32] {
    let len = shape.input_image();
    let values = &input.values[images.start * len..images.end * len];
    match &input.activation {
        Some(activation) => {
            let x = &mut own[..values.len()];
            block::apply(simd, activation, values, x);
            x
        }
        None => values,
    }
}

/// Returns the blocks of some images, as ranges of their output pixels.
fn blocks(shape: Shape<'_>, images: usize) -> impl Iterator<Item = Range<usize>> {
    let pixels = images * shape.out[0] * shape.out[1];
    let count = pixels.div_ceil(block_pixels(shape).max(1));
    (0..count).map(move |block| part(pixels, count, block))
}

/// Returns the index, in the weights, of tap `k` of output channel `n`, with taps in the order of
/// im2row rows.
fn weight_at(shape: Shape<'_>, group: usize, n: usize, k: usize) -> usize {
    let geometry = shape.geometry;
    let (area, inputs) =
        (geometry.kernel[0] * geometry.kernel[1], geometry.in_channels / geometry.groups);
    let outputs = geometry.out_channels / geometry.groups;
    (group * outputs + n) * taps(shape) + k % inputs * area + k / inputs
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
    let channels = shape.geometry.out_channels;
    let (per_group, row_stride) = (channels / shape.geometry.groups, row_stride(shape));
    let groups: Vec<Panels> = (0..shape.geometry.groups)
        .map(|group| {
            let at = |k, n| weight[weight_at(shape, group, n, k)];
            Panels::pack(simd, taps(shape), per_group, at, None)
        })
        .collect();
    let chunks = Chunks::new(shape.batch, group_images(shape));
    let wants_stats = stats.is_some();
    let mut parts = vec![ChannelStats::new(channels); if wants_stats { chunks.count() } else { 0 }];
    let shared_parts = SharedMut::new(&mut parts);
    let streams = should_stream(output.len());
    let output = SharedMut::new(output);
    let (_, workers) = scratch(shape).split(memory);
    pool.run(chunks.count(), &|chunk, worker| {
        // SAFETY: each worker runs one task at a time, and each has its own part.
        let own = Own::new(shape, unsafe { workers.part(worker) });
        for images in chunks.blocks(chunk) {
            let x = activated(simd, shape, &input, images.clone(), own.images);
            let first = images.start * shape.output_image();
            for pixels in blocks(shape, images.len()) {
                let range = first + pixels.start * channels..first + pixels.end * channels;
                // SAFETY: chunks have different images, so no other task has these outputs.
                let out = unsafe { output.slice(range) };
                let y = if streams { &mut own.grad[..out.len()] } else { &mut *out };
                for (group, panels) in groups.iter().enumerate() {
                    gather(
                        shape.geometry,
                        group,
                        shape.size,
                        shape.out,
                        pixels.clone(),
                        row_stride,
                        x,
                        own.rows,
                    );
                    let rows = Rows::contiguous(own.rows.as_ptr(), row_stride, panels.k());
                    // SAFETY: `gather` has filled a row for each pixel, and `y` has the outputs of
                    // each pixel, which no other task accesses.
                    unsafe {
                        multiply(
                            simd,
                            panels,
                            0..panels.len(),
                            rows,
                            pixels.len(),
                            y.as_mut_ptr().add(group * per_group),
                            channels,
                            Clamp::NONE,
                        );
                    }
                }
                if wants_stats {
                    // SAFETY: each chunk has its own element, and one task.
                    let stats = unsafe { shared_parts.slice(chunk..chunk + 1) };
                    stats[0].add(simd, y);
                }
                if streams {
                    stream(simd, &own.grad[..out.len()], out);
                }
            }
        }
    });
    if let Some(stats) = stats {
        stats.set_to_sum(&parts, channels);
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
    let geometry = shape.geometry;
    let channels = geometry.out_channels;
    let (per_group, row_stride) = (channels / geometry.groups, row_stride(shape));
    let wants_input = gradients.input.is_some();
    let groups: Vec<Panels> = (0..if wants_input { geometry.groups } else { 0 })
        .map(|group| {
            let at = |n, k| weight[weight_at(shape, group, n, k)];
            Panels::pack(simd, per_group, taps(shape), at, None)
        })
        .collect();
    let layout = Layout::new(geometry);
    let chunks = backward_chunks(shape);
    let (weight_sums, workers) = scratch(shape).split(memory);
    let wants_weight = gradients.weight.is_some();
    let shared_weight = SharedMut::new(weight_sums);
    let wants_sums = gradients.sums.is_some();
    let parts = if wants_sums { chunks.count() } else { 0 };
    let mut parts = vec![ChannelSums::new(geometry.in_channels); parts];
    let shared_parts = SharedMut::new(&mut parts);
    let grad_input = gradients.input.map(SharedMut::new);
    pool.run(chunks.count(), &|chunk, worker| {
        // SAFETY: each worker runs one task at a time, and each has its own part.
        let own = Own::new(shape, unsafe { workers.part(worker) });
        // SAFETY: each chunk has its own sums, and one task.
        let sums = unsafe { shared_weight.slice(chunk * layout.len()..(chunk + 1) * layout.len()) };
        if wants_weight {
            sums.fill(0.0);
        }
        for images in chunks.blocks(chunk) {
            let len = shape.input_image();
            let inputs = images.start * len..images.end * len;
            let mut to = grad_input.as_ref().map(|grad_input| {
                // SAFETY: chunks have different images, so no other task has these inputs.
                unsafe { grad_input.slice(inputs.clone()) }
            });
            if let Some(to) = &mut to {
                to.fill(0.0);
            }
            let x = if wants_weight {
                activated(simd, shape, &input, images.clone(), own.images)
            } else {
                &[]
            };
            let first = images.start * shape.output_image();
            for pixels in blocks(shape, images.len()) {
                let outputs = first + pixels.start * channels..first + pixels.end * channels;
                let grad = match &grad_output.norm {
                    Some(norm) => {
                        let to = &mut own.grad[..outputs.len()];
                        let (y, grad) = (&norm.y[outputs.clone()], &grad_output.values[outputs]);
                        block::backward(simd, &norm.activation, norm.factors(), y, grad, to);
                        &*to
                    }
                    None => &grad_output.values[outputs],
                };
                for group in 0..geometry.groups {
                    let of_group = grad[group * per_group..].as_ptr();
                    if let Some(to) = &mut to {
                        let rows = Rows::contiguous(of_group, channels, per_group);
                        let panels = &groups[group];
                        // SAFETY: `grad` has a row for each pixel, and `own.rows` room for one.
                        unsafe {
                            multiply(
                                simd,
                                panels,
                                0..panels.len(),
                                rows,
                                pixels.len(),
                                own.rows.as_mut_ptr(),
                                row_stride,
                                Clamp::NONE,
                            );
                        }
                        scatter(simd, shape, group, pixels.clone(), row_stride, own.rows, to);
                    }
                    if wants_weight {
                        gather(
                            geometry,
                            group,
                            shape.size,
                            shape.out,
                            pixels.clone(),
                            row_stride,
                            x,
                            own.rows,
                        );
                        let x = Matrix {
                            first: own.rows.as_ptr(),
                            stride: row_stride,
                            columns: taps(shape),
                        };
                        let grad = Matrix { first: of_group, stride: channels, columns: per_group };
                        // SAFETY: `gather` has filled a row of `x` for each pixel, and `grad` has
                        // one.
                        unsafe { layout.add(simd, group, pixels.len(), x, grad, sums) };
                    }
                }
            }
            if let (true, Some(activation), Some(to)) = (wants_sums, &input.activation, &to) {
                // SAFETY: each chunk has its own element, and one task.
                let sums = &mut unsafe { shared_parts.slice(chunk..chunk + 1) }[0];
                let values = &input.values[inputs.clone()];
                for pixels in Chunks::blocks_of(inputs.len() / geometry.in_channels) {
                    let range =
                        pixels.start * geometry.in_channels..pixels.end * geometry.in_channels;
                    sums.add(simd, activation, &values[range.clone()], &to[range]);
                }
            }
        }
    });
    if let Some(to) = gradients.weight {
        layout.finish(simd, pool, chunks.count(), weight_sums, to);
    }
    if let Some(sums) = gradients.sums {
        sums.set_to_sum(&parts, geometry.in_channels);
    }
}
