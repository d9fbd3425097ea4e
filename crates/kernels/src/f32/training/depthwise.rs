//! Training of depthwise convolutions.
//!
//! A task processes whole images row by row. The rows that a window covers are kept in a ring,
//! after their activation and with padding, so that kernels need no special cases at the edges: one
//! ring for the input and, in the backward pass, one for the gradient of the output. The output and
//! both gradients are sums over a list of [`Tap`]s of such rows.

use std::ops::Range;

use super::activation::Activation;
use super::block;
use super::chunks::Chunks;
use super::depthwise_row::{Tap, WeightRow, convolve_row};
use super::operands::{Backward, Gradients, Input, Shape};
use super::stats::{ChannelStats, ChannelSums};
use super::stream::{should_stream, stream};
use super::weight_sums::{AddTo, Scratch, lines};
use crate::f32::simd::Simd;
use crate::lengths::element_count;
use crate::mem::AlignedSlice;
use crate::pool::{Pool, SharedMut};

/// Approximate number of floats of the rows that are computed before their statistics are taken and
/// they are stored.
const GROUP_FLOATS: usize = 48 * 1024;

/// A ring of rows: row `y` of an image is at index `y % rows`, between pixels of zeros.
#[derive(Clone, Copy, Debug)]
struct Ring {
    rows: usize,
    /// Number of zero pixels before a row.
    left: usize,
    /// Number of zero pixels after a row.
    right: usize,
    width: usize,
    channels: usize,
    /// Number of rows of an image.
    height: usize,
}

impl Ring {
    fn row_len(&self) -> usize {
        lines((self.left + self.width + self.right) * self.channels)
    }

    /// Number of floats of the ring, and of one more row of zeros.
    fn len(&self) -> usize {
        let rows = self.rows + 1;
        let pixels = self.left + self.width + self.right;
        element_count("the rows under a window", &[rows, pixels, self.channels]);
        rows * self.row_len()
    }

    /// The range of the floats of row `y`, without its padding.
    fn place(&self, y: usize) -> Range<usize> {
        let start = y % self.rows * self.row_len() + self.left * self.channels;
        start..start + self.width * self.channels
    }

    /// Pointer to the first float of row `y`, including its padding; for a row outside the image,
    /// to that of the row of zeros.
    fn line(&self, memory: &[f32], y: isize) -> *const f32 {
        let row = match usize::try_from(y) {
            Ok(y) if y < self.height => y % self.rows,
            _ => self.rows,
        };
        memory[row * self.row_len()..].as_ptr()
    }
}

/// Returns the ring of input rows: those under a window.
fn input_ring(shape: Shape<'_>) -> Ring {
    let g = shape.geometry;
    let reach = [0, 1].map(|axis| (g.kernel[axis] - 1) * g.dilation[axis] + 1);
    let columns = (shape.out[1] - 1) * g.stride[1] + reach[1];
    Ring {
        rows: reach[0],
        left: g.padding.left,
        right: columns.saturating_sub(g.padding.left + shape.size[1]),
        width: shape.size[1],
        channels: g.in_channels,
        height: shape.size[0],
    }
}

/// Returns the ring of gradient rows: those whose windows cover an input row.
fn grad_ring(shape: Shape<'_>) -> Ring {
    let g = shape.geometry;
    let reach = [0, 1].map(|axis| (g.kernel[axis] - 1) * g.dilation[axis]);
    let last = (shape.size[1] + g.padding.left).saturating_sub(1) / g.stride[1];
    Ring {
        rows: reach[0] / g.stride[0] + 2,
        left: reach[1].saturating_sub(g.padding.left).div_ceil(g.stride[1]),
        right: (last + 1).saturating_sub(shape.out[1]),
        width: shape.out[1],
        channels: g.in_channels,
        height: shape.out[0],
    }
}

