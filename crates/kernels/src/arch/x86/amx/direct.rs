//! AMX convolutions with windows larger than 1x1, without im2row.
//!
//! The windows of neighbouring outputs are at equal distances in memory, so each step of a product
//! can load its tile of activations from the input itself, with one row for each position, `stride`
//! pixels apart. To have the padding in memory too, a strip of the input is copied once, whereas
//! im2row would copy each pixel once for each tap. Positions continue past the end of an output
//! row; the windows of these additional positions reach into the next row, and their results are
//! dropped.

use std::ops::Range;

use super::panels::Panels;
use super::permission::Permission;
use super::positions::Positions;
use super::sizes::{BLOCK_BYTES, covers};
use super::steps::Steps;
use crate::geometry::{Conv2dGeometry, Padding};
use crate::int8::conv_kernel::{ConvKernel, Inputs};
use crate::int8::gemm::kernel::Output;
use crate::int8::gemm::partition::Partition;
use crate::int8::pack::Operand;
use crate::lengths::check_len;
use crate::pool::workers::Workers;
use crate::pool::{Pool, SharedMut};
use crate::reference;

/// Minimum number of bytes of a row of a window: with fewer, steps are too short to gain from
/// tiles.
const MIN_RUN: usize = 16;

/// Maximum of the strides, the padding and the extent of the window. With larger ones, of whatever
/// size a file asks for, a strip would consist of padding mostly.
const MAX_REACH: usize = 64;

/// Number of bytes after a strip that the last step of a window may read.
const SLACK: usize = 64;

/// Number of contiguous runs of bytes of a row of a window: 1, or with dilation one for each tap.
fn runs_in_row(geometry: &Conv2dGeometry) -> usize {
    if geometry.dilation[1] == 1 { 1 } else { geometry.kernel[1] }
}

/// Returns the largest of the strides, the padding, and the distances from the first tap of the
/// window to the last.
fn reach(geometry: &Conv2dGeometry) -> usize {
    let &Conv2dGeometry { kernel, stride, dilation, padding, .. } = geometry;
    let windows = [0, 1].map(|axis| (kernel[axis] - 1).saturating_mul(dilation[axis]));
    let Padding { top, bottom, left, right } = padding;
    let all = [stride, windows, [top, bottom], [left, right]];
    all.into_iter().flatten().fold(0, usize::max)
}

/// A convolution with one group, with its weights packed.
#[derive(Debug)]
pub(super) struct Direct {
    geometry: Conv2dGeometry,
    input_zero_point: u8,
    panels: Panels,
}

/// The layout of a strip of the input, `[stride, rows, width, stride, channels]`.
///
/// Rows that are `stride` apart in the input, which are those under the same tap of neighbouring
/// outputs, are contiguous.
#[derive(Clone, Copy, Debug)]
struct Strip {
    /// Height and width of the whole output.
    output_size: [usize; 2],
    /// Maximum number of output rows of a strip.
    outputs: usize,
    /// Number of rows of each of the `stride` parts.
    rows: usize,
    /// Number of positions of a row.
    width: usize,
    /// Number of bytes of a row.
    row_bytes: usize,
}

impl Strip {
    fn new(geometry: &Conv2dGeometry, [oh, ow]: [usize; 2]) -> Self {
        let &Conv2dGeometry { in_channels, kernel, stride: [sy, sx], dilation, .. } = geometry;
        // Height and width of the window with its dilation.
        let [below, right] = [0, 1].map(|axis| (kernel[axis] - 1) * dilation[axis] + 1);
        let width = ((ow - 1) * sx + right).div_ceil(sx);
        let row_bytes = width * sx * in_channels;
        let inputs = BLOCK_BYTES / row_bytes;
        let outputs = (inputs.saturating_sub(below) / sy + 1).min(oh);
        let rows = ((outputs - 1) * sy + below).div_ceil(sy);
        Self { output_size: [oh, ow], outputs, rows, width, row_bytes }
    }

    /// Offset of row `y` of the strip.
    fn row(&self, y: usize, stride: usize) -> usize {
        (y % stride * self.rows + y / stride) * self.row_bytes
    }

