//! Depthwise convolutions: one input and one output channel a group, NHWC.
//!
//! A row of the output is the unit of work: [`Depthwise::run_row`] takes the input rows under the
//! window as slices, so that a stripe of an image (which need not lie in one piece) serves as well
//! as a whole one. Channels are the vector's lanes.
//!
//! Both vector kernels keep a *column* (the rows under the window at one horizontal position) with
//! its rows interleaved byte by byte, so that one `vpdpbusd` multiplies four taps of a channel
//! (AVX-512) or one `vpmaddwd` two (AVX2, widened to 16 bits). Neighbouring outputs share columns,
//! so most of the interleaving is done once. Packing i32 back to u8 is the inverse of unpacking
//! bytes to dwords, so nothing is ever permuted into channel order.
//!
//! Rows and columns outside the image are read from a buffer of zero points; the correction for
//! the zero point, `−zero_point · Σ w`, is part of the packed bias.

mod generic;
pub(crate) mod kernel;
#[allow(dead_code, reason = "only kernels written for an instruction set use it")]
pub(crate) mod pack;

use self::kernel::{Row, RowKernel};
use super::conv_kernel::{ConvKernel, Inputs};
use super::requantize::Requantize;
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::pool::{Pool, SharedMut};
use crate::reference;

/// A depthwise convolution with its weights packed for one instruction set.
#[derive(Debug)]
pub(crate) struct Depthwise {
    geometry: Conv2dGeometry,
    /// Zero points for a pixel outside the image, and for the lanes beyond its last channel.
    outside: Vec<u8>,
    requantize: Requantize,
    kernel: Kernel,
}

#[derive(Debug)]
enum Kernel {
    /// Written for the instruction set.
    Own(Box<dyn RowKernel>),
    /// Compiled for the instruction set.
    Generic(Isa, generic::Packed),
}

impl Depthwise {
    /// Packs a depthwise convolution without defects.
    ///
    /// # Panics
    /// When it is not depthwise.
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

    /// The input row under tap row `ky` of output row `y`; `None` where it lies in the padding of
    /// an image `h` rows high.
    pub(crate) fn input_row(&self, y: usize, ky: usize, h: usize) -> Option<usize> {
        let g = &self.geometry;
        (y * g.stride[0] + ky * g.dilation[0]).checked_sub(g.padding.top).filter(|&y| y < h)
    }

    /// Computes one row of the output, `[ow, channels]`, from the input rows under the window:
    /// `rows(ky)` is `[width, channels]`, or `None` where the row lies in the padding.
    ///
    /// # Panics
    /// When a length does not fit the width.
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
            assert_eq!(row.len(), width * self.geometry.in_channels, "an input row");
            (width > 0).then_some(row)
        };
        assert_eq!(output.len(), row.output_width() * self.geometry.out_channels, "an output row");
        match &self.kernel {
            // SAFETY: the lengths of the rows and of the output were checked above.
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
            // SAFETY: each task writes its own row of the output.
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