fn scratch<S: Simd>(_: S, shape: Shape<'_>) -> Scratch {
    let g = shape.geometry;
    Scratch {
        shared: Chunks::new(shape.batch, 1).count() * lines(g.taps_per_output() * g.in_channels),
        per_thread: lines(input_ring(shape).len())
            + lines(grad_ring(shape).len())
            + max_group(shape),
    }
}

pub(super) fn scratch_len<S: Simd>(simd: S, shape: Shape<'_>, threads: usize) -> usize {
    scratch(simd, shape).len(threads)
}

/// Packs the weights of each vector of channels, tap by tap.
fn pack<S: Simd>(_: S, channels: usize, taps: usize, weight: &[f32]) -> AlignedSlice<f32> {
    let mut packed = AlignedSlice::zeros(channels.div_ceil(S::LANES) * taps * S::LANES);
    let to = &mut *packed;
    for (channel, taps_of_channel) in weight.chunks_exact(taps).enumerate() {
        for (tap, &w) in taps_of_channel.iter().enumerate() {
            to[(channel / S::LANES * taps + tap) * S::LANES + channel % S::LANES] = w;
        }
    }
    packed
}

/// Fills the ring with the input rows of an image, from `next` up to `end`.
fn fill_input<S: Simd>(
    simd: S,
    ring: &Ring,
    image: &[f32],
    activation: Option<&Activation<'_>>,
    next: &mut usize,
    end: usize,
    memory: &mut [f32],
) {
    let len = ring.width * ring.channels;
    while *next < end {
        let from = &image[*next * len..(*next + 1) * len];
        let to = &mut memory[ring.place(*next)];
        match activation {
            Some(activation) => block::apply(simd, activation, from, to),
            None => to.copy_from_slice(from),
        }
        *next += 1;
    }
}

/// Returns the taps of a window, with offsets in floats from the first pixel of a row of the input
/// ring.
fn window_taps(shape: Shape<'_>) -> Vec<Tap> {
    let g = shape.geometry;
    let mut taps = Vec::with_capacity(g.taps_per_output());
    for ky in 0..g.kernel[0] {
        for kx in 0..g.kernel[1] {
            let offset = kx * g.dilation[1] * g.in_channels;
            taps.push(Tap { line: ky, offset, weight: ky * g.kernel[1] + kx });
        }
    }
    taps
}

/// Sets `lines` to the rows under the window of output row `oy`.
fn window_lines(
    shape: Shape<'_>,
    ring: &Ring,
    memory: &[f32],
    oy: usize,
    lines: &mut Vec<*const f32>,
) {
    let g = shape.geometry;
    lines.clear();
    for ky in 0..g.kernel[0] {
        let y = (oy * g.stride[0] + ky * g.dilation[0]) as isize - g.padding.top as isize;
        lines.push(ring.line(memory, y));
    }
}

/// Returns the end of the input rows that the window of output row `oy` covers.
fn window_end(shape: Shape<'_>, oy: usize) -> usize {
    let g = shape.geometry;
    let end = oy * g.stride[0] + (g.kernel[0] - 1) * g.dilation[0] + 1;
    end.saturating_sub(g.padding.top).min(shape.size[0])
}

/// Number of rows of `row_len` floats that are computed before their statistics are taken and they
/// are stored.
fn group_rows(row_len: usize) -> usize {
    (GROUP_FLOATS / row_len).max(1)
}

