//! Convolutions and linear layers as int8 matrix products.
//!
//! The left operand has a row for each output pixel and comes from an indirect im2row: instead of
//! copying the pixels of each window, a block of rows is an array of pointers to them, one for each
//! row and tap. The right operand, the packed weights, has a column for each output channel.
//!
//! A call splits into tasks of some output pixels times some panels of columns. A task loops over
//! blocks of rows, which stay in the L1 or L2 cache while the task's panels are read once for each.

mod groups;
pub(crate) mod kernel;
pub(crate) mod partition;
#[cfg(test)]
mod tests;
pub(crate) mod windows;

use std::ops::Range;

use self::groups::Groups;
use self::kernel::{Kernels, MAX_ROWS, Names, Output, Packed, Product};
use self::partition::Partition;
use self::windows::Windows;
use super::conv_kernel::{ConvKernel, Inputs};
use super::pack::Operand;
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::lengths::check_len;
use crate::pool::workers::Workers;
use crate::pool::{Pool, SharedMut};
use crate::reference;

/// A convolution, of any number of groups, computed as matrix products.
#[derive(Debug)]
pub(super) struct Gemm {
    geometry: Conv2dGeometry,
    /// The products, each of one or several groups of the convolution; the last may have fewer.
    groups: Vec<Box<dyn Packed>>,
    /// Zero points for taps outside the input: one for each input channel of a product.
    padding: Vec<u8>,
    /// Number of output channels of a product.
    columns: usize,
    names: Names,
    /// Whether the window is 1x1.
    pointwise: bool,
}

impl Gemm {
    /// Packs the weights of a convolution without defects.
    pub(super) fn new(isa: Isa, conv: &reference::Conv2d<'_>) -> Self {
        let geometry = conv.geometry;
        let groups = Groups::new(conv, isa.backend().columns());
        let operands = groups.operands(conv);
        let product =
            Product { groups: &operands, requantize: conv.requantize, geometry: &geometry };
        let packed = isa.backend().gemm(&product);
        let Kernels { groups, names } = packed.expect("the portable backend covers every product");
        let pointwise = operands[0].taps == 1;
        let Operand { channels, columns, .. } = operands[0];
        let padding = vec![conv.input_zero_point; channels];
        Self { geometry, groups, padding, columns, names, pointwise }
    }

