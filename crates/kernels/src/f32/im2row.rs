//! f32 convolutions as matrix products by im2row.
//!
//! The inputs under the windows of a block of output pixels are copied into rows, which are
//! multiplied with the weights. Only one block of the im2row matrix exists at a time, in the cache.

use std::ops::Range;

use super::Clamp;
use super::gemm::{Panels, Rows, multiply};
use super::simd::Simd;
use super::split::{Grid, MANY_ROWS, tasks};
use crate::geometry::Conv2dGeometry;
use crate::pool::workers::Workers;
use crate::pool::{Pool, SharedMut};

/// Approximate maximum number of floats of a block of im2row rows.
const BLOCK_FLOATS: usize = 192 * 1024;

/// How an im2row matrix is divided into blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    grid: Grid,
    /// Floats from one row to the next.
    row_stride: usize,
    out: [usize; 2],
}

impl Plan {
    pub(super) fn new<S: Simd>(
        _: S,
        geometry: &Conv2dGeometry,
        groups: &[Panels],
        threads: usize,
        batch: usize,
        out: [usize; 2],
    ) -> Self {
        let panels = &groups[0];
        let mut row_stride = panels.k().next_multiple_of(16);
        if row_stride.is_multiple_of(256) {
            // Rows at a distance of a power of two would share few cache sets.
            row_stride += 16;
        }
        let rows = batch * out[0] * out[1];
        let work = rows.saturating_mul(geometry.out_channels).saturating_mul(panels.k());
        let unit = panels.tile_rows::<S>();
        let tasks = tasks(threads, work);
        let max_rows = BLOCK_FLOATS / row_stride;
        let grid = if rows < MANY_ROWS && groups.len() == 1 && tasks > 1 {
            // Each part of the panels copies the rows again, so there are no more parts than
            // threads.
            Grid::new(rows, unit, max_rows, panels.len(), threads.min(panels.len()), true)
        } else {
            Grid::of_rows(rows, unit, max_rows, panels.len(), tasks)
        };
        Self { grid, row_stride, out }
    }

    /// Number of floats of scratch memory of each thread.
    pub(super) fn scratch_len(&self) -> usize {
        self.grid.max_rows() * self.row_stride
    }
}

pub(super) fn run<S: Simd>(
    simd: S,
    pool: &Pool,
    geometry: &Conv2dGeometry,
    groups: &[Panels],
    clamp: Clamp,
    plan: Plan,
    size: [usize; 2],
    input: &[f32],
    output: &mut [f32],
    scratch: &mut [f32],
) {
    let output = SharedMut::new(output);
    let scratch = Workers::new(scratch, plan.scratch_len());
    pool.run(plan.grid.tasks(), &|task, worker| {
        let (rows, panels) = plan.grid.task(task);
        // SAFETY: each worker runs one task at a time, and each has its own part.
        let block = unsafe { scratch.part(worker) };
        for (group, weights) in groups.iter().enumerate() {
            gather(geometry, group, size, plan.out, rows.clone(), plan.row_stride, input, block);
            let a = Rows::contiguous(block.as_ptr(), plan.row_stride, weights.k());
            let first = rows.start * geometry.out_channels + group * weights.n();
            // SAFETY: `gather` has filled the rows in `block`. The outputs of the rows are within
            // `output`, and no two tasks have the same rows and panels.
            unsafe {
                let out = output.as_mut_ptr().add(first);
                multiply(
                    simd,
                    weights,
                    panels.clone(),
                    a,
                    rows.len(),
                    out,
                    geometry.out_channels,
                    clamp,
                );
            }
        }
    });
}

/// Copies the inputs under the windows of the output pixels `rows` for one group (im2row). A row is
/// in the order (row of the window, column of the window, channel), with zeros for the padding.
pub(super) fn gather(
    geometry: &Conv2dGeometry,
    group: usize,
    [h, w]: [usize; 2],
    [oh, ow]: [usize; 2],
    rows: Range<usize>,
    row_stride: usize,
    input: &[f32],
    block: &mut [f32],
) {
    let &Conv2dGeometry { in_channels, groups, kernel, stride, dilation, padding, .. } = geometry;
    let channels = in_channels / groups;
    // The taps of a window row are contiguous in memory.
    let merged = groups == 1 && dilation[1] == 1;
    for (row, gathered) in rows.zip(block.chunks_exact_mut(row_stride)) {
        let (n, oy, ox) = (row / (oh * ow), row / ow % oh, row % ow);
        let taps = gathered.chunks_exact_mut(kernel[1] * channels);
        for (ky, taps) in (0..kernel[0]).zip(taps) {
            let y = (oy * stride[0] + ky * dilation[0]).wrapping_sub(padding.top);
            if y >= h {
                taps.fill(0.0);
                continue;
            }
            let line = &input[(n * h + y) * w * in_channels..][..w * in_channels];
            let x0 = ox * stride[1];
            if merged {
                // Taps `from..to` are within the input.
                let from = padding.left.saturating_sub(x0).min(kernel[1]);
                let to = (w + padding.left).saturating_sub(x0).clamp(from, kernel[1]);
                taps[..from * channels].fill(0.0);
                taps[to * channels..].fill(0.0);
                if from < to {
                    let x = x0 + from - padding.left;
                    taps[from * channels..to * channels]
                        .copy_from_slice(&line[x * channels..][..(to - from) * channels]);
                }
            } else {
                for (kx, tap) in taps.chunks_exact_mut(channels).enumerate() {
                    let x = (x0 + kx * dilation[1]).wrapping_sub(padding.left);
                    if x < w {
                        tap.copy_from_slice(
                            &line[x * in_channels + group * channels..][..channels],
                        );
                    } else {
                        tap.fill(0.0);
                    }
                }
            }
        }
    }
}