/// Number of floats of the largest group of rows, of the output or of the gradient of the input.
fn max_group(shape: Shape<'_>) -> usize {
    let lens = [shape.size[1], shape.out[1]].map(|width| width * shape.geometry.in_channels);
    lens.map(|len| group_rows(len) * len).into_iter().max().unwrap_or(0)
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
    let g = shape.geometry;
    let channels = g.in_channels;
    let packed = pack(simd, channels, g.taps_per_output(), weight);
    let ring = input_ring(shape);
    let taps = window_taps(shape);
    let chunks = Chunks::new(shape.batch, 1);
    let wants_stats = stats.is_some();
    let mut parts = vec![ChannelStats::new(channels); if wants_stats { chunks.count() } else { 0 }];
    let shared_parts = SharedMut::new(&mut parts);
    let streams = should_stream(output.len());
    let output = SharedMut::new(output);
    let (_, workers) = scratch(simd, shape).split(memory);
    let row_len = shape.out[1] * channels;
    pool.run(chunks.count(), &|chunk, worker| {
        // SAFETY: each worker runs one task at a time, and each has its own part.
        let (memory, group) = unsafe { workers.part(worker) }.split_at_mut(lines(ring.len()));
        memory.fill(0.0);
        let rows_of_group = group_rows(row_len);
        let mut window = Vec::with_capacity(g.kernel[0]);
        for n in chunks.units(chunk) {
            let image = &input.values[n * shape.input_image()..][..shape.input_image()];
            let first = n * shape.output_image();
            let (mut next, mut done) = (0, 0);
            for oy in 0..shape.out[0] {
                let end = window_end(shape, oy);
                fill_input(simd, &ring, image, input.activation.as_ref(), &mut next, end, memory);
                window_lines(shape, &ring, memory, oy, &mut window);
                // SAFETY: chunks have different images, so no other task has these outputs.
                let out =
                    unsafe { output.slice(first + done * row_len..first + (oy + 1) * row_len) };
                let y = if streams { &mut group[..out.len()] } else { &mut *out };
                let row = y.len() - row_len;
                // SAFETY: the lines are as long as the taps reach for all outputs, and the outputs
                // are the last row of `y`.
                unsafe {
                    convolve_row(
                        simd,
                        &window,
                        &taps,
                        &packed,
                        g.taps_per_output(),
                        channels,
                        g.stride[1] * channels,
                        shape.out[1],
                        y[row..].as_mut_ptr(),
                        channels,
                    );
                }
                if oy + 1 - done == rows_of_group || oy + 1 == shape.out[0] {
                    if wants_stats {
                        // SAFETY: each chunk has its own element, and one task.
                        let stats = unsafe { shared_parts.slice(chunk..chunk + 1) };
                        stats[0].add(simd, y);
                    }
                    if streams {
                        stream(simd, &group[..out.len()], out);
                    }
                    done = oy + 1;
                }
            }
        }
    });
    if let Some(stats) = stats {
        stats.set_to_sum(&parts, channels);
    }
}

/// The taps that contribute to the gradient of an input column, for each position of the column
/// modulo the horizontal stride: the column of the window, and the offset in floats, in a row of
/// the gradient ring, of the output whose window has the input column there.
struct Phases {
    columns: Vec<Vec<(usize, usize)>>,
}

impl Phases {
    fn new(shape: Shape<'_>, ring: &Ring) -> Self {
        let g = shape.geometry;
        let columns = (0..g.stride[1])
            .map(|x| {
                (0..g.kernel[1])
                    .filter_map(|kx| {
                        let from = (x + g.padding.left) as isize - (kx * g.dilation[1]) as isize;
                        (from.rem_euclid(g.stride[1] as isize) == 0).then(|| {
                            let ox = from.div_euclid(g.stride[1] as isize) + ring.left as isize;
                            (kx, ox as usize * g.in_channels)
                        })
                    })
                    .collect()
            })
            .collect();
        Self { columns }
    }
}

/// Sets `rows` to the rows of the window that some output has at input row `y`, with that output's
/// row.
fn phase_rows(shape: Shape<'_>, y: usize, rows: &mut Vec<(usize, isize)>) {
    let g = shape.geometry;
    rows.clear();
    for ky in 0..g.kernel[0] {
        let from = (y + g.padding.top) as isize - (ky * g.dilation[0]) as isize;
        let oy = from.div_euclid(g.stride[0] as isize);
        if from.rem_euclid(g.stride[0] as isize) == 0 && (0..shape.out[0] as isize).contains(&oy) {
            rows.push((ky, oy));
        }
    }
}