    /// The name, for profiles, of an inverted-residual block whose last layer this is.
    pub(super) fn name_of_inverted_residual(&self) -> &'static str {
        self.names.inverted_residual
    }

    /// Input and output channels if this is a pointwise convolution; see
    /// [`Conv2dGeometry::is_pointwise`].
    pub(super) fn pointwise_channels(&self) -> Option<[usize; 2]> {
        let g = &self.geometry;
        g.is_pointwise().then_some([g.in_channels, g.out_channels])
    }

    /// Multiplies pixels on the calling thread, for a pointwise convolution: `input` is `[pixels,
    /// in_channels]`, `output` is `[pixels, out_channels]`.
    ///
    /// # Panics
    /// If this is not a pointwise convolution, or the lengths do not match.
    pub(super) fn run_pixels(&self, input: &[u8], output: &mut [u8]) {
        let [channels, columns] = self.pointwise_channels().expect("not a pointwise convolution");
        let pixels = input.len() / channels;
        check_len("the input", input.len(), &[pixels, channels]);
        check_len("the output", output.len(), &[pixels, columns]);
        let windows = Windows {
            input,
            padding: &self.padding,
            geometry: &self.geometry,
            size: [pixels, 1],
            output_size: [pixels, 1],
            first_channel: 0,
        };
        let panels = 0..self.groups[0].panels();
        let output = Output::new(output.as_mut_ptr(), columns, None);
        // SAFETY: `output` is mutably borrowed, has all columns of as many pixels as `input`, as
        // checked above, and no residual. The kernel is pointwise, so that `multiply` takes no
        // pointers from `scratch`; products of pixels in order need no other scratch memory.
        unsafe { self.multiply(0, &windows, (0..pixels, panels), output, &mut []) };
    }

    /// Writes the accumulators of `rows` rows on all threads of a pool, for a pointwise convolution: `input` is
    /// `[rows, in_channels]`, `accumulators` is `[rows, out_channels]`.
    ///
    /// # Panics
    /// If this is not a pointwise convolution, or the lengths do not match.
    pub(super) fn accumulate(
        &self,
        pool: &Pool,
        rows: usize,
        input: &[u8],
        accumulators: &mut [i32],
    ) {
        let [channels, columns] = self.pointwise_channels().expect("not a pointwise convolution");
        check_len("the input", input.len(), &[rows, channels]);
        check_len("the accumulators", accumulators.len(), &[rows, columns]);
        let size = [rows, 1];
        let windows = Windows {
            input,
            padding: &self.padding,
            geometry: &self.geometry,
            size,
            output_size: size,
            first_channel: 0,
        };
        let accumulators = SharedMut::new(accumulators);
        let partition = Partition::new(pool.threads(), rows, self.groups[0].panels(), 1);
        pool.run(partition.tasks(), &|task, _| {
            let (_, rows, panels) = partition.task(task);
            let output = Output::accumulators(accumulators.as_mut_ptr(), columns);
            // SAFETY: tasks differ in rows or panels, so no other task accesses the accumulators of this
            // one, which lie within `accumulators`, as checked above. The kernel is pointwise, so that
            // `multiply` takes no pointers from `scratch`; products of pixels in order need no other
            // scratch memory.
            unsafe { self.multiply(0, &windows, (rows, panels), output, &mut []) };
        });
    }

    fn taps(&self) -> usize {
        self.geometry.kernel[0] * self.geometry.kernel[1]
    }

    /// Number of pointers of a block that are kept in scratch memory; those of a 1x1 window are
    /// kept on the stack.
    fn scratch_pointers(&self) -> usize {
        // A product of fewer groups may have larger blocks.
        let rows = self.groups.iter().map(|group| group.block_rows()).max().unwrap_or(0);
        if self.taps() == 1 { 0 } else { self.taps() * rows }
    }

    fn scratch_bytes(&self) -> usize {
        // One more than needed, because the scratch memory may not be aligned to pointers.
        let pointers = match self.scratch_pointers() {
            0 => 0,
            pointers => (pointers + 1) * size_of::<*const u8>(),
        };
        pointers + self.groups.iter().map(|group| group.scratch_bytes()).max().unwrap_or(0)
    }

    /// Runs one task: multiplies the windows of output `pixels` with `panels` of a group.
    ///
    /// # Safety
    /// `output` must start at the group's first channel of pixel 0. For each pixel of `pixels` and
    /// each column of `panels` it must be valid for writes (and its residual for reads), and no
    /// other thread may access these outputs during the call. `scratch` must have
    /// [`Self::scratch_bytes`] bytes.
    unsafe fn multiply(
        &self,
        group: usize,
        windows: &Windows<'_>,
        (pixels, panels): (Range<usize>, Range<usize>),
        output: Output,
        scratch: &mut [u8],
    ) {
        let packed = &self.groups[group];
        let block_rows = packed.block_rows();
        let mut stack = [std::ptr::null(); MAX_ROWS];
        let (pointers, scratch) = scratch.split_at_mut(scratch.len() - packed.scratch_bytes());
        let taps = match self.scratch_pointers() {
            0 => &mut stack[..block_rows],
            len => {
                // SAFETY: the elements are bytes, and null and every other address are valid values
                // of a raw pointer; each is set before it is dereferenced.
                let (_, taps, _) = unsafe { pointers.align_to_mut::<*const u8>() };
                &mut taps[..len]
            }
        };
        let rows = packed.block_rows_of(pixels.len());
        for start in pixels.clone().step_by(rows) {
            let block = start..(start + rows).min(pixels.end);
            let rows = windows.gather(block, taps);
            let output = output.from(start, 0);
            // SAFETY: `gather` returns pointers to slices with this group's number of channels, for
            // each of its taps; the caller guarantees that the outputs may be written.
            unsafe { packed.multiply(&rows, panels.clone(), output, scratch) };
        }
    }
}

impl ConvKernel for Gemm {
    fn scratch_len(&self, threads: usize, _batch: usize, _size: [usize; 2]) -> usize {
        self.scratch_bytes() * threads
    }

    fn run(
        &self,
        pool: &Pool,
        (batch, size): (usize, [usize; 2]),
        Inputs { input, added }: Inputs<'_>,
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        let g = &self.geometry;
        let output_size = g.output_size(size).expect("the window fits into the padded input");
        let pixels = batch * output_size[0] * output_size[1];
        check_len("the output", output.len(), &[pixels, g.out_channels]);
        let output = SharedMut::new(output);
        let scratch = Workers::new(scratch, self.scratch_bytes());
        let panels = self.groups[0].panels();
        let partition = Partition::new(pool.threads(), pixels, panels, self.groups.len());
        pool.run(partition.tasks(), &|task, worker| {
            let (group, pixels, panels) = partition.task(task);
            let first_channel = group * self.padding.len();
            let channels = self.padding.len().min(g.in_channels - first_channel);
            let windows = Windows {
                input,
                padding: &self.padding[..channels],
                geometry: g,
                size,
                output_size,
                first_channel,
            };
            let output = Output::new(output.as_mut_ptr(), g.out_channels, added);
            let output = output.from(0, group * self.columns);
            // SAFETY: each worker runs one task at a time, and each has its own part.
            let scratch = unsafe { scratch.part(worker) };
            // SAFETY: tasks differ in group, pixels or panels, so no other task accesses the
            // outputs of this one. They lie within `output`, and their residuals within the
            // residual, which is as long: `output` has `pixels` rows of `out_channels`, as checked
            // above.
            unsafe { self.multiply(group, &windows, (pixels, panels), output, scratch) };
        });
    }

    fn name(&self) -> &'static str {
        if self.pointwise { self.names.pointwise } else { self.names.general }
    }

    fn name_with_add(&self) -> Option<&'static str> {
        let [pointwise, general] = self.names.adding?;
        Some(if self.pointwise { pointwise } else { general })
    }
}
