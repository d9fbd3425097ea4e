//! f32 convolutions with few input channels, such as the first one of a network.
//!
//! The input rows under the windows of some output rows (a strip) are copied once, with their
//! padding, and a tile reads the windows from the copy. Im2row would copy each pixel once for each
//! tap.

use super::Clamp;
use super::gemm::{Panels, Rows, multiply};
use super::simd::Simd;
use super::split::{part, tasks};
use crate::geometry::{Conv2dGeometry, Padding};
use crate::lengths::element_count;
use crate::pool::workers::Workers;
use crate::pool::{Pool, SharedMut};

/// Maximum number of input channels for which this is faster than im2row.
const MAX_CHANNELS: usize = 8;
/// Approximate maximum number of floats of a strip.
const STRIP_FLOATS: usize = 16 * 1024;

/// Maximum of the strides, the padding and the extent of the window. With larger ones, of whatever
/// size a file asks for, a strip would consist of padding mostly.
const MAX_REACH: usize = 64;

/// Whether these kernels support the convolution and are the fastest for it.
pub(super) fn covers(geometry: &Conv2dGeometry) -> bool {
    let &Conv2dGeometry { groups, in_channels, kernel, stride, dilation, padding, .. } = geometry;
    let Padding { top, bottom, left, right } = padding;
    let rows = (kernel[0] - 1).saturating_mul(dilation[0]).saturating_add(1);
    let reach = [rows, kernel[1], stride[0], stride[1], top, bottom, left, right];
    groups == 1
        && in_channels <= MAX_CHANNELS
        && dilation[1] == 1
        && reach.iter().all(|&reach| reach <= MAX_REACH)
}

/// The division of output rows into strips.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    out: [usize; 2],
    /// Number of strips of one image.
    strips: usize,
    /// Number of floats of an input row with its padding.
    row_len: usize,
    /// Number of input rows of the highest strip.
    rows: usize,
}

impl Plan {
    pub(super) fn new(
        geometry: &Conv2dGeometry,
        threads: usize,
        batch: usize,
        out: [usize; 2],
        size: [usize; 2],
    ) -> Self {
        let &Conv2dGeometry { in_channels, kernel, stride, dilation, padding, .. } = geometry;
        let row_len = (size[1] + padding.left + padding.right) * in_channels;
        let reach = (kernel[0] - 1) * dilation[0] + 1;
        let fit = (STRIP_FLOATS / row_len).saturating_sub(reach) / stride[0] + 1;
        let pixels = batch * out[0] * out[1];
        let taps = geometry.taps_per_output();
        let work = pixels.saturating_mul(geometry.out_channels).saturating_mul(taps);
        let wanted = tasks(threads, work).div_ceil(batch.max(1));
        let strips = out[0].div_ceil(fit).max(wanted).clamp(1, out[0]);
        let rows = (out[0].div_ceil(strips) - 1) * stride[0] + reach;
        element_count("a strip of the padded input", &[rows, row_len]);
        Self { out, strips, row_len, rows }
    }

    /// Number of floats of scratch memory of each thread.
    pub(super) fn scratch_len(&self) -> usize {
        self.rows * self.row_len
    }
}

pub(super) fn run<S: Simd>(
    simd: S,
    pool: &Pool,
    geometry: &Conv2dGeometry,
    panels: &Panels,
    clamp: Clamp,
    plan: Plan,
    batch: usize,
    size: [usize; 2],
    input: &[f32],
    output: &mut [f32],
    scratch: &mut [f32],
) {
    let &Conv2dGeometry { in_channels, out_channels, kernel, stride, dilation, .. } = geometry;
    let Plan { out: [oh, ow], strips, row_len, .. } = plan;
    let output = SharedMut::new(output);
    let scratch = Workers::new(scratch, plan.scratch_len());
    pool.run(batch * strips, &|task, worker| {
        let n = task / strips;
        let rows = part(oh, strips, task % strips);
        // SAFETY: each worker runs one task at a time, and each has its own part.
        let strip = unsafe { scratch.part(worker) };
        let image = &input[n * size[0] * size[1] * in_channels..];
        let needed = (rows.len() - 1) * stride[0] + (kernel[0] - 1) * dilation[0] + 1;
        let strip = &mut strip[..needed * row_len];
        copy_padded(geometry, size, rows.start * stride[0], row_len, image, strip);
        for oy in rows.clone() {
            let top = (oy - rows.start) * stride[0] * row_len;
            let a = Rows {
                first: strip[top..].as_ptr(),
                stride: stride[1] * in_channels,
                segments: kernel[0],
                segment_len: kernel[1] * in_channels,
                segment_stride: dilation[0] * row_len,
            };
            // SAFETY: the windows of this output row are within the strip, and the row is within
            // `output` and belongs to this task only.
            unsafe {
                let out = output.as_mut_ptr().add((n * oh + oy) * ow * out_channels);
                multiply(simd, panels, 0..panels.len(), a, ow, out, out_channels, clamp);
            }
        }
    });
}

/// Copies the input rows from padded row `top` on into a strip, with their padding.
fn copy_padded(
    geometry: &Conv2dGeometry,
    [h, w]: [usize; 2],
    top: usize,
    row_len: usize,
    image: &[f32],
    strip: &mut [f32],
) {
    let line_len = w * geometry.in_channels;
    let left = geometry.padding.left * geometry.in_channels;
    for (y, row) in strip.chunks_exact_mut(row_len).enumerate() {
        let y = (top + y).wrapping_sub(geometry.padding.top);
        if y < h {
            row[..left].fill(0.0);
            row[left..left + line_len].copy_from_slice(&image[y * line_len..][..line_len]);
            row[left + line_len..].fill(0.0);
        } else {
            row.fill(0.0);
        }
    }
}
