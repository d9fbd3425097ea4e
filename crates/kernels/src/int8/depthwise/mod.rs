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

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod pack;
mod portable;

use super::Requantize;
use super::conv2d::{ConvKernel, Inputs};
use crate::geometry::Conv2dGeometry;
use crate::isa::Isa;
use crate::pool::{Pool, SharedMut};
use crate::reference;

/// The kernel for a convolution that is depthwise.
pub(super) fn specialised(isa: Isa, conv: &reference::Conv2d<'_>) -> Option<Box<dyn ConvKernel>> {
    conv.geometry.is_depthwise().then(|| Box::new(Depthwise::new(isa, conv)) as _)
}

/// A depthwise convolution with its weights packed for one instruction set.
#[derive(Clone, Debug)]
pub(crate) struct Depthwise {
    geometry: Conv2dGeometry,
    /// Zero points for a pixel outside the image, and for the lanes beyond its last channel.
    outside: Vec<u8>,
    requantize: Requantize,
    kernel: Kernel,
}

#[derive(Clone, Debug)]
enum Kernel {
    Portable(Isa, portable::Packed),
    #[cfg(target_arch = "x86_64")]
    Avx2(crate::isa::Avx2, avx2::Packed),
    #[cfg(target_arch = "x86_64")]
    Avx512(crate::isa::Avx512Vnni, avx512::Packed),
}

/// What a kernel needs to know about one row of the output besides its input rows.
#[derive(Clone, Copy, Debug)]
struct Row<'a> {
    geometry: &'a Conv2dGeometry,
    requantize: &'a Requantize,
    outside: &'a [u8],
    /// Pixels of an input row.
    width: usize,
}

impl Depthwise {
    /// Packs a depthwise convolution without defects.
    ///
    /// # Panics
    /// When it is not depthwise.
    pub(crate) fn new(isa: Isa, conv: &reference::Conv2d<'_>) -> Self {
        let geometry = conv.geometry;
        assert!(geometry.is_depthwise(), "not depthwise: {geometry:?}");
        let kernel = match isa.without_tiles() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(token) if avx512::covers(&geometry) => {
                Kernel::Avx512(token, avx512::Packed::new(conv))
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(token) if avx2::covers(&geometry) => {
                Kernel::Avx2(token, avx2::Packed::new(conv))
            }
            _ => Kernel::Portable(isa, portable::Packed::new(conv)),
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
            Kernel::Portable(isa, packed) => packed.run_row(*isa, row, rows, output),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(token, packed) => packed.run_row(*token, row, rows, output),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(token, packed) => packed.run_row(*token, row, rows, output),
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
        match self.kernel {
            Kernel::Portable(..) => "depthwise_portable",
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(..) => "depthwise_avx2",
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(..) => "depthwise_avx512vnni",
        }
    }
    fn depthwise(&self) -> Option<&Depthwise> {
        Some(self)
    }
}

impl Row<'_> {
    /// Pixels of the output row.
    fn output_width(&self) -> usize {
        let Conv2dGeometry { kernel, stride, dilation, padding, .. } = self.geometry;
        let reach = dilation[1] * (kernel[1] - 1) + 1;
        (self.width + padding.left + padding.right - reach) / stride[1] + 1
    }
}

#[cfg(test)]
mod tests;
