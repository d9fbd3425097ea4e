//! int8 depthwise convolution: each group has one input and one output channel.
//!
//! The unit of work is a row of the output. [`Depthwise::run_row`] takes the input rows under the
//! window as separate slices, so that they need not be contiguous, as in the stripes of an
//! inverted-residual block. The lanes of a vector are channels.
//!
//! Both vector kernels process columns: the input rows under the window at one horizontal position,
//! with their bytes interleaved, so that one `vpdpbusd` (AVX-512) multiplies four taps of a channel
//! and one `vpmaddwd` (AVX2, widened to 16 bits) two. Neighbouring outputs share columns, so most
//! interleaving is done only once. Packing i32 to u8 is the inverse of unpacking bytes to dwords,
//! so no permutation into channel order is needed.
//!
//! Rows and columns outside the image are read from a buffer of zero points. The correction for the
//! input's zero point, `−zero_point · Σ w`, is part of the packed bias.

mod generic;
pub(crate) mod kernel;
#[allow(dead_code, reason = "only kernels written for an instruction set use it")]
pub(crate) mod pack;

use self::kernel::{Row, RowKernel};
use super::conv_kernel::{ConvKernel, Inputs};
use super::requantize::Requantize;
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::lengths::check_len;
use crate::pool::{Pool, SharedMut};
use crate::reference;

/// A depthwise convolution with its weights packed for one instruction set.
#[derive(Debug)]
pub(crate) struct Depthwise {
    geometry: Conv2dGeometry,
    /// Zero points that are read for a pixel outside the image, and for the lanes beyond its last
    /// channel.
    outside: Vec<u8>,
    requantize: Requantize,
    kernel: Kernel,
}

#[derive(Debug)]
enum Kernel {
    /// A kernel written for the instruction set.
    Own(Box<dyn RowKernel>),
    /// The generic kernel, compiled for the instruction set.
    Generic(Isa, generic::Packed),
}

impl Depthwise {
    /// Packs a depthwise convolution without defects.
    ///
    /// # Panics
    /// If the convolution is not depthwise.
    pub(crate) fn new(isa: Isa, conv: &reference::Conv2d<'_>) -> Self {
        let geometry = conv.geometry;
        assert!(geometry.is_depthwise(), "not depthwise: {geometry:?}");
        let kernel = match isa.backend().depthwise(conv) {
            Some(kernel) => Kernel::Own(kernel),
            None => Kernel::Generic(isa, generic::Packed::new(conv)),
        };
        Self {
            geometry,
            outside: vec![conv.input_zero_point; geometry.in_channels + pack::OUTSIDE_SLACK],
            requantize: conv.requantize.clone(),
            kernel,
        }
    }

    /// Returns the input row under row `ky` of the window of output row `y`; `None` if it lies in
    /// the padding of an image with `h` rows.
    pub(crate) fn input_row(&self, y: usize, ky: usize, h: usize) -> Option<usize> {
        let g = &self.geometry;
        (y * g.stride[0] + ky * g.dilation[0]).checked_sub(g.padding.top).filter(|&y| y < h)
    }

    /// Computes one row of the output, `[ow, channels]`.
    ///
    /// `rows(ky)` is the input row under row `ky` of the window, `[width, channels]`, or `None`
    /// where it lies in the padding.
    ///
    /// # Panics
    /// If the length of a row differs from its shape.
    pub(crate) fn run_row<'a>(
        &self,
        width: usize,
        rows: impl Fn(usize) -> Option<&'a [u8]>,
        output: &mut [u8],
    ) {
        let row = Row {
            geometry: &self.geometry,
            requantize: &self.requantize,
            outside: &self.outside,
            width,
        };
        let rows = |ky| {
            let row = rows(ky)?;
            check_len("an input row", row.len(), &[width, self.geometry.in_channels]);
            (width > 0).then_some(row)
        };
        let row_sizes = [row.output_width(), self.geometry.out_channels];
        check_len("an output row", output.len(), &row_sizes);
        match &self.kernel {
            // SAFETY: the kernel was packed for this geometry and requantization, and the lengths
            // of the rows and of the output are checked above and in `rows`.
            Kernel::Own(kernel) => unsafe { kernel.run_row(row, &rows, output) },
            Kernel::Generic(isa, packed) => packed.run_row(*isa, row, rows, output),
        }
    }
}

impl ConvKernel for Depthwise {
    fn scratch_len(&self, _threads: usize, _batch: usize, _size: [usize; 2]) -> usize {
        0
    }

    fn run(
        &self,
        pool: &Pool,
        (batch, size): (usize, [usize; 2]),
        Inputs { input, .. }: Inputs<'_>,
        output: &mut [u8],
        _scratch: &mut [u8],
    ) {
        let [h, w] = size;
        let c = self.geometry.in_channels;
        let [oh, ow] = self.geometry.output_size(size).expect("the window fits the input");
        let output = SharedMut::new(output);
        pool.run(batch * oh, &|task, _| {
            let (n, y) = (task / oh, task % oh);
            // SAFETY: each task writes only its own row of the output.
            let output = unsafe { output.slice(task * ow * c..(task + 1) * ow * c) };
            let image = &input[n * h * w * c..][..h * w * c];
            let row = |ky| self.input_row(y, ky, h).map(|y| &image[y * w * c..][..w * c]);
            self.run_row(w, row, output);
        });
    }

    fn name(&self) -> &'static str {
        match &self.kernel {
            Kernel::Own(kernel) => kernel.name(),
            Kernel::Generic(..) => "depthwise_portable",
        }
    }
}

#[cfg(test)]
mod tests;
