//! Depthwise convolutions: each channel with its own window.
//!
//! A task goes down whole pictures row by row. The rows that a window covers are kept in a ring,
//! activated and with their padding, so that no kernel has to look at edges: one ring for the input
//! and, on the way back, one for the gradient of the output. All three products are sums over a
//! list of [`Tap`]s into such rows.

use std::ops::Range;

use super::activation::Activation;
use super::block;
use super::chunks::Chunks;
use super::depthwise_row::{Tap, WeightRow, convolve_row};
use super::operands::{Backward, Gradients, Input, Shape};
use super::stats::{ChannelStats, ChannelSums};
use super::stream::{is_far, stream};
use super::weight_sums::{AddTo, Scratch, lines};
use crate::f32::simd::Simd;
use crate::lengths::element_count;
use crate::mem::AlignedSlice;
use crate::pool::{Pool, SharedMut};

/// Floats of rows that are computed before their stats are taken and they are stored.
const GROUP_FLOATS: usize = 48 * 1024;

/// Rows in a ring: row `y` of a picture is in place `y % rows`, between zeros.
#[derive(Clone, Copy, Debug)]
struct Ring {
    rows: usize,
    /// Pixels of zeros before and after the row.
    left: usize,
    right: usize,
    width: usize,
    channels: usize,
    /// Rows of a picture.
    height: usize,
}

impl Ring {
    fn row_len(&self) -> usize {
        lines((self.left + self.width + self.right) * self.channels)
    }

    /// Floats of the ring, and a row of zeros.
    fn len(&self) -> usize {
        let rows = self.rows + 1;
        let pixels = self.left + self.width + self.right;
        element_count("the rows under a window", &[rows, pixels, self.channels]);
        rows * self.row_len()
    }

    /// Where the floats of row `y` go.
    fn place(&self, y: usize) -> Range<usize> {
        let start = y % self.rows * self.row_len() + self.left * self.channels;
        start..start + self.width * self.channels
    }

    /// The first float of row `y`, padding included; of the row of zeros outside of the picture.
    fn line(&self, memory: &[f32], y: isize) -> *const f32 {
        let row = match usize::try_from(y) {
            Ok(y) if y < self.height => y % self.rows,
            _ => self.rows,
        };
        memory[row * self.row_len()..].as_ptr()
    }
}

/// The ring of input rows: those under a window.
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

/// The ring of gradient rows: those whose windows cover an input row.
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
            + most_group(shape),
    }
}

pub(super) fn scratch_len<S: Simd>(simd: S, shape: Shape<'_>, threads: usize) -> usize {
    scratch(simd, shape).len(threads)
}

/// Weights as vectors of channels: for each vector its taps.
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

/// Fills the ring with the input rows of a picture up to `end`, from `next` on.
fn fill_input<S: Simd>(
    simd: S,
    ring: &Ring,
    picture: &[f32],
    activation: Option<&Activation<'_>>,
    next: &mut usize,
    end: usize,
    memory: &mut [f32],
) {
    let len = ring.width * ring.channels;
    while *next < end {
        let from = &picture[*next * len..(*next + 1) * len];
        let to = &mut memory[ring.place(*next)];
        match activation {
            Some(activation) => block::apply(simd, activation, from, to),
            None => to.copy_from_slice(from),
        }
        *next += 1;
    }
}

/// The taps of a window along its rows: the columns from a row's first pixel, in floats.
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

/// The lines under the window of output row `oy`, and the end of the input rows among them.
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

/// The end of the input rows that the window of output row `oy` covers.
fn window_end(shape: Shape<'_>, oy: usize) -> usize {
    let g = shape.geometry;
    let end = oy * g.stride[0] + (g.kernel[0] - 1) * g.dilation[0] + 1;
    end.saturating_sub(g.padding.top).min(shape.size[0])
}

/// Rows of `row_len` floats that are computed before their stats are taken and they are stored.
fn group_rows(row_len: usize) -> usize {
    (GROUP_FLOATS / row_len).max(1)
}