    fn bytes(&self, stride: usize) -> usize {
        stride * self.rows * self.row_bytes
    }
}

impl Direct {
    /// Packs a convolution without defects; `None` if its window is 1x1 or another kernel is
    /// faster.
    pub(super) fn new(permission: Permission, conv: &reference::Conv2d<'_>) -> Option<Self> {
        let Conv2dGeometry { in_channels, groups, kernel, .. } = conv.geometry;
        if groups > 1
            || kernel == [1, 1]
            || in_channels * kernel[1] < MIN_RUN
            || reach(&conv.geometry) > MAX_REACH
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
            panels: Panels::new(permission, &operands[0], conv.requantize, steps),
        })
    }

    fn strip(&self, size: [usize; 2]) -> Strip {
        let output_size = self.geometry.output_size(size);
        Strip::new(&self.geometry, output_size.expect("the window fits the padded input"))
    }

    /// Bytes of scratch memory of a thread: the offsets of all steps, and a strip, both with room
    /// for alignment.
    fn thread_bytes(&self, strip: &Strip) -> usize {
        let offsets = (self.panels.steps().count() + 1) * size_of::<usize>();
        offsets + strip.bytes(self.geometry.stride[0]) + SLACK + 63
    }

    /// Copies the input under the windows of some output rows of an image into a strip.
    fn copy(
        &self,
        strip: &Strip,
        (image, [h, w]): (&[u8], [usize; 2]),
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
            // For a row above the image, the subtraction wraps to a position outside it.
            let y = (outputs.start * stride[0] + row).wrapping_sub(padding.top);
            if y < h {
                to[..left].fill(self.input_zero_point);
                to[left..][..inside].copy_from_slice(&image[y * w * c..][..inside]);
                to[left + inside..].fill(self.input_zero_point);
            } else {
                to.fill(self.input_zero_point);
            }
        }
    }

    /// Runs one task: multiplies some output rows, counted over the whole batch, with some panels.
    ///
    /// # Safety
    /// For each of these outputs, `output` must be valid for writes, and its residual for reads; no
    /// other thread may access these outputs during the call.
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
        // SAFETY: every bit pattern is a valid `usize`, and bytes may be written as one.
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
        let memory = &mut memory[aligned..][..strip.bytes(stride[0]) + SLACK];

        let mut row = rows.start;
        while row < rows.end {
            let (n, y) = (row / oh, row % oh);
            let len = strip.outputs.min(oh - y).min(rows.end - row);
            let image_len = size[0] * size[1] * in_channels;
            self.copy(strip, (&input[n * image_len..][..image_len], size), y..y + len, memory);
            let positions = Positions {
                start: memory.as_ptr(),
                stride: stride[1] * in_channels,
                len: (len - 1) * strip.width + ow,
                width: strip.width,
                pixels: ow,
            };
            let output = output.from(row * ow, 0);
            // SAFETY: packed weights exist only where the CPU has AMX. The window of the last
            // position ends at the end of the strip, after which `memory` has the `SLACK` bytes
            // that its last step may read. The caller guarantees that the outputs may be written.
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
        check_len("the output", output.len(), &[batch, oh, ow, columns]);
        let output = SharedMut::new(output);
        let scratch = Workers::new(scratch, self.thread_bytes(&strip));
        let pixels = batch * oh * ow;
        let partition = Partition::new(pool.threads(), pixels, self.panels.count(), 1);
        pool.run(partition.tasks(), &|task, worker| {
            let (_, pixels, panels) = partition.task(task);
            // Tasks consist of whole rows: a row belongs to the task that has its first pixel.
            let rows = pixels.start.div_ceil(ow)..pixels.end.div_ceil(ow);
            let output = Output::new(output.as_mut_ptr(), columns, added);
            // SAFETY: each worker runs one task at a time, and each has its own part.
            let scratch = unsafe { scratch.part(worker) };
            // SAFETY: tasks differ in rows or panels, so no other task accesses these outputs. They
            // lie within `output`, and their residuals within the residual, which is as long: the
            // length of `output` is checked above.
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
