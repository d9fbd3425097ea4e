//! Convolutions of any grouping, and linear layers, as products of gathered rows (one for each
//! output pixel) with packed weights (one column for each output channel).
//!
//! A call splits into tasks: some output pixels times some panels of columns. A task walks over
//! blocks of rows that stay in the L1 or L2 cache while its panels pass by once. What a block
//! gathers are pointers, one for each row and tap; the matrix that they describe is never written.

/// Repeats a block for those of the listed rows that are less than `R`, each as a constant.
///
/// The compiler gives up on unrolling some loops over rows, and accumulators that a variable picks
/// live in memory: a kernel is three times slower then.
macro_rules! for_rows {
    ($row:ident in $($index:literal)* => $block:block) => {{
        $(if $index < R {
            const $row: usize = $index;
            $block
        })*
    }};
}

mod partition;
mod scalar;
mod windows;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub(crate) use amx::multiply_tiles;

use std::ops::Range;

use self::partition::Partition;
use self::windows::{Rows, Windows};
use super::conv2d::{ConvKernel, Inputs};
use super::elementwise::AddFormula;
use super::pack::Operand;
use super::{Add, Requantize};
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::pool::{Pool, SharedMut};
use crate::reference;
use crate::workers::Workers;

/// The most rows a block may have.
const MOST_ROWS: usize = 128;

/// One group's packed weights, and the kernels that multiply blocks of rows with them.
trait Packed: Send + Sync + std::fmt::Debug {
    /// How many panels the columns are divided into.
    fn panels(&self) -> usize;

    /// How many rows a block has at most; at most [`MOST_ROWS`].
    fn block_rows(&self) -> usize;

    /// How many rows each block should have where there are `rows`; at most
    /// [`Packed::block_rows`].
    fn block_rows_of(&self, _rows: usize) -> usize {
        self.block_rows()
    }

    /// Bytes of scratch memory for [`Packed::multiply`].
    fn scratch_bytes(&self) -> usize {
        0
    }

    /// Multiplies `rows` with `panels`. `scratch` has [`Packed::scratch_bytes`] bytes.
    ///
    /// # Safety
    /// `rows` must point to values of as many taps and channels as were packed. For each row `i`
    /// and each column of `panels`, the byte `output.at(i, column)` must be part of the allocation
    /// that `output` points to, and nobody else may access it meanwhile; so must what is added to it
    /// be readable.
    unsafe fn multiply(
        &self,
        rows: &Rows<'_>,
        panels: Range<usize>,
        output: Output,
        scratch: &mut [u8],
    );
}

/// Where the outputs of a block lie.
#[derive(Clone, Copy)]
struct Output {
    /// The first column of the first row.
    start: *mut u8,
    /// From one row to the next.
    stride: usize,
    /// What is added to the outputs.
    added: Option<Added>,
}

/// Values to add to outputs, which lie as these do.
#[derive(Clone, Copy, Debug)]
struct Added {
    /// The one that is added to the first column of the first row.
    start: *const u8,
    formula: AddFormula,
}

impl Output {
    /// All rows of so many columns, and what is added to them.
    fn new(start: *mut u8, columns: usize, added: Option<(&Add, &[u8])>) -> Self {
        let added =
            added.map(|(add, residual)| Added { start: residual.as_ptr(), formula: add.formula() });
        Self { start, stride: columns, added }
    }

    /// That which begins at another row and column.
    #[inline]
    fn from(self, row: usize, column: usize) -> Self {
        let start = self.at(row, column);
        let skipped = row * self.stride + column;
        let added = self
            .added
            .map(|Added { start, formula }| Added { start: start.wrapping_add(skipped), formula });
        Self { start, added, ..self }
    }

    #[inline]
    fn at(self, row: usize, column: usize) -> *mut u8 {
        self.start.wrapping_add(row * self.stride + column)
    }
}

/// A convolution of any grouping as matrix products.
#[derive(Debug)]
pub(super) struct Gemm {
    geometry: Conv2dGeometry,
    groups: Vec<Box<dyn Packed>>,
    /// Zero points for the taps outside the input.
    padding: Vec<u8>,
    name: &'static str,
    name_with_add: Option<&'static str>,
}

impl Gemm {
    /// Packs the weights of a convolution without defects.
    pub(super) fn new(isa: Isa, conv: &reference::Conv2d<'_>) -> Self {
        let geometry = conv.geometry;
        let operands = operands(conv);
        // All groups have the same kernel, since they share one division into tasks.
        let isa = kernel_isa(isa, &operands);
        let groups =
            operands.iter().map(|operand| pack(isa, operand, conv.requantize, &geometry)).collect();
        let name = match (isa, operands[0].taps) {
            (Isa::Scalar, 1) => "pointwise_scalar",
            (Isa::Avx2(_), 1) => "pointwise_avx2",
            (Isa::Avx512Vnni(_), 1) => "pointwise_avx512vnni",
            (Isa::Amx(_), 1) => "pointwise_amx",
            (Isa::Scalar, _) => "general_scalar",
            (Isa::Avx2(_), _) => "general_avx2",
            (Isa::Avx512Vnni(_), _) => "general_avx512vnni",
            (Isa::Amx(_), _) => "general_amx",
        };
        let name_with_add = match (isa, operands[0].taps) {
            (Isa::Amx(_), 1) => Some("pointwise_add_amx"),
            (Isa::Amx(_), _) => Some("general_add_amx"),
            _ => None,
        };
        let padding = vec![conv.input_zero_point; operands[0].channels];
        Self { geometry, groups, padding, name, name_with_add }
    }

