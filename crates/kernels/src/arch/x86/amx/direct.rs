//! Convolutions with windows of several taps, straight from the input.
//!
//! The windows of neighbouring outputs are neighbours in memory, so that each step of a product
//! finds its tile of activations in the input itself: one row a position, `stride` pixels apart.
//! To have the padding in memory as well, a strip of the input is copied once, where gathering
//! windows would copy each pixel once a tap. Positions run on over the end of a row, whose last
//! windows reach into the next one; their results are dropped.

use std::ops::Range;

use super::panels::Panels;
use super::positions::Positions;
use super::sizes::{BLOCK_BYTES, covers};
use super::steps::Steps;
use super::token::Amx;
use crate::geometry::{Conv2dGeometry, Padding};
use crate::int8::conv_kernel::{ConvKernel, Inputs};
use crate::int8::gemm::kernel::Output;
use crate::int8::gemm::partition::Partition;
use crate::int8::pack::Operand;
use crate::pool::workers::Workers;
use crate::pool::{Pool, SharedMut};
use crate::reference;

/// Bytes of a window's row at least: with fewer, steps are so short that tiles gain nothing.
const LEAST_RUN: usize = 16;

/// Strides, and how far windows and padding reach, at most: beyond, a strip would be little but
/// padding, of whatever length a file asks for.
const MOST_REACH: usize = 64;

/// Bytes behind a strip that the last step of a window may read.
const BEHIND: usize = 64;

/// How many runs of neighbouring bytes a row of a window consists of: itself, or where there are gaps
/// between its taps, these.
fn runs_in_row(geometry: &Conv2dGeometry) -> usize {
    if geometry.dilation[1] == 1 { 1 } else { geometry.kernel[1] }
}

/// The longest of strides, padding, and the way from a window's first tap to its last.
fn reach(geometry: &Conv2dGeometry) -> usize {
    let &Conv2dGeometry { kernel, stride, dilation, padding, .. } = geometry;
    let windows = [0, 1].map(|axis| (kernel[axis] - 1).saturating_mul(dilation[axis]));
    let Padding { top, bottom, left, right } = padding;
    let all = [stride, windows, [top, bottom], [left, right]];
    all.into_iter().flatten().fold(0, usize::max)
}

/// A convolution of one group with its weights packed.
#[derive(Debug)]
pub(super) struct Direct {
    geometry: Conv2dGeometry,
    input_zero_point: u8,
    panels: Panels,
}

/// How strips of an input of one size lie in memory: `[stride, rows, width, stride, channels]`. Rows
/// that are `stride` apart in the input, as those under the same tap of neighbouring outputs are,
/// follow each other.
#[derive(Clone, Copy, Debug)]
struct Strip {
    /// Height and width of the whole output.
    output_size: [usize; 2],
    /// Output rows of a strip, at most.
    outputs: usize,
    /// Rows of each of the `stride` parts.
    rows: usize,
    /// Positions of a row.
    width: usize,
    /// Bytes of a row.
    row_bytes: usize,
}

impl Strip {
    fn new(geometry: &Conv2dGeometry, [oh, ow]: [usize; 2]) -> Self {
        let &Conv2dGeometry { in_channels, kernel, stride: [sy, sx], dilation, .. } = geometry;
        // Rows and columns beyond those of the strides.
        let [below, right] = [0, 1].map(|axis| (kernel[axis] - 1) * dilation[axis] + 1);
        let width = ((ow - 1) * sx + right).div_ceil(sx);
        let row_bytes = width * sx * in_channels;
        let inputs = BLOCK_BYTES / row_bytes;
        let outputs = (inputs.saturating_sub(below) / sy + 1).min(oh);
        let rows = ((outputs - 1) * sy + below).div_ceil(sy);
        Self { output_size: [oh, ow], outputs, rows, width, row_bytes }
    }

    /// Where row `y` of the strip lies.
    fn row(&self, y: usize, stride: usize) -> usize {
        (y % stride * self.rows + y / stride) * self.row_bytes
    }

    fn bytes(&self, stride: usize) -> usize {
        stride * self.rows * self.row_bytes
    }
}

impl Direct {
    /// The kernel for a convolution without defects whose windows have several taps, where this one
    /// serves it best.
    pub(super) fn new(amx: Amx, conv: &reference::Conv2d<'_>) -> Option<Self> {
        let Conv2dGeometry { in_channels, groups, kernel, .. } = conv.geometry;
        if groups > 1
            || kernel == [1, 1]
            || in_channels * kernel[1] < LEAST_RUN
            || reach(&conv.geometry) > MOST_REACH
        {
            return None;
        }
        let operands = Operand::groups(conv);
        if !covers(&operands) {
            return None;
        }
        let runs = runs_in_row(&conv.geometry);
        let steps = Steps::in_runs(kernel[0] * runs, kernel[1] / runs * in_channels);
        Some(Self {
            geometry: conv.geometry,
            input_zero_point: conv.input_zero_point,
            panels: Panels::new(amx, &operands[0], conv.requantize, steps),
        })
    }

    fn strip(&self, size: [usize; 2]) -> Strip {
        let output_size = self.geometry.output_size(size);
        Strip::new(&self.geometry, output_size.expect("the window fits the padded input"))
    }