/// What the tasks of a backward pass share.
struct Work<'a> {
    shape: Shape<'a>,
    read: Backward<'a>,
    packed: AlignedSlice<f32>,
    input_ring: Ring,
    grad_ring: Ring,
    window: Vec<Tap>,
    phases: Phases,
    /// Whether the gradient of the input is stored without filling the caches.
    streams: bool,
}

pub(super) fn backward<S: Simd>(
    simd: S,
    pool: &Pool,
    shape: Shape<'_>,
    read: Backward<'_>,
    gradients: Gradients<'_>,
    memory: &mut [f32],
) {
    let g = shape.geometry;
    let (channels, taps) = (g.in_channels, g.taps_per_output());
    let weight = if gradients.input.is_some() { read.weight } else { &[] };
    let grad_ring = grad_ring(shape);
    let work = Work {
        shape,
        read,
        packed: pack(simd, channels, taps, weight),
        input_ring: input_ring(shape),
        grad_ring,
        window: window_taps(shape),
        phases: Phases::new(shape, &grad_ring),
        streams: gradients.input.as_ref().is_some_and(|grad| should_stream(grad.len())),
    };
    let chunks = Chunks::new(shape.batch, 1);
    let (weight_sums, workers) = scratch(simd, shape).split(memory);
    let sums_len = lines(taps * channels);
    let wants_weight = gradients.weight.is_some();
    let shared_weight = SharedMut::new(weight_sums);
    let wants_sums = gradients.sums.is_some();
    let mut parts = vec![ChannelSums::new(channels); if wants_sums { chunks.count() } else { 0 }];
    let shared_parts = SharedMut::new(&mut parts);
    let grad_input = gradients.input.map(SharedMut::new);
    pool.run(chunks.count(), &|chunk, worker| {
        // SAFETY: each worker runs one task at a time, and each has its own part.
        let memory = unsafe { workers.part(worker) };
        memory.fill(0.0);
        // SAFETY: each chunk has its own sums, and one task.
        let mut sums = wants_weight.then(|| unsafe {
            let sums = shared_weight.slice(chunk * sums_len..(chunk + 1) * sums_len);
            sums.fill(0.0);
            sums
        });
        for n in chunks.units(chunk) {
            let len = shape.input_image();
            let to = grad_input.as_ref().map(|grad_input| {
                // SAFETY: chunks have different images, so no other task has these inputs.
                unsafe { grad_input.slice(n * len..(n + 1) * len) }
            });
            // SAFETY: each chunk has its own element, and one task.
            let parts = wants_sums.then(|| &mut unsafe { shared_parts.slice(chunk..chunk + 1) }[0]);
            image_backward(simd, &work, n, to, sums.as_deref_mut(), parts, memory);
        }
    });
    if let Some(to) = gradients.weight {
        let (first, others) = weight_sums.split_at_mut(sums_len);
        for chunk in others.chunks_exact(sums_len) {
            simd.run(AddTo { from: chunk, to: first });
        }
        for (channel, to) in to.chunks_exact_mut(taps).enumerate() {
            for (tap, to) in to.iter_mut().enumerate() {
                *to = first[tap * channels + channel];
            }
        }
    }
    if let Some(sums) = gradients.sums {
        sums.set_to_sum(&parts, channels);
    }
}

