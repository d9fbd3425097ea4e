//! Convolutions of any grouping, and linear layers, as products of gathered rows (one for each
//! output pixel) with packed weights (one column for each output channel).
//!
//! A call splits into tasks: some output pixels times some panels of columns. A task walks over
//! blocks of rows that stay in the L1 or L2 cache while its panels pass by once. What a block
//! gathers are pointers, one for each row and tap; the matrix that they describe is never written.

pub(crate) mod kernel;
pub(crate) mod partition;
#[cfg(test)]
mod tests;
pub(crate) mod windows;

use std::ops::Range;

use self::kernel::{Kernels, MAX_ROWS, Names, Output, Packed, Product};
use self::partition::Partition;
use self::windows::Windows;
use super::conv_kernel::{ConvKernel, Inputs};
use super::pack::Operand;
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::pool::workers::Workers;
use crate::pool::{Pool, SharedMut};
use crate::reference;

/// A convolution of any grouping as matrix products.
#[derive(Debug)]
pub(super) struct Gemm {
    geometry: Conv2dGeometry,
    groups: Vec<Box<dyn Packed>>,
    /// Zero points for the taps outside the input.
    padding: Vec<u8>,
    names: Names,
    /// The windows have one tap.
    pointwise: bool,
}

impl Gemm {
    /// Packs the weights of a convolution without defects.
    pub(super) fn new(isa: Isa, conv: &reference::Conv2d<'_>) -> Self {
        let geometry = conv.geometry;
        let operands = Operand::groups(conv);
        let product =
            Product { groups: &operands, requantize: conv.requantize, geometry: &geometry };
        let packed = isa.backend().gemm(&product);
        let Kernels { groups, names } = packed.expect("the portable backend covers every product");
        let pointwise = operands[0].taps == 1;
        let padding = vec![conv.input_zero_point; operands[0].channels];
        Self { geometry, groups, padding, names, pointwise }
    }

    /// What profiles call a block whose last layer it is.
    pub(super) fn name_of_inverted_residual(&self) -> &'static str {
        self.names.inverted_residual
    }

    /// Input and output channels where this is the product of pixels with one matrix.
    pub(super) fn pointwise_channels(&self) -> Option<[usize; 2]> {
        let g = &self.geometry;
        g.is_pointwise().then_some([g.in_channels, g.out_channels])
    }

    /// Multiplies neighbouring pixels on the calling thread: `input` is `[pixels, in_channels]`,
    /// `output` `[pixels, out_channels]`.
    ///
    /// # Panics
    /// When this is no product of pixels with one matrix, or the lengths do not fit each other.
    pub(super) fn run_pixels(&self, input: &[u8], output: &mut [u8]) {
        let [channels, columns] = self.pointwise_channels().expect("a product of pixels");
        let pixels = input.len() / channels;
        assert_eq!(input.len(), pixels * channels, "whole pixels");
        assert_eq!(output.len(), pixels * columns, "as many pixels");
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
        // SAFETY: all pixels of the output are borrowed; pixels in their order need no scratch
        // memory.
        unsafe { self.multiply(0, &windows, (0..pixels, panels), output, &mut []) };
    }

    fn taps(&self) -> usize {
        self.geometry.kernel[0] * self.geometry.kernel[1]
    }

    /// Pointers of a block's rows: none of the scratch memory's where one tap's fit onto the stack.
    fn scratch_pointers(&self) -> usize {
        if self.taps() == 1 { 0 } else { self.taps() * self.groups[0].block_rows() }
    }

    fn scratch_bytes(&self) -> usize {
        // One pointer more, since the bytes handed in need not be aligned.
        let pointers = match self.scratch_pointers() {
            0 => 0,
            pointers => (pointers + 1) * size_of::<*const u8>(),
        };
        pointers + self.groups[0].scratch_bytes()
    }

    /// One task: `panels` of a group over all `pixels`.
    ///
    /// # Safety
    /// Nobody else may access the outputs of these pixels and panels meanwhile; `output` starts at
    /// the group's first channel and has all pixels.
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
                // SAFETY: every bit pattern is a pointer; they are written before they are used.
                let (_, taps, _) = unsafe { pointers.align_to_mut::<*const u8>() };
                &mut taps[..len]
            }
        };
        let rows = packed.block_rows_of(pixels.len());
        for start in pixels.clone().step_by(rows) {
            let block = start..(start + rows).min(pixels.end);
            let rows = windows.gather(block, taps);
            let output = output.from(start, 0);
            // SAFETY: the rows were gathered from this group's channels and taps; the caller's
            // promise about the outputs.
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
        assert_eq!(output.len(), pixels * g.out_channels, "output is [batch, oh, ow, c]");
        let columns = g.out_channels / g.groups;
        let output = SharedMut::new(output);
        let scratch = Workers::new(scratch, self.scratch_bytes());
        let partition = Partition::new(pool.threads(), pixels, self.groups[0].panels(), g.groups);
        pool.run(partition.tasks(), &|task, worker| {
            let (group, pixels, panels) = partition.task(task);
            let windows = Windows {
                input,
                padding: &self.padding,
                geometry: g,
                size,
                output_size,
                first_channel: group * self.padding.len(),
            };
            let output = Output::new(output.as_mut_ptr(), g.out_channels, added);
            let output = output.from(0, group * columns);
            // SAFETY: a worker runs one task at a time, and this part is its own.
            let scratch = unsafe { scratch.part(worker) };
            // SAFETY: tasks differ in group, pixels or panels, so no other one accesses these
            // outputs; they lie within `output`, whose length was checked above.
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