    /// Bytes of a thread: the offsets of all steps and a strip, both from an aligned address on.
    fn thread_bytes(&self, strip: &Strip) -> usize {
        let offsets = (self.panels.steps().count() + 1) * size_of::<usize>();
        offsets + strip.bytes(self.geometry.stride[0]) + BEHIND + 63
    }

    /// Copies what the windows of some output rows of a picture are over.
    fn copy(
        &self,
        strip: &Strip,
        (picture, [h, w]): (&[u8], [usize; 2]),
        outputs: Range<usize>,
        to: &mut [u8],
    ) {
        let &Conv2dGeometry { in_channels: c, kernel, stride, dilation, padding, .. } =
            &self.geometry;
        let rows = (outputs.len() - 1) * stride[0] + (kernel[0] - 1) * dilation[0] + 1;
        let left = (padding.left * c).min(strip.row_bytes);
        let inside = (w * c).min(strip.row_bytes - left);
        for row in 0..rows {
            let to = &mut to[strip.row(row, stride[0])..][..strip.row_bytes];
            // A row above the picture wraps around to a position far beyond it.
            let y = (outputs.start * stride[0] + row).wrapping_sub(padding.top);
            if y < h {
                to[..left].fill(self.input_zero_point);
                to[left..][..inside].copy_from_slice(&picture[y * w * c..][..inside]);
                to[left + inside..].fill(self.input_zero_point);
            } else {
                to.fill(self.input_zero_point);
            }
        }
    }

    /// One task: some panels over some output rows, counted over the whole batch.
    ///
    /// # Safety
    /// Nobody else may access the outputs of these rows and panels meanwhile.
    unsafe fn multiply(
        &self,
        (input, size): (&[u8], [usize; 2]),
        strip: &Strip,
        (rows, panels): (Range<usize>, Range<usize>),
        output: Output,
        scratch: &mut [u8],
    ) {
        let &Conv2dGeometry { in_channels, stride, dilation, .. } = &self.geometry;
        let [oh, ow] = strip.output_size;
        let steps = self.panels.steps();
        let (offsets, memory) = scratch.split_at_mut((steps.count() + 1) * size_of::<usize>());
        // SAFETY: every bit pattern is a number.
        let (_, offsets, _) = unsafe { offsets.align_to_mut::<usize>() };
        let runs = runs_in_row(&self.geometry);
        let run = |index: usize| {
            let (y, x) = (index / runs * dilation[0], index % runs * dilation[1]);
            strip.row(y, stride[0]) + x * in_channels
        };
        for (offset, start) in offsets.iter_mut().zip(steps.offsets(run)) {
            *offset = start;
        }
        let aligned = memory.as_ptr().align_offset(64);
        let memory = &mut memory[aligned..][..strip.bytes(stride[0]) + BEHIND];

        let mut row = rows.start;
        while row < rows.end {
            let (n, y) = (row / oh, row % oh);
            let len = strip.outputs.min(oh - y).min(rows.end - row);
            let picture = size[0] * size[1] * in_channels;
            self.copy(strip, (&input[n * picture..][..picture], size), y..y + len, memory);
            let positions = Positions {
                start: memory.as_ptr(),
                stride: stride[1] * in_channels,
                len: (len - 1) * strip.width + ow,
                width: strip.width,
                pixels: ow,
            };
            let output = output.from(row * ow, 0);
            // SAFETY: the packing of the weights proves the instructions. The window of the last
            // position ends with the strip, and behind that are as many bytes as steps may read;
            // the caller's promise about the outputs.
            unsafe { self.panels.u8i8_gemm_amx(&positions, offsets, panels.clone(), output) };
            row += len;
        }
    }
}

impl ConvKernel for Direct {
    fn scratch_len(&self, threads: usize, _batch: usize, size: [usize; 2]) -> usize {
        self.thread_bytes(&self.strip(size)) * threads
    }

    fn run(
        &self,
        pool: &Pool,
        (batch, size): (usize, [usize; 2]),
        Inputs { input, added }: Inputs<'_>,
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        let columns = self.geometry.out_channels;
        let strip = self.strip(size);
        let [oh, ow] = strip.output_size;
        assert_eq!(output.len(), batch * oh * ow * columns, "output is [batch, oh, ow, c]");
        let output = SharedMut::new(output);
        let scratch = Workers::new(scratch, self.thread_bytes(&strip));
        let pixels = batch * oh * ow;
        let partition = Partition::new(pool.threads(), pixels, self.panels.count(), 1);
        pool.run(partition.tasks(), &|task, worker| {
            let (_, pixels, panels) = partition.task(task);
            // Whole rows: each where its first pixel is.
            let rows = pixels.start.div_ceil(ow)..pixels.end.div_ceil(ow);
            let output = Output::new(output.as_mut_ptr(), columns, added);
            // SAFETY: a worker runs one task at a time, and this part is its own.
            let scratch = unsafe { scratch.part(worker) };
            // SAFETY: tasks differ in rows or panels, so no other one accesses these outputs; they
            // lie within `output`, whose length was checked above.
            unsafe { self.multiply((input, size), &strip, (rows, panels), output, scratch) };
        });
    }

    fn name_with_add(&self) -> Option<&'static str> {
        Some("direct_add_amx")
    }

    fn name(&self) -> &'static str {
        "direct_amx"
    }
}