/// Computes the gradients of one image.
fn image_backward<S: Simd>(
    simd: S,
    work: &Work<'_>,
    n: usize,
    mut grad_input: Option<&mut [f32]>,
    mut weight_sums: Option<&mut [f32]>,
    mut sums: Option<&mut ChannelSums>,
    memory: &mut [f32],
) {
    let Work { shape, read: Backward { input, grad_output, .. }, .. } = work;
    let g = shape.geometry;
    let channels = g.in_channels;
    let (input_memory, rest) = memory.split_at_mut(lines(work.input_ring.len()));
    let (grad_memory, group) = rest.split_at_mut(lines(work.grad_ring.len()));
    let inputs = if weight_sums.is_some() || sums.is_some() { shape.input_image() } else { 0 };
    let image = &input.values[n * inputs..(n + 1) * inputs];
    let (in_row, out_row) = (shape.size[1] * channels, shape.out[1] * channels);
    let (mut next, mut next_grad, mut done) = (0, 0, 0);
    let mut window = Vec::with_capacity(g.kernel[0]);
    let (mut rows, mut taps) = (Vec::with_capacity(g.kernel[0]), Vec::new());
    for oy in 0..shape.out[0] {
        let outputs = n * shape.output_image() + oy * out_row;
        let outputs = outputs..outputs + out_row;
        let grad = &mut grad_memory[work.grad_ring.place(oy)];
        match &grad_output.norm {
            Some(norm) => {
                let (y, from) = (&norm.y[outputs.clone()], &grad_output.values[outputs]);
                block::backward(simd, &norm.activation, norm.factors(), y, from, grad);
            }
            None => grad.copy_from_slice(&grad_output.values[outputs]),
        }
        if let Some(weight_sums) = weight_sums.as_deref_mut() {
            let end = window_end(*shape, oy);
            let activation = input.activation.as_ref();
            fill_input(simd, &work.input_ring, image, activation, &mut next, end, input_memory);
            window_lines(*shape, &work.input_ring, input_memory, oy, &mut window);
            let grad = &grad_memory[work.grad_ring.place(oy)];
            // SAFETY: the lines are as long as the taps reach for all outputs, the gradient has a
            // pixel for each output, and the sums have a float for each tap and channel.
            unsafe {
                WeightRow {
                    lines: &window,
                    taps: &work.window,
                    channels,
                    step: g.stride[1] * channels,
                    count: shape.out[1],
                    grad: grad.as_ptr(),
                    sums: weight_sums.as_mut_ptr(),
                }
                .run(simd);
            }
        }
        let Some(to) = grad_input.as_deref_mut() else { continue };
        // These input rows are under no window of the later output rows, so they are complete.
        let end = if oy + 1 == shape.out[0] {
            shape.size[0]
        } else {
            ((oy + 1) * g.stride[0]).saturating_sub(g.padding.top).min(shape.size[0])
        };
        while next_grad < end {
            let y = next_grad;
            let to = &mut to[done * in_row..(y + 1) * in_row];
            let grad_x = if work.streams { &mut group[..to.len()] } else { &mut *to };
            let row = grad_x.len() - in_row;
            phase_rows(*shape, y, &mut rows);
            window.clear();
            window.extend(rows.iter().map(|&(_, oy)| work.grad_ring.line(grad_memory, oy)));
            for (x, columns) in work.phases.columns.iter().enumerate() {
                taps.clear();
                for (line, &(ky, _)) in rows.iter().enumerate() {
                    for &(kx, offset) in columns {
                        taps.push(Tap { line, offset, weight: ky * g.kernel[1] + kx });
                    }
                }
                let count = shape.size[1].saturating_sub(x).div_ceil(g.stride[1]);
                // SAFETY: the lines are as long as the taps reach for all outputs, and the columns
                // from `x` on in steps of the stride are within the row.
                unsafe {
                    convolve_row(
                        simd,
                        &window,
                        &taps,
                        &work.packed,
                        g.taps_per_output(),
                        channels,
                        channels,
                        count,
                        grad_x[row..].as_mut_ptr().wrapping_add(x * channels),
                        g.stride[1] * channels,
                    );
                }
            }
            next_grad += 1;
            if next_grad - done == group_rows(in_row) || next_grad == shape.size[0] {
                if let (Some(sums), Some(activation)) = (&mut sums, &input.activation) {
                    let range = done * in_row..next_grad * in_row;
                    sums.add(simd, activation, &image[range], grad_x);
                }
                if work.streams {
                    stream(simd, &group[..to.len()], to);
                }
                done = next_grad;
            }
        }
    }
}