    /// What profiles call it.
    pub(super) fn name(&self) -> &'static str {
        self.name
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
        let mut stack = [std::ptr::null(); MOST_ROWS];
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
        self.name
    }

    fn name_with_add(&self) -> Option<&'static str> {
        self.name_with_add
    }

    fn gemm(&self) -> Option<&Gemm> {
        Some(self)
    }
}

/// The kernel for a convolution whose windows have several taps, where there is a better one than
/// [`Gemm`].
pub(super) fn specialised(isa: Isa, conv: &reference::Conv2d<'_>) -> Option<Box<dyn ConvKernel>> {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx(_) => amx::Direct::specialised(isa, conv).map(|direct| Box::new(direct) as _),
        _ => None,
    }
}

/// The weights of each group of a convolution without defects.
fn operands<'a>(conv: &reference::Conv2d<'a>) -> Vec<Operand<'a>> {
    let geometry = &conv.geometry;
    let columns = geometry.out_channels / geometry.groups;
    let channels = geometry.in_channels / geometry.groups;
    let taps = geometry.kernel[0] * geometry.kernel[1];
    (0..geometry.groups)
        .map(|group| {
            let weights = columns * channels * taps;
            Operand {
                weight: &conv.weight[group * weights..][..weights],
                bias: &conv.bias[group * columns..][..columns],
                multiplier: &conv.requantize.multiplier[group * columns..][..columns],
                columns,
                channels,
                taps,
                input_zero_point: conv.input_zero_point,
            }
        })
        .collect()
}

/// The instruction set, at most `isa`, whose kernel serves these groups best.
fn kernel_isa(isa: Isa, groups: &[Operand<'_>]) -> Isa {
    let vectors = match isa.without_tiles() {
        // Large multipliers are the sign of an output that is nearly constant: rare, and not worth
        // a clamp for every vector of outputs in all other layers.
        Isa::Avx512Vnni(vnni) if !groups.iter().all(Operand::products_fit) => {
            Isa::Avx2(vnni.avx2())
        }
        other => other,
    };
    match vectors {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) if !avx2::Weights::covers(&groups[0]) => Isa::Scalar,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) if amx::covers(&groups[0]) => isa,
        _ => vectors,
    }
}

fn pack(
    isa: Isa,
    operand: &Operand<'_>,
    requantize: &Requantize,
    geometry: &Conv2dGeometry,
) -> Box<dyn Packed> {
    match isa {
        Isa::Scalar => Box::new(scalar::Weights::new(operand, requantize)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(avx2) => Box::new(avx2::Weights::new(avx2, operand, requantize)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(vnni) => Box::new(avx512vnni::Weights::new(vnni, operand, requantize)),
        #[cfg(target_arch = "x86_64")]
        Isa::Amx(amx) => {
            Box::new(amx::Weights::new(amx, operand, requantize, !windows::in_order(geometry)))
        }
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("tokens of x86 instruction sets exist on x86 only"),
    }
}

/// A panel of packed columns.
#[derive(Clone, Copy, Debug)]
#[cfg(target_arch = "x86_64")]
struct Panel {
    /// Vectors of columns.
    vectors: usize,
    /// The first column.
    first: usize,
    /// How many of the vectors' columns exist.
    columns: usize,
    /// Where it begins in the packed bytes.
    offset: usize,
}

/// The step of four channels that multiplies a channel, and the channel's place in the step.
///
/// Where the channels are no multiple of four, the last step reads the last four channels again, so
/// that nothing behind them is read; weights of zero stand where an earlier step has been.
#[cfg(target_arch = "x86_64")]
fn position(channel: usize, channels: usize) -> (usize, usize) {
    let whole = channels / 4 * 4;
    if channel < whole || channels < 4 {
        (channel / 4, channel % 4)
    } else {
        (whole / 4, channel + 4 - channels)
    }
}

/// The four channels of a row that the last step multiplies; see [`position`]. Of fewer channels the
/// last stands in for the missing ones, whose weights are zero.
///
/// # Safety
/// `row` must have `channels` readable bytes, and `channels` must not be zero.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn last_step(row: *const u8, channels: usize) -> i32 {
    // SAFETY: these are bytes of the row.
    unsafe {
        if channels >= 4 {
            return row.add(channels - 4).cast::<i32>().read_unaligned();
        }
        let [second, third] = [1.min(channels - 1), 2.min(channels - 1)];
        i32::from_le_bytes([*row, *row.add(second), *row.add(third), 0])
    }
}