/// Floats of the largest group of rows, of the output or of the gradient of the input.
fn most_group(shape: Shape<'_>) -> usize {
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
    let far = is_far(output.len());
    let output = SharedMut::new(output);
    let (_, workers) = scratch(simd, shape).split(memory);
    let row_len = shape.out[1] * channels;
    pool.run(chunks.count(), &|chunk, worker| {
        // SAFETY: the worker's own memory, used by this task only.
        let (memory, group) = unsafe { workers.part(worker) }.split_at_mut(lines(ring.len()));
        memory.fill(0.0);
        let rows_of_group = group_rows(row_len);
        let mut window = Vec::with_capacity(g.kernel[0]);
        for n in chunks.units(chunk) {
            let picture = &input.values[n * shape.input_picture()..][..shape.input_picture()];
            let first = n * shape.output_picture();
            let (mut next, mut done) = (0, 0);
            for oy in 0..shape.out[0] {
                let end = window_end(shape, oy);
                fill_input(simd, &ring, picture, input.activation.as_ref(), &mut next, end, memory);
                window_lines(shape, &ring, memory, oy, &mut window);
                // SAFETY: the pictures of a chunk are its own.
                let out =
                    unsafe { output.slice(first + done * row_len..first + (oy + 1) * row_len) };
                let y = if far { &mut group[..out.len()] } else { &mut *out };
                let row = y.len() - row_len;
                // SAFETY: the lines are as long as the taps reach, and the row is the last of `y`.
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
                        // SAFETY: the chunk's own.
                        let stats = unsafe { shared_parts.slice(chunk..chunk + 1) };
                        stats[0].add(simd, y);
                    }
                    if far {
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

/// How the gradient of an input column comes from those of output columns: for each place of a
/// column between two strides, the columns of the window that meet an output there and how far
/// that output lies, in floats from the first of the ring's row.
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

/// The rows of the window that meet an output at input row `y`, and the row of that output.
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

/// What a task works with besides its memory.
struct Work<'a> {
    shape: Shape<'a>,
    read: Backward<'a>,
    packed: AlignedSlice<f32>,
    input_ring: Ring,
    grad_ring: Ring,
    window: Vec<Tap>,
    phases: Phases,
    /// Whether the gradient of the input is streamed.
    far: bool,
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
        far: gradients.input.as_ref().is_some_and(|grad| is_far(grad.len())),
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
        // SAFETY: the worker's own memory, used by this task only.
        let memory = unsafe { workers.part(worker) };
        memory.fill(0.0);
        // SAFETY: the chunk's own.
        let mut sums = wants_weight.then(|| unsafe {
            let sums = shared_weight.slice(chunk * sums_len..(chunk + 1) * sums_len);
            sums.fill(0.0);
            sums
        });
        for n in chunks.units(chunk) {
            let len = shape.input_picture();
            let to = grad_input.as_ref().map(|grad_input| {
                // SAFETY: the pictures of a chunk are its own.
                unsafe { grad_input.slice(n * len..(n + 1) * len) }
            });
            // SAFETY: the chunk's own.
            let parts = wants_sums.then(|| &mut unsafe { shared_parts.slice(chunk..chunk + 1) }[0]);
            picture_backward(simd, &work, n, to, sums.as_deref_mut(), parts, memory);
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

/// The gradients of one picture.
fn picture_backward<S: Simd>(
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
    let inputs = if weight_sums.is_some() || sums.is_some() { shape.input_picture() } else { 0 };
    let picture = &input.values[n * inputs..(n + 1) * inputs];
    let (in_row, out_row) = (shape.size[1] * channels, shape.out[1] * channels);
    let (mut next, mut next_grad, mut done) = (0, 0, 0);
    let mut window = Vec::with_capacity(g.kernel[0]);
    let (mut rows, mut taps) = (Vec::with_capacity(g.kernel[0]), Vec::new());
    for oy in 0..shape.out[0] {
        let outputs = n * shape.output_picture() + oy * out_row;
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
            fill_input(simd, &work.input_ring, picture, activation, &mut next, end, input_memory);
            window_lines(*shape, &work.input_ring, input_memory, oy, &mut window);
            let grad = &grad_memory[work.grad_ring.place(oy)];
            // SAFETY: the lines are as long as the taps reach, the gradient has a pixel for each
            // output, and the sums a float for each tap and channel.
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
        // Input rows that no later output row reaches.
        let end = if oy + 1 == shape.out[0] {
            shape.size[0]
        } else {
            ((oy + 1) * g.stride[0]).saturating_sub(g.padding.top).min(shape.size[0])
        };
        while next_grad < end {
            let y = next_grad;
            let to = &mut to[done * in_row..(y + 1) * in_row];
            let grad_x = if work.far { &mut group[..to.len()] } else { &mut *to };
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
                // SAFETY: the lines are as long as the taps reach, and the columns from `x` on in
                // steps of the stride lie within the row.
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
                    sums.add(simd, activation, &picture[range], grad_x);
                }
                if work.far {
                    stream(simd, &group[..to.len()], to);
                }
                done = next_grad;
            }
        }
    }
}
